//! A small data set on disk, and the binary as a child.

// Every test takes what it needs.
#![allow(dead_code)]

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use assert_cmd::cargo::cargo_bin;
use serde_json::Value;

/// Writes 400 training and 100 test images of ten classes as IDX files, and returns their folder.
pub fn write_data(folder: &Path) -> PathBuf {
    write_data_with(folder, 100)
}

/// The same with so many test images.
pub fn write_data_with(folder: &Path, test_images: u32) -> PathBuf {
    let data = folder.join("data");
    fs::create_dir_all(&data).unwrap();
    let header = |kind: u8, sizes: &[u32]| {
        let sizes = sizes.iter().flat_map(|size| size.to_be_bytes());
        [0, 0, 8, kind].into_iter().chain(sizes).collect::<Vec<u8>>()
    };
    let mut noise = noise();
    for (split, count) in [("train", 400_u32), ("t10k", test_images)] {
        let mut images = header(3, &[count, 28, 28]);
        let mut labels = header(1, &[count]);
        for image in 0..count {
            let class = (image % 10) as u8;
            let bright = |position: u32| position % 28 / 2 == u32::from(class);
            images.extend((0..28 * 28).map(|position| noise() / 4 + if bright(position) { 120 } else { 0 }));
            labels.push(class);
        }
        fs::write(data.join(format!("{split}-images-idx3-ubyte")), images).unwrap();
        fs::write(data.join(format!("{split}-labels-idx1-ubyte")), labels).unwrap();
    }
    data
}

/// The same bytes whenever it is made.
fn noise() -> impl FnMut() -> u8 {
    let mut seed = 1_u32;
    move || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    }
}

/// Waits until something is so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(120), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until the only run in `runs` has saved its first epoch, of twenty steps, or is over.
pub fn until_an_epoch_is_done(child: &mut Running, runs: &Path) {
    let is_saved = |run: PathBuf| run.join("checkpoints/step-00000020").is_dir();
    until("an epoch is done", || !child.is_alive() || run_in(runs).is_some_and(is_saved));
}

/// Writes 1000 training and 100 test images of noise as the binary version of CIFAR-10 in `folder`/data.
pub fn write_cifar(folder: &Path) {
    let data = folder.join("data");
    fs::create_dir_all(&data).unwrap();
    let mut noise = noise();
    let mut records = |count: u8| {
        let mut bytes = Vec::new();
        for image in 0..count {
            bytes.push(image % 10);
            bytes.extend((0..3072).map(|_| noise()));
        }
        bytes
    };
    (1..=5).for_each(|file| fs::write(data.join(format!("data_batch_{file}.bin")), records(200)).unwrap());
    fs::write(data.join("test_batch.bin"), records(100)).unwrap();
}

/// `bidst` about to start, with piped output. Whichever way it is run, a panic in it is a failure of the test.
pub struct Bidst(Command);

/// `bidst` with `arguments`, in `folder`.
pub fn bidst<S: AsRef<OsStr>>(folder: &Path, arguments: impl IntoIterator<Item = S>) -> Bidst {
    let mut command = Command::new(cargo_bin!("bidst"));
    command.current_dir(folder).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Bidst(command)
}

impl Bidst {
    /// The same with an environment variable.
    pub fn with(&mut self, name: &str, value: &str) -> &mut Bidst {
        self.0.env(name, value);
        self
    }

    /// The same with so many kilobytes of address space.
    pub fn with_at_most(&self, kilobytes: usize) -> Bidst {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("ulimit -v {kilobytes} && exec \"$0\" \"$@\""));
        command.arg(self.0.get_program()).args(self.0.get_args());
        command.current_dir(self.0.get_current_dir().unwrap());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Bidst(command)
    }

    /// Starts it.
    pub fn spawn(&mut self) -> Running {
        Running(Some(self.0.spawn().unwrap()))
    }

    /// Starts it and waits for its end.
    pub fn output(&mut self) -> Output {
        self.spawn().output()
    }
}

/// A `bidst` at work; it has to be waited for.
pub struct Running(Option<Child>);

impl Running {
    fn child(&mut self) -> &mut Child {
        self.0.as_mut().expect("it was not waited for yet")
    }

    pub fn id(&self) -> u32 {
        self.0.as_ref().map_or(0, Child::id)
    }

    /// Its standard output, which then is not in [`Running::output`].
    pub fn stdout(&mut self) -> ChildStdout {
        self.child().stdout.take().unwrap()
    }

    pub fn is_alive(&mut self) -> bool {
        self.child().try_wait().unwrap().is_none()
    }

    pub fn kill(&mut self) {
        self.child().kill().unwrap();
    }

    /// Waits for its end.
    pub fn output(mut self) -> Output {
        let output = self.0.take().unwrap().wait_with_output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert_ne!(output.status.code(), Some(101), "a panic: {message}");
        let is_bug = ["panicked at", "this is a bug in bidst"].into_iter().any(|words| message.contains(words));
        assert!(!is_bug, "a panic: {message}");
        output
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            drop(child.kill().and_then(|()| child.wait()));
            assert!(std::thread::panicking(), "nobody looked at how it ended");
        }
    }
}

/// Exit code (`None` after a signal) and standard error.
pub fn end_of(child: Running) -> (Option<i32>, String) {
    let output = child.output();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// Sends a signal to a child.
pub fn send(signal: &str, child: &Running) {
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
}

/// The only run folder in `folder`, if one is there yet.
pub fn run_in(folder: &Path) -> Option<PathBuf> {
    fs::read_dir(folder).ok()?.next().map(|entry| entry.unwrap().path())
}

/// Lines of a JSONL file without their times; a half-written last one is left out.
pub fn records(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let parse = |line: &str| {
        let mut value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        value.as_object_mut().unwrap().remove("timing");
        value
    };
    whole.map(parse).collect()
}
