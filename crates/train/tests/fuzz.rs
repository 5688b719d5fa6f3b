//! Two of the six fuzz targets: model files and configurations. See `tests/fuzz` of the repository.
#![allow(missing_docs)]

mod draft;
#[path = "../../../tests/fuzz/mod.rs"]
mod fuzz;

use bidst_train::config::Builder;
use bidst_train::export::ModelFile;
use draft::draft;
use std::path::Path;

#[test]
fn model_files() {
    let seeds = || vec![draft().bytes()];
    fuzz::run("model-file", seeds, fuzz::twice, |_| {}, |bytes| ModelFile::from_bytes(bytes).is_ok());
}

#[test]
fn configurations() {
    let seeds = || {
        [
            "[train]\nepochs = 3\nbatch_size = 16\n[optim]\nmilestones = [0.5, 0.75]\nlr = 0.1\n",
            "[sparsity]\nlevel = 0.9\noverride = { \"conv1\" = 0.5, 'a.b' = 0.25 }\ndense_layers = [\"head\", \"*\"]\n",
            "[algorithm]\nname = \"rigl\"\nupdate_interval = 50\n[data]\naugment = [\"crop:4\", \"flip\"]\n",
        ]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
    };
    // Whatever the file is, the schema and the lists of names are made to check it against.
    fuzz::run(
        "config",
        seeds,
        |bytes| 400 * bytes + (1 << 20),
        |_| {},
        |bytes| {
            let text = String::from_utf8_lossy(bytes);
            Builder::new().text(Path::new("fuzzed.toml"), &text).finish().is_ok()
        },
    );
}
