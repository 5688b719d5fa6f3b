//! The `[grid]` of a comparison: lists of values, and the runs that they span.

use std::collections::BTreeMap;

use toml::{Table, Value};

use crate::config::{self, Builder, Config, ConfigError, Origin, Problem, merge};
use crate::nearest::hint;

/// Short words for keys, those of the flags of `bidst train`.
const WORDS: &[(&str, &str)] = &[
    (ALGORITHM, "algorithm.name"),
    ("dataset", "data.name"),
    ("distribution", "sparsity.distribution"),
    ("epochs", "train.epochs"),
    ("lr", "optim.lr"),
    ("model", "model.name"),
    (SEED, "run.seed"),
    (SPARSITY, "sparsity.level"),
    ("width", "model.width"),
];
const ALGORITHM: &str = "algorithm";
const SEED: &str = "seed";
const SPARSITY: &str = "sparsity";

/// Combinations that a grid may have.
const MOST_RUNS: usize = 10_000;

/// A base configuration and the lists to go through.
#[derive(Clone, Debug)]
pub struct Grid {
    base: Builder,
    /// The section as written.
    section: Value,
    /// Seeds, then what is neither seed, sparsity nor algorithm, by key; sparsities; algorithms.
    axes: Vec<Axis>,
}

/// One run of a grid.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Name of its folder.
    pub name: String,
    /// What tells its cell from others, aligned with [`Grid::columns`].
    pub cell: Vec<String>,
    /// Its effective configuration.
    pub config: Config,
}

/// A key and what it goes through.
#[derive(Clone, Debug)]
struct Axis {
    key: String,
    entries: Vec<Entry>,
}

/// A value, or a named variant with several.
#[derive(Clone, Debug)]
struct Entry {
    /// Name of a variant. A plain value is called after what the effective configuration says.
    name: Option<String>,
    settings: Table,
    origin: Origin,
}

impl Grid {
    /// Takes the `[grid]` out of `settings`; the rest is the base of all runs.
    ///
    /// # Errors
    /// If there is no grid, or a list in it is none.
    pub fn new(mut settings: Builder) -> Result<Grid, ConfigError> {
        let Some((section, origins)) = settings.take("grid") else {
            settings.finish()?;
            let message = "there is no [grid]; add one, for example `[grid]` and `sparsity = [0.9, 0.95]`".to_owned();
            return Err(ConfigError::of_key("grid", message));
        };
        let mut reader = Reader { origins: &origins, axes: Vec::new(), problems: Vec::new() };
        match &section {
            Value::Table(table) => reader.lists(table, ""),
            _ => reader.problem("", "must be a table of lists"),
        }
        if !reader.problems.is_empty() {
            return Err(ConfigError::new(reader.problems));
        }
        Ok(Grid { base: settings, axes: in_order(reader.axes), section })
    }

    /// Names of the columns that tell cells apart: all axes but the seeds.
    pub fn columns(&self) -> Vec<String> {
        self.axes[1..].iter().map(|axis| axis.key.clone()).collect()
    }

    /// The base and the grid as TOML that reads back to an equal grid.
    pub fn to_toml(&self) -> String {
        let mut table = self.base.table().clone();
        table.insert("grid".to_owned(), self.section.clone());
        toml::to_string(&table).expect("settings have only string keys")
    }

    /// All runs: the first seed of every cell, then the second, and so on. Combinations that come to the same settings,
    /// such as the dense network at two sparsities, are one run.
    ///
    /// # Errors
    /// What is wrong with the settings of any run; two different runs of one name.
    pub fn runs(&self) -> Result<Vec<Run>, ConfigError> {
        let lengths = self.axes.iter().map(|axis| axis.entries.len());
        let combinations = lengths.fold(1, usize::saturating_mul);
        if combinations > MOST_RUNS {
            let message = format!("its lists have more than {MOST_RUNS} combinations; split it into several studies");
            return Err(ConfigError::of_key("grid", message));
        }
        let mut runs: Vec<Run> = Vec::new();
        let mut problems: Vec<Problem> = Vec::new();
        for choice in product(&self.axes) {
            let found = match self.run(&choice) {
                Ok(run) => match runs.iter().find(|other| other.name == run.name || other.repeats(&run)) {
                    Some(other) if other.config != run.config => vec![namesake(&run.name)],
                    Some(_) => continue,
                    None => {
                        runs.push(run);
                        continue;
                    }
                },
                Err(error) => error.problems,
            };
            for problem in found {
                if !problems.contains(&problem) {
                    problems.push(problem);
                }
            }
        }
        if problems.is_empty() { Ok(runs) } else { Err(ConfigError::new(problems)) }
    }

    fn run(&self, choice: &[&Entry]) -> Result<Run, ConfigError> {
        // The algorithm comes first: naming another one drops the options of the one before. What a variant says holds,
        // whatever a list says.
        let algorithm = choice.last().expect("there is an axis of algorithms");
        let (variants, values): (Vec<&Entry>, Vec<&Entry>) = choice.iter().partition(|entry| entry.name.is_some());
        let add = |builder: Builder, entry: &Entry| builder.settings(&entry.origin, entry.settings.clone());
        let config = [*algorithm].into_iter().chain(values).chain(variants).fold(self.base.clone(), add).finish()?;
        let effective = Value::try_from(&config).expect("a configuration has only string keys");
        let label = |(axis, entry): (&Axis, &&Entry)| match (&entry.name, lookup(&effective, dotted(&axis.key))) {
            (Some(name), _) => name.clone(),
            (None, Some(value)) => text_of(value),
            (None, None) => "-".to_owned(),
        };
        let labels: Vec<String> = self.axes.iter().zip(choice).map(label).collect();
        Ok(Run { name: self.name(&labels, choice, &config), cell: labels[1..].to_vec(), config })
    }

    /// `lr=0.05_rigl_s95_seed0`
    fn name(&self, labels: &[String], choice: &[&Entry], config: &Config) -> String {
        let [seed, others @ .., sparsity, algorithm] = labels else { unreachable!("three axes are always there") };
        let mut parts: Vec<String> =
            self.axes[1..].iter().zip(others).map(|(axis, label)| format!("{}={label}", axis.key)).collect();
        let percent = (config.sparsity.level * 1e5).round() / 1e3;
        let is_variant = choice[choice.len() - 2].name.is_some();
        parts.push(algorithm.clone());
        parts.push(if is_variant { sparsity.clone() } else { format!("s{percent}") });
        parts.push(format!("seed{seed}"));
        let plain = |letter: char| if letter.is_alphanumeric() || "-.=+".contains(letter) { letter } else { '-' };
        let parts: Vec<String> = parts.iter().map(|part| part.chars().map(plain).collect()).collect();
        parts.join("_")
    }
}

impl Run {
    /// Whether another run has the same settings under the same name of the algorithm.
    fn repeats(&self, other: &Run) -> bool {
        self.cell.last() == other.cell.last() && self.config == other.config
    }
}

/// Reads the lists of a grid.
struct Reader<'a> {
    origins: &'a BTreeMap<String, Origin>,
    axes: Vec<Axis>,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn lists(&mut self, table: &Table, prefix: &str) {
        for (key, value) in table {
            let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            match value {
                Value::Array(values) if values.is_empty() => self.problem(&path, "is empty"),
                Value::Array(values) => self.axis(&path, values),
                Value::Table(inner) => self.lists(inner, &path),
                _ => self.problem(&path, &format!("must be a list, such as [{value}]")),
            }
        }
    }

    fn axis(&mut self, path: &str, values: &[Value]) {
        let key = WORDS.iter().find(|(_, key)| *key == path).map_or(path, |(word, _)| word);
        let origin = self.origin(path);
        let names = || config::keys().map(|key| key.name).chain(WORDS.iter().map(|(word, _)| *word));
        let within = |name: &str| dotted(key).strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
        if !names().any(|name| name == dotted(key) || within(name)) {
            return self.problem(path, &format!("there is no such key{}", hint(path, names())));
        }
        let mut entries = Vec::new();
        for value in values {
            let entry = match value {
                Value::Table(_) if key == SEED => Err("may hold numbers only".to_owned()),
                Value::Table(table) => variant(table, &origin),
                value => Ok(Entry { name: None, settings: nested(dotted(key), value.clone()), origin: origin.clone() }),
            };
            match entry {
                Ok(entry) => entries.push(entry),
                Err(message) => self.problem(path, &message),
            }
        }
        if self.axes.iter().any(|axis| axis.key == key) {
            self.problem(path, &format!("is there twice, as `{key}` and as `{}`", dotted(key)));
        }
        self.axes.push(Axis { key: key.to_owned(), entries });
    }

    fn problem(&mut self, path: &str, message: &str) {
        let key = if path.is_empty() { "grid".to_owned() } else { format!("grid.{path}") };
        self.problems.push(Problem { origin: Some(self.origin(path)), key, message: message.to_owned() });
    }

    /// Where a list stands.
    fn origin(&self, path: &str) -> Origin {
        let place = self.origins.get(&format!("grid.{path}")).or_else(|| self.origins.get("grid"));
        place.cloned().unwrap_or_else(|| Origin::Flag("[grid]".to_owned()))
    }
}

/// `{ name = "rigl-avg", algorithm = "rigl", options = { average_window = 100 } }`: words, keys, sections, and the options
/// of the algorithm.
fn variant(table: &Table, origin: &Origin) -> Result<Entry, String> {
    let Some(Value::String(name)) = table.get("name") else {
        return Err(format!(
            "a variant needs a name: {{ name = \"...\", {} }}",
            table.to_string().trim().replace('\n', ", ")
        ));
    };
    let mut settings = Table::new();
    for (key, value) in table.iter().filter(|(key, _)| *key != "name") {
        let layer = match (key.as_str(), value) {
            ("options", Value::Table(options)) => nested(ALGORITHM, Value::Table(options.clone())),
            ("options", _) => return Err(format!("variant `{name}`: `options` must be a table")),
            (section, Value::Table(_)) => nested(section, value.clone()),
            (key, value) => nested(dotted(key), value.clone()),
        };
        merge(&mut settings, layer);
    }
    Ok(Entry { name: Some(name.clone()), settings, origin: origin.clone() })
}

/// Puts the axes in order and adds those that are always there, with nothing but what the base says.
fn in_order(mut axes: Vec<Axis>) -> Vec<Axis> {
    let nothing = || Entry { name: None, settings: Table::new(), origin: Origin::Flag("[grid]".to_owned()) };
    for key in [SEED, SPARSITY, ALGORITHM] {
        if axes.iter().all(|axis| axis.key != key) {
            axes.push(Axis { key: key.to_owned(), entries: vec![nothing()] });
        }
    }
    let rank = |axis: &Axis| match axis.key.as_str() {
        SEED => 0,
        SPARSITY => 2,
        ALGORITHM => 3,
        _ => 1,
    };
    axes.sort_by_key(|axis| (rank(axis), axis.key.clone()));
    axes
}

/// Every choice of one entry per axis; the last axis changes fastest.
fn product(axes: &[Axis]) -> Vec<Vec<&Entry>> {
    axes.iter().fold(vec![Vec::new()], |choices, axis| {
        let extend =
            |choice: &Vec<_>| axis.entries.iter().map(|entry| [&choice[..], &[entry]].concat()).collect::<Vec<_>>();
        choices.iter().flat_map(extend).collect()
    })
}

fn namesake(name: &str) -> Problem {
    let message = format!("two different runs would be called `{name}`; give variants different names");
    Problem { origin: None, key: "grid".to_owned(), message }
}

/// The dotted key that a word stands for.
fn dotted(key: &str) -> &str {
    WORDS.iter().find(|(word, _)| *word == key).map_or(key, |(_, dotted)| dotted)
}

/// `a.b = value` as a table.
fn nested(key: &str, value: Value) -> Table {
    match key.split_once('.') {
        Some((first, rest)) => Table::from_iter([(first.to_owned(), Value::Table(nested(rest, value)))]),
        None => Table::from_iter([(key.to_owned(), value)]),
    }
}

fn lookup<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    key.split('.').try_fold(value, |value, part| value.get(part))
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn grid(text: &str) -> Result<Grid, ConfigError> {
        Grid::new(Builder::new().text(Path::new("study.toml"), text))
    }

    fn names(text: &str) -> Vec<String> {
        grid(text).unwrap().runs().unwrap().into_iter().map(|run| run.name).collect()
    }

    fn error(text: &str) -> String {
        match grid(text).and_then(|grid| grid.runs()) {
            Ok(runs) => panic!("accepted: {runs:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn every_seed_of_a_cell_comes_after_the_earlier_seeds_of_all_cells() {
        let text = "[grid]\nalgorithm = ['static', 'set']\nsparsity = [0.9, 0.95]\nseed = [3, 4]\n";
        let cells = ["static_s90", "set_s90", "static_s95", "set_s95"];
        let expected: Vec<String> =
            ["seed3", "seed4"].iter().flat_map(|seed| cells.map(|cell| format!("{cell}_{seed}"))).collect();
        assert_eq!(names(text), expected);
    }

    #[test]
    fn a_variant_is_a_name_with_settings_and_options() {
        let text = "[algorithm]\nname = 'set'\n[grid]\nlr = [0.05]\n'model.width' = [0.5, { name = 'wide', width = 2.0, epochs = 3 }]\n\
                    algorithm = ['rigl', { name = 'rigl avg', algorithm = 'rigl', options = { average_window = 7 } }]\n";
        let grid = grid(text).unwrap();
        assert_eq!(grid.columns(), ["lr", "width", "sparsity", "algorithm"]);
        let runs = grid.runs().unwrap();
        assert_eq!(runs[0].name, "lr=0.05_width=0.5_rigl_s90_seed0");
        assert_eq!(runs[3].name, "lr=0.05_width=wide_rigl-avg_s90_seed0");
        assert_eq!(runs[3].cell, ["0.05", "wide", "0.9", "rigl avg"]);
        let config = &runs[3].config;
        assert_eq!((config.optim.lr, config.model.width, config.train.epochs), (0.05, 2.0, 3));
        assert_eq!(config.algorithm.parameters["average_window"], Value::from(7));
        assert_eq!(runs[0].config.algorithm.parameters["average_window"], Value::from(1));
    }

    #[test]
    fn a_setting_of_a_variant_holds_against_a_list() {
        let text = "[grid]\nalgorithm = ['set', { name = 'denser', algorithm = 'set', sparsity = 0.5 }]\nsparsity = [0.9, 0.95]\n";
        assert_eq!(names(text), ["set_s90_seed0", "denser_s50_seed0", "set_s95_seed0"]);
    }

    #[test]
    fn the_dense_network_is_one_run_whatever_the_sparsities() {
        let text = "[grid]\nalgorithm = ['dense', 'static']\nsparsity = [0.9, 0.95]\n";
        assert_eq!(names(text), ["dense_s0_seed0", "static_s90_seed0", "static_s95_seed0"]);
    }

    #[test]
    fn a_grid_reads_back_from_its_own_text() {
        let text = "[train]\nepochs = 2\n[grid]\noptim.momentum = [0.8, 0.9]\nalgorithm = ['set', { name = 'x', algorithm = 'set' }]\n";
        let first = grid(text).unwrap();
        let second = grid(&first.to_toml()).unwrap();
        assert_eq!(second.runs().unwrap(), first.runs().unwrap());
        assert_eq!(second.columns(), first.columns());
    }

    #[test]
    fn mistakes_are_named_with_file_line_and_key() {
        assert!(error("[train]\nepochs = 1\n").contains("there is no [grid]"));
        assert!(error("[train]\nepochz = 1\n").contains("did you mean `epochs`"));
        assert!(
            error("[grid]\nsparsity = 0.9\n").contains("study.toml:2: `grid.sparsity`: must be a list, such as [0.9]")
        );
        assert!(error("[grid]\nseed = []\n").contains("study.toml:2: `grid.seed`: is empty"));
        assert!(
            error("[grid]\nsparsity = [0.5, 1.5]\n").contains("study.toml:2: `sparsity.level`: must be at least 0")
        );
        assert!(error("[grid]\nalgorithm = ['rigle']\n").contains("did you mean `rigl`"));
        assert!(error("[grid]\nsparsty = [0.5]\n").contains("did you mean `sparsity`"));
        assert!(error("[grid]\nalgorithm = [{ algorithm = 'rigl' }]\n").contains("a variant needs a name"));
        assert!(error("[grid]\nseed = [{ name = 'x' }]\n").contains("`grid.seed`: may hold numbers only"));
        assert!(error("[grid]\nlr = [0.1]\noptim.lr = [0.2]\n").contains("is there twice"));
        let twins = "[{ name = 'a', lr = 0.1, algorithm = 'set' }, { name = 'a', lr = 0.2, algorithm = 'set' }]";
        assert!(error(&format!("[grid]\nalgorithm = {twins}\n")).contains("would be called `a_s90_seed0`"));
        assert!(error("grid = 3\n").contains("must be a table of lists"));
    }

    /// Six lists of 32 values made a process ask for all the memory there is.
    #[test]
    fn a_grid_of_too_many_runs_is_refused_before_it_is_spanned() {
        let seeds: Vec<u64> = (0..101).collect();
        let many = format!("[grid]\nseed = {seeds:?}\nlr = {:?}\n", vec![0.1; 100]);
        assert!(error(&many).contains("more than 10000 combinations"), "{}", error(&many));
        let keys = ["lr", "width", "sparsity", "epochs", "'optim.momentum'", "'optim.weight_decay'"];
        let lists = keys.map(|key| format!("{key} = {:?}\n", vec![1; 32])).concat();
        assert!(error(&format!("[grid]\n{lists}")).contains("combinations"));
    }
}
