//! The list of data sets, and where their files are looked for.

use crate::damage::Damage;
use crate::text::shown;
use crate::{Augment, DataError, Opened, Splits, cifar, folder, mnist, python};
use std::iter;
use std::path::{Path, PathBuf};
use strsim::levenshtein as distance;

/// A data set that can be opened by name.
pub struct Source {
    /// Its name in configurations and on the command line.
    pub name: &'static str,
    /// One line for a list.
    pub summary: &'static str,
    /// The augmentation results are usually reported with.
    pub augment: Augment,
    /// Channels, height and width of an image; `None` if the files and options decide.
    pub image: Option<[usize; 3]>,
    /// Number of classes; `None` if the files decide.
    pub classes: Option<usize>,
    /// The forms in which its files are found; none for an embedded data set.
    pub layouts: &'static [Layout],
    /// Bytes of the files that are embedded in the program.
    pub embedded_bytes: usize,
    embedded: Option<fn() -> Result<Splits, DataError>>,
}

/// One form of the files of a data set.
pub struct Layout {
    /// What it is called.
    pub name: &'static str,
    /// The files or folders that make it up.
    pub files: &'static [&'static str],
    /// Where below the given folder they may also be, as their archives unpack.
    pub folders: &'static [&'static str],
    /// Whether a file may also be gzipped, with `.gz` after its name.
    pub gzip: bool,
    pub(crate) read: Read,
}

/// How the files of a layout, in its order, become a data set.
#[derive(Clone, Copy)]
pub(crate) enum Read {
    /// Records in files that fit into memory.
    Records(fn(&[PathBuf], &mut Damage) -> Result<Splits, DataError>),
    /// An image a file.
    Images,
}

/// How a data set is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenOptions<'a> {
    /// The folder of its files; not looked at for an embedded data set.
    pub dir: Option<&'a Path>,
    /// Damaged records or image files that are left out rather than refused.
    pub skip_bad: usize,
    /// Side of the squares that image files are shown as.
    pub size: usize,
    /// Shorter side that image files are resized to before a square is cut out of them.
    pub resize: usize,
    /// Where resized image files are kept; `.bidst-cache` in `dir` if `None`.
    pub cache: Option<&'a Path>,
}

impl Default for OpenOptions<'_> {
    /// No damage, and the sizes that are usual for ImageNet.
    fn default() -> Self {
        OpenOptions { dir: None, skip_bad: 0, size: 224, resize: 256, cache: None }
    }
}

const FLIP: Augment = Augment { flip: true, ..Augment::NONE };

const CROP_AND_FLIP: Augment = Augment { crop_padding: 4, ..FLIP };

const RESIZED_CROP_AND_FLIP: Augment = Augment { resized_crop: true, ..FLIP };

/// The four files of MNIST and its relatives, gzipped or not.
const fn idx_files(
    folders: &'static [&'static str],
    read: fn(&[PathBuf], &mut Damage) -> Result<Splits, DataError>,
) -> Layout {
    Layout { name: "IDX", files: &mnist::FILES, folders, gzip: true, read: Read::Records(read) }
}

static SOURCES: [Source; 6] = [
    Source {
        name: "fashion-mini",
        summary: "10,000 + 2,000 images of Fashion-MNIST, built in: nothing to download",
        augment: FLIP,
        image: Some([1, 28, 28]),
        classes: Some(10),
        layouts: &[],
        embedded_bytes: mnist::MINI_BYTES,
        embedded: Some(mnist::mini),
    },
    Source {
        name: "fashion-mnist",
        summary: "60,000 + 10,000 grey 28x28 images of clothing, 10 classes (IDX files, gzipped or not)",
        augment: FLIP,
        image: Some([1, 28, 28]),
        classes: Some(10),
        layouts: &[idx_files(&["fashion-mnist", "FashionMNIST/raw"], |paths, damage| {
            mnist::FASHION.read(paths, damage)
        })],
        embedded_bytes: 0,
        embedded: None,
    },
    Source {
        name: "mnist",
        summary: "60,000 + 10,000 grey 28x28 handwritten digits, 10 classes (IDX files, gzipped or not)",
        augment: Augment::NONE,
        image: Some([1, 28, 28]),
        classes: Some(10),
        layouts: &[idx_files(&["mnist", "MNIST/raw"], |paths, damage| mnist::MNIST.read(paths, damage))],
        embedded_bytes: 0,
        embedded: None,
    },
    Source {
        name: "cifar10",
        summary: "50,000 + 10,000 colour 32x32 photographs, 10 classes (binary or Python version)",
        augment: CROP_AND_FLIP,
        image: Some([3, 32, 32]),
        classes: Some(10),
        layouts: &[
            Layout {
                name: "binary",
                files: &[
                    "data_batch_1.bin",
                    "data_batch_2.bin",
                    "data_batch_3.bin",
                    "data_batch_4.bin",
                    "data_batch_5.bin",
                    "test_batch.bin",
                ],
                folders: &["cifar-10-batches-bin"],
                gzip: false,
                read: Read::Records(|paths, damage| cifar::CIFAR10.read(paths, cifar::read_file, damage)),
            },
            Layout {
                name: "Python batches",
                files: &["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"],
                folders: &["cifar-10-batches-py"],
                gzip: false,
                read: Read::Records(|paths, damage| cifar::CIFAR10.read(paths, python::read_file, damage)),
            },
        ],
        embedded_bytes: 0,
        embedded: None,
    },
    Source {
        name: "cifar100",
        summary: "50,000 + 10,000 colour 32x32 photographs, 100 fine classes (binary or Python version)",
        augment: CROP_AND_FLIP,
        image: Some([3, 32, 32]),
        classes: Some(100),
        layouts: &[
            Layout {
                name: "binary",
                files: &["train.bin", "test.bin"],
                folders: &["cifar-100-binary"],
                gzip: false,
                read: Read::Records(|paths, damage| cifar::CIFAR100.read(paths, cifar::read_file, damage)),
            },
            Layout {
                name: "Python batches",
                files: &["train", "test"],
                folders: &["cifar-100-python"],
                gzip: false,
                read: Read::Records(|paths, damage| cifar::CIFAR100.read(paths, python::read_file, damage)),
            },
        ],
        embedded_bytes: 0,
        embedded: None,
    },
    Source {
        name: "image-folder",
        summary: "JPEG and PNG files in the layout of ImageNet: train/CLASS/*, val/CLASS/*; resized once, then read from disk",
        augment: RESIZED_CROP_AND_FLIP,
        image: None,
        classes: None,
        layouts: &[Layout {
            name: "image folder",
            files: &["train", "val"],
            folders: &[],
            gzip: false,
            read: Read::Images,
        }],
        embedded_bytes: 0,
        embedded: None,
    },
];

/// All data sets.
pub fn list() -> &'static [Source] {
    &SOURCES
}

impl Source {
    /// Whether it is read from files, so that [`open`] needs a folder.
    pub fn needs_dir(&self) -> bool {
        !self.layouts.is_empty()
    }
}

/// Opens a data set by name, from the files in `dir` or in the sub-folder its archive unpacks to.
///
/// # Errors
/// As [`open_with`].
pub fn open(name: &str, dir: Option<&Path>) -> Result<Splits, DataError> {
    Ok(open_with(name, &OpenOptions { dir, ..OpenOptions::default() })?.splits)
}

/// Opens a data set by name.
///
/// # Errors
/// An unknown name, a missing folder or file, more damage than is tolerated, and everything that can be wrong with a file:
/// see [`DataError`].
pub fn open_with(name: &str, options: &OpenOptions<'_>) -> Result<Opened, DataError> {
    let Some(source) = SOURCES.iter().find(|source| source.name == name) else {
        return Err(unknown(name));
    };
    let mut damage = Damage::allowing(options.skip_bad);
    let (splits, layout) = match (source.embedded, options.dir) {
        (Some(embedded), _) => (embedded()?, None),
        (None, Some(dir)) => {
            let (layout, paths) = find(source, dir)?;
            let splits = match layout.read {
                Read::Records(read) => read(&paths, &mut damage)?,
                Read::Images => folder::open(dir, options, &mut damage)?,
            };
            (splits, Some(layout.name))
        }
        (None, None) => {
            let files: Vec<String> = source.layouts.iter().map(|layout| layout.files.join(", ")).collect();
            return Err(DataError::DirectoryRequired { dataset: source.name, files: files.join("; or ") });
        }
    };
    splits.train.check()?;
    splits.test.check()?;
    Ok(Opened { splits, layout, skipped: damage })
}

/// The first layout of `source` that is whole, and its files in their order, all from one folder: `dir` itself, or one it
/// may be unpacked to.
fn find(source: &'static Source, dir: &Path) -> Result<(&'static Layout, Vec<PathBuf>), DataError> {
    if !dir.is_dir() {
        return Err(DataError::NotADirectory { dataset: source.name, path: dir.into() });
    }
    let mut searched = Vec::new();
    let mut missing = None;
    for layout in source.layouts {
        for folder in layout.places(dir) {
            let (found, absent) = layout.look_in(&folder);
            if absent.is_empty() {
                return Ok((layout, found));
            }
            if missing.as_ref().is_none_or(|(most, _)| found.len() > *most) {
                missing = Some((found.len(), absent.join(", ")));
            }
            let folder = shown(&folder).to_string();
            if !searched.contains(&folder) {
                searched.push(folder);
            }
        }
    }
    let missing = missing.map_or_else(String::new, |(_, absent)| absent);
    Err(DataError::FilesMissing { dataset: source.name, missing, searched: searched.join(" or ") })
}

impl Layout {
    /// `dir` and the folders below it in which the files may be.
    pub(crate) fn places(&self, dir: &Path) -> Vec<PathBuf> {
        iter::once(dir.into()).chain(self.folders.iter().map(|folder| dir.join(folder))).collect()
    }

    /// Which files the folder has, and which it has not.
    pub(crate) fn look_in(&self, folder: &Path) -> (Vec<PathBuf>, Vec<&'static str>) {
        let mut found = Vec::new();
        let mut absent = Vec::new();
        for &name in self.files {
            let plain = folder.join(name);
            let gzipped = folder.join(format!("{name}.gz"));
            if plain.exists() {
                found.push(plain);
            } else if self.gzip && gzipped.exists() {
                found.push(gzipped);
            } else {
                absent.push(name);
            }
        }
        (found, absent)
    }
}

fn unknown(name: &str) -> DataError {
    let names: Vec<&'static str> = SOURCES.iter().map(|source| source.name).collect();
    let nearest = names.iter().copied().min_by_key(|known| distance(name, known));
    DataError::UnknownDataset {
        name: shown(Path::new(name)).to_string(),
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
        let known = "the data sets are fashion-mini, fashion-mnist, mnist, cifar10, cifar100, image-folder";
        assert_eq!(
            message("cifar-10", None),
            format!("there is no data set `cifar-10` (did you mean `cifar10`?); {known}")
        );
        assert_eq!(message("svhn", None), format!("there is no data set `svhn`; {known}"));
    }

    #[test]
    fn a_missing_folder_says_which_files_it_should_hold() {
        assert_eq!(
            message("cifar100", None),
            "data set `cifar100` is read from a folder: pass the one that holds train.bin, test.bin; or train, test \
             with --data-dir"
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
            assert_eq!(source.needs_dir(), source.embedded.is_none());
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
