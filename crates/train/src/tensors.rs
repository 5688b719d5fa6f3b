//! Named vectors in a safetensors container, typed and checked.

use std::collections::{BTreeSet, HashMap};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::error::ModelFileError;

/// Element types that we store, always little-endian.
pub(crate) trait Element: Copy + Sized {
    /// Name in messages.
    const NAME: &'static str;
    /// Type in the container.
    const DTYPE: Dtype;
    /// Appends the bytes of one value.
    fn write(self, bytes: &mut Vec<u8>);
    /// Reads one value per `size_of::<Self>()` bytes.
    fn read(bytes: &[u8]) -> Vec<Self>;
}

macro_rules! element {
    ($type:ty, $dtype:expr) => {
        impl Element for $type {
            const NAME: &'static str = stringify!($type);
            const DTYPE: Dtype = $dtype;
            fn write(self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&self.to_le_bytes());
            }
            fn read(bytes: &[u8]) -> Vec<Self> {
                bytes.as_chunks().0.iter().map(|&chunk| <$type>::from_le_bytes(chunk)).collect()
            }
        }
    };
}
element!(f32, Dtype::F32);
element!(u32, Dtype::U32);
element!(u64, Dtype::U64);

/// Collects vectors to be written.
#[derive(Default)]
pub(crate) struct TensorWriter {
    tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)>,
}

impl TensorWriter {
    /// Adds a tensor of the given shape, which must have as many positions as there are values.
    pub fn add<T: Element>(&mut self, name: String, shape: &[usize], values: &[T]) {
        let mut bytes = Vec::with_capacity(size_of_val(values));
        values.iter().for_each(|value| value.write(&mut bytes));
        self.tensors.push((name, T::DTYPE, shape.to_vec(), bytes));
    }

    /// The container's bytes; a function of the tensors and `metadata` alone.
    pub fn finish(self, metadata: &str) -> Result<Vec<u8>, ModelFileError> {
        self.finish_under(METADATA_KEY, metadata)
    }

    /// As [`TensorWriter::finish`], with another name for the one entry of the metadata.
    pub fn finish_under(self, key: &str, metadata: &str) -> Result<Vec<u8>, ModelFileError> {
        let view = |(name, dtype, shape, bytes)| Ok((name, TensorView::new(dtype, shape, bytes)?));
        let views = self.tensors.iter().map(|(name, dtype, shape, bytes)| (name, *dtype, shape.clone(), &bytes[..]));
        let views: Vec<_> = views.map(view).collect::<Result<_, safetensors::SafeTensorError>>()?;
        let metadata = HashMap::from([(key.to_owned(), metadata.to_owned())]);
        Ok(safetensors::serialize(views, Some(metadata))?)
    }
}

/// One entry, because the container stores several in no fixed order.
pub(crate) const METADATA_KEY: &str = "bidst";

/// Hands out the tensors of a container, each once.
pub(crate) struct TensorReader<'a> {
    tensors: SafeTensors<'a>,
    left: BTreeSet<String>,
    /// The entry of the metadata that was asked for.
    pub metadata: String,
}

impl<'a> TensorReader<'a> {
    /// Reads the header of a container of ours.
    pub fn new(bytes: &'a [u8]) -> Result<TensorReader<'a>, ModelFileError> {
        let reader = TensorReader::foreign(bytes, &[METADATA_KEY])?;
        if reader.metadata.is_empty() { Err(ModelFileError::NotOurs) } else { Ok(reader) }
    }

    /// Reads the header of any container; the metadata are the first entry of these that is there, or empty.
    pub fn foreign(bytes: &'a [u8], keys: &[&str]) -> Result<TensorReader<'a>, ModelFileError> {
        let (_, header) = SafeTensors::read_metadata(bytes)?;
        let entry = |key: &&str| header.metadata().as_ref().and_then(|entries| entries.get(*key)).cloned();
        let metadata = keys.iter().find_map(entry).unwrap_or_default();
        let tensors = SafeTensors::deserialize(bytes)?;
        let left = tensors.names().into_iter().map(str::to_owned).collect();
        Ok(TensorReader { tensors, left, metadata })
    }

    /// Names of the tensors that have not been taken yet and start with `prefix`.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        self.left.iter().filter(|name| name.starts_with(prefix)).cloned().collect()
    }

    /// Takes a tensor of any one-dimensional length.
    pub fn vector<T: Element>(&mut self, name: &str) -> Result<Vec<T>, ModelFileError> {
        let view = self.view::<T>(name)?;
        match view.shape() {
            [_] => Ok(T::read(view.data())),
            found => Err(shape_error(name, found, &[view.data().len() / size_of::<T>()])),
        }
    }

    /// Takes a tensor of a given shape.
    pub fn shaped<T: Element>(&mut self, name: &str, shape: &[usize]) -> Result<Vec<T>, ModelFileError> {
        let view = self.view::<T>(name)?;
        if view.shape() != shape {
            return Err(shape_error(name, view.shape(), shape));
        }
        Ok(T::read(view.data()))
    }

    /// Takes floats of a given shape, all of which must be finite.
    pub fn finite(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelFileError> {
        let values = self.shaped::<f32>(name, shape)?;
        match values.iter().position(|value| !value.is_finite()) {
            Some(position) => {
                Err(ModelFileError::NotFinite { name: name.to_owned(), position, value: values[position] })
            }
            None => Ok(values),
        }
    }

    /// Takes strictly ascending indices below `len`.
    pub fn indices(&mut self, name: &str, len: usize) -> Result<Vec<u32>, ModelFileError> {
        let indices = self.vector::<u32>(name)?;
        let wrong = |&i: &usize| indices[i] as usize >= len || (i > 0 && indices[i - 1] >= indices[i]);
        match (0..indices.len()).find(wrong) {
            Some(position) => {
                Err(ModelFileError::Index { name: name.to_owned(), position, value: indices[position], len })
            }
            None => Ok(indices),
        }
    }

    /// Fails if a tensor is left.
    pub fn finish(self) -> Result<(), ModelFileError> {
        match self.left.into_iter().next() {
            Some(name) => Err(ModelFileError::Unexpected { name }),
            None => Ok(()),
        }
    }

    fn view<T: Element>(&mut self, name: &str) -> Result<TensorView<'a>, ModelFileError> {
        if !self.left.remove(name) {
            return Err(ModelFileError::Missing { name: name.to_owned() });
        }
        let view = self.tensors.tensor(name)?;
        if view.dtype() != T::DTYPE {
            let found = format!("{:?}", view.dtype());
            return Err(ModelFileError::Type { name: name.to_owned(), found, expected: T::NAME });
        }
        Ok(view)
    }
}

fn shape_error(name: &str, found: &[usize], expected: &[usize]) -> ModelFileError {
    ModelFileError::Shape { name: name.to_owned(), found: found.to_vec(), expected: expected.to_vec() }
}
