//! `bidst inspect`

use std::path::PathBuf;

use bidst_train::export::{ModelFile, Weight};
use serde_json::json;

use crate::text::{bytes, count, line, percent, table};

/// Layers, non-zeros, density and bytes of a trained model
#[derive(clap::Args)]
pub struct Args {
    /// A run folder or a model file
    #[arg(value_name = "RUN|FILE")]
    run: PathBuf,
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
    let totals = model.totals();
    let (sparsified, overall) = (totals.sparsified(), totals.overall());
    let file_bytes = std::fs::metadata(&file)?.len() as usize;
    let dense_bytes = 4 * (totals.weights + model.vectors.values().map(Vec::len).sum::<usize>());
    if args.json {
        let layer = |weight: &Weight| {
            json!({
                "name": weight.name, "shape": weight.shape, "sparse": weight.indices.is_some(),
                "nnz": weight.values.len(), "density": density(weight), "bytes": stored(weight),
            })
        };
        let layers: Vec<_> = model.weights.iter().map(layer).collect();
        return Ok(line(json!({
            "about": model.about, "layers": layers, "nnz": totals.nonzeros, "weights": totals.weights,
            "sparsity_sparsified": sparsified, "sparsity_overall": overall,
            "file_bytes": file_bytes, "dense_bytes": dense_bytes,
        }))?);
    }
    let about = &model.about;
    line(format!("{} x{}, {} classes, trained on {}", about.model, about.width, about.classes, about.data))?;
    let head = ["layer", "shape", "nnz", "weights", "density", "bytes"].map(str::to_owned).to_vec();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(model.weights.iter().map(row)).collect();
    line(table(&rows))?;
    line(format!(
        "sparsity {} over the sparsified layers, {} over all convolution and linear weights",
        percent(sparsified),
        percent(overall)
    ))?;
    line(format!("file {}, as a dense model {}", bytes(file_bytes), bytes(dense_bytes)))?;
    Ok(())
}

fn row(weight: &Weight) -> Vec<String> {
    let shape: Vec<String> = weight.shape.iter().map(usize::to_string).collect();
    let kind = if weight.indices.is_some() { percent(density(weight)) } else { "dense".to_owned() };
    let len = weight.shape.iter().product();
    vec![weight.name.clone(), shape.join("x"), count(weight.values.len()), count(len), kind, bytes(stored(weight))]
}

fn density(weight: &Weight) -> f64 {
    weight.values.len() as f64 / weight.shape.iter().product::<usize>().max(1) as f64
}

/// Bytes of its values and indices in the file.
fn stored(weight: &Weight) -> usize {
    4 * (weight.values.len() + weight.indices.as_ref().map_or(0, Vec::len))
}
