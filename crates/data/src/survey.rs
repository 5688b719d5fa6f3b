//! What a folder holds: which data set, how many images of which class, and what is damaged.

use crate::damage::Damage;
use crate::folder::{self, Listing};
use crate::resize::Shape;
use crate::source::{Layout, Read, Source, list};
use crate::text::shown;
use crate::{DataError, Dataset, OpenOptions};
use std::path::{Path, PathBuf};

/// What was found in a folder.
#[derive(Clone, Debug, PartialEq)]
pub struct Survey {
    /// The form of the files.
    pub layout: &'static str,
    /// The data sets that have this form.
    pub sources: Vec<&'static str>,
    /// Where the files lie.
    pub folder: PathBuf,
    /// The training and the test split.
    pub splits: Vec<SplitSurvey>,
    /// Damaged records and files: how many, and which.
    pub damage: Damage,
}

/// One split of what was found; damaged images are not in it.
#[derive(Clone, Debug, PartialEq)]
pub struct SplitSurvey {
    /// `train`, `test` or `val`.
    pub name: &'static str,
    /// Channels, height and width of an image as it is shown.
    pub shape: [usize; 3],
    /// Images of each class.
    pub per_class: Vec<usize>,
    /// Names of the classes: those of folders, else numbers.
    pub classes: Vec<String>,
    /// Mean of `pixel / 255` per channel; 0 without an image.
    pub mean: Vec<f64>,
    /// Standard deviation of `pixel / 255` per channel.
    pub std: Vec<f64>,
}

impl SplitSurvey {
    /// Number of images.
    pub fn images(&self) -> usize {
        self.per_class.iter().sum()
    }
}

/// Reads everything in `dir` and goes on past whatever is damaged. The layout is recognised from the files; of `options` only
/// the sizes of images count.
///
/// # Errors
/// [`DataError::NotADirectory`], [`DataError::NotRecognised`], and what makes a folder of images unreadable as a whole.
pub fn survey(dir: &Path, options: &OpenOptions<'_>) -> Result<Survey, DataError> {
    if !dir.is_dir() {
        return Err(DataError::NotADirectory { dataset: "any data set", path: dir.into() });
    }
    let (layout, folder, files) = recognise(dir)?;
    let same = |other: &&Layout| other.files == layout.files;
    let of = |source: &&Source| source.layouts.iter().any(|other| same(&other));
    let sources = list().iter().filter(of).map(|source| source.name).collect();
    let mut damage = Damage::survey();
    let splits = match layout.read {
        Read::Records(read) => {
            let splits = read(&files, &mut damage)?;
            vec![of_dataset("train", &splits.train)?, of_dataset("test", &splits.test)?]
        }
        Read::Images => {
            let classes = folder::classes(&dir.join("train"))?;
            let split = |name| of_folder(&Listing::read(dir, name, &classes)?, &classes, options, &mut damage);
            ["train", "val"].into_iter().map(split).collect::<Result<_, _>>()?
        }
    };
    Ok(Survey { layout: layout.name, sources, folder, splits, damage })
}

/// The layout whose files are all in `dir`, or in a folder below that its archive unpacks to.
fn recognise(dir: &Path) -> Result<(&'static Layout, PathBuf, Vec<PathBuf>), DataError> {
    for layout in list().iter().flat_map(|source| source.layouts) {
        let folders = matches!(layout.read, Read::Images);
        for folder in layout.places(dir) {
            let (found, absent) = layout.look_in(&folder);
            if absent.is_empty() && found.iter().all(|path| path.is_dir() == folders) {
                return Ok((layout, folder, found));
            }
        }
    }
    let mut known: Vec<String> = Vec::new();
    for layout in list().iter().flat_map(|source| source.layouts) {
        let files = format!("{} ({})", layout.name, layout.files.join(", "));
        if !known.contains(&files) {
            known.push(files);
        }
    }
    Err(DataError::NotRecognised { path: dir.into(), known: known.join("; ") })
}

/// Exact sums of the pixels of a channel.
#[derive(Clone, Copy, Default)]
struct Moments {
    count: u64,
    sum: u64,
    squares: u64,
}

impl Moments {
    fn add(&mut self, pixels: &[u8]) {
        self.count += pixels.len() as u64;
        self.sum += pixels.iter().map(|&pixel| u64::from(pixel)).sum::<u64>();
        self.squares += pixels.iter().map(|&pixel| u64::from(pixel).pow(2)).sum::<u64>();
    }

    /// Mean and standard deviation of `pixel / 255`.
    fn mean_std(&self) -> (f64, f64) {
        let count = self.count.max(1) as f64;
        let mean = self.sum as f64 / count;
        let variance = (self.squares as f64 / count - mean * mean).max(0.0);
        (mean / 255.0, variance.sqrt() / 255.0)
    }
}

fn of_dataset(name: &'static str, data: &Dataset) -> Result<SplitSurvey, DataError> {
    let mut moments = vec![Moments::default(); data.channels];
    let mut per_class = vec![0; data.classes];
    for (index, &label) in data.labels.iter().enumerate() {
        let image = data.image(index)?;
        add(&mut moments, &image);
        per_class[usize::from(label)] += 1;
    }
    let classes = (0..data.classes).map(|class| class.to_string()).collect();
    Ok(finished(name, [data.channels, data.height, data.width], per_class, classes, &moments))
}

/// Decodes every image, and looks at it as it would be evaluated.
fn of_folder(
    listing: &Listing,
    classes: &[PathBuf],
    options: &OpenOptions<'_>,
    damage: &mut Damage,
) -> Result<SplitSurvey, DataError> {
    let size = folder::check_sizes(options)?;
    for path in &listing.empty {
        damage.report(DataError::EmptyClass { path: path.clone() })?;
    }
    let mut moments = [Moments::default(); 3];
    let mut per_class = vec![0; classes.len()];
    listing.each(Shape::evaluated(options), |image| match image {
        Ok(image) => {
            add(&mut moments, &image.pixels);
            per_class[usize::from(image.label)] += 1;
            Ok(())
        }
        Err(error) => damage.report(error),
    })?;
    let classes = classes.iter().map(|class| shown(class).to_string()).collect();
    Ok(finished(listing.name, [3, size, size], per_class, classes, &moments))
}

fn add(moments: &mut [Moments], image: &[u8]) {
    let plane = image.len() / moments.len();
    for (moments, plane) in moments.iter_mut().zip(image.chunks_exact(plane.max(1))) {
        moments.add(plane);
    }
}

fn finished(
    name: &'static str,
    shape: [usize; 3],
    per_class: Vec<usize>,
    classes: Vec<String>,
    moments: &[Moments],
) -> SplitSurvey {
    let (mean, std) = moments.iter().map(Moments::mean_std).unzip();
    SplitSurvey { name, shape, per_class, classes, mean, std }
}
