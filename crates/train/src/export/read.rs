//! Reading a model file: every number is checked before anything is built of it.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::arithmetic_side_effects)]

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use bidst_model::{Graph, Shape, zoo};

use super::{About, ModelFile, VERSION, Weight, vector_lengths};
use crate::error::{ModelFileError, TrainError};
use crate::tensors::TensorReader;

/// Bytes above which a file is refused unread.
pub(super) const MAX_BYTES: u64 = 4 << 30;
/// Largest width factor that is believed.
const MAX_WIDTH: f64 = 64.0;
/// Largest number of classes, channels or pixels along a side that is believed.
const MAX_SIDE: usize = 1 << 16;

impl ModelFile {
    /// Reads and verifies a file.
    ///
    /// # Errors
    /// [`TrainError::Io`], [`TrainError::ModelFile`] with what is wrong.
    pub fn read(path: &Path) -> Result<ModelFile, TrainError> {
        let wrong = |reason| TrainError::ModelFile { path: path.to_owned(), reason };
        ModelFile::from_bytes(&read_limited(path)?).map_err(wrong)
    }

    /// Reads and verifies the bytes of a file.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn from_bytes(bytes: &[u8]) -> Result<ModelFile, ModelFileError> {
        let mut reader = TensorReader::new(bytes)?;
        let about: About = serde_json::from_str(&reader.metadata)?;
        let graph = about.graph()?;
        let weights = graph.weights().into_iter().map(|spec| {
            let (len, name, shape) = (spec.len(), spec.name, spec.shape);
            let Some(listed) = about.sparse.get(&name) else {
                let values = reader.finite(&name, &shape)?;
                return Ok(Weight { name, shape, indices: None, values });
            };
            if *listed != shape {
                return Err(ModelFileError::Shape { name, found: listed.clone(), expected: shape });
            }
            let indices = reader.indices(&format!("{name}.indices"), len)?;
            let values = reader.finite(&format!("{name}.values"), &[indices.len()])?;
            Ok(Weight { name, shape, indices: Some(indices), values })
        });
        let weights: Vec<Weight> = weights.collect::<Result<_, _>>()?;
        if let Some(name) = about.sparse.keys().find(|name| weights.iter().all(|weight| weight.name != **name)) {
            return Err(ModelFileError::Unexpected { name: name.clone() });
        }
        let mut vectors = BTreeMap::new();
        for (name, len) in vector_lengths(&graph) {
            let values = reader.finite(&name, &[len])?;
            vectors.insert(name, values);
        }
        reader.finish()?;
        Ok(ModelFile { about, graph, weights, vectors })
    }
}

impl About {
    /// Builds the graph, having checked every number that decides how much is allocated.
    ///
    /// # Errors
    /// What is out of range, or why there is no such network.
    pub fn graph(&self) -> Result<Graph, ModelFileError> {
        let range = |ok: bool, field, value: &dyn std::fmt::Debug, range| match ok {
            true => Ok(()),
            false => Err(ModelFileError::Range { field, value: format!("{value:?}"), range }),
        };
        if self.version > VERSION {
            return Err(ModelFileError::Version { found: self.version, known: VERSION });
        }
        range(self.width > 0.0 && self.width <= MAX_WIDTH, "width", &self.width, "0 to 64")?;
        range((1..=MAX_SIDE).contains(&self.classes), "classes", &self.classes, "1 to 65536")?;
        let sides_ok = self.input.iter().all(|side| (1..=MAX_SIDE).contains(side));
        range(sides_ok, "input", &self.input, "1 to 65536 each")?;
        let [channels, height, width] = self.input;
        let mean_ok = self.mean.len() == channels && self.mean.iter().all(|mean| mean.is_finite());
        range(mean_ok, "mean", &self.mean, "one finite number per channel")?;
        let std_ok = self.std.len() == channels && self.std.iter().all(|&std| std > 0.0 && std.is_normal());
        range(std_ok, "std", &self.std, "one positive, finite number per channel")?;
        let options =
            zoo::Options { width: self.width, classes: self.classes, input: Shape { channels, height, width } };
        Ok(zoo::build(&self.model, &options)?)
    }
}

/// Reads a file that is not larger than a model can be.
pub(crate) fn read_limited(path: &Path) -> Result<Vec<u8>, TrainError> {
    let wrong = |reason| Err(TrainError::ModelFile { path: path.to_owned(), reason });
    // Looked at before it is opened: opening a pipe would wait for a writer.
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return wrong(ModelFileError::Absent),
        found => found.map_err(TrainError::io("read", path))?,
    };
    if metadata.is_dir() {
        return wrong(ModelFileError::Folder);
    }
    if !metadata.is_file() {
        return wrong(ModelFileError::NotAFile);
    }
    if metadata.len() > MAX_BYTES {
        return wrong(ModelFileError::TooLarge { bytes: metadata.len(), limit: MAX_BYTES });
    }
    fs::read(path).map_err(TrainError::io("read", path))
}
