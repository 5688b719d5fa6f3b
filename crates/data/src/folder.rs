//! Image files in the layout of ImageNet: `train/CLASS/*.jpg`, `val/CLASS/*.jpg`.
//!
//! A class is a folder in `train`; classes are numbered in the order of their names. Every file that ends in `.jpg`, `.jpeg` or
//! `.png` is an image, others are passed over. Images are decoded and resized once, in parallel, into a [`Cache`] that
//! holds them with their shorter side at [`OpenOptions::resize`] (training) or as the squares that are evaluated (validation);
//! afterwards they are read from there, one at a time. The cache is made anew when the list of files – names, sizes, times
//! of change – or a size changes.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::arithmetic_side_effects)]

use crate::cache::{Cache, Turn, Writer};
use crate::damage::Damage;
use crate::dataset::Pixels;
use crate::picture;
use crate::resize::{Ready, Shape};
use crate::{DataError, Dataset, OpenOptions, Splits};
use crc32c::crc32c_append;
use rayon::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

/// Classes that a folder may have.
pub const MAX_CLASSES: usize = 20_000;
/// Image files of a split.
pub const MAX_FILES: usize = 1 << 24;
/// The largest side that may be asked for.
pub const MAX_SIDE: usize = 2048;
/// Images that are decoded side by side before they are written in their order.
const CHUNK: usize = 32;
/// Mean and standard deviation per channel of ImageNet's training images, as pretrained networks use them.
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const STD: [f32; 3] = [0.229, 0.224, 0.225];

/// The image files of one split, class by class.
pub(crate) struct Listing {
    pub name: &'static str,
    folder: PathBuf,
    /// Class, and path below `folder`.
    files: Vec<(u16, PathBuf)>,
    /// Folders of classes without an image.
    pub empty: Vec<PathBuf>,
    digest: u32,
}

/// Opens both splits, making their caches if need be.
pub(crate) fn open(dir: &Path, options: &OpenOptions<'_>, damage: &mut Damage) -> Result<Splits, DataError> {
    let size = check_sizes(options)?;
    let classes = classes(&dir.join("train"))?;
    let folder = options.cache.map_or_else(|| dir.join(".bidst-cache"), Path::to_path_buf);
    let mut split = |name, shape: Shape| {
        let listing = Listing::read(dir, name, &classes)?;
        for path in &listing.empty {
            damage.report(DataError::EmptyClass { path: path.clone() })?;
        }
        let path = folder.join(format!("{name}-{}.cache", shape.name()));
        let cache = cached(&listing, shape, &path, damage)?;
        Ok(Dataset {
            name: format!("image-folder {name}"),
            channels: 3,
            height: size,
            width: size,
            classes: classes.len(),
            labels: cache.labels(),
            images: Pixels::File(Arc::new(cache)),
            mean: MEAN.into(),
            std: STD.into(),
        })
    };
    let train = split("train", Shape::whole(options))?;
    Ok(Splits { train, test: split("val", Shape::evaluated(options))? })
}

/// The side of the squares that are shown, if both sizes are possible.
pub(crate) fn check_sizes(options: &OpenOptions<'_>) -> Result<usize, DataError> {
    let OpenOptions { size, resize, .. } = *options;
    match (1..=resize).contains(&size) && resize <= MAX_SIDE {
        true => Ok(size),
        false => Err(DataError::Sizes { size, resize, limit: MAX_SIDE }),
    }
}

/// The cache at `path`, made anew unless it is that of these files in this shape.
fn cached(listing: &Listing, shape: Shape, path: &Path, damage: &mut Damage) -> Result<Cache, DataError> {
    let key = crc32c_append(listing.digest, shape.name().as_bytes());
    let mut reported = |cache: Cache| {
        let (count, listed) = cache.damage();
        damage.add(count, listed).map(|()| cache)
    };
    if let Some(cache) = Cache::open(path, key)? {
        return reported(cache);
    }
    let turn = Turn::take(path)?;
    // Another process may have made it meanwhile.
    if let Some(cache) = Cache::open(path, key)? {
        return reported(cache);
    }
    let mut writer = Writer::create(path, &turn)?;
    listing.each(shape, |image| match image {
        Ok(image) => writer.push(&image),
        Err(error) => {
            writer.left_out(&error.to_string());
            damage.report(error)
        }
    })?;
    writer.finish(key)?;
    let unwritten = || DataError::CacheDamaged { path: path.into(), image: 0 };
    Cache::open(path, key)?.ok_or_else(unwritten)
}

/// The names of the classes: the folders in `train`, in order.
pub(crate) fn classes(train: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut classes: Vec<PathBuf> = Vec::new();
    for entry in entries(train)? {
        if entry.is_dir() {
            classes.extend(entry.file_name().map(PathBuf::from));
        }
    }
    if classes.is_empty() || classes.len() > MAX_CLASSES {
        return Err(DataError::ClassCount { path: train.into(), found: classes.len(), limit: MAX_CLASSES });
    }
    Ok(classes)
}

/// What is in a folder, in the order of its names, but for hidden entries.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let failure = |reason| DataError::Io { path: folder.into(), reason };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(failure)? {
        let path = entry.map_err(failure)?.path();
        if !path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn is_image(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default();
    ["jpg", "jpeg", "png"].iter().any(|known| extension.eq_ignore_ascii_case(known))
}

impl Listing {
    /// The files of split `name`, whose folders must be among `classes`.
    pub fn read(dir: &Path, name: &'static str, classes: &[PathBuf]) -> Result<Listing, DataError> {
        let folder = dir.join(name);
        let mut listing = Listing { name, folder, files: Vec::new(), empty: Vec::new(), digest: 0 };
        for path in entries(&listing.folder)? {
            if !path.is_dir() {
                continue;
            }
            let class = PathBuf::from(path.file_name().unwrap_or_default());
            let Ok(label) = classes.binary_search(&class) else {
                return Err(DataError::UnknownClass { path });
            };
            listing.add_class(&path, &class, label as u16)?;
        }
        if listing.files.is_empty() || listing.files.len() > MAX_FILES {
            return Err(DataError::FileCount { path: listing.folder, found: listing.files.len(), limit: MAX_FILES });
        }
        Ok(listing)
    }

    fn add_class(&mut self, path: &Path, class: &Path, label: u16) -> Result<(), DataError> {
        let before = self.files.len();
        for file in entries(path)?.into_iter().filter(|file| is_image(file)) {
            let name = class.join(file.file_name().unwrap_or_default());
            let (size, changed) = fs::metadata(&file).map_or((0, 0), |metadata| {
                let changed = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
                (metadata.len(), changed.map_or(0, |since| since.as_nanos() as u64))
            });
            self.digest = crc32c_append(self.digest, name.as_os_str().as_encoded_bytes());
            self.digest = crc32c_append(self.digest, &[0]);
            self.digest = crc32c_append(self.digest, &size.to_le_bytes());
            self.digest = crc32c_append(self.digest, &changed.to_le_bytes());
            self.digest = crc32c_append(self.digest, &label.to_le_bytes());
            self.files.push((label, name));
        }
        if self.files.len() == before {
            self.empty.push(path.into());
        }
        Ok(())
    }

    /// Decodes and resizes every image, in parallel, and hands them to `take` in the order of the listing.
    pub fn each(
        &self,
        shape: Shape,
        mut take: impl FnMut(Result<Ready, DataError>) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        let decode = |(label, name): &(u16, PathBuf)| {
            let path = self.folder.join(name);
            let picture = picture::read(&path)?;
            let unfit = picture::PictureError::Size { width: picture.width, height: picture.height };
            shape.apply(&picture.stored(), *label).ok_or(DataError::Picture { path, reason: unfit })
        };
        for chunk in self.files.chunks(CHUNK) {
            let images: Vec<_> = chunk.par_iter().map(decode).collect();
            images.into_iter().try_for_each(&mut take)?;
        }
        Ok(())
    }
}
