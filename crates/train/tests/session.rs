//! Whole runs in their folders: stopped, watched, refused, and on disks that go away.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use bidst_train::config::Builder;
use bidst_train::run_dir::RunDir;
use bidst_train::session::{Circumstances, Outcome};
use bidst_train::trainer::{Event, Observer, Wish};
use bidst_train::{Config, Session, TrainError, checkpoint};
use serde_json::Value;

/// Three epochs of ten steps on the embedded images.
fn config(settings: &[&str]) -> Config {
    config_of(&[&["algorithm.name='set'", "algorithm.update_interval=4"], settings].concat())
}

/// The same with another algorithm.
fn config_of(settings: &[&str]) -> Config {
    let base = ["model.name='mlp'", "model.width=0.03", "train.epochs=3", "train.batch_size=1000", "run.threads=1"];
    let all = base.iter().chain(&["run.log_interval=1"]).chain(settings);
    all.fold(Builder::new(), |builder, setting| builder.set(setting)).finish().unwrap_or_else(|error| panic!("{error}"))
}

/// Keeps notes, and wishes or does something when some steps are done.
struct Watcher<F> {
    notes: Vec<String>,
    steps: u64,
    at: F,
}

impl<F: FnMut(u64) -> Wish> Watcher<F> {
    fn new(at: F) -> Watcher<F> {
        Watcher { notes: Vec::new(), steps: 0, at }
    }
}

impl<F: FnMut(u64) -> Wish> Observer for Watcher<F> {
    fn on(&mut self, event: Event<'_>) -> Result<(), TrainError> {
        match event {
            Event::Step { record, .. } => self.steps = record.step + 1,
            Event::Note { text } => self.notes.push(text.to_owned()),
            _ => {}
        }
        Ok(())
    }

    fn wish(&mut self) -> Wish {
        (self.at)(self.steps)
    }
}

fn stop_at(step: u64) -> Watcher<impl FnMut(u64) -> Wish> {
    Watcher::new(move |steps| if steps == step { Wish::Stop } else { Wish::GoOn })
}

fn to_the_end() -> Watcher<impl FnMut(u64) -> Wish> {
    Watcher::new(|_| Wish::GoOn)
}

fn resume(run: &Path) -> Result<Session, TrainError> {
    Session::resume(run, &Circumstances::default())
}

/// What a finished run leaves, without times.
fn end_state(run: &Path) -> (Vec<u8>, Vec<Value>) {
    let parse = |line: &str| {
        let mut value: Value = serde_json::from_str(line).unwrap();
        value.as_object_mut().unwrap().remove("timing");
        value
    };
    let texts = ["metrics.jsonl", "topology.jsonl"].map(|name| fs::read_to_string(run.join(name)).unwrap());
    let records = texts.iter().flat_map(|text| text.lines()).map(parse).collect();
    (fs::read(run.join("model.safetensors")).unwrap(), records)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_run_stopped_in_the_middle_of_epochs_comes_to_the_same_records_and_model() {
    let folder = tempfile::tempdir().unwrap();
    let [whole, cut] = ["whole", "cut"].map(|name| folder.path().join(name));
    Session::start_at(&whole, config(&[])).unwrap().run(&mut to_the_end()).unwrap();
    let mut session = Session::start_at(&cut, config(&["run.checkpoint_interval=3"])).unwrap();
    for step in [1, 8, 10, 17, 30] {
        let error = session.run(&mut stop_at(step)).unwrap_err();
        assert!(matches!(error, TrainError::Stopped { step: last } if last + 1 == step), "{error}");
        session = resume(&cut).unwrap();
        assert_eq!(session.summary().steps_done, step);
    }
    session.run(&mut to_the_end()).unwrap();
    assert!(end_state(&cut) == end_state(&whole));
}

#[test]
fn a_mask_that_was_chosen_before_training_is_not_chosen_again_when_a_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let [whole, cut] = ["whole", "cut"].map(|name| folder.path().join(name));
    let config = || config_of(&["algorithm.name='snip'"]);
    Session::start_at(&whole, config()).unwrap().run(&mut to_the_end()).unwrap();
    let session = Session::start_at(&cut, config()).unwrap();
    assert!(session.summary().prediction.scoring > 0);
    session.run(&mut stop_at(8)).unwrap_err();
    let session = resume(&cut).unwrap();
    assert_eq!(session.summary().prediction.scoring, 0);
    session.run(&mut to_the_end()).unwrap();
    assert!(end_state(&cut) == end_state(&whole));
}

#[test]
fn checkpoints_are_written_at_the_interval_and_at_the_ends_of_epochs() {
    let folder = tempfile::tempdir().unwrap();
    let mut seen = BTreeSet::new();
    let mut watcher = Watcher::new(|_| {
        seen.extend(names(&folder.path().join("checkpoints")));
        Wish::GoOn
    });
    Session::start_at(folder.path(), config(&["run.checkpoint_interval=7"])).unwrap().run(&mut watcher).unwrap();
    let last = names(&folder.path().join("checkpoints"));
    let expected = [0, 7, 10, 14, 20, 21, 28, 30].map(|step| format!("step-{step:08}"));
    assert_eq!(seen.into_iter().chain(last).collect::<BTreeSet<_>>(), BTreeSet::from(expected));
}

#[test]
fn a_damaged_newest_checkpoint_is_passed_over_and_that_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path();
    Session::start_at(run, config(&[])).unwrap().run(&mut stop_at(15)).unwrap_err();
    fs::write(run.join("checkpoints/step-00000015/state.safetensors"), "").unwrap();
    let session = resume(run).unwrap();
    assert_eq!(session.summary().steps_done, 10);
    let mut watcher = to_the_end();
    session.run(&mut watcher).unwrap();
    assert!(
        watcher.notes[0].contains("step-00000015 is passed over: state.safetensors has 0 bytes"),
        "{:?}",
        watcher.notes
    );
}

#[test]
fn a_run_that_ended_before_its_first_checkpoint_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path();
    drop(Session::start_at(run, config(&[])).unwrap());
    assert!(!run.join("checkpoints").exists());
    let mut watcher = to_the_end();
    resume(run).unwrap().run(&mut watcher).unwrap();
    assert_eq!(watcher.notes, ["nothing was saved yet: the run begins anew"]);
}

/// It began anew, and cut the records to nothing.
#[test]
fn a_run_whose_checkpoints_are_not_there_is_refused_and_keeps_its_records() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path();
    Session::start_at(run, config(&[])).unwrap().run(&mut stop_at(15)).unwrap_err();
    let records = || ["metrics.jsonl", "topology.jsonl"].map(|name| fs::read(run.join(name)).unwrap());
    let before = records();
    let refused = || {
        let message = resume(run).map(drop).unwrap_err().to_string();
        assert!(message.contains("put them back"), "{message}");
        assert!(records() == before);
    };
    fs::rename(run.join("checkpoints"), run.join("elsewhere")).unwrap();
    refused();
    fs::create_dir(run.join("checkpoints")).unwrap();
    refused();
    #[cfg(unix)]
    {
        fs::remove_dir(run.join("checkpoints")).unwrap();
        std::os::unix::fs::symlink("/nowhere/mounted", run.join("checkpoints")).unwrap();
        refused();
        fs::remove_file(run.join("checkpoints")).unwrap();
    }
    #[cfg(not(unix))]
    fs::remove_dir(run.join("checkpoints")).unwrap();
    fs::rename(run.join("elsewhere"), run.join("checkpoints")).unwrap();
    assert_eq!(resume(run).unwrap().summary().steps_done, 15);
}

#[test]
fn a_folder_begun_anew_forgets_what_the_run_before_came_to() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path();
    Session::start_at(run, config(&["train.epochs=1"])).unwrap().run(&mut to_the_end()).unwrap();
    assert!(Outcome::read(run).is_some() && run.join("report.html").is_file());
    drop(Session::start_at(run, config(&[])).unwrap());
    assert!(Outcome::read(run).is_none());
    let left = names(run);
    assert!(!left.iter().any(|name| name.starts_with("model") || name.starts_with("report")), "{left:?}");
}

/// Its `config.toml` and its checkpoints lacked what is left to the data set and the algorithm.
#[test]
fn a_configuration_that_leaves_things_out_can_be_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let mut sparing = Config::default();
    (sparing.model.name, sparing.model.width) = ("mlp".to_owned(), 0.03);
    (sparing.train.epochs, sparing.train.batch_size) = (2, 1000);
    let error = Session::start_at(folder.path(), sparing.clone()).unwrap().run(&mut stop_at(7)).unwrap_err();
    assert!(matches!(error, TrainError::Stopped { .. }), "{error}");
    assert_eq!(resume(folder.path()).unwrap().summary().steps_done, 7);
    sparing.run.seed = u64::MAX;
    let error = Session::start_at(&folder.path().join("large"), sparing).map(drop).unwrap_err();
    assert!(error.to_string().contains("run.seed"), "{error}");
}

#[test]
fn a_checkpoint_folder_that_goes_away_stops_the_run_or_is_noted_as_the_policy_says() {
    let gone = |run: PathBuf| {
        move |steps: u64| {
            if steps == 4 {
                fs::rename(run.join("checkpoints"), run.join("moved")).unwrap();
                fs::write(run.join("checkpoints"), "").unwrap();
            }
            Wish::GoOn
        }
    };
    for policy in ["stop", "warn"] {
        let folder = tempfile::tempdir().unwrap();
        let settings = format!("run.on_save_error='{policy}'");
        let mut watcher = Watcher::new(gone(folder.path().to_owned()));
        let ended = Session::start_at(folder.path(), config(&[&settings])).unwrap().run(&mut watcher);
        let message = match ended {
            Err(error) if policy == "stop" => error.to_string(),
            Ok(_) if policy == "warn" => watcher.notes.concat(),
            ended => panic!("{policy}: {ended:?}"),
        };
        for part in ["cannot save the checkpoint of step 10", "checkpoints", "wanted", "Check the disk"] {
            assert!(message.contains(part), "{policy} should say `{part}`: {message}");
        }
    }
}

#[test]
fn a_run_that_diverges_keeps_its_last_good_state_and_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let error =
        Session::start_at(folder.path(), config(&["optim.lr=1e30"])).unwrap().run(&mut to_the_end()).unwrap_err();
    let TrainError::Diverged { offence, kept, .. } = &error else { panic!("{error}") };
    let kept = kept.clone().unwrap();
    assert_eq!(kept, checkpoint::latest(folder.path()).unwrap());
    assert!(kept.ends_with(format!("step-{:08}", offence.step)), "{}", kept.display());
    assert!(error.to_string().contains(&format!("the last good state is in {}", kept.display())), "{error}");
}

#[test]
fn a_second_run_in_the_folder_is_refused_until_the_first_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let first = Session::start_at(folder.path(), config(&[])).unwrap();
    for second in [resume(folder.path()), Session::start_at(folder.path(), config(&[]))] {
        let message = second.err().unwrap().to_string();
        assert!(message.contains(&format!("process {}", std::process::id())), "{message}");
    }
    drop(first);
    Session::start_at(folder.path(), config(&[])).unwrap();
}

#[test]
fn readers_may_watch_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let (run, ended) = (folder.path(), AtomicBool::new(false));
    let session = Session::start_at(run, config(&["train.epochs=20", "run.checkpoint_interval=1"])).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            session.run(&mut to_the_end()).unwrap();
            ended.store(true, Ordering::Relaxed);
        });
        let mut reads = 0;
        while !ended.load(Ordering::Relaxed) || reads < 1000 {
            for name in ["metrics.jsonl", "topology.jsonl"] {
                let text = fs::read_to_string(run.join(name)).unwrap();
                let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
                whole.for_each(|line| drop(serde_json::from_str::<Value>(line).unwrap()));
            }
            RunDir::read_manifest(run);
            Outcome::read(run);
            if reads > 0 {
                match checkpoint::latest(run) {
                    Ok(_) | Err(TrainError::CannotResume { .. }) => {}
                    // All of those that were listed were removed before they were read.
                    Err(TrainError::NoneIsWhole { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            reads += 1;
        }
    });
    assert!(Outcome::read(run).is_some());
}
