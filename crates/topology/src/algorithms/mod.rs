//! The list of algorithms.
//!
//! To add one, write `src/algorithms/NAME.rs` with a [`Card`] called `CARD`, its `Params`, and a function `build`, and
//! put the module's name into the list below. That registers it, names it in help texts and error messages, and runs
//! the conformance suite over it. A test asks for its page, `docs/algorithms/NAME.md`.

use crate::schedule::{DropFraction, DropSchedule, Ramp, Schedule, Times};
use crate::{Algorithm, Context, LayerSpec, Maker, Pattern, PatternError, Sample};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Display;
use strsim::levenshtein as edit_distance;

macro_rules! algorithms {
    ($($module:ident),* $(,)?) => {
        $(pub mod $module;)*

        static LIST: &[Entry] = &[$(Entry {
            name: $module::CARD.name,
            summary: $module::CARD.summary,
            paper: $module::CARD.paper,
            dense: $module::CARD.dense,
            start: |params, layers| Ok(($module::CARD.start)(&parse($module::CARD.name, params)?, layers)),
            source: concat!("crates/topology/src/algorithms/", stringify!($module), ".rs"),
            defaults: || table_of(&$module::Params::default()),
            build: |params, context| $module::build(parse($module::CARD.name, params)?, context),
        }),*];
    };
}

algorithms![
    dense,
    static_mask,
    set,
    rigl,
    itop,
    srigl,
    deep_r,
    dsr,
    snfs,
    mest,
    rigl_candidates,
    bidst,
    gmp,
    granet,
    chase,
    acdc,
    top_kast,
    snip,
    grasp,
    synflow,
];
mod one_shot;

/// What an algorithm with options `P` says about itself.
#[derive(Clone, Copy, Debug)]
pub struct Card<P> {
    /// The name users type.
    pub name: &'static str,
    /// One line for help texts.
    pub summary: &'static str,
    /// Authors, title, venue.
    pub paper: &'static str,
    /// Whether it trains every weight, so that no tensor is sparsified.
    pub dense: bool,
    /// Fills in the non-zeros of each layer at the start of training, and its pattern; see [`start`](crate::start).
    pub start: fn(&P, &mut [LayerSpec]),
}

/// One listed algorithm.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The name users type.
    pub name: &'static str,
    /// One line for help texts.
    pub summary: &'static str,
    /// Authors, title, venue.
    pub paper: &'static str,
    /// Whether it trains every weight, so that no tensor is sparsified.
    pub dense: bool,
    /// Fills in the non-zeros of each layer at the start of training, and its pattern, from options and what the run's
    /// sparsity allows.
    pub start: fn(&toml::Table, &mut [LayerSpec]) -> Result<(), AlgorithmError>,
    /// Path of its file in the repository.
    pub source: &'static str,
    /// Its options and their defaults. Options that derive their default from the run are absent.
    pub defaults: fn() -> toml::Table,
    /// Makes one from options and a run.
    pub build: Build,
}

/// Makes an algorithm from options and a run.
pub type Build = fn(&toml::Table, &Context<'_>) -> Result<Box<dyn Algorithm>, AlgorithmError>;

/// Why an algorithm cannot be built.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AlgorithmError {
    /// No algorithm has this name.
    #[error("there is no algorithm `{name}`; did you mean `{nearest}`? There are: {}", list.join(", "))]
    Unknown {
        /// The name asked for.
        name: String,
        /// The listed name that looks most like it.
        nearest: &'static str,
        /// All names.
        list: Vec<&'static str>,
    },
    /// An option does not exist or has the wrong type.
    #[error("options of algorithm `{algorithm}`: {reason}")]
    Options {
        /// The algorithm.
        algorithm: &'static str,
        /// What is wrong, naming the option.
        reason: String,
    },
    /// An option has a value outside its range, or one that contradicts another.
    #[error("option `{option} = {value}` of algorithm `{algorithm}`: {rule}")]
    Value {
        /// The algorithm.
        algorithm: &'static str,
        /// The option.
        option: &'static str,
        /// Its value.
        value: String,
        /// What would be right.
        rule: &'static str,
    },
    /// A layer cannot have the pattern of the algorithm.
    #[error("layer `{layer}` under algorithm `{algorithm}`: {source}")]
    Pattern {
        /// The algorithm.
        algorithm: &'static str,
        /// The layer.
        layer: String,
        /// What does not fit.
        source: PatternError,
    },
    /// A layer has another pattern than the options say.
    #[error(
        "layer `{layer}` is {found}, algorithm `{algorithm}` makes it {pattern}; call `algorithms::start` on the layers"
    )]
    Unprepared {
        /// The algorithm.
        algorithm: &'static str,
        /// The layer.
        layer: String,
        /// Its pattern.
        found: Pattern,
        /// The pattern of the algorithm.
        pattern: Pattern,
    },
}

/// All algorithms.
pub fn list() -> &'static [Entry] {
    LIST
}

/// The entry called `name`.
///
/// # Errors
/// If there is none; the message names the nearest one and all others.
pub fn find(name: &str) -> Result<&'static Entry, AlgorithmError> {
    LIST.iter().find(|entry| entry.name == name).ok_or_else(|| AlgorithmError::Unknown {
        name: name.into(),
        nearest: LIST.iter().min_by_key(|entry| edit_distance(name, entry.name)).map_or("", |entry| entry.name),
        list: LIST.iter().map(|entry| entry.name).collect(),
    })
}

/// Builds the algorithm called `name` for a run.
///
/// # Errors
/// If there is no such algorithm, an option is unknown, of the wrong type or out of range, or the layers have not been
/// prepared by [`start`].
pub fn build(name: &str, params: &toml::Table, context: &Context<'_>) -> Result<Box<dyn Algorithm>, AlgorithmError> {
    let entry = find(name)?;
    let mut prepared = context.layers.to_vec();
    start(name, params, &mut prepared)?;
    match context.layers.iter().zip(prepared).find(|(layer, prepared)| layer.pattern != prepared.pattern) {
        None => (entry.build)(params, context),
        Some((layer, prepared)) => Err(AlgorithmError::Unprepared {
            algorithm: entry.name,
            layer: layer.name.clone(),
            found: layer.pattern,
            pattern: prepared.pattern,
        }),
    }
}

/// Fills in with how many non-zeros, and in which pattern, the layers start under the algorithm called `name`.
///
/// # Errors
/// If there is no such algorithm, an option is unknown or of the wrong type, or a layer does not fit the pattern.
pub fn start(name: &str, params: &toml::Table, layers: &mut [LayerSpec]) -> Result<(), AlgorithmError> {
    let entry = find(name)?;
    (entry.start)(params, layers)?;
    for layer in layers {
        let refused = |source| AlgorithmError::Pattern { algorithm: entry.name, layer: layer.name.clone(), source };
        layer.pattern.check(layer).map_err(refused)?;
    }
    Ok(())
}

/// A listed algorithm with options, as a [`Maker`].
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Options that differ from the defaults.
    pub options: toml::Table,
}

impl Maker for Listed {
    fn start(&self, layers: &mut [LayerSpec]) -> Result<(), AlgorithmError> {
        start(&self.name, &self.options, layers)
    }

    fn build(&self, context: &Context<'_>) -> Result<Box<dyn Algorithm>, AlgorithmError> {
        build(&self.name, &self.options, context)
    }
}

/// Which layer puts out the classes: the last sparsified one, if it is linear.
fn output_layer(layers: &[LayerSpec]) -> Option<usize> {
    let last = layers.len().checked_sub(1)?;
    (layers[last].shape.len() == 2).then_some(last)
}

fn table_of(params: &impl Serialize) -> toml::Table {
    toml::Table::try_from(params).expect("options are plain numbers, booleans and words")
}

fn parse<P: DeserializeOwned>(algorithm: &'static str, params: &toml::Table) -> Result<P, AlgorithmError> {
    params
        .clone()
        .try_into()
        .map_err(|error: toml::de::Error| AlgorithmError::Options { algorithm, reason: error.message().to_owned() })
}

/// Checks options of one algorithm.
#[derive(Clone, Copy)]
struct Require(&'static str);

impl Require {
    fn that(
        self,
        holds: bool,
        option: &'static str,
        value: impl Display,
        rule: &'static str,
    ) -> Result<(), AlgorithmError> {
        if holds {
            Ok(())
        } else {
            Err(AlgorithmError::Value { algorithm: self.0, option, value: value.to_string(), rule })
        }
    }

    /// A regular schedule: a decision every `interval` steps while `step < stop · total_steps`.
    fn schedule(
        self,
        interval: u64,
        stop: f64,
        drop_fraction: f64,
        drop_schedule: DropSchedule,
        context: &Context<'_>,
    ) -> Result<Schedule, AlgorithmError> {
        self.that(interval > 0, "update_interval", interval, "must be at least 1 step")?;
        let end = self.stop(stop, context)?;
        let fraction = self.drop_fraction(drop_fraction, drop_schedule, end)?;
        Ok(Schedule { times: Times::every(interval, end), fraction })
    }

    /// The run's decisions on the way down to its sparsity, after step `begin` and before the share of the run that the
    /// option `last` names.
    fn ramp(
        self,
        begin: u64,
        last: (&'static str, f64),
        interval: u64,
        context: &Context<'_>,
    ) -> Result<Ramp, AlgorithmError> {
        self.that(interval > 0, "update_interval", interval, "must be at least 1 step")?;
        let (option, share) = last;
        let end = self.share(option, share, context)?;
        // With less time than that, no interval is short enough.
        self.that(end > begin + 1, option, share, "leaves no step to prune in; prune longer")?;
        let ramp = Ramp::new(begin, end, interval);
        let rule = "leaves no time to prune between the first decision and the last; make it shorter";
        self.that(ramp.is_some(), "update_interval", interval, rule)?;
        Ok(ramp.expect("checked above"))
    }

    fn sample(self, per_class: usize, temperature: f32) -> Result<Sample, AlgorithmError> {
        self.that(per_class > 0, "samples_per_class", per_class, "must be at least 1")?;
        let positive = temperature.is_finite() && temperature > 0.0;
        self.that(positive, "temperature", temperature, "must be a number above 0")?;
        Ok(Sample { per_class, temperature })
    }

    fn stop(self, stop: f64, context: &Context<'_>) -> Result<u64, AlgorithmError> {
        self.share("stop", stop, context)
    }

    /// A share of the run as a step.
    fn share(self, option: &'static str, share: f64, context: &Context<'_>) -> Result<u64, AlgorithmError> {
        self.that((0.0..=1.0).contains(&share), option, share, "is a share of the run, from 0 to 1")?;
        Ok((share * context.total_steps as f64).floor() as u64)
    }

    fn drop_fraction(self, initial: f64, schedule: DropSchedule, end: u64) -> Result<DropFraction, AlgorithmError> {
        self.that(
            (0.0..=1.0).contains(&initial),
            "drop_fraction",
            initial,
            "is a share of the non-zeros, from 0 to 1",
        )?;
        Ok(DropFraction { initial, last: 0.0, schedule, end })
    }

    fn last_drop_fraction(self, last: f64) -> Result<f64, AlgorithmError> {
        let share = (0.0..=1.0).contains(&last);
        self.that(share, "last_drop_fraction", last, "is a share of the non-zeros, from 0 to 1")?;
        Ok(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context<'static> {
        Context {
            layers: &[],
            total_steps: 1000,
            steps_per_epoch: 100,
            seed: 0,
            weight_decay: 5e-4,
            learning_rate: 0.1,
            momentum: 0.9,
            batch_size: 32,
        }
    }

    fn error_of(name: &str, params: &str) -> String {
        match build(name, &params.parse().unwrap(), &context()) {
            Ok(_) => panic!("{name} accepted `{params}`"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest_and_the_list() {
        let message = error_of("rigle", "");
        assert!(message.contains("did you mean `rigl`"), "{message}");
        for entry in list() {
            assert!(message.contains(entry.name), "{message}");
        }
    }

    #[test]
    fn an_unknown_option_is_named_for_every_algorithm() {
        for entry in list() {
            let message = error_of(entry.name, "no_such_option = 1");
            assert!(message.contains("no_such_option") && message.contains(entry.name), "{message}");
        }
    }

    #[test]
    fn an_option_of_the_wrong_type_or_range_is_named() {
        assert!(error_of("set", "drop_fraction = 'much'").contains("set"));
        let message = error_of("set", "drop_fraction = 1.5");
        assert!(message.contains("drop_fraction = 1.5"), "{message}");
        assert!(error_of("rigl", "update_interval = 0").contains("update_interval = 0"));
        assert!(error_of("rigl", "stop = nan").contains("stop"));
    }

    #[test]
    fn every_algorithm_accepts_its_own_defaults_and_names_its_file() {
        for entry in list() {
            let algorithm = build(entry.name, &(entry.defaults)(), &context()).unwrap();
            assert_eq!(algorithm.name(), entry.name);
            let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(entry.source);
            assert!(file.is_file(), "{}", entry.source);
        }
    }

    #[test]
    fn an_interval_of_no_steps_is_refused_by_every_algorithm_that_has_one() {
        let intervals = list().iter().filter(|entry| (entry.defaults)().contains_key("update_interval"));
        let options: toml::Table = "update_interval = 0".parse().unwrap();
        for entry in intervals {
            let error = build(entry.name, &options, &context()).err().map(|error| error.to_string());
            assert!(error.as_ref().is_some_and(|error| error.contains("at least 1")), "{}: {error:?}", entry.name);
        }
    }

    #[test]
    fn a_share_of_the_run_that_another_one_hid_is_refused_all_the_same() {
        for share in ["7.0", "nan"] {
            assert!(error_of("granet", &format!("prune_stop = {share}")).contains("`prune_stop = "));
        }
    }

    #[test]
    fn an_interval_is_not_blamed_where_no_interval_would_do() {
        for (name, options, blamed) in [
            ("gmp", "begin = 0.8", "`stop = 0.75`"),
            ("granet", "prune_stop = 0.0", "`prune_stop = 0`"),
            ("granet", "stop = 0.0", "`stop = 0`"),
            ("chase", "stop = 0.0", "`stop = 0`"),
            ("gmp", "update_interval = 999", "`update_interval = 999`"),
        ] {
            let message = error_of(name, options);
            assert!(message.contains(blamed), "{name} with {options}: {message}");
        }
    }

    #[test]
    fn edit_distance_counts_single_edits() {
        assert_eq!(edit_distance("rigl", "rigl"), 0);
        assert_eq!(edit_distance("", "set"), 3);
        assert_eq!(edit_distance("bdst", "bidst"), 1);
        assert_eq!(edit_distance("kitten", "sitting"), 3);
    }
}
