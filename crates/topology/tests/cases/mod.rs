//! The listed algorithms as subjects of the conformance suite, with what each says of itself.

use bidst_topology::algorithms::{self, Entry, Listed};
use bidst_topology::testing::{Replaces, Simulator, Subject, matrices};
use bidst_topology::{LayerSpec, Maker};
use std::f64::consts::PI;

pub const STEPS: u64 = Subject::STEPS;

/// Worlds in which every law is tried.
pub fn worlds() -> u64 {
    if std::env::var_os("BIDST_LONG").is_some() { 10_000 } else { 256 }
}

/// A listed algorithm with the options to test it under; those among `short` that it knows make its runs eventful.
pub struct Case {
    pub entry: &'static Entry,
    pub options: toml::Table,
}

impl Case {
    pub fn new(name: &str, options: &str) -> Self {
        let mut case = Case { entry: algorithms::find(name).unwrap(), options: options.parse().unwrap() };
        if !case.options.contains_key("update_interval") {
            case.options = case.with("update_interval", 6).unwrap_or(case.options);
        }
        case
    }

    pub fn label(&self) -> String {
        format!("{} with {}", self.entry.name, self.options)
    }

    pub fn listed(&self) -> Listed {
        Listed { name: self.entry.name.into(), options: self.options.clone() }
    }

    /// What `make` makes of the algorithm, held to all that the algorithm says of itself.
    pub fn subject_with<M: Maker + 'static>(&self, make: impl Fn(Listed) -> M) -> Subject<'static> {
        let with = |options: toml::Table| make(Listed { options, ..self.listed() });
        let mut subject = Subject::new(self.label(), make(self.listed()));
        if let Some(options) = self.with("drop_fraction", 0.0) {
            // Closed channels move their budget elsewhere.
            let still = Case { options, ..*self };
            subject = subject.still(with(still.with("channel_sparsity", 0.0).unwrap_or(still.options)));
        }
        if let Some(options) = self.with("stop", 0.5) {
            subject = subject.stopped(with(options));
        }
        if let Some(times) = self.times() {
            subject = subject.decides_at(times);
        }
        if let Some((how, share)) = self.replaces() {
            subject = subject.replaces(how, share);
        }
        if let Some(layers) = self.layers() {
            subject = subject.on(layers);
        }
        let global = matches!(self.word("allocation").as_deref(), Some("global" | "equal-cost"));
        if global || ["acdc", "granet", "chase", "snip", "grasp", "synflow"].contains(&self.entry.name) {
            subject = subject.may_empty_layers();
        }
        // GraSP's score keeps gradients large rather than the loss low, and SynFlow's knows no loss.
        subject.leaves(match self.entry.name {
            "dense" | "static" | "grasp" | "synflow" => f64::INFINITY,
            "rigl" => 0.9,
            _ => 1.0,
        })
    }

    /// The options with one more, if the algorithm knows it.
    pub fn with(&self, option: &str, value: impl Into<toml::Value>) -> Option<toml::Table> {
        let mut options = self.options.clone();
        options.insert(option.into(), value.into());
        let listed = Listed { name: self.entry.name.into(), options };
        let layers = self.layers().unwrap_or_else(|| matrices(&[(10, 5)]));
        Simulator::start(&listed, layers, 0, STEPS).is_ok().then_some(listed.options)
    }

    /// What an option is set to, by default if not here.
    fn option(&self, name: &str) -> Option<toml::Value> {
        self.options.get(name).cloned().or_else(|| (self.entry.defaults)().get(name).cloned())
    }

    fn number(&self, name: &str) -> Option<f64> {
        self.option(name).and_then(|value| value.as_float().or(value.as_integer().map(|value| value as f64)))
    }

    fn word(&self, name: &str) -> Option<String> {
        self.option(name).and_then(|value| value.as_str().map(str::to_owned))
    }

    /// Decisions of those that take one every `update_interval` steps.
    fn times(&self) -> Option<Vec<u64>> {
        let regular = ["set", "rigl", "srigl", "rigl-itop", "mest", "deep-r", "top-kast"];
        let (interval, stop) = (self.number("update_interval")? as usize, self.number("stop")?);
        let stop = (stop * STEPS as f64) as u64;
        regular.contains(&self.entry.name).then(|| (0..stop).step_by(interval).skip(1).collect())
    }

    /// α as the papers write it.
    fn replaces(&self) -> Option<(Replaces, impl Fn(u64) -> f64 + use<>)> {
        let how = match self.entry.name {
            // A pattern swaps whole cells.
            "set" | "mest" if self.options.contains_key("pattern") => Replaces::AtMost,
            "set" => Replaces::Exactly,
            "mest" if self.word("mode").as_deref() != Some("em&s") => Replaces::Exactly,
            "rigl" | "rigl-itop" | "bidst" | "rigl-candidates" => Replaces::AtMost,
            _ => return None,
        };
        // MEST's default depends on its mode.
        let (first, last) = (self.number("drop_fraction").unwrap_or(0.2), self.number("last_drop_fraction"));
        let last = last.unwrap_or(0.0).min(first);
        let end = (self.number("stop")? * STEPS as f64).floor();
        let schedule = self.word("drop_schedule").unwrap_or_else(|| "cosine".into());
        let share = move |step: u64| match schedule.as_str() {
            "constant" => first,
            "step" if (step as f64) < 0.75 * end => first,
            "step" => first / 2.0,
            _ => last + (first - last) / 2.0 * (1.0 + (PI * step as f64 / end).cos()),
        };
        Some((how, share))
    }

    /// A convolution and two linear layers that the pattern fits; `None` if there is no pattern.
    fn layers(&self) -> Option<Vec<LayerSpec>> {
        let density = match self.options.get("pattern")?.as_str()? {
            "2:4" => 0.5,
            "1:16" => 0.0625,
            "4x1" => 0.125,
            "2x4" => 0.25,
            _ => 0.1,
        };
        Some(patterned_layers(density))
    }
}

/// A convolution and two linear layers, with this share of non-zeros.
pub fn patterned_layers(density: f64) -> Vec<LayerSpec> {
    let layer = |(name, shape): (&str, &[usize])| {
        let len: usize = shape.iter().product();
        LayerSpec::new(name, shape.to_vec(), (density * len as f64) as usize)
    };
    [("conv.weight", &[8, 16, 3, 3][..]), ("fc.weight", &[16, 32]), ("last.weight", &[8, 16])].map(layer).into()
}
