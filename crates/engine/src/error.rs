//! What can go wrong between a graph and a training step.

use thiserror::Error;

/// An error of the engine.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The environment asked for an instruction set that the machine lacks.
    #[error("{0}")]
    InstructionSet(String),
    /// The worker threads could not be started.
    #[error("cannot start {threads} worker threads: {reason}; ask for fewer")]
    Threads {
        /// Threads asked for.
        threads: usize,
        /// What the operating system said.
        reason: String,
    },
    /// A batch size of 0.
    #[error("the batch size is 0; it has to be at least 1")]
    EmptyBatch,
    /// As many patterns as weight tensors are needed.
    #[error("{given} patterns were given for {expected} weight tensors")]
    PatternCount {
        /// Patterns given.
        given: usize,
        /// Weight tensors of the graph.
        expected: usize,
    },
    /// A pattern is not sorted, has duplicates or reaches outside its tensor.
    #[error("the pattern of {weight} is not a sorted list of positions below {len}: see entry {entry}")]
    Pattern {
        /// Name of the weight tensor.
        weight: String,
        /// Its positions.
        len: usize,
        /// First entry that is wrong.
        entry: usize,
    },
    /// A tensor too large for 32-bit positions.
    #[error("{weight} has {len} positions; at most {} are supported", u32::MAX)]
    TooLarge {
        /// Name of the weight tensor.
        weight: String,
        /// Its positions.
        len: usize,
    },
    /// A batch that does not fit.
    #[error("a batch of {images} images was given to a network planned for 1 to {batch_size}")]
    BatchSize {
        /// Images given.
        images: usize,
        /// Largest batch.
        batch_size: usize,
    },
    /// Pixels and labels disagree, or an image has another size.
    #[error("{given} input values were given where {expected} are needed ({images} images of {per_image})")]
    InputSize {
        /// Values given.
        given: usize,
        /// Values needed.
        expected: usize,
        /// Images in the batch.
        images: usize,
        /// Values of one image.
        per_image: usize,
    },
    /// A label that no logit stands for.
    #[error("label {label} of image {image} is out of range: the network has {classes} classes")]
    Label {
        /// The label.
        label: u32,
        /// Which image of the batch.
        image: usize,
        /// Number of logits.
        classes: usize,
    },
    /// A gradient of the logits that does not fit them.
    #[error("a gradient of {given} values was given for the logits of {images} images in {classes} classes")]
    Head {
        /// Values given.
        given: usize,
        /// Images in the batch.
        images: usize,
        /// Number of logits of one image.
        classes: usize,
    },
    /// A change of pattern that is not one.
    #[error("change of {weight}: {what} {position}")]
    Change {
        /// Name of the weight tensor.
        weight: String,
        /// What is wrong.
        what: &'static str,
        /// The position concerned.
        position: u32,
    },
    /// Grown values that are not as many as grown positions.
    #[error("change of {weight}: {values} values for {grown} grown positions")]
    GrownValues {
        /// Name of the weight tensor.
        weight: String,
        /// Values given.
        values: usize,
        /// Positions grown.
        grown: usize,
    },
    /// A choice of kernels for a layer that is not there.
    #[error("kernels were chosen for `{layer}`, but the network has no such layer; it has {known}")]
    UnknownLayer {
        /// Name given.
        layer: String,
        /// Names there are.
        known: String,
    },
}
