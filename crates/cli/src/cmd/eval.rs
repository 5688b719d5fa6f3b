//! `bidst eval`

use std::path::PathBuf;
use std::sync::Arc;

use bidst_engine::Options;
use bidst_train::config::Builder;
use bidst_train::evaluate::evaluate;
use bidst_train::export::ModelFile;
use bidst_train::{Config, TrainError, setup};
use serde_json::json;

use crate::exit::UsageError;
use crate::text::{count, line, percent};

/// Accuracy and loss of a trained model on the test images
#[derive(clap::Args)]
pub struct Args {
    /// A run folder or a model file
    #[arg(value_name = "RUN|FILE")]
    run: PathBuf,
    /// Folder of the data set's files, if not as in the run's config.toml
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Threads; 0 means one per core
    #[arg(long, short = 'j', value_name = "N", default_value_t = 0)]
    threads: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
///
/// # Errors
/// See the exit codes.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let file = super::model_file(&args.run)?;
    let model = ModelFile::read(&file)?;
    let mut config = run_config(args)?.unwrap_or_default();
    config.data.name.clone_from(&model.about.data);
    config.run.threads = args.threads;
    let dir = args.data_dir.as_ref().or(config.data.dir.as_ref());
    let data = bidst_data::open(&config.data.name, dir.map(PathBuf::as_path)).map_err(TrainError::from)?;

    let test = data.test;
    let (found, expected) = ([test.channels, test.height, test.width], model.about.input);
    if found != expected || test.classes != model.about.classes {
        let name = &model.about.data;
        return Err(UsageError(format!("{}: does not fit the images of `{name}`", file.display())).into());
    }
    let batch_size = config.train.batch_size;
    let (threads, activations) = (setup::threads(&config), config.engine.activations.into());
    let options = Options { batch_size, threads, activations, instruction_set: None };
    let result = evaluate(&mut model.network(options)?, &setup::test_loader(Arc::new(test), batch_size)?)?;
    if args.json {
        let (accuracy, loss, images) = (result.accuracy, result.loss, result.images);
        return Ok(line(json!({ "accuracy": accuracy, "loss": loss, "images": images }))?);
    }
    let (accuracy, images) = (percent(result.accuracy), count(result.images));
    Ok(line(format!("accuracy {accuracy}, loss {:.4}, on {images} test images of {}", result.loss, config.data.name))?)
}

/// The configuration of the run, if a run folder was given.
fn run_config(args: &Args) -> Result<Option<Config>, TrainError> {
    let path = args.run.join("config.toml");
    Ok(if path.is_file() { Some(Builder::new().file(&path).finish()?) } else { None })
}
