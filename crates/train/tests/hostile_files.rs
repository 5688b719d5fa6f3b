//! The model files and configurations in `tests/hostile` of the repository: each is refused by name, with little memory.
//!
//! `BIDST_MAKE_HOSTILE=1 cargo test -p bidst-train --test hostile_files` writes those that are missing.
#![allow(missing_docs)]

mod draft;
#[path = "../../../tests/hostile/mod.rs"]
mod hostile;

use bidst_train::config::Builder;
use bidst_train::export::ModelFile;
use draft::{Draft, draft};
use hostile::refused;
use safetensors::tensor::Dtype;
use serde_json::json;
use std::path::Path;

fn as_model(bytes: &[u8]) -> Result<(), String> {
    ModelFile::from_bytes(bytes).map(drop).map_err(|error| error.to_string())
}

fn as_config(bytes: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(bytes);
    Builder::new().text(Path::new("given.toml"), &text).finish().map(drop).map_err(|error| error.to_string())
}

/// A test for each file: `name: "file", bytes, reader, "what the refusal says";`
macro_rules! files {
    ($($(#[doc = $sentence:literal])+ $name:ident: $file:literal, $bytes:expr, $reader:expr, $fragment:literal;)*) => {
        $($(#[doc = $sentence])+ #[test] fn $name() {
            refused($file, || $bytes, $reader, $fragment);
        })*
    };
}

/// A container of this header and so many bytes.
fn container(header: &str, bytes: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; bytes]].concat()
}

fn changed(change: impl FnOnce(&mut Draft)) -> Vec<u8> {
    let mut draft = draft();
    change(&mut draft);
    draft.bytes()
}

files! {
    /// Fewer bytes than the length of the header has.
    a_container_of_seven_bytes: "model/seven-bytes.safetensors", vec![0; 7], as_model, "it has 7 bytes, too few";
    /// The largest length that can be written down.
    a_header_without_end: "model/endless.safetensors", vec![0xff; 16], as_model, "its header claims 18446744073709551615 bytes, the limit is";
    /// A header that ends after the file.
    a_header_cut_off: "model/cut-header.safetensors", container("{\"a\":{\"dtype\":\"F32\",", 0)[..20].to_vec(), as_model, "are left: cut off";
    /// A header that is no JSON.
    a_header_of_noise: "model/noise.safetensors", container("\u{1}\u{2}noise", 4), as_model, "its header is malformed";
    /// A list where the object should be.
    a_header_that_is_a_list: "model/list.safetensors", container("[1, 2]", 0), as_model, "expected an object of tensors";
    /// JSON a thousand lists deep.
    a_deeply_nested_header: "model/nested.safetensors", container(&format!("{{\"a\":{}", "[".repeat(1000)), 0), as_model, "its header is malformed";
    /// One tensor twice.
    a_tensor_twice: "model/twice.safetensors", container(r#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"a":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}"#, 4), as_model, "tensor `a` is there twice";
    /// Metadata twice.
    metadata_twice: "model/metadata-twice.safetensors", container(r#"{"__metadata__":{"bidst":"{}"},"__metadata__":{"bidst":"{}"}}"#, 0), as_model, "`__metadata__` is there twice";
    /// One key of the metadata twice.
    a_key_of_the_metadata_twice: "model/key-twice.safetensors", container(r#"{"__metadata__":{"bidst":"{}","bidst":"{}"}}"#, 0), as_model, "metadata `bidst` is there twice";
    /// Two tensors on the same bytes.
    overlapping_tensors: "model/overlap.safetensors", container(r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}"#, 6), as_model, "tensor `b` begins at byte 2, expected 4";
    /// Bytes that belong to no tensor.
    a_gap_between_tensors: "model/gap.safetensors", container(r#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[4,6]}}"#, 6), as_model, "tensor `b` begins at byte 4, expected 2";
    /// A range that ends before it begins.
    a_range_that_runs_backwards: "model/backwards.safetensors", container(r#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,9]},"b":{"dtype":"U8","shape":[2],"data_offsets":[9,2]}}"#, 2), as_model, "which do not fit it";
    /// A negative offset.
    a_negative_offset: "model/negative.safetensors", container(r#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[-2,0]}}"#, 0), as_model, "invalid value: integer `-2`";
    /// A shape whose product does not fit 64 bits.
    a_shape_that_overflows: "model/overflow.safetensors", container(r#"{"a":{"dtype":"F64","shape":[4294967296,4294967296],"data_offsets":[0,8]}}"#, 8), as_model, "which do not fit it";
    /// A shape that needs more bytes than its range has.
    a_shape_too_large: "model/large-shape.safetensors", container(r#"{"a":{"dtype":"F32","shape":[1000000],"data_offsets":[0,8]}}"#, 8), as_model, "which do not fit it";
    /// Half a byte.
    half_a_byte: "model/half-byte.safetensors", container(r#"{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,1]}}"#, 1), as_model, "which do not fit it";
    /// Nine dimensions.
    nine_dimensions: "model/nine-dimensions.safetensors", container(r#"{"a":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,1]}}"#, 1), as_model, "more than 8 dimensions";
    /// A type that does not exist.
    an_unknown_type: "model/type.safetensors", container(r#"{"a":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}}"#, 4), as_model, "unknown variant `F31`";
    /// A name of two kilobytes.
    a_long_name: "model/long-name.safetensors", container(&format!(r#"{{"{}":{{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}}}"#, "n".repeat(2000)), 1), as_model, "a name is longer than 1024 bytes";
    /// A name that clears the terminal.
    a_name_of_control_characters: "model/control-name.safetensors", container(r#"{"\u001b[2Ja":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#, 1), as_model, "or has control characters";
    /// A name that is not UTF-8.
    a_name_that_is_not_text: "model/latin1-name.safetensors", { let mut b = container(r#"{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#, 1); b[10] = 0xe9; b }, as_model, "its header is malformed";
    /// Bytes after the last tensor.
    bytes_after_the_tensors: "model/trailing.safetensors", [draft().bytes(), vec![0; 3]].concat(), as_model, "or something was appended";
    /// The last byte is missing.
    a_byte_is_missing: "model/byte-missing.safetensors", { let mut b = draft().bytes(); b.pop(); b }, as_model, "cut off, or something was appended";
    /// A valid container of somebody else.
    a_container_of_somebody_else: "model/foreign.safetensors", container(r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#, 1), as_model, "no `bidst` entry";
    /// A description that is no JSON.
    a_description_of_noise: "model/description.safetensors", container(r#"{"__metadata__":{"bidst":"{{{{"}}"#, 0), as_model, "the `bidst` entry of the metadata is malformed";
    /// A format of the future.
    a_version_of_the_future: "model/version.safetensors", changed(|d| d.about["version"] = 4_000_000_000u32.into()), as_model, "format version 4000000000 is newer";
    /// A network sixty-five times as wide.
    a_network_too_wide: "model/width.safetensors", changed(|d| d.about["width"] = 65.into()), as_model, "`width` in the metadata is 65.0, outside";
    /// Images of four billion rows.
    images_without_end: "model/input.safetensors", changed(|d| d.about["input"] = json!([1, 4_294_967_296u64, 2])), as_model, "`input` in the metadata is";
    /// A network that is not in the zoo.
    an_unknown_network: "model/network.safetensors", changed(|d| d.about["model"] = "perceptron-9000".into()), as_model, "the network cannot be built";
    /// A sparse weight of another shape.
    a_sparse_shape_that_lies: "model/sparse-shape.safetensors", changed(|d| for (_, shape) in d.about["sparse"].as_object_mut().unwrap() { *shape = json!([1u64 << 40, 1u64 << 40]); }), as_model, "has shape [1099511627776, 1099511627776]";
    /// Indices that go down.
    indices_that_go_down: "model/indices.safetensors", changed(|d| d.tensor(".indices").3[..4].copy_from_slice(&6u32.to_le_bytes())), as_model, "is not ascending or not below";
    /// An index outside the tensor.
    an_index_outside: "model/index-outside.safetensors", changed(|d| d.tensor(".indices").3[8..12].copy_from_slice(&u32::MAX.to_le_bytes())), as_model, "index 4294967295 at position 2";
    /// A weight that is not a number.
    a_weight_that_is_no_number: "model/nan.safetensors", changed(|d| d.tensor(".values").3[4..8].copy_from_slice(&f32::NAN.to_le_bytes())), as_model, "holds NaN at position 1";
    /// A bias that is infinite.
    an_infinite_bias: "model/infinite.safetensors", changed(|d| d.tensor(".bias").3[..4].copy_from_slice(&f32::INFINITY.to_le_bytes())), as_model, "holds inf at position 0";
    /// Halves where singles should be.
    values_of_another_type: "model/halves.safetensors", changed(|d| { let t = d.tensor(".values"); (t.1, t.2, t.3) = (Dtype::F16, vec![3], vec![0; 6]); }), as_model, "holds F16, expected f32";

    /// Lists in lists, a thousand deep.
    deeply_nested_lists: "config/nested-lists.toml", format!("a = {}", "[".repeat(1000)).into_bytes(), as_config, "given.toml:1";
    /// Tables in tables, a thousand deep.
    deeply_nested_tables: "config/nested-tables.toml", format!("a = {}", "{a = ".repeat(1000)).into_bytes(), as_config, "given.toml:1";
    /// One key twice.
    a_setting_twice: "config/key-twice.toml", b"[train]\nepochs = 1\nepochs = 2\n".to_vec(), as_config, "given.toml:";
    /// A number beyond 64 bits.
    a_number_beyond_64_bits: "config/huge-number.toml", b"[train]\nepochs = 99999999999999999999999999\n".to_vec(), as_config, "given.toml:2:";
    /// A negative number where none makes sense.
    a_negative_count: "config/negative.toml", b"[train]\nbatch_size = -9223372036854775808\n".to_vec(), as_config, "batch_size";
    /// A number that is none.
    a_rate_that_is_no_number: "config/nan.toml", b"[optim]\nlr = nan\n".to_vec(), as_config, "`optim.lr`";
    /// Bytes that are not UTF-8.
    a_configuration_of_noise: "config/noise.toml", vec![0xfe; 64], as_config, "given.toml";
    /// A section that is a number.
    a_section_that_is_a_number: "config/section.toml", b"train = 3\n".to_vec(), as_config, "given.toml:1";
    /// A text that does not end.
    a_text_without_end: "config/open-text.toml", b"[data]\nname = \"cifar10\n".to_vec(), as_config, "given.toml:2:";
}
