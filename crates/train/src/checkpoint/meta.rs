//! `meta.json`: what is not a tensor, and the digests of everything.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::arithmetic_side_effects)]

use std::collections::BTreeMap;
use std::fmt;

use bidst_data::Dataset;
use safetensors::SafeTensors;
use serde::{Deserialize, Deserializer, Serialize};

use super::flaw::Flaw;
use crate::files::json_line;
use crate::metrics::{EpochRecord, StartCost, Tally};
use crate::settings::Settings;

/// Version of the layout.
pub(super) const FORMAT: u32 = 3;
/// Name of the file with the tensors.
pub(super) const STATE: &str = "state.safetensors";
/// Name of this file.
pub(super) const META: &str = "meta.json";
/// Most bytes of a `meta.json` that are read.
pub(super) const META_LIMIT: u64 = 64 << 20;

/// What is not a tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Meta {
    pub format: u32,
    /// Steps done.
    pub step: u64,
    /// Epochs done; the steps beyond them are of the epoch under way.
    pub epoch: u64,
    /// Record of the last epoch, with the sums since the start of the run and the best epoch.
    #[serde(deserialize_with = "required")]
    pub last: Option<EpochRecord>,
    /// Sums over the steps of the epoch under way.
    pub tally: Tally,
    /// What the choice of the first mask cost.
    pub start: StartCost,
    /// The last losses, by which a spike is judged.
    pub losses: Vec<f64>,
    /// The settings that decide a result.
    pub settings: Settings,
    /// What the data set was.
    pub data: DataMark,
    /// Digests of the files.
    pub files: BTreeMap<String, FileDigest>,
    /// CRC-32C of the bytes of each tensor.
    pub tensors: BTreeMap<String, u32>,
}

/// What tells a data set from another: how many images it has, their pixels and their labels, in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DataMark {
    /// Images to train with, and to test with.
    pub images: [usize; 2],
    /// CRC-32C of all labels in their order.
    pub labels: u32,
    /// CRC-32C of the pixels of both.
    pub pixels: [u32; 2],
}

impl DataMark {
    /// Of the images to train with, and those to test with.
    pub fn of(sets: [&Dataset; 2]) -> DataMark {
        let labels: Vec<u8> =
            sets.into_iter().flat_map(|set| &set.labels).flat_map(|label| label.to_le_bytes()).collect();
        let pixels = sets.map(|set| set.images.digest());
        DataMark { images: sets.map(|set| set.labels.len()), labels: crc32c::crc32c(&labels), pixels }
    }
}

impl fmt::Display for DataMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [train, test] = self.images;
        let [train_pixels, test_pixels] = self.pixels;
        write!(f, "{train} training and {test} test images, labels {:08x}, ", self.labels)?;
        write!(f, "pixels {train_pixels:08x} and {test_pixels:08x}")
    }
}

/// Size and CRC-32C of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileDigest {
    pub bytes: u64,
    pub crc32c: u32,
}

/// Serde takes a missing `Option` for `None`; here it is an error.
fn required<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(from)
}

const SEAL: (&str, &str, &str) = ("{\"crc32c\":\"", "\",\"meta\":", "}\n");

impl Meta {
    /// Notes the digests of `state`, the bytes of the file with the tensors.
    pub fn digest(&mut self, state: &[u8]) {
        let digest = FileDigest { bytes: state.len() as u64, crc32c: crc32c::crc32c(state) };
        self.files = BTreeMap::from([(STATE.to_owned(), digest)]);
        self.tensors = tensor_digests(state).unwrap_or_default();
    }

    /// The file: the entries, sealed by their digest.
    pub fn to_bytes(&self) -> Vec<u8> {
        seal(&json_line(self))
    }

    /// Reads a sealed file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Meta, Flaw> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let text = unseal(bytes)?;
        let found = serde_json::from_str::<Version>(text)?.format;
        if found > FORMAT {
            return Err(Flaw::Newer { found, known: FORMAT });
        }
        Ok(serde_json::from_str(text)?)
    }

    /// Compares the bytes of the file with the tensors with what was noted.
    pub fn check(&self, state: &[u8]) -> Result<(), Flaw> {
        let file = STATE;
        let expected = self.files.get(STATE).ok_or(Flaw::Missing { file })?;
        let found = state.len() as u64;
        if found != expected.bytes {
            return Err(Flaw::Length { file, found, expected: expected.bytes });
        }
        let Some(tensors) = tensor_digests(state) else { return Err(Flaw::Header { file }) };
        if !tensors.keys().eq(self.tensors.keys()) {
            return Err(Flaw::Header { file });
        }
        if let Some(name) = tensors.iter().find_map(|(name, crc)| (self.tensors.get(name) != Some(crc)).then_some(name))
        {
            return Err(Flaw::Tensor { file, name: name.clone() });
        }
        if crc32c::crc32c(state) == expected.crc32c { Ok(()) } else { Err(Flaw::Header { file }) }
    }
}

/// Digests of the tensors of a safetensors file; `None` if it is none.
fn tensor_digests(state: &[u8]) -> Option<BTreeMap<String, u32>> {
    let tensors = SafeTensors::deserialize(state).ok()?;
    Some(tensors.iter().map(|(name, view)| (name.to_owned(), crc32c::crc32c(view.data()))).collect())
}

/// `{"crc32c":"0123abcd","meta":` text `}`, with the digest of the text: still JSON.
fn seal(text: &str) -> Vec<u8> {
    let (head, middle, tail) = SEAL;
    format!("{head}{:08x}{middle}{text}{tail}", crc32c::crc32c(text.as_bytes())).into_bytes()
}

fn unseal(bytes: &[u8]) -> Result<&str, Flaw> {
    let (head, middle, tail) = SEAL;
    let parts = || {
        let text = std::str::from_utf8(bytes).ok()?;
        let (digest, rest) = text.strip_prefix(head)?.split_at_checked(8)?;
        Some((digest, rest.strip_prefix(middle)?.strip_suffix(tail)?))
    };
    let (found, text) = parts().ok_or(Flaw::Unsealed { bytes: bytes.len() })?;
    let actual = format!("{:08x}", crc32c::crc32c(text.as_bytes()));
    if found == actual { Ok(text) } else { Err(Flaw::SealBroken { found: found.escape_debug().to_string(), actual }) }
}
