//! The checkpoint files in `tests/hostile` of the repository: each is refused by name, with little memory, although all digests
//! are right – of accidents those would tell, but not of what somebody made.
//!
//! `BIDST_MAKE_HOSTILE=1 cargo test -p bidst-train --test hostile_checkpoints` writes those that are missing.
#![allow(missing_docs)]

mod common;
#[path = "../../../tests/hostile/mod.rs"]
mod hostile;

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use bidst_train::checkpoint::Checkpoints;
use bidst_train::storage::Disk;
use bidst_train::{Config, Trainer, checkpoint};
use hostile::refused_beside;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

/// A run folder with a checkpoint of a tiny network before its first step, whose files are replaced.
struct Run {
    config: Config,
    path: tempfile::TempDir,
    checkpoint: PathBuf,
    state: Vec<u8>,
    meta: Value,
}

/// What the network takes that a state is read into, whatever the state says.
const NETWORK: usize = 1 << 20;

static RUN: LazyLock<Run> = LazyLock::new(|| {
    let config = common::config("bidst", &["model.name='mlp'", "model.width=0.02"]);
    let path = tempfile::tempdir().unwrap();
    let trainer = Trainer::new(config.clone(), common::splits()).unwrap();
    let checkpoint = checkpoint::save(&trainer, path.path()).unwrap();
    let state = fs::read(checkpoint.join("state.safetensors")).unwrap();
    let meta: Value = serde_json::from_slice(&fs::read(checkpoint.join("meta.json")).unwrap()).unwrap();
    Run { config, path, checkpoint, state, meta: meta["meta"].clone() }
});

impl Run {
    /// What is said of these two files.
    fn load(&self, meta: &[u8], state: &[u8]) -> Result<(), String> {
        fs::write(self.checkpoint.join("meta.json"), meta).unwrap();
        fs::write(self.checkpoint.join("state.safetensors"), state).unwrap();
        let found = Checkpoints::new(&Disk, self.path.path()).newest(Some(&self.config));
        let loaded = found.and_then(|found| found.load(self.config.clone(), common::splits()));
        loaded.map(drop).map_err(|error| error.to_string())
    }
}

/// `meta.json` of this text, with the right digest.
fn seal(text: &str) -> Vec<u8> {
    format!("{{\"crc32c\":\"{:08x}\",\"meta\":{text}}}\n", crc32c::crc32c(text.as_bytes())).into_bytes()
}

fn as_meta(bytes: &[u8]) -> Result<(), String> {
    RUN.load(bytes, &RUN.state)
}

/// Reads a state beside a `meta.json` with the digests of that state.
fn as_state(bytes: &[u8]) -> Result<(), String> {
    let mut meta = RUN.meta.clone();
    meta["files"]["state.safetensors"] = json!({"bytes": bytes.len(), "crc32c": crc32c::crc32c(bytes)});
    if let Ok(tensors) = SafeTensors::deserialize(bytes) {
        let digests = tensors.iter().map(|(name, view)| (name.to_owned(), crc32c::crc32c(view.data()).into()));
        meta["tensors"] = Value::Object(digests.collect());
    }
    RUN.load(&seal(&meta.to_string()), bytes)
}

fn changed_meta(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut meta = RUN.meta.clone();
    change(&mut meta);
    seal(&meta.to_string())
}

/// Name, type, shape and bytes.
type Tensors = Vec<(String, Dtype, Vec<usize>, Vec<u8>)>;

fn changed_state(mark: &str, change: impl FnOnce(&mut Tensors)) -> Vec<u8> {
    let state = SafeTensors::deserialize(&RUN.state).unwrap();
    let parts =
        state.iter().map(|(name, view)| (name.to_owned(), view.dtype(), view.shape().to_vec(), view.data().to_vec()));
    let mut tensors: Tensors = parts.collect();
    change(&mut tensors);
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    safetensors::serialize(views, Some([("bidst".to_owned(), mark.to_owned())].into_iter().collect())).unwrap()
}

/// The first tensor whose name ends so.
fn tensor<'a>(tensors: &'a mut Tensors, end: &str) -> &'a mut (String, Dtype, Vec<usize>, Vec<u8>) {
    tensors.iter_mut().find(|(name, ..)| name.ends_with(end)).unwrap()
}

fn state(change: impl FnOnce(&mut Tensors)) -> Vec<u8> {
    changed_state("checkpoint", change)
}

/// Puts a word at a place of the first tensor whose name ends so.
fn word(end: &'static str, at: usize, word: [u8; 4]) -> impl FnOnce(&mut Tensors) {
    move |tensors| tensor(tensors, end).3[4 * at..][..4].copy_from_slice(&word)
}

/// A test for each file: `name: "file", bytes, reader, "what the refusal says";`
macro_rules! files {
    ($($(#[doc = $sentence:literal])+ $name:ident: $file:literal, $bytes:expr, $reader:expr, $fragment:literal;)*) => {
        $($(#[doc = $sentence])+ #[test] fn $name() {
            // What it allocates is not the reader's.
            LazyLock::force(&RUN);
            let message = refused_beside(NETWORK, concat!("checkpoint/", $file), || $bytes, $reader, $fragment);
            assert!(message.contains("step-00000000"), "{message}");
        })*
    };
}

#[test]
fn the_valid_checkpoint_is_accepted() {
    let path = tempfile::tempdir().unwrap();
    let trainer = Trainer::new(RUN.config.clone(), common::splits()).unwrap();
    checkpoint::save(&trainer, path.path()).unwrap();
    let found = Checkpoints::new(&Disk, path.path()).newest(Some(&RUN.config)).unwrap();
    assert!(found.load(RUN.config.clone(), common::splits()).is_ok());
}

files! {
    /// No byte.
    no_meta: "empty.json", Vec::new(), as_meta, "meta.json is cut, or none of bidst (0 bytes)";
    /// JSON of somebody else.
    a_meta_of_somebody_else: "foreign.json", b"{\"step\": 3}".to_vec(), as_meta, "meta.json is cut, or none of bidst";
    /// Bytes that are not UTF-8.
    a_meta_that_is_not_text: "latin1.json", { let mut b = seal("{}"); b[30] = 0xe9; b }, as_meta, "meta.json is cut, or none of bidst";
    /// A digest of other bytes.
    a_broken_seal: "seal.json", { let mut b = seal("{\"format\":2}"); b[11] ^= 1; b }, as_meta, "meta.json has changed since it was written";
    /// Lists in lists, two thousand deep.
    a_deeply_nested_meta: "nested.json", seal(&"[".repeat(2000)), as_meta, "meta.json: ";
    /// A list where the entries should be.
    a_meta_that_is_a_list: "list.json", seal("[1,2,3]"), as_meta, "meta.json: ";
    /// An entry twice.
    an_entry_twice: "key-twice.json", seal("{\"format\":2,\"format\":2}"), as_meta, "duplicate field `format`";
    /// A format of the future.
    a_format_of_the_future: "format.json", seal("{\"format\":4000000000}"), as_meta, "it is of format 4000000000, newer than";
    /// Fewer than no steps.
    a_negative_step: "negative-step.json", changed_meta(|m| m["step"] = (-1).into()), as_meta, "integer `-1`";
    /// More steps than anybody can do.
    a_step_beyond_all: "last-step.json", changed_meta(|m| m["step"] = u64::MAX.into()), as_meta, "it holds step 18446744073709551615, not that of its name";
    /// More epochs than the step allows.
    an_epoch_beyond_all: "last-epoch.json", changed_meta(|m| m["epoch"] = u64::MAX.into()), as_meta, "step 0 is not in epoch 18446744073709551615";
    /// A loss that no number holds.
    a_loss_beyond_all_numbers: "loss.json", seal(&RUN.meta.to_string().replace("\"losses\":[]", "\"losses\":[1e999]")), as_meta, "number out of range";
    /// A file that is as large as no disk.
    a_file_as_large_as_no_disk: "large-file.json", changed_meta(|m| m["files"]["state.safetensors"]["bytes"] = u64::MAX.into()), as_meta, "bytes instead of 18446744073709551615";
    /// A digest that is no number.
    a_digest_of_letters: "digest.json", changed_meta(|m| m["files"]["state.safetensors"]["crc32c"] = "mine".into()), as_meta, "invalid type: string";
    /// The digests of no tensor.
    no_digests: "no-digests.json", changed_meta(|m| m["tensors"] = json!({})), as_meta, "the header has changed since it was written";
    /// A setting that clears the terminal.
    a_setting_of_control_characters: "control-setting.json", changed_meta(|m| m["settings"]["\u{1b}[2J"] = "\u{7}x".into()), as_meta, "it was made with `\\u{1b}[2J`";

    /// No byte.
    no_state: "empty.safetensors", Vec::new(), as_state, "the header has changed since it was written";
    /// The largest length of a header that can be written down.
    a_state_with_a_header_without_end: "endless.safetensors", vec![0xff; 64], as_state, "the header has changed since it was written";
    /// A valid container of somebody else.
    a_state_of_somebody_else: "foreign.safetensors", safetensors::serialize(Vec::<(String, TensorView<'_>)>::new(), None).unwrap(), as_state, "no `bidst` entry";
    /// Positions that go down.
    positions_that_go_down: "positions.safetensors", state(word(".weight/indices", 0, [255, 0, 0, 0])), as_state, "is not ascending or not below";
    /// A position outside the tensor.
    a_position_outside: "position-outside.safetensors", state(|t| { let (_, _, shape, bytes) = tensor(t, ".weight/indices"); let at = 4 * (shape[0] - 1); bytes[at..].fill(255); }), as_state, "index 4294967295 at position";
    /// A weight that is no number.
    a_value_that_is_no_number: "nan.safetensors", state(word(".weight/values", 1, f32::NAN.to_le_bytes())), as_state, "holds NaN at position 1";
    /// A momentum without bound.
    an_infinite_momentum: "infinite.safetensors", state(word(".weight/momentum", 0, f32::INFINITY.to_le_bytes())), as_state, "holds inf at position 0";
    /// Values for other positions than there are.
    more_positions_than_values: "fewer-values.safetensors", state(|t| { let (_, _, shape, bytes) = tensor(t, ".weight/values"); shape[0] -= 1; bytes.truncate(4 * shape[0]); }), as_state, "has shape [";
    /// Numbers of another type.
    positions_of_another_type: "type.safetensors", state(|t| tensor(t, ".weight/indices").1 = Dtype::F32), as_state, "holds F32, expected u32";
    /// No bias.
    a_vector_is_missing: "missing.safetensors", state(|t| t.retain(|(name, ..)| !name.ends_with(".bias/values"))), as_state, "is missing";
    /// A tensor that no network has.
    a_tensor_too_many: "ghost.safetensors", state(|t| t.push(("ghost".to_owned(), Dtype::U8, vec![1], vec![0]))), as_state, "`ghost`";
    /// State of the algorithm of a type that there is not.
    an_entry_of_the_algorithm_of_no_type: "algorithm-type.safetensors", state(|t| t.push(("algorithm/f64/x".to_owned(), Dtype::F64, vec![1], vec![0; 8]))), as_state, "`algorithm/f64/x`";
    /// Two words where the algorithm keeps one.
    a_word_of_the_algorithm_too_many: "algorithm-length.safetensors", state(|t| { let (_, _, shape, bytes) = tensor(t, "algorithm/u64/started"); shape[0] = 2; bytes.extend([0; 8]); }), as_state, "`started` has 2 entries instead of 1";
    /// Candidates outside their layer.
    candidates_outside: "candidates.safetensors", state(|t| { let (_, _, shape, bytes) = tensor(t, "candidates.0"); shape[0] = 1; *bytes = vec![255; 4]; }), as_state, "positions must be sorted";
    /// Statistics of a larger network.
    statistics_of_another_network: "statistics.safetensors", state(|t| { let (_, _, shape, bytes) = t.iter_mut().find(|(name, ..)| name.starts_with("stats/u64/")).unwrap(); shape[0] += 9; bytes.extend([1; 72]); }), as_state, "entries instead of";
}
