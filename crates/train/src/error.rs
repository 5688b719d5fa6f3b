//! What can go wrong with a run.

use std::io;
use std::path::{Path, PathBuf};

use bidst_data::DataError;
use bidst_engine::EngineError;
use bidst_model::ModelError;
use bidst_topology::{ChangeError, DistributionError, MaskError, Pattern, StartError, StateError};

use crate::checkpoint::{Flaw, PassedOver};
use crate::config::ConfigError;
use crate::container::ContainerError;
use crate::guard::Offence;
use crate::import::StateProblem;
use crate::metrics::SpikeRecord;
use crate::units::size;

/// Why a run could not be set up, carried on, saved or read back.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data could not be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The network could not be built.
    #[error("model `{model}`: {source}")]
    Model {
        /// Name of the model.
        model: String,
        /// What the model says.
        source: ModelError,
    },
    /// The non-zeros could not be shared out.
    #[error("[sparsity]: {0}")]
    Distribution(#[from] DistributionError),
    /// The engine refused the network or a batch.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// An algorithm returned a change that breaks its promises; nothing was applied.
    #[error("step {step}, layer {layer}: {algorithm} returned an invalid change: {source}")]
    Change {
        /// Name of the algorithm.
        algorithm: &'static str,
        /// The step of the decision.
        step: u64,
        /// The layer.
        layer: String,
        /// What is wrong with the change.
        source: ChangeError,
    },
    /// An algorithm returned a value of a grown weight that is none; nothing was applied.
    #[error("step {step}, layer {layer}: {algorithm} grows a weight with the value {value}")]
    GrownValue {
        /// Name of the algorithm.
        algorithm: &'static str,
        /// The step of the decision.
        step: u64,
        /// The layer.
        layer: String,
        /// The value.
        value: f32,
    },
    /// An algorithm returned a wrong number of changes; nothing was applied.
    #[error("step {step}: {algorithm} returned {found} changes for {expected} sparsified layers")]
    Changes {
        /// Name of the algorithm.
        algorithm: &'static str,
        /// The step of the decision.
        step: u64,
        /// Changes returned.
        found: usize,
        /// Layers there are.
        expected: usize,
    },
    /// An algorithm returned changes that do not keep the number of non-zeros; nothing was applied.
    #[error(
        "step {step}, {place}: {algorithm} drops {dropped} and grows {grown} weights, but the number of non-zeros must not change"
    )]
    Budget {
        /// Name of the algorithm.
        algorithm: &'static str,
        /// The step of the decision.
        step: u64,
        /// The layer, or the whole network.
        place: String,
        /// Weights dropped.
        dropped: usize,
        /// Weights grown.
        grown: usize,
    },
    /// An algorithm returned a change that leaves the pattern of its layer; nothing was applied.
    #[error("step {step}, layer {layer}: the change of {algorithm} does not keep the pattern {pattern}")]
    Pattern {
        /// Name of the algorithm.
        algorithm: &'static str,
        /// The step of the decision.
        step: u64,
        /// The layer.
        layer: String,
        /// Its pattern.
        pattern: Pattern,
    },
    /// An algorithm returned changes that miss the number of non-zeros of its own schedule; nothing was applied.
    #[error("step {step}: {algorithm} leaves {found} non-zeros, but its schedule says {expected}")]
    Schedule {
        /// Name of the algorithm.
        algorithm: &'static str,
        /// The step of the decision; 0 also stands for the choice of the first mask.
        step: u64,
        /// Non-zeros of all sparsified layers after the changes.
        found: usize,
        /// Non-zeros there should be.
        expected: usize,
    },
    /// An algorithm could not choose the first mask.
    #[error("{algorithm} could not choose the first mask: {source}")]
    Start {
        /// Name of the algorithm.
        algorithm: &'static str,
        /// Why.
        source: StartError,
    },
    /// A number became infinite or none. Weights, momentum and running statistics are those before the step.
    #[error(
        "training diverged: {offence} at learning rate {learning_rate:.4e}; try a smaller --lr, or some `optim.warmup_epochs`{}",
        kept_at(kept)
    )]
    Diverged {
        /// What was found, in which step.
        offence: Offence,
        /// The learning rate of that step.
        learning_rate: f64,
        /// The checkpoint with the state before the step, or the newest before it.
        kept: Option<PathBuf>,
    },
    /// The loss stood out, and the run was to stop then. Weights, momentum and running statistics are those before the step.
    #[error("stopped at a spike: {spike}; `--on-spike skip` leaves such steps out{}", kept_at(kept))]
    Spiked {
        /// The loss and those before it.
        spike: SpikeRecord,
        /// The checkpoint with the state before the step, or the newest before it.
        kept: Option<PathBuf>,
    },
    /// Whoever watched the run ended it.
    #[error("stopped after step {step}")]
    Stopped {
        /// The last step that was done, from 0.
        step: u64,
    },
    /// A pattern does not fit its layer.
    #[error("first masks: {0}")]
    Mask(#[from] MaskError),
    /// A file or folder could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was attempted: `read`, `write`, `create` ...
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What happens in a run could not be recorded.
    #[error(
        "{source}; make room, then `bidst train --resume {}` goes on from the last checkpoint (under `run.on_save_error = \
         \"warn\"` a run waits for room)",
        run.display()
    )]
    Records {
        /// The run folder.
        run: PathBuf,
        /// What could not be written.
        source: Box<TrainError>,
    },
    /// A model file is not what it should be.
    #[error("{}: {reason}", path.display())]
    ModelFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: ModelFileError,
    },
    /// A checkpoint is damaged or belongs to another run.
    #[error("checkpoint {}: {flaw}", path.display())]
    Checkpoint {
        /// Its folder.
        path: PathBuf,
        /// What is wrong with it.
        flaw: Flaw,
    },
    /// A checkpoint could not be written.
    #[error(transparent)]
    Save(Box<SaveError>),
    /// The disk has no room for the checkpoints to come.
    #[error(
        "{}: the disk has {} left, but the checkpoints to come need {}; free some space, or choose another --output",
        path.display(), size(*free), size(*wanted)
    )]
    NoRoom {
        /// The run folder.
        path: PathBuf,
        /// Bytes needed.
        wanted: u64,
        /// Bytes left.
        free: u64,
    },
    /// All checkpoints of a run are damaged.
    #[error("cannot resume {}: none of its checkpoints is whole:{}", path.display(), listed(passed_over))]
    NoneIsWhole {
        /// The run folder.
        path: PathBuf,
        /// Them, newest first.
        passed_over: Vec<PassedOver>,
    },
    /// Another process trains in a run folder.
    #[error("{}: another bidst is at work in this folder ({holder}); wait for it, or stop it first", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
        /// Its process and start, as far as it has said so.
        holder: String,
    },
    /// The run would need more memory than it may have.
    #[error("the run needs {} of memory, more than the {} of {whose}: {split}", size(*wanted), size(*limit))]
    Memory {
        /// Bytes predicted.
        wanted: u64,
        /// Bytes allowed.
        limit: u64,
        /// By whom.
        whose: &'static str,
        /// What they are for.
        split: String,
    },
    /// The state of an algorithm does not fit it.
    #[error("checkpoint {}: state of the algorithm: {source}", path.display())]
    State {
        /// Folder of the checkpoint.
        path: PathBuf,
        /// What the algorithm says.
        source: StateError,
    },
    /// A run of a comparison was made with other settings than the grid now asks for.
    #[error(
        "run `{run}`: the folder was made with `{key}` {was}, the grid now says {now}; \
         choose another --out, or remove {} to train it anew", path.display()
    )]
    RunChanged {
        /// Name of the run.
        run: String,
        /// Its folder.
        path: PathBuf,
        /// The setting that differs.
        key: String,
        /// Its value in the folder.
        was: String,
        /// Its value in the grid.
        now: String,
    },
    /// Another process trains in the folder of a comparison.
    #[error("{}: another `bidst compare` is at work in this folder; wait for it, or choose another --out", path.display())]
    Occupied {
        /// The folder.
        path: PathBuf,
    },
    /// A file of kernel choices is none.
    #[error("{}: not a list of choices such as the kernels.json of a run: {source}", path.display())]
    Kernels {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// There is nothing to continue.
    #[error("cannot resume {}: {reason}", path.display())]
    CannotResume {
        /// The run folder.
        path: PathBuf,
        /// Why, and what to do.
        reason: &'static str,
    },
}

/// What is wrong with a model file. Every variant means that nothing of the file was used.
#[derive(Debug, thiserror::Error)]
pub enum ModelFileError {
    /// There is nothing of this name.
    #[error("there is no such file; give the path of a model file or of a safetensors state")]
    Absent,
    /// A folder.
    #[error("is a folder; give the path of a file, in a run folder that of model.safetensors")]
    Folder,
    /// A pipe or device.
    #[error("not a regular file")]
    NotAFile,
    /// More bytes than any model this program writes.
    #[error("{bytes} bytes are more than the limit of {limit}")]
    TooLarge {
        /// Size of the file.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// Not a safetensors file.
    #[error("not a valid safetensors file: {0}")]
    Container(#[from] ContainerError),
    /// Tensors that do not make up a safetensors file.
    #[error("the tensors do not make up a safetensors file: {0}")]
    Unwritable(#[from] safetensors::SafeTensorError),
    /// A safetensors file, but not one of ours.
    #[error("the metadata have no `bidst` entry: not a model written by `bidst train`")]
    NotOurs,
    /// The `bidst` entry is not what the documentation of the format says.
    #[error("the `bidst` entry of the metadata is malformed: {0}")]
    Metadata(#[from] serde_json::Error),
    /// Written by a newer program.
    #[error("format version {found} is newer than {known}, the newest this program reads; use a newer bidst")]
    Version {
        /// Version of the file.
        found: u32,
        /// Newest version known.
        known: u32,
    },
    /// A number in the metadata is outside what is possible.
    #[error("`{field}` in the metadata is {value}, outside {range}")]
    Range {
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What is possible.
        range: &'static str,
    },
    /// The network described in the metadata cannot be built.
    #[error("the network cannot be built: {0}")]
    Model(#[from] ModelError),
    /// A tensor is missing.
    #[error("tensor `{name}` is missing")]
    Missing {
        /// The tensor.
        name: String,
    },
    /// A tensor that the network has no place for.
    #[error("tensor `{name}` does not belong to the network")]
    Unexpected {
        /// The tensor.
        name: String,
    },
    /// A tensor has the wrong element type.
    #[error("tensor `{name}` holds {found}, expected {expected}")]
    Type {
        /// The tensor.
        name: String,
        /// Element type found.
        found: String,
        /// Element type expected.
        expected: &'static str,
    },
    /// A tensor has the wrong shape.
    #[error("tensor `{name}` has shape {found:?}, expected {expected:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// Shape found.
        found: Vec<usize>,
        /// Shape expected.
        expected: Vec<usize>,
    },
    /// The indices of a sparse weight are not ascending or not inside the tensor.
    #[error("tensor `{name}`: index {value} at position {position} is not ascending or not below {len}")]
    Index {
        /// The tensor.
        name: String,
        /// Position of the offending index.
        position: usize,
        /// The index.
        value: u32,
        /// Number of positions.
        len: usize,
    },
    /// A value is infinite or not a number.
    #[error("tensor `{name}` holds {value} at position {position}")]
    NotFinite {
        /// The tensor.
        name: String,
        /// Where.
        position: usize,
        /// The value.
        value: f32,
    },
    /// More tensors, or longer names, than any network has.
    #[error("{tensors} tensors; a network has at most {most}, with names of at most {longest} letters")]
    Names {
        /// Tensors in the file.
        tensors: usize,
        /// Tensors that a file may have.
        most: usize,
        /// Letters that a name may have.
        longest: usize,
    },
    /// A state is not that of the network.
    #[error("the state does not fit {network}:\n{}", lines(problems))]
    State {
        /// Name of the network.
        network: String,
        /// Everything that is wrong.
        problems: Vec<StateProblem>,
    },
}

fn lines(problems: &[StateProblem]) -> String {
    problems.iter().map(|problem| format!("  {problem}")).collect::<Vec<_>>().join("\n")
}

/// A checkpoint that could not be written, or an old one that could not be removed.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot save the checkpoint of step {step}: cannot {action} {}: {source} (wanted {}{}). {}. {}, then go on with \
     `bidst train --resume`",
    path.display(), size(*wanted), self.left(), self.newest(), self.remedy()
)]
pub struct SaveError {
    /// Steps done.
    pub step: u64,
    /// What was attempted: `create`, `write`, `flush`, `rename`, `remove` ...
    pub action: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
    /// Bytes of the checkpoint.
    pub wanted: u64,
    /// Bytes left on the disk, where the system tells.
    pub free: Option<u64>,
    /// The newest checkpoint that is whole.
    pub intact: Option<PathBuf>,
}

impl SaveError {
    fn left(&self) -> String {
        self.free.map(|free| format!(", {} free", size(free))).unwrap_or_default()
    }

    fn newest(&self) -> String {
        match &self.intact {
            Some(path) => format!("{} is intact", path.display()),
            None => "There is no earlier one".to_owned(),
        }
    }

    fn remedy(&self) -> &'static str {
        match self.source.kind() {
            io::ErrorKind::StorageFull => "Free some space",
            io::ErrorKind::QuotaExceeded => "Free some of your quota, or have it raised",
            io::ErrorKind::ReadOnlyFilesystem => "Make the disk writable again",
            io::ErrorKind::PermissionDenied => "Get permission to write there",
            _ => "Check the disk",
        }
    }
}

/// `; the last good state is in ...`
fn kept_at(kept: &Option<PathBuf>) -> String {
    kept.as_ref().map(|path| format!("; the last good state is in {}", path.display())).unwrap_or_default()
}

fn listed(passed_over: &[PassedOver]) -> String {
    passed_over.iter().map(|PassedOver { name, flaw }| format!("\n  {name}: {flaw}")).collect()
}

impl TrainError {
    /// For `map_err`: an I/O error with what was attempted on which path.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TrainError {
        let path = path.to_owned();
        move |source| TrainError::Io { action, path, source }
    }
}
