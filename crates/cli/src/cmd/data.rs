//! `bidst data`

use std::path::PathBuf;

use bidst_data::{DataError, OpenOptions, SplitSurvey, Survey, list, survey};
use bidst_train::TrainError;
use serde_json::{Value, json};

use crate::text::{count, line, table};

/// The data sets, and what is in a folder of one
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    List(List),
    Check(Folder),
    Stats(Folder),
}

/// The data sets that can be trained on, and the files they are read from
#[derive(clap::Args)]
struct List {
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

/// Read every image in a folder and list what is damaged; exit code 4 if anything is
///
/// For `stats`: images per class, and mean and standard deviation per channel as well.
#[derive(clap::Args)]
struct Folder {
    /// The folder; which data set is in it is recognised from the files
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Side of the squares that image files are shown as
    #[arg(long, value_name = "PIXELS", default_value_t = OpenOptions::default().size)]
    size: usize,
    /// Shorter side that image files are resized to before
    #[arg(long, value_name = "PIXELS", default_value_t = OpenOptions::default().resize)]
    resize: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
///
/// # Errors
/// See the exit codes.
pub fn run(args: &Args) -> anyhow::Result<()> {
    match &args.verb {
        Verb::List(args) => print_list(args.json),
        Verb::Check(args) => report(args, false),
        Verb::Stats(args) => report(args, true),
    }
}

fn print_list(as_json: bool) -> anyhow::Result<()> {
    if as_json {
        let layout = |layout: &bidst_data::Layout| json!({ "name": layout.name, "files": layout.files, "folders": layout.folders, "gzip": layout.gzip });
        let source = |source: &bidst_data::Source| {
            let layouts: Vec<Value> = source.layouts.iter().map(layout).collect();
            json!({
                "name": source.name, "summary": source.summary, "image": source.image, "classes": source.classes,
                "layouts": layouts,
            })
        };
        return Ok(line(Value::Array(list().iter().map(source).collect()))?);
    }
    let width = list().iter().map(|source| source.name.len()).max().unwrap_or(0);
    for source in list() {
        line(format!("{:width$}  {}", source.name, source.summary))?;
        for layout in source.layouts {
            line(format!("{:width$}    {}: {}", "", layout.name, layout.files.join(", ")))?;
        }
    }
    line("\n`bidst data check PATH` reads all of a folder and says what is damaged.")?;
    Ok(())
}

fn report(args: &Folder, stats: bool) -> anyhow::Result<()> {
    let options = OpenOptions { size: args.size, resize: args.resize, ..OpenOptions::default() };
    let found = survey(&args.path, &options).map_err(TrainError::from)?;
    if args.json {
        line(as_json(&found, stats))?;
    } else {
        line(format!("{} in {} ({})", found.sources.join(" or "), found.folder.display(), found.layout))?;
        found.splits.iter().try_for_each(|split| print_split(split, stats))?;
        for damaged in found.damage.listed() {
            line(format!("damaged: {damaged}"))?;
        }
        let unlisted = found.damage.count() - found.damage.listed().len();
        if unlisted > 0 {
            line(format!("and {} more", count(unlisted)))?;
        }
    }
    match found.damage.count() {
        0 => Ok(()),
        damaged => Err(TrainError::from(DataError::Damaged { path: args.path.clone(), found: damaged }).into()),
    }
}

fn print_split(split: &SplitSurvey, stats: bool) -> anyhow::Result<()> {
    let [channels, height, width] = split.shape;
    let (images, classes) = (count(split.images()), split.per_class.len());
    let range = split.per_class.iter().min().zip(split.per_class.iter().max());
    let range = range.map_or_else(String::new, |(least, most)| match least == most {
        true => format!(", {} each", count(*least)),
        false => format!(", {} to {} each", count(*least), count(*most)),
    });
    line(format!("{}: {images} images of {channels}x{height}x{width}, {classes} classes{range}", split.name))?;
    if stats {
        line(format!("  mean {}, standard deviation {}", decimals(&split.mean), decimals(&split.std)))?;
        let row = |(name, images): (&String, &usize)| vec![format!("  {name}"), count(*images)];
        line(table(&split.classes.iter().zip(&split.per_class).map(row).collect::<Vec<_>>()))?;
    }
    Ok(())
}

fn decimals(numbers: &[f64]) -> String {
    numbers.iter().map(|number| format!("{number:.4}")).collect::<Vec<_>>().join(" ")
}

fn as_json(found: &Survey, stats: bool) -> Value {
    let split = |split: &SplitSurvey| {
        let mut object = json!({
            "name": split.name, "images": split.images(), "shape": split.shape, "classes": split.per_class.len(),
        });
        if stats {
            object["mean"] = json!(split.mean);
            object["std"] = json!(split.std);
            object["per_class"] =
                split.classes.iter().zip(&split.per_class).map(|(name, n)| json!([name, n])).collect();
        }
        object
    };
    let splits: Vec<Value> = found.splits.iter().map(split).collect();
    json!({
        "datasets": found.sources, "layout": found.layout, "folder": found.folder.display().to_string(),
        "splits": splits, "damaged": found.damage.count(), "damage": found.damage.listed(),
    })
}
