//! Named vectors in a safetensors container, typed and checked.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::arithmetic_side_effects)]

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use safetensors::tensor::{Dtype, TensorView};

use crate::container::{Container, Tensor};
use crate::error::ModelFileError;

/// Element types that we store, always little-endian.
pub(crate) trait Element: bytemuck::Pod {
    /// Name in messages.
    const NAME: &'static str;
    /// Type in the container.
    const DTYPE: Dtype;
    /// The bytes of the values, without a copy where numbers are stored as they are in memory.
    fn bytes(values: &[Self]) -> Cow<'_, [u8]>;
    /// Reads one value per `size_of::<Self>()` bytes.
    fn read(bytes: &[u8]) -> Vec<Self>;
}

macro_rules! element {
    ($type:ty, $dtype:expr) => {
        impl Element for $type {
            const NAME: &'static str = stringify!($type);
            const DTYPE: Dtype = $dtype;
            fn bytes(values: &[Self]) -> Cow<'_, [u8]> {
                match cfg!(target_endian = "little") {
                    true => Cow::Borrowed(bytemuck::cast_slice(values)),
                    false => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
                }
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
pub(crate) struct TensorWriter<'a> {
    tensors: Vec<Named<'a>>,
}

/// Name, type, shape and bytes.
type Named<'a> = (String, Dtype, Vec<usize>, Cow<'a, [u8]>);

impl<'a> TensorWriter<'a> {
    /// Adds a tensor of the given shape, which must have as many positions as there are values.
    pub fn add<T: Element>(&mut self, name: String, shape: &[usize], values: &'a [T]) {
        self.tensors.push((name, T::DTYPE, shape.to_vec(), T::bytes(values)));
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
    left: BTreeMap<String, Tensor<'a>>,
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
        let Container { mut metadata, tensors } = Container::new(bytes)?;
        let metadata = keys.iter().find_map(|key| metadata.remove(*key)).unwrap_or_default();
        Ok(TensorReader { left: tensors, metadata })
    }

    /// Names of the tensors that have not been taken yet and start with `prefix`.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        self.left.keys().filter(|name| name.starts_with(prefix)).cloned().collect()
    }

    /// Takes a tensor of any one-dimensional length.
    pub fn vector<T: Element>(&mut self, name: &str) -> Result<Vec<T>, ModelFileError> {
        let view = self.view::<T>(name)?;
        match view.shape.as_slice() {
            [_] => Ok(T::read(view.data)),
            found => Err(shape_error(name, found, &[T::read(view.data).len()])),
        }
    }

    /// Takes a tensor of a given shape.
    pub fn shaped<T: Element>(&mut self, name: &str, shape: &[usize]) -> Result<Vec<T>, ModelFileError> {
        let view = self.view::<T>(name)?;
        if view.shape != shape {
            return Err(shape_error(name, &view.shape, shape));
        }
        Ok(T::read(view.data))
    }

    /// Takes floats of a given shape, all of which must be finite.
    pub fn finite(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelFileError> {
        let values = self.shaped::<f32>(name, shape)?;
        match values.iter().enumerate().find(|(_, value)| !value.is_finite()) {
            Some((position, &value)) => Err(ModelFileError::NotFinite { name: name.to_owned(), position, value }),
            None => Ok(values),
        }
    }

    /// Takes strictly ascending indices below `len`.
    pub fn indices(&mut self, name: &str, len: usize) -> Result<Vec<u32>, ModelFileError> {
        let indices = self.vector::<u32>(name)?;
        let mut least = Some(0);
        for (position, &value) in indices.iter().enumerate() {
            if value as usize >= len || least.is_none_or(|least| value < least) {
                return Err(ModelFileError::Index { name: name.to_owned(), position, value, len });
            }
            least = value.checked_add(1);
        }
        Ok(indices)
    }

    /// Fails if a tensor is left.
    pub fn finish(self) -> Result<(), ModelFileError> {
        match self.left.into_keys().next() {
            Some(name) => Err(ModelFileError::Unexpected { name }),
            None => Ok(()),
        }
    }

    fn view<T: Element>(&mut self, name: &str) -> Result<Tensor<'a>, ModelFileError> {
        let view = self.left.remove(name).ok_or_else(|| ModelFileError::Missing { name: name.to_owned() })?;
        if view.dtype != T::DTYPE {
            let found = format!("{:?}", view.dtype);
            return Err(ModelFileError::Type { name: name.to_owned(), found, expected: T::NAME });
        }
        Ok(view)
    }
}

fn shape_error(name: &str, found: &[usize], expected: &[usize]) -> ModelFileError {
    ModelFileError::Shape { name: name.to_owned(), found: found.to_vec(), expected: expected.to_vec() }
}
