//! The safetensors container, read without trust.
//!
//! Eight bytes with the length of the header, a JSON object with a type, a shape and a range of bytes for each tensor and
//! a map of texts under `__metadata__`, and the bytes. Every length is compared with what there is before anything is
//! allocated, names and shapes are limited, a name twice is refused, and the ranges have to tile the bytes exactly: no gap,
//! no overlap, nothing left.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::arithmetic_side_effects)]

use std::collections::BTreeMap;
use std::fmt;

use safetensors::tensor::Dtype;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};

use crate::text::plain;

/// Bytes of the header.
const MAX_HEADER: u64 = 16 << 20;
/// Tensors in a file.
const MAX_TENSORS: usize = 16_384;
/// Dimensions of a tensor.
const MAX_RANK: usize = 8;
/// Bytes of a name.
const MAX_NAME: usize = 1024;
/// Characters of a message of the parser.
const MAX_MESSAGE: usize = 300;
/// Entries of the metadata.
const MAX_METADATA: usize = 64;

/// Why a container was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContainerError {
    /// Not even the length of the header is there.
    #[error("it has {bytes} bytes, too few for the length of a header")]
    TooShort {
        /// Bytes of the file.
        bytes: usize,
    },
    /// The header is longer than any that is read.
    #[error("its header claims {length} bytes, the limit is {MAX_HEADER}")]
    HeaderTooLong {
        /// The length claimed.
        length: u64,
    },
    /// The header goes on after the end of the file.
    #[error("its header claims {length} bytes, {left} are left: cut off, or no safetensors file")]
    HeaderCut {
        /// The length claimed.
        length: u64,
        /// Bytes after the length.
        left: usize,
    },
    /// The header is not the JSON it should be, exceeds a limit, or has a name twice.
    #[error("its header is malformed: {0}")]
    Header(String),
    /// The range of a tensor is not where the one before it ends.
    #[error("tensor `{name}` begins at byte {begin}, expected {expected}: tensors overlap or leave a gap")]
    Offset {
        /// The tensor.
        name: String,
        /// Where it begins.
        begin: u64,
        /// Where it should.
        expected: u64,
    },
    /// The range of a tensor is not as long as its shape and type need.
    #[error("tensor `{name}` of shape {shape:?} has bytes {begin} to {end}, which do not fit it")]
    Length {
        /// The tensor.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
        /// Where it begins.
        begin: u64,
        /// Where it ends.
        end: u64,
    },
    /// The bytes of the tensors are more or fewer than those of the file.
    #[error("its tensors have {expected} bytes, but {found} follow the header: cut off, or something was appended")]
    Size {
        /// Bytes that the header accounts for.
        expected: u64,
        /// Bytes there are.
        found: usize,
    },
}

/// A tensor in a container.
#[derive(Debug)]
pub(crate) struct Tensor<'a> {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub data: &'a [u8],
}

/// A verified container.
#[derive(Debug, Default)]
pub(crate) struct Container<'a> {
    pub metadata: BTreeMap<String, String>,
    /// By name.
    pub tensors: BTreeMap<String, Tensor<'a>>,
}

impl<'a> Container<'a> {
    pub fn new(bytes: &'a [u8]) -> Result<Container<'a>, ContainerError> {
        let (length, rest) = bytes.split_first_chunk().ok_or(ContainerError::TooShort { bytes: bytes.len() })?;
        let length = u64::from_le_bytes(*length);
        if length > MAX_HEADER {
            return Err(ContainerError::HeaderTooLong { length });
        }
        let parts = usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length));
        let (header, data) = parts.ok_or(ContainerError::HeaderCut { length, left: rest.len() })?;
        let header: Header = serde_json::from_slice(header).map_err(|reason| ContainerError::Header(short(&reason)))?;
        header.place(data)
    }
}

/// What the parser says, on one line of bearable length: it may quote the file.
fn short(reason: &serde_json::Error) -> String {
    plain(&reason.to_string(), MAX_MESSAGE)
}

/// A header as it is written.
#[derive(Default)]
struct Header {
    metadata: BTreeMap<String, String>,
    tensors: Vec<(String, Info)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Info {
    dtype: Dtype,
    shape: Dimensions,
    data_offsets: (u64, u64),
}

impl Header {
    /// Cuts `data` into the tensors, which have to tile it.
    fn place(mut self, data: &[u8]) -> Result<Container<'_>, ContainerError> {
        self.tensors.sort_by(|(a_name, a), (b_name, b)| (a.data_offsets, a_name).cmp(&(b.data_offsets, b_name)));
        let size = self.tensors.last().map_or(0, |(_, info)| info.data_offsets.1);
        if size != data.len() as u64 {
            return Err(ContainerError::Size { expected: size, found: data.len() });
        }
        let (mut tensors, mut expected) = (BTreeMap::new(), 0);
        for (name, Info { dtype, shape: Dimensions(shape), data_offsets: (begin, end) }) in self.tensors {
            if begin != expected {
                return Err(ContainerError::Offset { name, begin, expected });
            }
            let range = usize::try_from(begin).ok().zip(usize::try_from(end).ok());
            let data = range.and_then(|(begin, end)| data.get(begin..end));
            match data.filter(|data| bytes_of(dtype, &shape) == Some(data.len())) {
                Some(data) => tensors.insert(name, Tensor { dtype, shape, data }),
                None => return Err(ContainerError::Length { name, shape, begin, end }),
            };
            expected = end;
        }
        Ok(Container { metadata: self.metadata, tensors })
    }
}

/// Bytes of a tensor; `None` if there are more than any file has, or a part of a byte.
fn bytes_of(dtype: Dtype, shape: &[usize]) -> Option<usize> {
    let elements = shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size))?;
    let bits = elements.checked_mul(dtype.bitsize())?;
    bits.is_multiple_of(8).then_some(bits / 8)
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Header, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Header;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let (mut header, mut has_metadata) = (Header::default(), false);
                while let Some(name) = map.next_key_seed(Name)? {
                    if name == "__metadata__" {
                        if std::mem::replace(&mut has_metadata, true) {
                            return Err(A::Error::custom("`__metadata__` is there twice"));
                        }
                        header.metadata = map.next_value_seed(Metadata)?;
                    } else if header.tensors.len() == MAX_TENSORS {
                        return Err(A::Error::custom(format!("more than {MAX_TENSORS} tensors")));
                    } else {
                        header.tensors.push((name, map.next_value()?));
                    }
                }
                header.tensors.sort_by(|(a, _), (b, _)| a.cmp(b));
                let twice = header.tensors.windows(2).find(|pair| matches!(pair, [(a, _), (b, _)] if a == b));
                match twice {
                    Some([(name, _), ..]) => Err(A::Error::custom(format!("tensor `{name}` is there twice"))),
                    _ => Ok(header),
                }
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// A name that is not too long and has no control characters.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = String;
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = String;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a name of at most {MAX_NAME} bytes without control characters")
    }
    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<String, E> {
        match name.len() <= MAX_NAME && !name.chars().any(char::is_control) {
            true => Ok(name.to_owned()),
            false => Err(E::custom(format!("a name is longer than {MAX_NAME} bytes or has control characters"))),
        }
    }
}

/// Texts by name, each once.
struct Metadata;

impl<'de> DeserializeSeed<'de> for Metadata {
    type Value = BTreeMap<String, String>;
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Metadata {
    type Value = BTreeMap<String, String>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of texts")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = BTreeMap::new();
        while let Some(key) = map.next_key_seed(Name)? {
            let value: String = map.next_value()?;
            if entries.len() == MAX_METADATA || entries.contains_key(&key) {
                return Err(A::Error::custom(format!("metadata `{key}` is there twice, or one too many")));
            }
            entries.insert(key, value);
        }
        Ok(entries)
    }
}

/// The sizes of a tensor; not too many.
struct Dimensions(Vec<usize>);

impl<'de> Deserialize<'de> for Dimensions {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Dimensions, D::Error> {
        struct Sizes;
        impl<'de> Visitor<'de> for Sizes {
            type Value = Dimensions;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of sizes")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Dimensions, A::Error> {
                let mut sizes = Vec::new();
                while let Some(size) = list.next_element()? {
                    if sizes.len() == MAX_RANK {
                        return Err(A::Error::custom(format!("a shape has more than {MAX_RANK} dimensions")));
                    }
                    sizes.push(size);
                }
                Ok(Dimensions(sizes))
            }
        }
        deserializer.deserialize_seq(Sizes)
    }
}
