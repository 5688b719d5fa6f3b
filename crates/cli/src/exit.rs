//! From an error to a message and an exit code, in one place.

use std::fmt;
use std::io;
use std::panic::{self, UnwindSafe};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;

use bidst_data::DataError;
use bidst_engine::EngineError;
use bidst_train::TrainError;
use bidst_train::error::ModelFileError;

use crate::VERSION;

/// The command line asks for something that cannot be.
#[derive(Debug)]
pub struct UsageError(pub String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

/// A signal ended the work, in good order.
#[derive(Debug)]
pub struct Interrupted {
    /// The exit code that stands for the signal.
    pub code: u8,
    /// How to go on.
    pub advice: String,
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stopped by a signal; {}", self.advice)
    }
}

impl std::error::Error for Interrupted {}

/// Some runs of a comparison ended with errors, which were shown.
#[derive(Debug)]
pub struct RunsFailed {
    /// How many.
    pub failed: usize,
    /// How many of them diverged.
    pub diverged: usize,
}

impl fmt::Display for RunsFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of the runs failed, {} of them diverged; the table says why", self.failed, self.diverged)
    }
}

impl std::error::Error for RunsFailed {}

/// The run folder that this process works on.
static RUN: Mutex<Option<PathBuf>> = Mutex::new(None);

/// Notes which run folder this process works on, for the message of a panic.
pub fn work_on(run: &Path) {
    if let Ok(mut noted) = RUN.lock() {
        *noted = Some(run.to_owned());
    }
}

/// Carries `work` out. A panic is reported as the bug that it is, and becomes exit code 1.
pub fn guarded(work: impl FnOnce() -> anyhow::Result<()> + UnwindSafe) -> ExitCode {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        usual(info);
        eprintln!("{}", bug(RUN.try_lock().ok().and_then(|run| run.clone()).as_deref()));
    }));
    panic::catch_unwind(work).map_or(ExitCode::FAILURE, report)
}

/// What is said after a panic.
fn bug(run: Option<&Path>) -> String {
    let notice = format!("error: this is a bug in bidst {}; please report the lines above", *VERSION);
    let advice = |run: std::path::Display<'_>| {
        format!("\nwhat was saved is in {run}; `bidst train --resume {run}` goes on from there")
    };
    notice + &run.map(Path::display).map(advice).unwrap_or_default()
}

/// Prints the error, if there is one. A reader that went away (`bidst ... | head`) is none.
fn report(result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    let pipe_closed = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    if error.chain().any(pipe_closed) {
        return ExitCode::SUCCESS;
    }
    eprintln!("error: {}", message(&error));
    ExitCode::from(code(&error))
}

/// An error and its causes, but for those that it quotes.
fn message(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |said, cause| match said.as_str() {
        "" => cause,
        _ if said.contains(&cause) => said,
        _ => format!("{said}: {cause}"),
    })
}

fn code(error: &anyhow::Error) -> u8 {
    use TrainError as E;
    if error.is::<UsageError>() {
        return 2;
    }
    if let Some(interrupted) = error.downcast_ref::<Interrupted>() {
        return interrupted.code;
    }
    if let Some(RunsFailed { failed, diverged }) = error.downcast_ref() {
        return if failed == diverged { 3 } else { 1 };
    }
    match error.downcast_ref::<TrainError>() {
        Some(E::Config(_) | E::Model { .. } | E::Distribution(_) | E::CannotResume { .. } | E::RunChanged { .. }) => 2,
        Some(E::Memory { .. }) => 2,
        Some(E::Engine(EngineError::UnknownLayer { .. })) => 2,
        Some(E::Data(error)) if is_asked_for_wrongly(error) => 2,
        Some(E::ModelFile { reason: ModelFileError::Absent | ModelFileError::Folder, .. }) => 2,
        Some(E::Diverged { .. } | E::Spiked { .. }) => 3,
        Some(E::Data(_) | E::ModelFile { .. } | E::Checkpoint { .. } | E::State { .. } | E::Kernels { .. }) => 4,
        Some(E::NoneIsWhole { .. }) => 4,
        _ => 1,
    }
}

/// Whether a flag or a key asks for data that cannot be, whatever is in the files.
fn is_asked_for_wrongly(error: &DataError) -> bool {
    use DataError as E;
    matches!(error, E::UnknownDataset { .. } | E::Sizes { .. } | E::EmptyBatch | E::CropTooLarge { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_that_a_flag_asks_for_wrongly_are_no_damaged_files() {
        let unknown = DataError::UnknownDataset { name: "fooo".to_owned(), nearest: None, known: "cifar10".to_owned() };
        let sizes = DataError::Sizes { size: 40, resize: 36, limit: 2048 };
        let crop = DataError::CropTooLarge { padding: 30, height: 28, width: 28 };
        for error in [unknown, sizes, crop, DataError::EmptyBatch] {
            assert_eq!(code(&TrainError::from(error).into()), 2);
        }
        let empty = DataError::Empty { path: "train.bin".into() };
        let absent = DataError::NotADirectory { dataset: "cifar10", path: "nowhere".into() };
        for error in [empty, absent] {
            assert_eq!(code(&TrainError::from(error).into()), 4);
        }
    }

    #[test]
    fn a_panic_becomes_exit_code_1() {
        work_on(Path::new("runs/of-a-test"));
        let code = guarded(|| panic!("a bug of the test's own"));
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::FAILURE));
    }

    #[test]
    fn a_cause_that_is_quoted_is_not_said_twice() {
        let cause = || io::Error::other("disk on fire");
        let quoting = TrainError::Io { action: "write", path: "here".into(), source: cause() };
        assert_eq!(message(&quoting.into()), "cannot write here: disk on fire");
        assert_eq!(message(&anyhow::Error::new(cause()).context("cannot say")), "cannot say: disk on fire");
    }

    #[test]
    fn a_panic_is_called_a_bug_of_this_version_and_names_the_run() {
        let text = bug(Some(Path::new("runs/mine")));
        for part in ["this is a bug in bidst", env!("CARGO_PKG_VERSION"), bidst_train::TARGET, "--resume runs/mine"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!bug(None).contains("--resume"));
    }
}
