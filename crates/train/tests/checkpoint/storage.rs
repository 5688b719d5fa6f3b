//! The disk and its stand-in behave alike, and the stand-in loses what a real disk may lose.

use std::io::{ErrorKind, Write};
use std::path::Path;

use bidst_train::storage::{Disk, Storage};

use super::faulty::{Fault, FaultyDisk};

fn write(disk: &dyn Storage, path: &Path, bytes: &[u8], synced: bool) {
    let mut file = disk.create(path).unwrap();
    file.write_all(bytes).unwrap();
    if synced {
        file.sync().unwrap();
    }
}

/// Everything that a save relies on.
fn keeps_its_promises(disk: &dyn Storage, root: &Path) {
    let (folder, file) = (root.join("a"), root.join("a/file"));
    let kind = |result: std::io::Result<()>| result.unwrap_err().kind();
    assert_eq!(disk.list(&folder).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(kind(disk.create_folder(&root.join("none/b"))), ErrorKind::NotFound);
    disk.create_folder(&folder).unwrap();
    assert_eq!(kind(disk.create_folder(&folder)), ErrorKind::AlreadyExists);
    write(disk, &file, b"some bytes", true);
    assert_eq!(disk.create(&file).err().unwrap().kind(), ErrorKind::AlreadyExists);
    disk.create_folder(&folder.join("b")).unwrap();
    disk.sync_folder(&folder).unwrap();
    assert_eq!(disk.list(&folder).unwrap(), ["b", "file"]);
    assert_eq!(disk.read(&file, 100).unwrap(), b"some bytes");
    assert_eq!(disk.read(&file, 4).unwrap(), b"some");
    assert!(disk.read(&folder, 100).is_err());
    assert_eq!(kind(disk.remove_folder(&folder)), ErrorKind::DirectoryNotEmpty);
    assert!(disk.remove_folder(&file).is_err() && disk.remove_file(&folder).is_err());
    disk.rename(&folder, &root.join("c")).unwrap();
    assert_eq!(disk.list(root).unwrap(), ["c"]);
    assert!(disk.free_space(root).unwrap() != Some(0));
    disk.remove_file(&root.join("c/file")).unwrap();
    disk.remove_folder(&root.join("c/b")).unwrap();
    disk.remove_folder(&root.join("c")).unwrap();
    assert_eq!(disk.list(root).unwrap(), [""; 0]);
}

#[test]
fn the_disk_and_its_stand_in_behave_alike() {
    let folder = tempfile::tempdir().unwrap();
    keeps_its_promises(&Disk, folder.path());
    keeps_its_promises(&FaultyDisk::new(), Path::new("/run"));
}

#[cfg(unix)]
#[test]
fn a_pipe_in_the_place_of_a_file_does_not_keep_its_reader_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert_eq!(Disk.read(&pipe, 10).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_power_cut_takes_what_was_not_synced() {
    let run = Path::new("/run");
    for (fault, expected) in [
        (Fault::Kill, Some(&b"abc"[..])),
        (Fault::PowerCutKeeping, Some(b"abc")),
        (Fault::PowerCutKeepingNames, Some(b"")),
        (Fault::PowerCutLosing, None),
    ] {
        let disk = FaultyDisk::new().failing(6, fault);
        write(&disk, &run.join("synced"), b"kept", true);
        disk.sync_folder(run).unwrap();
        write(&disk, &run.join("new"), b"abc", false);
        assert!((0..3).all(|_| disk.list(run).is_err()), "{fault:?}: nobody is there any more");
        let after = disk.afterwards();
        assert_eq!(after.read(&run.join("synced"), 9).unwrap(), b"kept", "{fault:?}");
        assert_eq!(after.read(&run.join("new"), 9).ok().as_deref(), expected, "{fault:?}");
    }
}

#[test]
fn a_full_disk_takes_half_a_write_and_lets_files_be_removed() {
    let path = Path::new("/run/file");
    let disk = FaultyDisk::new().failing(1, Fault::NoSpace);
    let mut file = disk.create(path).unwrap();
    assert_eq!(file.write(b"12345678").unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(disk.read(path, 9).unwrap(), b"1234");
    assert_eq!(disk.create(Path::new("/run/other")).err().unwrap().kind(), ErrorKind::StorageFull);
    disk.remove_file(path).unwrap();
    let disk = FaultyDisk::new().failing(1, Fault::ShortWrite);
    disk.create(path).unwrap().write_all(b"12345678").unwrap();
    assert_eq!((disk.read(path, 9).unwrap(), disk.operations()), (b"12345678".to_vec(), 4));
}
