//! The laws that every algorithm obeys, to hold yours to.
//!
//! A [`Subject`] is an algorithm and what it says of itself; [`Subject::check`] runs it on small random [`World`]s, with
//! losses that need no network, and names the first [`Law`] that it breaks. All listed algorithms are checked like this
//! (`tests/conformance.rs`), and two dozen wrong ones are caught (`tests/mutants.rs`).
//!
//! ```
//! use bidst_topology::testing::Subject;
//! use bidst_topology::{Algorithm, Change, Context, LayerView};
//!
//! /// Drops whatever it likes.
//! struct Careless;
//!
//! impl Algorithm for Careless {
//!     fn name(&self) -> &'static str {
//!         "careless"
//!     }
//!     fn next_decision(&self, step: u64) -> Option<u64> {
//!         (step <= 10).then_some(10)
//!     }
//!     fn update(&mut self, _step: u64, layers: &[LayerView<'_>]) -> Vec<Change> {
//!         layers.iter().map(|layer| Change { dropped: layer.active.to_vec(), ..Change::default() }).collect()
//!     }
//! }
//!
//! let make = |_: &Context<'_>| -> Box<dyn Algorithm> { Box::new(Careless) };
//! let violation = Subject::new("careless", make).check(10).unwrap_err();
//! assert!(violation.to_string().contains("every count is exact"), "{violation}");
//! ```

#[cfg(test)]
mod examples;
mod simulator;
mod subject;
mod world;

#[cfg(test)]
pub(crate) use examples::{Fixed, Flow, Quadratic, context, view};
pub use simulator::{Decision, Layer, Simulator};
pub use subject::{Replaces, Subject};
pub use world::{Fault, World, matrices};

use std::fmt;

/// What an algorithm promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Law {
    /// The non-zeros that its maker gives each layer at the start.
    Start,
    /// What [`Change::check`](crate::Change::check) asks of a change.
    Legal,
    /// The [`Budget`](crate::Budget), and the target of the run at its end.
    Count,
    /// The layer's [`Pattern`](crate::Pattern).
    Pattern,
    /// Layers in which there is nothing to swap.
    Full,
    /// Every layer keeps a non-zero, see [`Subject::may_empty_layers`].
    Alive,
    /// The positions named in [`Needs::Candidates`](crate::Needs::Candidates).
    Probes,
    /// [`next_decision`](crate::Algorithm::next_decision).
    Times,
    /// No decision after exploration has stopped.
    Stop,
    /// No probe once no decision is left.
    Idle,
    /// The drop fraction.
    Replaced,
    /// A drop fraction of 0.
    Still,
    /// Determinism.
    Same,
    /// [`save`](crate::Algorithm::save) and [`load`](crate::Algorithm::load) of its own state.
    Resume,
    /// [`load`](crate::Algorithm::load) of another state.
    Damage,
    /// [`state_bytes`](crate::Algorithm::state_bytes).
    Declared,
    /// The order of equal scores.
    Ties,
    /// The point of it all.
    Pays,
}

impl Law {
    /// All laws.
    pub const ALL: [Law; 18] = [
        Law::Start,
        Law::Legal,
        Law::Count,
        Law::Pattern,
        Law::Full,
        Law::Alive,
        Law::Probes,
        Law::Times,
        Law::Stop,
        Law::Idle,
        Law::Replaced,
        Law::Still,
        Law::Same,
        Law::Resume,
        Law::Damage,
        Law::Declared,
        Law::Ties,
        Law::Pays,
    ];
}

impl fmt::Display for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Law::Start => "a layer starts with no less than its target and no more than its positions",
            Law::Legal => "a change is sorted and unique, drops and resets what is active, grows what is not",
            Law::Count => "every count is exact, after each decision and at the end",
            Law::Pattern => "masks keep the pattern of their layer",
            Law::Full => "a layer that keeps its count and is full or empty is left alone",
            Law::Alive => "no layer is emptied",
            Law::Probes => "candidates are sorted, unique and inactive positions of their layer",
            Law::Times => "decisions fall at the steps announced, and at no others",
            Law::Stop => "nothing is decided once exploration has stopped",
            Law::Idle => "nothing is asked for once no decision is left",
            Law::Replaced => "a decision replaces as many weights as the drop fraction says",
            Law::Still => "a drop fraction of 0 changes nothing",
            Law::Same => "a seed determines every change and every bit, on any thread",
            Law::Resume => "saved and loaded, a run goes on as if never interrupted",
            Law::Damage => "a foreign or damaged state is refused and leaves the algorithm as it was",
            Law::Declared => "what is kept for positions without a weight is declared",
            Law::Ties => "of equal positions the lower index is the better one",
            Law::Pays => "a run ends with a lower loss than on a fixed random mask",
        })
    }
}

/// A law that was broken, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Broken {
    /// The law.
    pub law: Law,
    /// What happened.
    pub what: String,
}

/// A broken law, whose, and where.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{subject} breaks the law that {}: {} (in {world:?})", .broken.law, .broken.what)]
pub struct Violation {
    /// The algorithm.
    pub subject: String,
    /// The law.
    pub broken: Broken,
    /// The world in which it was broken.
    pub world: World,
}

impl Law {
    /// `Ok` if the law holds here.
    pub(crate) fn holds(self, here: bool, what: impl FnOnce() -> String) -> Result<(), Broken> {
        if here { Ok(()) } else { Err(self.broken(what())) }
    }

    pub(crate) fn broken(self, what: impl Into<String>) -> Broken {
        Broken { law: self, what: what.into() }
    }
}
