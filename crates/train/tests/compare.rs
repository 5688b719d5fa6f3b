//! Comparisons: what is finished is not trained again, what was interrupted goes on, and the tables are the same.

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bidst_train::TrainError;
use bidst_train::compare::{Comparison, Jobs, Run, State, Update, Watcher};
use bidst_train::config::Builder;
use bidst_train::trainer::Event;
use serde_json::Value;

const BASE: &str = "
[model]
name = 'mlp'
width = 0.03
[train]
epochs = 3
batch_size = 1000
[algorithm]
name = 'set'
update_interval = 4
[run]
log_interval = 1
";
const GRID: &str = "
[grid]
seed = [0, 1]
algorithm = ['static', { name = 'rigl avg', algorithm = 'rigl', options = { update_interval = 6, average_window = 3 } }]
";

fn comparison(folder: &Path, grid: &str) -> Comparison {
    Comparison::new(folder, Builder::new().text(Path::new("study.toml"), &format!("{BASE}{grid}"))).unwrap()
}

/// Counts steps, and notes what started and ended.
#[derive(Default)]
struct Notes {
    steps: AtomicUsize,
    started: Mutex<Vec<(String, u64)>>,
    ended: Mutex<Vec<String>>,
}

impl Watcher for Notes {
    fn on(&self, run: &Run, update: Update<'_>) {
        match update {
            Update::Started { epochs_done, .. } => self.started.lock().unwrap().push((run.name.clone(), epochs_done)),
            Update::Event(Event::Step { .. }) => drop(self.steps.fetch_add(1, Ordering::Relaxed)),
            Update::Event(_) => {}
            Update::Ended(ending) => self.ended.lock().unwrap().push(format!("{} {ending:?}", run.name)),
        }
    }
}

impl Notes {
    fn started(self) -> Vec<(String, u64)> {
        let mut started = self.started.into_inner().unwrap();
        started.sort();
        started
    }
}

/// Trains until `steps` steps were done in all.
fn train_for(comparison: &Comparison, jobs: usize, steps: usize) -> Notes {
    let notes = Notes::default();
    let stop = || notes.steps.load(Ordering::Relaxed) >= steps;
    comparison.train(&Jobs { jobs, stop: &stop }, &notes).unwrap();
    notes
}

fn train(comparison: &Comparison) -> Notes {
    train_for(comparison, 2, usize::MAX)
}

/// The tables without what is measured.
fn tables(comparison: &Comparison) -> (String, String, Value) {
    let tables = comparison.write_tables().unwrap();
    let markdown = tables.markdown().split("## Time and memory").next().unwrap().to_owned();
    let csv = tables.csv();
    let kept = csv.lines().next().unwrap().split(',').take_while(|name| !name.starts_with("timing_")).count();
    let cut = |line: &str| line.split(',').take(kept).collect::<Vec<_>>().join(",");
    (markdown, csv.lines().map(cut).collect(), without_timing(serde_json::from_str(&tables.json()).unwrap()))
}

fn without_timing(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.into_iter().filter(|(name, _)| name != "timing");
            Value::Object(kept.map(|(name, value)| (name, without_timing(value))).collect())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(without_timing).collect()),
        value => value,
    }
}

/// Everything a run recorded, without times.
fn records(folder: &Path) -> Vec<Value> {
    let lines = ["metrics.jsonl", "topology.jsonl"].map(|name| fs::read_to_string(folder.join(name)).unwrap());
    lines.iter().flat_map(|text| text.lines()).map(|line| without_timing(serde_json::from_str(line).unwrap())).collect()
}

#[test]
fn a_comparison_stopped_at_any_point_comes_to_the_same_tables_and_bits() {
    let folder = tempfile::tempdir().unwrap();
    let whole = comparison(&folder.path().join("whole"), GRID);
    train(&whole);
    assert!(whole.tables().finished() == 4 && whole.tables().failures().count() == 0);

    let cut = comparison(&folder.path().join("cut"), GRID);
    train_for(&cut, 1, 15);
    let notes = train_for(&cut, 1, 7);
    assert!(notes.ended.lock().unwrap()[0].ends_with("Stopped"));
    assert_eq!(notes.started(), [(cut.runs()[0].name.clone(), 1)], "it goes on after its first epoch");
    for (jobs, steps) in [(2, 33), (1, 17), (3, 26)] {
        train_for(&cut, jobs, steps);
    }
    assert!(cut.tables().finished() < 4);
    train(&cut);
    assert_eq!(tables(&cut), tables(&whole));
    for run in cut.runs() {
        let [cut, whole] = [&cut, &whole].map(|comparison| comparison.folder(run));
        assert_eq!(records(&cut), records(&whole), "{}", run.name);
        let model = |folder: &Path| fs::read(folder.join("model.safetensors")).unwrap();
        assert!(model(&cut) == model(&whole), "{}", run.name);
    }
}

#[test]
fn the_tables_have_a_row_per_cell_with_every_measure() {
    let folder = tempfile::tempdir().unwrap();
    let comparison = comparison(folder.path(), GRID);
    train(&comparison);
    let written = comparison.write_tables().unwrap();
    let markdown = fs::read_to_string(folder.path().join("table.md")).unwrap();
    assert_eq!(markdown, written.markdown());
    assert!(markdown.starts_with("# fashion-mini, mlp x0.03, 3 epochs\n"), "{markdown}");
    for part in
        ["## Accuracy", "## Pattern", "## Cost", "## Time and memory", "4 of 4 runs are finished", "| rigl avg "]
    {
        assert!(markdown.contains(part), "{part} in {markdown}");
    }
    let json: Value = serde_json::from_str(&fs::read_to_string(folder.path().join("table.json")).unwrap()).unwrap();
    let [fixed, moved] = [&json["cells"][0], &json["cells"][1]];
    assert_eq!((&fixed["cell"]["algorithm"], &moved["cell"]["algorithm"]), (&"static".into(), &"rigl avg".into()));
    assert_eq!((&fixed["decisions"]["mean"], &fixed["mask_flops_overhead"]["mean"]), (&0.0.into(), &0.0.into()));
    assert_eq!((&moved["decisions"]["mean"], &moved["decisions"]["n"]), (&3.0.into(), &2.into()));
    for measure in ["swaps", "mask_flops_overhead", "mask_bytes_overhead", "model_bytes", "itop", "inspected"] {
        assert!(moved[measure]["mean"].as_f64() > Some(0.0), "{measure}: {moved}");
    }
    assert!(moved["test_accuracy"]["std"].is_number() && moved["timing"]["peak_bytes"]["mean"].is_number());
    let csv = fs::read_to_string(folder.path().join("table.csv")).unwrap();
    assert!(csv.starts_with("sparsity,algorithm,n,planned,test_accuracy,test_accuracy_std,"), "{csv}");
    assert_eq!(csv.lines().count(), 3);
}

/// A variant with fewer epochs was said to save the time of the rest.
#[test]
fn overheads_are_over_a_static_run_of_otherwise_equal_settings() {
    let folder = tempfile::tempdir().unwrap();
    let grid = "[grid]\nalgorithm = ['static', 'set', { name = 'short', algorithm = 'set', epochs = 1 }]\n";
    let comparison = comparison(folder.path(), grid);
    train(&comparison);
    let json: Value = serde_json::from_str(&comparison.tables().json()).unwrap();
    let overhead = |cell: usize| json["cells"][cell]["mask_bytes_overhead"].clone();
    assert_eq!((&overhead(0)["mean"], overhead(1)["n"].as_u64()), (&0.0.into(), Some(1)), "{json}");
    assert!(overhead(2).is_null() && json["cells"][2]["timing"]["mask_overhead"].is_null(), "{json}");
}

#[test]
fn the_tables_are_rebuilt_from_the_folder_alone() {
    let folder = tempfile::tempdir().unwrap();
    let first = comparison(folder.path(), GRID);
    train_for(&first, 1, 35);
    let written = first.write_tables().unwrap();
    assert!((1..4).contains(&written.finished()));
    let again = Comparison::open(folder.path()).unwrap().tables();
    assert_eq!((again.markdown(), again.csv(), again.json()), (written.markdown(), written.csv(), written.json()));
    assert!(again.markdown().contains("_seed1`: not yet trained"), "{}", again.markdown());
}

#[test]
fn a_run_that_diverges_is_listed_and_the_others_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let grid = "[grid]\nalgorithm = [{ name = 'hot', algorithm = 'set', lr = 1e30 }, 'static', { name = 'bad', algorithm = 'gmp', options = { update_interval = 1000 } }]\n";
    let comparison = comparison(folder.path(), grid);
    train(&comparison);
    let states: Vec<State> = comparison.standings().iter().map(|standing| standing.state).collect();
    assert_eq!(states, [State::Diverged, State::Finished, State::Failed]);
    let markdown = comparison.tables().markdown();
    assert!(markdown.contains("* `hot_s90_seed0`: training diverged: the "), "{markdown}");
    // An interval longer than this run is no mistake in itself, so it is found when the run starts.
    assert!(markdown.contains("`bad_s90_seed0`") && markdown.contains("update_interval = 1000"), "{markdown}");
    let (before, again) = (tables(&comparison), train(&comparison));
    assert_eq!(again.ended.lock().unwrap().len(), 1, "only what did not diverge is tried again");
    assert_eq!(tables(&comparison), before);
}

#[test]
fn a_run_that_panics_is_listed_and_the_others_go_on() {
    struct Clumsy;
    impl Watcher for Clumsy {
        fn on(&self, run: &Run, update: Update<'_>) {
            let is_epoch = matches!(update, Update::Event(Event::Epoch { .. }));
            assert!(!is_epoch || run.config.run.seed == 0, "a bug of the test's own");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let comparison = comparison(folder.path(), "[grid]\nseed = [0, 1]\n");
    comparison.train(&Jobs { jobs: 2, stop: &|| false }, &Clumsy).unwrap();
    let reason = comparison.standings()[1].reason().unwrap().to_owned();
    assert!(reason.contains("panicked") && reason.contains("a bug of the test's own"), "{reason}");
    assert_eq!(comparison.standings()[0].state, State::Finished);
    train(&comparison);
    assert_eq!(comparison.tables().finished(), 2);
}

/// On a full disk it ended its thread without a word, and the others went on with fewer.
#[test]
fn a_failure_that_cannot_be_noted_is_told_and_the_others_go_on() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("runs")).unwrap();
    fs::write(folder.path().join("runs/static_s90_seed0"), "in the way").unwrap();
    let comparison = comparison(folder.path(), "[grid]\nalgorithm = ['static', 'set']\n");
    let notes = Notes::default();
    let unsaid = comparison.train(&Jobs { jobs: 1, stop: &|| false }, &notes).unwrap();
    assert!(matches!(unsaid[..], [TrainError::Io { .. }]), "{unsaid:?}");
    let ended = notes.ended.into_inner().unwrap();
    assert!(ended[0].starts_with("static_s90_seed0 Failed(") && ended[1].starts_with("set_s90_seed0 Fin"), "{ended:?}");
}

#[test]
fn a_longer_grid_trains_only_what_is_new() {
    let folder = tempfile::tempdir().unwrap();
    train(&comparison(folder.path(), "[grid]\nseed = [0]\n"));
    let longer = comparison(folder.path(), "[grid]\nseed = [0, 1]\nalgorithm = ['set', 'static']\n");
    let started = train(&longer).started();
    let names: Vec<&str> = started.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["set_s90_seed1", "static_s90_seed0", "static_s90_seed1"]);
}

#[test]
fn a_folder_made_with_other_settings_is_refused_by_run_and_key() {
    let folder = tempfile::tempdir().unwrap();
    train(&comparison(folder.path(), "[grid]\nlr = [0.1]\n"));
    let refused = |text: &str| {
        let comparison = Comparison::new(folder.path(), Builder::new().text(Path::new("study.toml"), text)).unwrap();
        comparison.train(&Jobs { jobs: 1, stop: &|| false }, &Notes::default())
    };
    let changed = format!("{}[grid]\nlr = [0.1]\n[optim]\nmomentum = 0.8\n", BASE.replace("update_interval = 4\n", ""));
    let error = refused(&changed).unwrap_err();
    assert!(matches!(error, TrainError::RunChanged { .. }));
    let message = error.to_string();
    for part in ["run `lr=0.1_set_s90_seed0`", "`algorithm.update_interval` 4", "the grid now says 100", "--out"] {
        assert!(message.contains(part), "{part} in {message}");
    }
    let elsewhere = format!("{BASE}output = 'elsewhere'\nthreads = 2\n[grid]\nlr = [0.1]\n");
    refused(&elsewhere).unwrap();
}

#[test]
fn two_processes_cannot_train_in_one_folder() {
    struct Second<'a>(&'a Comparison, AtomicUsize);
    impl Watcher for Second<'_> {
        fn on(&self, _run: &Run, update: Update<'_>) {
            if let Update::Started { .. } = update {
                let second = self.0.train(&Jobs { jobs: 1, stop: &|| false }, &Notes::default());
                assert!(matches!(second, Err(TrainError::Occupied { .. })));
                self.1.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let comparison = comparison(folder.path(), "[grid]\nseed = [0]\n");
    let second = Second(&comparison, AtomicUsize::new(0));
    comparison.train(&Jobs { jobs: 1, stop: &|| false }, &second).unwrap();
    assert_eq!(second.1.into_inner(), 1);
}

#[test]
fn missing_data_is_found_before_anything_is_trained() {
    let folder = tempfile::tempdir().unwrap();
    let comparison = comparison(&folder.path().join("out"), "[grid]\ndataset = ['fashion-mini', 'cifar10']\n");
    let result = comparison.train(&Jobs { jobs: 1, stop: &|| false }, &Notes::default());
    assert!(matches!(result, Err(TrainError::Data(_))));
    assert!(!folder.path().join("out/runs").exists());
}
