//! The values that a batch is made of. Texts and bytes are places in the file: nothing is copied while it is read.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::arithmetic_side_effects)]

use super::PickleError;
use std::borrow::Cow;

/// Containers within containers: the state of an array in a dictionary is three deep.
pub(super) const MAX_DEPTH: usize = 6;

/// A place in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub start: u32,
    pub end: u32,
}

impl Span {
    fn bytes(self, file: &[u8]) -> &[u8] {
        file.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// Bytes as Python 3 writes them for protocols without bytes: as text, a character each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bytes {
    Plain(Span),
    Latin1(Span),
}

impl Bytes {
    /// The bytes themselves.
    pub fn of(self, file: &[u8]) -> Result<Cow<'_, [u8]>, PickleError> {
        match self {
            Bytes::Plain(span) => Ok(Cow::Borrowed(span.bytes(file))),
            Bytes::Latin1(span) => {
                let damaged = PickleError::Text { offset: span.start as usize };
                let text = std::str::from_utf8(span.bytes(file)).map_err(|_| damaged)?;
                let byte = |c: char| u8::try_from(u32::from(c)).ok();
                let bytes: Option<Vec<u8>> = text.chars().map(byte).collect();
                bytes.map(Cow::Owned).ok_or(PickleError::Text { offset: span.start as usize })
            }
        }
    }

    /// How many there are, without copying them.
    pub fn len(self, file: &[u8]) -> usize {
        match self {
            Bytes::Plain(span) => span.bytes(file).len(),
            // Every character begins with one byte that is no continuation.
            Bytes::Latin1(span) => span.bytes(file).iter().filter(|&&byte| byte & 0xc0 != 0x80).count(),
        }
    }
}

/// The classes and functions that an array of bytes is pickled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    /// `numpy.core.multiarray._reconstruct`
    Reconstruct,
    /// `numpy.ndarray`
    Array,
    /// `numpy.dtype`
    Dtype,
    /// `numpy.core.numeric._frombuffer`
    FromBuffer,
    /// `_codecs.encode`
    Encode,
}

impl Global {
    pub fn find(module: &[u8], name: &[u8]) -> Option<Global> {
        match (module, name) {
            (b"numpy.core.multiarray" | b"numpy._core.multiarray", b"_reconstruct") => Some(Global::Reconstruct),
            (b"numpy", b"ndarray") => Some(Global::Array),
            (b"numpy", b"dtype") => Some(Global::Dtype),
            (b"numpy.core.numeric" | b"numpy._core.numeric", b"_frombuffer") => Some(Global::FromBuffer),
            (b"_codecs", b"encode") => Some(Global::Encode),
            _ => None,
        }
    }
}

/// A two-dimensional array of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Array {
    pub shape: [usize; 2],
    pub bytes: Bytes,
}

#[derive(Debug)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Text(Span),
    Bytes(Bytes),
    Global(Global),
    /// `numpy.dtype("u1")`, before or after its state is set.
    Dtype,
    /// An array without state.
    NewArray,
    Array(Box<Array>),
    Tuple(Vec<Value>),
    List(Vec<Value>),
    Dict(Vec<(Value, Value)>),
}

impl Value {
    /// The text or bytes in the file, if that is what it is.
    pub fn text<'a>(&self, file: &'a [u8]) -> Option<&'a [u8]> {
        match self {
            Value::Text(span) | Value::Bytes(Bytes::Plain(span) | Bytes::Latin1(span)) => Some(span.bytes(file)),
            _ => None,
        }
    }

    pub fn is_text(&self, file: &[u8], text: &str) -> bool {
        self.text(file) == Some(text.as_bytes())
    }

    /// Containers on the way to the deepest value; no deeper than [`MAX_DEPTH`], because nothing deeper is ever built.
    pub fn depth(&self) -> usize {
        let deepest = match self {
            Value::Tuple(items) | Value::List(items) => items.iter().map(Value::depth).max(),
            Value::Dict(entries) => entries.iter().map(|(_, value)| value.depth()).max(),
            _ => return 0,
        };
        deepest.unwrap_or(0).saturating_add(1)
    }
}
