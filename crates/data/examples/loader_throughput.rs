//! Times the loader, in the calling thread, on one epoch of a data set with its usual augmentation:
//!
//! ```text
//! cargo run --release -p bidst-data --example loader_throughput -- cifar10 FOLDER
//! ```

use bidst_data::{Loader, LoaderOptions, list, open};
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, path::Path};

const BATCH_SIZE: usize = 128;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let name = arguments.first().map_or("fashion-mini", String::as_str);
    let source = list().iter().find(|source| source.name == name).ok_or("no such data set")?;
    let start = Instant::now();
    let train = Arc::new(open(name, arguments.get(1).map(Path::new))?.train);
    println!("{name}: {} images opened in {:.0?}", train.len(), start.elapsed());
    let options = LoaderOptions { batch_size: BATCH_SIZE, seed: 0, augment: source.augment, shuffle: true, workers: 0 };
    let loader = Loader::new(train.clone(), options)?;
    for recycled in [false, true] {
        let best = (0..5).map(|epoch| time_epoch(&loader, epoch, recycled)).min().unwrap_or_default();
        let per_batch = best / loader.batches_per_epoch() as u32;
        println!(
            "recycled {recycled}: {per_batch:.1?} a batch of {BATCH_SIZE}, {:.0} images/s",
            train.len() as f64 / best.as_secs_f64()
        );
    }
    Ok(())
}

fn time_epoch(loader: &Loader, epoch: u64, recycled: bool) -> Duration {
    let start = Instant::now();
    for batch in loader.epoch(epoch, 0).map_while(Result::ok) {
        if recycled {
            loader.recycle(batch);
        }
    }
    start.elapsed()
}
