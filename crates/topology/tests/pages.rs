//! Every listed algorithm has a page in `docs/algorithms/`, after one template, that agrees with its options.

use bidst_topology::algorithms::{self, Entry};
use bidst_topology::{AlgorithmError, Context};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The sections of a page, in order.
const SECTIONS: &[&str] =
    &["The rule", "Options", "Gradients, memory, time", "Example", "Reference", "Where we differ"];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/algorithms")
}

fn page(entry: &Entry) -> String {
    let path = folder().join(format!("{}.md", entry.name));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The text below the heading of a section.
fn section<'a>(page: &'a str, title: &str) -> Option<&'a str> {
    let (_, rest) = page.split_once(&format!("\n## {title}\n"))?;
    Some(rest.split("\n## ").next().unwrap_or(rest))
}

/// All options, those without a default included, as the message about an unknown one lists them.
fn options(entry: &Entry) -> Vec<String> {
    let context = Context {
        layers: &[],
        total_steps: 1000,
        steps_per_epoch: 100,
        seed: 0,
        weight_decay: 5e-4,
        learning_rate: 0.1,
        momentum: 0.9,
        batch_size: 32,
    };
    match algorithms::build(entry.name, &"no_such_option = 1".parse().unwrap(), &context) {
        Err(AlgorithmError::Options { reason, .. }) => {
            reason.split('`').skip(3).step_by(2).map(str::to_owned).collect()
        }
        _ => panic!("{} takes any option", entry.name),
    }
}

/// Options and defaults as the page's table has them: rows `| option | default | meaning |`, both in backticks.
fn table(page: &str) -> BTreeMap<String, String> {
    let rows = section(page, "Options").unwrap_or_default().lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect::<Vec<_>>());
    cells.map(|cells| (cells[0].trim_matches('`').to_owned(), cells[1].trim_matches('`').to_owned())).collect()
}

#[test]
fn every_algorithm_has_a_page_of_all_sections_that_the_index_links_to() {
    let index = std::fs::read_to_string(folder().join("README.md")).unwrap();
    for entry in algorithms::list() {
        let page = page(entry);
        assert!(page.starts_with(&format!("# {}\n", entry.name)), "{}", entry.name);
        let titles: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        assert_eq!(titles, SECTIONS, "{}", entry.name);
        assert!(page.contains(entry.source), "{} does not name {}", entry.name, entry.source);
        assert!(index.contains(&format!("[{0}]({0}.md)", entry.name)), "the index does not link to {}", entry.name);
    }
}

#[test]
fn every_page_names_every_option_with_its_default_and_no_other() {
    for entry in algorithms::list() {
        let (table, defaults) = (table(&page(entry)), (entry.defaults)());
        let known = options(entry);
        assert_eq!(table.len(), known.len(), "{}: the page has {:?}, there are {known:?}", entry.name, table.keys());
        for option in known {
            let Some(text) = table.get(&option) else { panic!("{} does not name `{option}`", entry.name) };
            match defaults.get(&option) {
                Some(default) => assert_eq!(text, &default.to_string(), "{}: {option}", entry.name),
                None => assert!(!text.is_empty(), "{}: {option}", entry.name),
            }
        }
    }
}

#[test]
fn every_example_names_its_algorithm_and_options_that_it_takes() {
    for entry in algorithms::list() {
        let page = page(entry);
        let example = section(&page, "Example").unwrap();
        assert!(example.contains(&format!("bidst train --algorithm {} ", entry.name)), "{}", entry.name);
        let settings: Vec<&str> =
            example.split("algorithm.").skip(1).filter_map(|rest| rest.split('=').next()).collect();
        let known = options(entry);
        assert!(
            settings.iter().all(|option| known.iter().any(|known| known == option)),
            "{}: {settings:?}",
            entry.name
        );
    }
}
