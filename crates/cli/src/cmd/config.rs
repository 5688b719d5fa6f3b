//! `bidst config`

use std::path::{Path, PathBuf};

use bidst_train::TrainError;
use bidst_train::compare::Comparison;
use bidst_train::config::{Builder, json_schema};
use clap::Subcommand;

use super::settings::Settings;
use crate::exit::UsageError;
use crate::text::line;

/// The configuration: what holds, what is wrong, what there is
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Print every value that holds, and where it came from: a file and its line, a flag, or the default
    ///
    /// Defaults, then FILE, then the flags, then --set; the later win. What is printed is a configuration itself.
    Show {
        /// A TOML file with settings
        file: Option<PathBuf>,
        #[command(flatten)]
        settings: Box<Settings>,
    },
    /// Say everything that is wrong with configurations and studies, all at once
    Check {
        /// TOML files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Print the JSON Schema of the configuration, with which editors complete and check it
    Schema,
}

/// Runs the verb.
///
/// # Errors
/// See the exit codes.
pub fn run(args: &Args) -> anyhow::Result<()> {
    match &args.what {
        What::Show { file, settings } => {
            let builder = file.iter().fold(Builder::new(), |builder, path| builder.file(path));
            let effective = settings.apply(builder).resolve().map_err(TrainError::from)?;
            Ok(line(effective.to_annotated_toml().trim_end())?)
        }
        What::Check { files } => check(files),
        What::Schema => Ok(line(serde_json::to_string_pretty(&json_schema())?)?),
    }
}

/// Checks all files before it fails.
fn check(files: &[PathBuf]) -> anyhow::Result<()> {
    let mut wrong = 0;
    for file in files {
        match check_one(file) {
            Ok(runs) => line(format!("{}: {runs}", file.display()))?,
            Err(error) => {
                eprintln!("{error}");
                wrong += 1;
            }
        }
    }
    let verdict = match (wrong, files.len()) {
        (0, _) => return Ok(()),
        (1, 1) => "the file is wrong".to_owned(),
        (1, all) => format!("1 of {all} files is wrong"),
        (wrong, all) => format!("{wrong} of {all} files are wrong"),
    };
    Err(UsageError(verdict).into())
}

/// What a file describes.
fn check_one(file: &Path) -> Result<String, TrainError> {
    let builder = Builder::new().file(file);
    if !builder.is_study() {
        builder.finish()?;
        return Ok("right".to_owned());
    }
    let comparison = Comparison::new(Path::new(""), builder)?;
    Ok(format!("right, a study of {} runs", comparison.runs().len()))
}
