//! `bidst algorithms`

use bidst_topology::algorithms::{self, Entry};
use bidst_train::config::{AlgorithmOption, options};
use serde_json::{Map, Value, json};

use crate::exit::UsageError;
use crate::text::{line, table};

/// The algorithms: paper, parameters with defaults, source file
#[derive(clap::Args)]
pub struct Args {
    /// Show only this one, in full
    name: Option<String>,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
///
/// # Errors
/// See the exit codes.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let entries: Vec<&Entry> = match &args.name {
        Some(name) => vec![algorithms::find(name).map_err(|error| UsageError(error.to_string()))?],
        None => algorithms::list().iter().collect(),
    };
    if args.json {
        let object = |entry: &&Entry| {
            json!({
                "name": entry.name, "summary": entry.summary, "paper": entry.paper, "source": entry.source,
                "parameters": parameters(entry),
            })
        };
        return Ok(line(Value::Array(entries.iter().map(object).collect()))?);
    }
    if args.name.is_some() {
        return Ok(entries.into_iter().try_for_each(|entry| line(page(entry)))?);
    }
    let rows: Vec<Vec<String>> = entries.iter().map(|entry| vec![entry.name.to_owned()]).collect();
    let names = table(&rows);
    let width = names.lines().map(str::len).max().unwrap_or(0);
    for entry in entries {
        line(format!("{:width$}  {}", entry.name, entry.summary))?;
    }
    line("\n`bidst algorithms NAME` shows the paper, the parameters and the source file.")?;
    Ok(())
}

fn page(entry: &Entry) -> String {
    let mut page = format!("{}: {}\npaper   {}\nsource  {}", entry.name, entry.summary, entry.paper, entry.source);
    let options = options(entry);
    if !options.is_empty() {
        page.push_str(
            "\n\n[algorithm]           # its parameters and their defaults, set with --set algorithm.KEY=VALUE\n",
        );
        page.push_str(&format!("name = \"{}\"\n", entry.name));
        page.extend(options.iter().map(setting));
    }
    page.trim_end().to_owned()
}

/// An option as a line of a configuration; those without a default stand in comments.
fn setting(option: &AlgorithmOption) -> String {
    match &option.default {
        Some(default) => format!("{} = {default}\n", option.name),
        None => format!("# {} = (from the run)\n", option.name),
    }
}

/// All options with their defaults; null is one that takes its value from the run.
fn parameters(entry: &Entry) -> Map<String, Value> {
    options(entry).into_iter().map(|option| (option.name, json!(option.default))).collect()
}
