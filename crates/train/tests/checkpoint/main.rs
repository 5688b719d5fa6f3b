//! Checkpoints on disks that fail, in folders that are damaged, and in processes that end anywhere.

mod faulty;
mod storage;
