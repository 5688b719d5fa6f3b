//! The formats that a model can be exported to.

use super::{ModelFile, npz, onnx, torch};
use crate::error::ModelFileError;

/// A file format that others read. `docs/export.md` has recipes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Dense: a state for PyTorch, with the names that torchvision gives the same networks. Sparse: the model file itself.
    Safetensors,
    /// The whole network, for onnxruntime and others: operator set 13, any batch size, the input normalised as in
    /// training (mean and standard deviation are in the metadata).
    Onnx,
    /// Arrays for numpy.
    Npz,
}

/// How sparse weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// With all their zeros: what everybody reads.
    Dense,
    /// As values and positions.
    Sparse,
}

/// Makes sure that a file takes no more bytes than its format can hold.
pub(super) fn fits(bytes: usize, limit: u64) -> Result<(), ModelFileError> {
    let bytes = bytes as u64;
    if bytes > limit { Err(ModelFileError::TooLarge { bytes, limit }) } else { Ok(()) }
}

impl ModelFile {
    /// The bytes of the model in another format; a function of the model alone.
    ///
    /// # Errors
    /// [`ModelFileError::TooLarge`] where the format cannot hold as much (2 GiB in ONNX, 4 GiB in the others).
    pub fn export(&self, format: Format, layout: Layout) -> Result<Vec<u8>, ModelFileError> {
        match (format, layout) {
            (Format::Safetensors, Layout::Dense) => torch::bytes(self),
            (Format::Safetensors, Layout::Sparse) => self.to_bytes(),
            (Format::Onnx, layout) => onnx::bytes(self, layout),
            (Format::Npz, layout) => npz::bytes(self, layout),
        }
    }
}
