//! A real disk that becomes full while a run writes to it. Needs the right to mount one; otherwise it says so and is left out.
#![cfg(target_os = "linux")]

mod common;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{bidst, end_of, run_in, send, until, write_data};

/// A file system of 4 MiB in memory.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Option<SmallDisk> {
        fs::create_dir_all(at).unwrap();
        let mut mount = Command::new("mount");
        let output = mount.args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(at).output().ok()?;
        output.status.success().then(|| SmallDisk(at.to_owned()))
    }

    /// Leaves no room on it.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = File::create(&path).unwrap();
        let error = std::iter::repeat_with(|| file.write_all(&[7; 512])).find_map(Result::err).unwrap();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("--lazy").arg(&self.0).status());
    }
}

fn arguments(output: &str) -> Vec<&str> {
    let base = ["train", "--dataset", "fashion-mnist", "--data-dir", "data", "--model", "mlp", "--width", "0.03"];
    let length = ["--epochs", "30", "--batch-size", "20", "--threads", "1", "--progress", "none"];
    let quiet = ["--set", "run.log_interval=1000", "--set", "run.tensorboard=false"];
    [&base[..], &length, &quiet, &["--output", output]].concat()
}

#[test]
fn a_run_on_a_disk_that_becomes_full_stops_with_its_checkpoints_and_ends_the_same_once_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let Some(disk) = SmallDisk::mount(&folder.join("disk")) else {
        // Past the capture of the test harness, so that it is seen.
        return writeln!(io::stderr(), "LEFT OUT: no small disk could be mounted (that needs root)").unwrap();
    };
    write_data(folder);
    let mut child = bidst(folder, arguments("disk/runs")).spawn();
    let runs = disk.0.join("runs");
    let is_saved = |run: PathBuf| run.join("checkpoints/step-00000020").is_dir();
    until("an epoch is done", || !child.is_alive() || run_in(&runs).is_some_and(is_saved));
    send("-STOP", &child);
    let filler = disk.fill();
    send("-CONT", &child);
    let (code, message) = end_of(child);
    assert_eq!(code, Some(1), "{message}");
    let run = run_in(&runs).unwrap();
    let names = |part: &&str| message.contains(part);
    assert!(["No space left on device", "disk/runs/"].iter().all(names), "{message}");

    fs::remove_file(filler).unwrap();
    let resumed = bidst(folder, ["train", "--resume", run.to_str().unwrap(), "--progress", "none"]).spawn();
    assert_eq!(end_of(resumed), (Some(0), String::new()));
    assert_eq!(end_of(bidst(folder, arguments("whole")).spawn()).0, Some(0));
    let whole = run_in(&folder.join("whole")).unwrap();
    let [whole, cut] = [whole, run].map(|run| fs::read(run.join("model.safetensors")).unwrap());
    assert!(whole == cut, "other weights");
}
