//! Makes the embedded `fashion-mini` from the original files of Fashion-MNIST:
//!
//! ```text
//! cargo run --release -p bidst-data --example make_fashion_mini -- FOLDER_OF_FASHION_MNIST OUTPUT_FOLDER
//! ```
//!
//! The first 1,000 training and the first 200 test images of each class, in the order of the original files, as IDX
//! files, gzipped as small as deflate makes them. The same input gives the same bytes.

use bidst_data::{Dataset, Pixels, open};
use flate2::{Compression, GzBuilder};
use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let folders: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    let [original, output] = folders.as_slice() else {
        return Err("usage: make_fashion_mini FOLDER_OF_FASHION_MNIST OUTPUT_FOLDER".into());
    };
    let splits = open("fashion-mnist", Some(original))?;
    write_split(output, "train", &splits.train, 1000)?;
    write_split(output, "t10k", &splits.test, 200)
}

fn write_split(folder: &Path, split: &str, dataset: &Dataset, per_class: usize) -> Result<(), Box<dyn Error>> {
    let chosen = first_of_each_class(dataset, per_class);
    let Dataset { images: Pixels::Memory(pixels), labels, .. } = dataset.subset(&chosen)? else {
        return Err("a subset is in memory".into());
    };
    let labels = labels.into_iter().map(u8::try_from).collect::<Result<Vec<u8>, _>>()?;
    let shape = [chosen.len(), dataset.height, dataset.width];
    write_idx(&folder.join(format!("{split}-images-idx3-ubyte.gz")), &shape, &pixels)?;
    write_idx(&folder.join(format!("{split}-labels-idx1-ubyte.gz")), &shape[..1], &labels)
}

fn first_of_each_class(dataset: &Dataset, per_class: usize) -> Vec<usize> {
    let mut taken = vec![0; dataset.classes];
    let mut choose = |index: &usize| {
        let count = &mut taken[usize::from(dataset.labels[*index])];
        *count += 1;
        *count <= per_class
    };
    (0..dataset.len()).filter(|index| choose(index)).collect()
}

fn write_idx(path: &Path, shape: &[usize], data: &[u8]) -> Result<(), Box<dyn Error>> {
    let mut bytes = vec![0, 0, 8, shape.len() as u8];
    for &size in shape {
        bytes.extend(u32::try_from(size)?.to_be_bytes());
    }
    bytes.extend(data);
    let mut encoder = GzBuilder::new().write(Vec::new(), Compression::best());
    encoder.write_all(&bytes)?;
    let compressed = encoder.finish()?;
    println!("{}: {} bytes", path.display(), compressed.len());
    Ok(fs::write(path, compressed)?)
}
