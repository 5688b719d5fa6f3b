//! Everything that can be wrong with data, one variant per cause.

use crate::picture::PictureError;
use crate::python::PickleError;
use crate::text::shown;
use std::{io, path::PathBuf};

/// Why data could not be read or loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// No data set has this name.
    #[error("there is no data set `{name}`{}; the data sets are {known}", nearest.map(|n| format!(" (did you mean `{n}`?)")).unwrap_or_default())]
    UnknownDataset {
        /// The name asked for.
        name: String,
        /// The most similar name there is, if one is similar.
        nearest: Option<&'static str>,
        /// All names, separated by commas.
        known: String,
    },

    /// The data set is read from files, but no folder was given.
    #[error("data set `{dataset}` is read from a folder: pass the one that holds {files} with --data-dir")]
    DirectoryRequired {
        /// Name of the data set.
        dataset: &'static str,
        /// The files it is read from.
        files: String,
    },

    /// The folder given does not exist, or is not a folder.
    #[error("{} is not a folder: pass the folder that holds the files of `{dataset}` with --data-dir", shown(path))]
    NotADirectory {
        /// Name of the data set.
        dataset: &'static str,
        /// What was given.
        path: PathBuf,
    },

    /// The folder has not all the files of the data set.
    #[error(
        "cannot find {missing} of data set `{dataset}` in {searched}: unpack the files there, or pass the folder that holds \
         them with --data-dir"
    )]
    FilesMissing {
        /// Name of the data set.
        dataset: &'static str,
        /// The files that are not there.
        missing: String,
        /// The folders searched.
        searched: String,
    },

    /// The operating system refused to open or read a file.
    #[error("cannot read {}: {reason}", shown(path))]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },

    /// A folder, pipe or device stands where a file was expected.
    #[error("{} is not a regular file", shown(path))]
    NotAFile {
        /// What was found.
        path: PathBuf,
    },

    /// The file has no bytes.
    #[error("{} is empty: an interrupted download? Fetch it again", shown(path))]
    Empty {
        /// The file.
        path: PathBuf,
    },

    /// The file does not begin as its format demands.
    #[error(
        "{} does not begin as an IDX file of {kind}: its first bytes are {found:02x?}, expected {expected:02x?}",
        shown(path)
    )]
    WrongMagic {
        /// The file.
        path: PathBuf,
        /// What it should contain: `images` or `labels`.
        kind: &'static str,
        /// The four bytes that were expected.
        expected: [u8; 4],
        /// The four bytes that are there.
        found: [u8; 4],
    },

    /// The header gives zero as a dimension.
    #[error("{} holds nothing: its header gives the shape {shape:?}", shown(path))]
    ZeroDimension {
        /// The file.
        path: PathBuf,
        /// The dimensions in its header.
        shape: Vec<u32>,
    },

    /// The images have not the size this data set has.
    #[error("{} has images of {found:?} pixels, expected {expected:?}", shown(path))]
    WrongImageSize {
        /// The file.
        path: PathBuf,
        /// Height and width expected.
        expected: [usize; 2],
        /// Height and width in its header.
        found: [usize; 2],
    },

    /// The file is, or claims to be, larger than any data set read here; nothing was allocated.
    #[error("{} is too large: {claim}, and the limit is {limit} bytes", shown(path))]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The shape or size it has or claims.
        claim: String,
        /// The limit that it exceeds, in bytes.
        limit: u64,
    },

    /// The data end before they should.
    #[error("{} is cut off: {expected} bytes of {part} expected, {found} found. Fetch it again", shown(path))]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Which part ends early.
        part: &'static str,
        /// Bytes expected in that part.
        expected: u64,
        /// Bytes found.
        found: u64,
    },

    /// The data go on after the end that the header gives.
    #[error("{} goes on after its {expected} bytes of data: damaged, or not what its header says", shown(path))]
    TrailingBytes {
        /// The file.
        path: PathBuf,
        /// Bytes that the header accounts for.
        expected: u64,
    },

    /// The gzip stream ends early, or damage made it look so.
    #[error("{} is cut off or damaged: its gzip stream has no end. Fetch it again", shown(path))]
    GzipTruncated {
        /// The file.
        path: PathBuf,
    },

    /// The gzip stream is damaged.
    #[error("{} is damaged: {reason}. Fetch it again", shown(path))]
    GzipCorrupt {
        /// The file.
        path: PathBuf,
        /// What the decompressor said.
        reason: io::Error,
    },

    /// The size of a file of records is no multiple of the record.
    #[error(
        "{} has {size} bytes, which is no multiple of its {record} byte records: cut off, or not this data set",
        shown(path)
    )]
    PartialRecord {
        /// The file.
        path: PathBuf,
        /// Bytes in the file.
        size: u64,
        /// Bytes in a record.
        record: u64,
    },

    /// A label is not below the number of classes.
    #[error("{}, record {record}: {kind} {label} is out of range, expected 0 to {}", shown(path), classes.saturating_sub(1))]
    LabelOutOfRange {
        /// The file.
        path: PathBuf,
        /// Number of the record, from 0.
        record: usize,
        /// Which label: `label`, `coarse label` or `fine label`.
        kind: &'static str,
        /// The label found.
        label: i64,
        /// Number of classes.
        classes: usize,
    },

    /// Two files that belong together disagree on the number of images.
    #[error("{} has {images} images but {} has {labels} labels", shown(images_path), shown(labels_path))]
    CountMismatch {
        /// The file of images.
        images_path: PathBuf,
        /// Images in it.
        images: usize,
        /// The file of labels.
        labels_path: PathBuf,
        /// Labels in it.
        labels: usize,
    },

    /// A Python batch is not what it should be.
    #[error("{} is damaged, or no batch of this data set: {reason}", shown(path))]
    Pickle {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: PickleError,
    },

    /// An image file is not what it should be.
    #[error("{}: {reason}", shown(path))]
    Picture {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: PictureError,
    },

    /// A class has no images.
    #[error("{} is the folder of a class, but holds no .jpg, .jpeg or .png file", shown(path))]
    EmptyClass {
        /// The folder.
        path: PathBuf,
    },

    /// A folder of the validation split is none of the training split.
    #[error("{} is a class that `train` does not have: its images could never be right", shown(path))]
    UnknownClass {
        /// The folder.
        path: PathBuf,
    },

    /// A folder of classes has none, or too many.
    #[error("{} holds {found} folders, expected 1 to {limit}, one for each class", shown(path))]
    ClassCount {
        /// The folder.
        path: PathBuf,
        /// Folders in it.
        found: usize,
        /// The limit.
        limit: usize,
    },

    /// A split has no images, or too many.
    #[error("{} holds {found} .jpg, .jpeg and .png files, expected 1 to {limit}", shown(path))]
    FileCount {
        /// Folder of the split.
        path: PathBuf,
        /// Image files in it.
        found: usize,
        /// The limit.
        limit: usize,
    },

    /// The sizes of image files are impossible.
    #[error("images cannot be shown as {size}x{size} pixels cut from {resize}: use 1 <= size <= resize <= {limit}")]
    Sizes {
        /// Side of the square.
        size: usize,
        /// Shorter side of the resized image.
        resize: usize,
        /// The limit.
        limit: usize,
    },

    /// A file of resized images is damaged.
    #[error("{} is damaged (image {image}): remove it, it will be made anew from the image files", shown(path))]
    CacheDamaged {
        /// The file.
        path: PathBuf,
        /// Number of the image.
        image: usize,
    },

    /// A file of resized images cannot be written.
    #[error("cannot write resized images to {}: {reason}; choose another folder with data.cache", shown(path))]
    CacheUnwritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },

    /// More is damaged than was to be tolerated.
    #[error(
        "{found} damaged records or files, but {allowed} are tolerated (data.skip_bad); `bidst data check` lists all:\n  {listed}"
    )]
    TooMuchDamage {
        /// Damaged ones found so far.
        found: usize,
        /// How many are tolerated.
        allowed: usize,
        /// The first of them, a line each.
        listed: String,
    },

    /// A check found damage.
    #[error(
        "{found} records or files in {} are damaged: fetch them again, or train without them by data.skip_bad = {found}",
        shown(path)
    )]
    Damaged {
        /// The folder.
        path: PathBuf,
        /// How many are damaged.
        found: usize,
    },

    /// A folder holds no data set in a form that is known.
    #[error("{} holds no data set that is known; looked for {known}", shown(path))]
    NotRecognised {
        /// The folder.
        path: PathBuf,
        /// The forms that are known.
        known: String,
    },

    /// The fields of a [`Dataset`](crate::Dataset) disagree.
    #[error("data set `{dataset}` is inconsistent: {reason}")]
    Inconsistent {
        /// Name of the data set.
        dataset: String,
        /// Which fields disagree, and how.
        reason: String,
    },

    /// A batch of no images was asked for.
    #[error("the batch size is 0: use 1 or more")]
    EmptyBatch,

    /// The padding for random crops reaches the image size, so that a crop could miss the image.
    #[error("a crop padding of {padding} is too large for images of {height}x{width}: use less than the smaller side")]
    CropTooLarge {
        /// The padding asked for.
        padding: usize,
        /// Rows of an image.
        height: usize,
        /// Columns of an image.
        width: usize,
    },
}
