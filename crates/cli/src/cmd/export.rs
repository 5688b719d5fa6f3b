//! `bidst export`

use std::path::PathBuf;

use bidst_train::TrainError;
use bidst_train::export::{Format, Layout, ModelFile};
use bidst_train::files::write_atomically;
use clap::ValueEnum;

use crate::exit::UsageError;
use crate::text::{bytes, line};

/// Write a trained model in a format that others read
///
/// `onnx` is the whole network, for onnxruntime and others. `safetensors` is a state for PyTorch, with the names that
/// torchvision gives the same networks. `npz` is arrays for numpy. docs/export.md has a recipe for each.
#[derive(clap::Args)]
pub struct Args {
    /// A run folder or a model file
    #[arg(value_name = "RUN|MODEL")]
    run: PathBuf,
    /// What to write
    #[arg(long, value_enum)]
    format: FormatName,
    /// Weights with all their zeros, or as values and positions; with safetensors, `sparse` is the model file itself
    #[arg(long, value_enum, default_value = "dense")]
    layout: LayoutName,
    /// The file; left out: beside the model, under a name that says what it is
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum FormatName {
    Safetensors,
    Onnx,
    Npz,
}

#[derive(Clone, Copy, ValueEnum)]
enum LayoutName {
    Dense,
    Sparse,
}

/// Runs the verb.
///
/// # Errors
/// See the exit codes.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let file = super::model_file(&args.run)?;
    let (format, ending) = match args.format {
        FormatName::Safetensors => (Format::Safetensors, "safetensors"),
        FormatName::Onnx => (Format::Onnx, "onnx"),
        FormatName::Npz => (Format::Npz, "npz"),
    };
    let (layout, word) = match args.layout {
        LayoutName::Dense => (Layout::Dense, "dense"),
        LayoutName::Sparse => (Layout::Sparse, "sparse"),
    };
    let out = args.out.clone().unwrap_or_else(|| file.with_extension(format!("{word}.{ending}")));
    if super::is_same_file(&out, &file) {
        return Err(UsageError(format!("--out {}: is the model itself", out.display())).into());
    }
    let model = ModelFile::read(&file)?;
    let exported =
        model.export(format, layout).map_err(|reason| TrainError::ModelFile { path: out.clone(), reason })?;
    write_atomically(&out, &exported)?;
    Ok(line(format!("{} ({})", out.display(), bytes(exported.len())))?)
}
