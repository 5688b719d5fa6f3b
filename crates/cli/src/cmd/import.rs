//! `bidst import`

use std::path::PathBuf;

use bidst_data::Dataset;
use bidst_model::zoo;
use bidst_train::TrainError;
use bidst_train::error::ModelFileError;
use bidst_train::export::{About, NO_DATA, VERSION};
use bidst_train::import::StateFile;

use crate::exit::UsageError;
use crate::text::{bytes, count, line, percent};

/// Make a model file of a safetensors state from elsewhere
///
/// Tensors may be dense or sparse, with the names of bidst or those of torchvision. What the file does not say (PyTorch's
/// states say nothing but the tensors) comes from --dataset, or from --mean and --std with the network's usual image size.
#[derive(clap::Args)]
pub struct Args {
    /// A safetensors file
    file: PathBuf,
    #[arg(long, help = format!("Network: {}", names()))]
    model: Option<String>,
    /// Factor on its number of channels
    #[arg(long, value_name = "FACTOR")]
    width: Option<f64>,
    /// Data set that it is for: gives image size, classes, mean and standard deviation
    #[arg(long, value_name = "NAME")]
    dataset: Option<String>,
    /// Folder of the data set's files
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Mean of the pixels / 255 that was subtracted in training, per channel, such as 0.485,0.456,0.406
    #[arg(long, value_delimiter = ',', value_name = "MEAN,…")]
    mean: Option<Vec<f32>>,
    /// Standard deviation that they were divided by, per channel
    #[arg(long, value_delimiter = ',', value_name = "STD,…")]
    std: Option<Vec<f32>>,
    /// The model file to write
    #[arg(long, value_name = "MODEL")]
    out: PathBuf,
}

fn names() -> String {
    zoo::list().iter().map(|entry| entry.name).collect::<Vec<_>>().join(", ")
}

/// Runs the verb.
///
/// # Errors
/// See the exit codes.
pub fn run(args: &Args) -> anyhow::Result<()> {
    if super::is_same_file(&args.out, &args.file) {
        return Err(
            UsageError(format!("--out {}: is the file that is imported; give another", args.out.display())).into()
        );
    }
    let file = StateFile::read(&args.file)?;
    let about = about(args, &file)?;
    let graph = about.graph().map_err(|reason| usage(args, reason))?;
    let model = file.fit(&graph)?.model(about, graph);
    let size = model.write(&args.out)?;
    let totals = model.totals();
    let (nonzeros, weights, zeros) = (count(totals.nonzeros), count(totals.weights), percent(totals.overall()));
    line(format!("{} ({}): {nonzeros} of {weights} weights, {zeros} zeros", args.out.display(), bytes(size)))?;
    Ok(())
}

/// What the flags say, else the data set, else the file, else the last layer's shape and the network's usual images.
fn about(args: &Args, file: &StateFile) -> anyhow::Result<About> {
    let known = file.about.clone();
    let (is_foreign, name) = (known.is_none(), args.file.display());
    let model = args.model.clone().or(known.as_ref().map(|about| about.model.clone()));
    let model =
        model.ok_or_else(|| UsageError(format!("{name}: does not say which network it is of: add --model NAME")))?;
    let mut about = known.unwrap_or_else(|| blank(&model));
    (about.model, about.width) = (model, args.width.unwrap_or(about.width));
    if let Some(name) = &args.dataset {
        let Dataset { channels, height, width, classes, mean, std, .. } =
            bidst_data::open(name, args.data_dir.as_deref()).map_err(TrainError::from)?.train;
        about = About { input: [channels, height, width], classes, data: name.clone(), mean, std, ..about };
    }
    about.mean = args.mean.clone().unwrap_or(about.mean);
    about.std = args.std.clone().unwrap_or(about.std);
    if about.mean.is_empty() || about.std.is_empty() {
        let advice = "add --dataset NAME, or --mean and --std (0.485,0.456,0.406 and 0.229,0.224,0.225 in torchvision)";
        return Err(UsageError(format!("{name}: does not say how images are normalised: {advice}")).into());
    }
    if is_foreign && args.dataset.is_none() {
        let graph = about.graph().map_err(|reason| usage(args, reason))?;
        let head = &graph.node(graph.output()).name;
        let outputs = ["weight", "bias"].into_iter().find_map(|part| file.outputs(&format!("{head}.{part}")));
        about.classes = outputs.unwrap_or(about.classes);
    }
    Ok(about)
}

/// What is known of a network by its name.
fn blank(model: &str) -> About {
    let entry = zoo::list().iter().find(|entry| entry.name == model);
    About {
        version: VERSION,
        model: model.to_owned(),
        width: 1.0,
        classes: 2,
        input: entry.map_or([1; 3], |entry| [entry.input.channels, entry.input.height, entry.input.width]),
        data: NO_DATA.to_owned(),
        mean: Vec::new(),
        std: Vec::new(),
        sparse: Default::default(),
    }
}

/// Why there is no such network. What is wrong with the number of a flag is said of the flag, not of the file.
fn usage(args: &Args, reason: ModelFileError) -> UsageError {
    let is_flag = |field| match field {
        "width" => args.width.is_some(),
        "mean" => args.mean.is_some(),
        "std" => args.std.is_some(),
        _ => false,
    };
    UsageError(match reason {
        ModelFileError::Range { field, value, range } if is_flag(field) => {
            format!("--{field} is {value}, but takes {range}")
        }
        reason => reason.to_string(),
    })
}
