//! `bidst eval`

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bidst_engine::Options;
use bidst_train::config::Builder;
use bidst_train::evaluate::{ClassCount, Evaluation, Examination, Latency, examine, latency};
use bidst_train::export::{About, ModelFile, NO_DATA, Weight, npy};
use bidst_train::files::write_atomically;
use bidst_train::{Config, TrainError, setup};
use serde_json::{Value, json};

use crate::exit::UsageError;
use crate::text::{bytes, count, line, percent, table};

/// Batch sizes of which the latency is measured.
const LATENCY_BATCHES: [usize; 2] = [1, 128];
/// Time that each of them may take.
const LATENCY_BUDGET: Duration = Duration::from_millis(500);

/// Accuracy, loss, latency and bytes of a trained model on the test images
///
/// Accuracy also class by class. The latency is that of a forward pass of one image and of 128, on --threads,
/// with the kernels that training uses by rule. For what the kernels of a layer cost there is `bidst bench layers`.
#[derive(clap::Args)]
pub struct Args {
    /// A run folder or a model file
    #[arg(value_name = "RUN|FILE")]
    run: PathBuf,
    /// Data set, if not the one that the model was trained on
    #[arg(long, value_name = "NAME")]
    dataset: Option<String>,
    /// Folder of the data set's files, if not as in the run's config.toml
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Threads; 0 means one per core
    #[arg(long, short = 'j', value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1024))]
    threads: u32,
    /// Write the logits of all test images, [images, classes], as a .npy file
    #[arg(long, value_name = "FILE")]
    logits: Option<PathBuf>,
    /// Leave the latency out
    #[arg(long)]
    no_latency: bool,
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
    config.data.name = dataset(args, &model.about)?;
    config.run.threads = args.threads as usize;
    if args.data_dir.is_some() {
        config.data.dir.clone_from(&args.data_dir);
    }
    let mut test = config.data.open().map_err(TrainError::from)?.splits.test;
    let (found, expected) = ([test.channels, test.height, test.width], model.about.input);
    if found != expected || test.classes != model.about.classes {
        let name = &config.data.name;
        return Err(UsageError(format!("{}: does not fit the images of `{name}`", file.display())).into());
    }
    // The model knows images as it was trained on them, whatever the data set would have.
    (test.mean, test.std) = (model.about.mean.clone(), model.about.std.clone());
    let batch_size = config.train.batch_size;
    let (threads, activations) = (setup::threads(&config), config.engine.activations.into());
    let options = |batch_size| Options { batch_size, threads, activations, instruction_set: None };
    let loader = setup::test_loader(Arc::new(test), batch_size, 1)?;
    let examination = examine(&mut model.network(options(batch_size))?, &loader)?;
    if let Some(out) = &args.logits {
        let shape = [examination.evaluation.images, model.about.classes];
        write_atomically(out, &npy(&shape, &examination.logits))?;
    }
    let mut report = Report { data: config.data.name, examination, latency: Vec::new(), bytes: stored(&file, &model)? };
    for batch_size in LATENCY_BATCHES.into_iter().filter(|_| !args.no_latency) {
        report.latency.push(latency(&mut model.network(options(batch_size))?, &loader, LATENCY_BUDGET)?);
    }
    Ok(line(if args.json { report.json().to_string() } else { report.text() })?)
}

/// The data set that the flag names, else the one that the model was trained on.
fn dataset(args: &Args, about: &About) -> Result<String, UsageError> {
    match &args.dataset {
        Some(name) => Ok(name.clone()),
        None if about.data != NO_DATA => Ok(about.data.clone()),
        None => {
            let advice = "does not say which data set it is for: add --dataset NAME";
            Err(UsageError(format!("{}: {advice}", args.run.display())))
        }
    }
}

/// Bytes of the file, and of the weights and vectors alone: as they are, and if every weight existed.
fn stored(file: &Path, model: &ModelFile) -> Result<[usize; 3], TrainError> {
    let size = fs::metadata(file).map_err(|source| TrainError::Io { action: "read", path: file.to_owned(), source })?;
    let held = |weight: &Weight| weight.values.len() + weight.indices.as_ref().map_or(0, Vec::len);
    let weights: usize = model.weights.iter().map(held).sum();
    let vectors: usize = model.vectors.values().map(Vec::len).sum();
    Ok([size.len() as usize, 4 * (weights + vectors), model.dense_bytes()])
}

struct Report {
    data: String,
    examination: Examination,
    latency: Vec<Latency>,
    bytes: [usize; 3],
}

impl Report {
    fn json(&self) -> Value {
        let Evaluation { accuracy, loss, images } = self.examination.evaluation;
        let class = |(class, count): (usize, &ClassCount)| json!({ "class": class, "images": count.images, "correct": count.correct, "accuracy": share(count) });
        let classes: Vec<Value> = self.examination.classes.iter().enumerate().map(class).collect();
        let [file_bytes, weight_bytes, dense_bytes] = self.bytes;
        json!({
            "accuracy": accuracy, "loss": loss, "images": images, "data": self.data, "classes": classes,
            "latency": self.latency,
            "file_bytes": file_bytes, "weight_bytes": weight_bytes, "dense_bytes": dense_bytes,
        })
    }

    fn text(&self) -> String {
        let Evaluation { accuracy, loss, images } = self.examination.evaluation;
        let images = count(images);
        let head = format!("accuracy {}, loss {loss:.4}, on {images} test images of {}", percent(accuracy), self.data);
        let mut rows = vec![["class", "images", "right", "accuracy"].map(str::to_owned).to_vec()];
        for (class, counted) in self.examination.classes.iter().enumerate() {
            let right = share(counted).map_or("-".to_owned(), percent);
            rows.push(vec![class.to_string(), count(counted.images), count(counted.correct), right]);
        }
        let mut parts = vec![head, table(&rows)];
        if !self.latency.is_empty() {
            let mut rows = vec![["batch", "median ms", "p90 ms", "images/s", "memory"].map(str::to_owned).to_vec()];
            for pass in &self.latency {
                let rate = count((1e3 * pass.batch_size as f64 / pass.median_ms) as usize);
                let (median, p90) = (format!("{:.3}", pass.median_ms), format!("{:.3}", pass.p90_ms));
                rows.push(vec![pass.batch_size.to_string(), median, p90, rate, bytes(pass.memory_bytes)]);
            }
            parts.push(table(&rows));
        }
        let [file, weights, dense] = self.bytes.map(bytes);
        parts.push(format!("file {file}; weights {weights}, as a dense model {dense}"));
        parts.join("\n\n")
    }
}

/// Share of right images, if there are any.
fn share(class: &ClassCount) -> Option<f64> {
    (class.images > 0).then(|| class.correct as f64 / class.images as f64)
}

/// The configuration of the run, if a run folder was given.
fn run_config(args: &Args) -> Result<Option<Config>, TrainError> {
    let path = args.run.join("config.toml");
    Ok(if path.is_file() { Some(Builder::new().file(&path).finish()?) } else { None })
}
