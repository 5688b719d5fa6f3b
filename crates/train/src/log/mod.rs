//! Logs for other programs: TensorBoard event files.

pub mod events;
pub mod tensorboard;

pub use tensorboard::TensorBoard;
