//! The list of data sets, and where their files are looked for.

use crate::{Augment, DataError, Splits, cifar, fashion};
use std::iter;
use std::path::{Path, PathBuf};
use strsim::levenshtein as distance;

/// A data set that can be opened by name.
pub struct Source {
    /// Its name in configurations and on the command line.
    pub name: &'static str,
    /// One line for a list.
    pub summary: &'static str,
    /// Whether it is read from files, so that [`open`] needs a folder.
    pub needs_dir: bool,
    /// The augmentation results are usually reported with.
    pub augment: Augment,
    /// Channels, height and width of an image.
    pub image: [usize; 3],
    /// Number of classes.
    pub classes: usize,
    /// The files it is read from.
    pub files: &'static [&'static str],
    /// Where below the given folder they may also be, as their archives unpack.
    pub folders: &'static [&'static str],
    /// Whether a file may also be gzipped, with `.gz` after its name.
    pub gzip: bool,
    read: fn(&[PathBuf]) -> Result<Splits, DataError>,
}

const FLIP: Augment = Augment { crop_padding: 0, flip: true };

const CROP_AND_FLIP: Augment = Augment { crop_padding: 4, flip: true };

static SOURCES: [Source; 4] = [
    Source {
        name: "fashion-mini",
        summary: "10,000 + 2,000 images of Fashion-MNIST, built in: nothing to download",
        needs_dir: false,
        augment: FLIP,
        image: [1, 28, 28],
        classes: 10,
        files: &[],
        folders: &[],
        gzip: false,
        read: |_| fashion::mini(),
    },
    Source {
        name: "fashion-mnist",
        summary: "60,000 + 10,000 grey 28x28 images of clothing, 10 classes (IDX files, gzipped or not)",
        needs_dir: true,
        augment: FLIP,
        image: [1, 28, 28],
        classes: 10,
        files: &fashion::FILES,
        folders: &["fashion-mnist", "FashionMNIST/raw"],
        gzip: true,
        read: |paths| fashion::mnist([&paths[0], &paths[1]], [&paths[2], &paths[3]]),
    },
    Source {
        name: "cifar10",
        summary: "50,000 + 10,000 colour 32x32 photographs, 10 classes (the binary version)",
        needs_dir: true,
        augment: CROP_AND_FLIP,
        image: [3, 32, 32],
        classes: 10,
        files: cifar::CIFAR10.files,
        folders: &["cifar-10-batches-bin"],
        gzip: false,
        read: |paths| cifar::CIFAR10.read(&paths[..5], &paths[5]),
    },
    Source {
        name: "cifar100",
        summary: "50,000 + 10,000 colour 32x32 photographs, 100 classes (the binary version)",
        needs_dir: true,
        augment: CROP_AND_FLIP,
        image: [3, 32, 32],
        classes: 100,
        files: cifar::CIFAR100.files,
        folders: &["cifar-100-binary"],
        gzip: false,
        read: |paths| cifar::CIFAR100.read(&paths[..1], &paths[1]),
    },
];

/// All data sets.
pub fn list() -> &'static [Source] {
    &SOURCES
}

/// Opens a data set by name, from the files in `dir` or in the sub-folder its archive unpacks to.
///
/// `dir` is not looked at for an embedded data set.
///
/// # Errors
/// An unknown name, a missing folder or file, and everything that can be wrong with a file: see [`DataError`].
pub fn open(name: &str, dir: Option<&Path>) -> Result<Splits, DataError> {
    let Some(source) = SOURCES.iter().find(|source| source.name == name) else {
        return Err(unknown(name));
    };
    let paths = match (source.needs_dir, dir) {
        (false, _) => Vec::new(),
        (true, Some(dir)) => find(source, dir)?,
        (true, None) => {
            return Err(DataError::DirectoryRequired { dataset: source.name, files: source.files.join(", ") });
        }
    };
    let splits = (source.read)(&paths)?;
    splits.train.check()?;
    splits.test.check()?;
    Ok(splits)
}

/// The files of `source`, in its order, all from one folder: `dir` itself, or one it may be unpacked to.
fn find(source: &'static Source, dir: &Path) -> Result<Vec<PathBuf>, DataError> {
    if !dir.is_dir() {
        return Err(DataError::NotADirectory { dataset: source.name, path: dir.into() });
    }
    let folders: Vec<PathBuf> =
        iter::once(dir.into()).chain(source.folders.iter().map(|folder| dir.join(folder))).collect();
    let mut missing = source.files.to_vec();
    for folder in &folders {
        let (found, absent) = look_in(folder, source);
        if absent.is_empty() {
            return Ok(found);
        }
        if absent.len() < missing.len() {
            missing = absent;
        }
    }
    let searched: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
    Err(DataError::FilesMissing { dataset: source.name, missing: missing.join(", "), searched: searched.join(" or ") })
}

/// Which files of `source` the folder has, and which it has not.
fn look_in(folder: &Path, source: &Source) -> (Vec<PathBuf>, Vec<&'static str>) {
    let mut found = Vec::new();
    let mut absent = Vec::new();
    for &name in source.files {
        let plain = folder.join(name);
        let gzipped = folder.join(format!("{name}.gz"));
        if plain.exists() {
            found.push(plain);
        } else if source.gzip && gzipped.exists() {
            found.push(gzipped);
        } else {
            absent.push(name);
        }
    }
    (found, absent)
}

fn unknown(name: &str) -> DataError {
    let names: Vec<&'static str> = SOURCES.iter().map(|source| source.name).collect();
    let nearest = names.iter().copied().min_by_key(|known| distance(name, known));
    DataError::UnknownDataset {
        name: name.into(),
        nearest: nearest.filter(|known| distance(name, known) <= known.len() / 3),
        known: names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(name: &str, dir: Option<&Path>) -> String {
        open(name, dir).unwrap_err().to_string()
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest_and_the_list() {
        let known = "the data sets are fashion-mini, fashion-mnist, cifar10, cifar100";
        assert_eq!(
            message("cifar-10", None),
            format!("there is no data set `cifar-10` (did you mean `cifar10`?); {known}")
        );
        assert_eq!(message("imagenet", None), format!("there is no data set `imagenet`; {known}"));
    }

    #[test]
    fn a_missing_folder_says_which_files_it_should_hold() {
        assert_eq!(
            message("cifar100", None),
            "data set `cifar100` is read from a folder: pass the one that holds train.bin, test.bin with --data-dir"
        );
        let dir = tempfile::tempdir().unwrap();
        let absent = dir.path().join("absent");
        assert!(message("cifar10", Some(&absent)).contains("absent is not a folder"));
    }

    #[test]
    fn only_the_files_that_are_missing_are_listed() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("cifar-100-binary");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("test.bin"), b"x").unwrap();
        let message = message("cifar100", Some(dir.path()));
        assert!(message.starts_with("cannot find train.bin of data set `cifar100` in "), "{message}");
        assert!(message.contains("cifar-100-binary") && message.contains("--data-dir"), "{message}");
    }

    #[test]
    fn every_source_has_its_own_name_and_reads_files_only_if_it_says_so() {
        for (index, source) in list().iter().enumerate() {
            assert!(list()[..index].iter().all(|other| other.name != source.name));
            assert_eq!(source.needs_dir, !source.files.is_empty());
        }
    }

    #[test]
    fn distance_counts_insertions_deletions_and_replacements() {
        assert_eq!(distance("cifar10", "cifar10"), 0);
        assert_eq!(distance("cifar", "cifar10"), 2);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }
}
