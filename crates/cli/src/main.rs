//! `bidst`: train sparse networks from the command line.
//!
//! Parse, run, map the error to an exit code: 0 done, 1 failed, 2 usage or configuration, 3 diverged, 4 bad data, 128 and
//! the number of a signal.
#![deny(unsafe_code)]
#![warn(missing_docs)]

mod allocator;
mod cmd;
mod exit;
mod progress;
#[cfg(test)]
mod reference;
mod signals;
mod text;

use std::process::ExitCode;
use std::sync::LazyLock;

use clap::{CommandFactory, Parser, Subcommand};

/// Train neural networks that are sparse from the first step to the last.
///
/// Without a verb: a demo. BiDST trains a small network at 90% sparsity on embedded images, in well under a minute.
#[derive(Parser)]
#[command(name = "bidst", version = VERSION.as_str(), args_conflicts_with_subcommands = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    demo: cmd::demo::Args,
}

/// Version, compiler and target, as bug reports need them.
pub(crate) static VERSION: LazyLock<String> =
    LazyLock::new(|| format!("{} ({}, {})", env!("CARGO_PKG_VERSION"), bidst_train::COMPILER, bidst_train::TARGET));

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 diverged, 4 bad or missing data, \
                          130 or 143 stopped by a signal.";

#[derive(Subcommand)]
enum Verb {
    Train(Box<cmd::train::Args>),
    Eval(cmd::eval::Args),
    Inspect(cmd::inspect::Args),
    Export(cmd::export::Args),
    Import(cmd::import::Args),
    Algorithms(cmd::algorithms::Args),
    Bench(cmd::bench::Args),
    Compare(cmd::compare::Args),
    Report(cmd::report::Args),
    Config(cmd::config::Args),
    Data(cmd::data::Args),
    Completions(cmd::completions::Args),
}

fn main() -> ExitCode {
    allocator::hand_back_large_buffers();
    let cli = Cli::parse();
    exit::guarded(|| match cli.verb {
        None => cmd::demo::run(&cli.demo),
        Some(Verb::Train(args)) => cmd::train::run(&args),
        Some(Verb::Eval(args)) => cmd::eval::run(&args),
        Some(Verb::Inspect(args)) => cmd::inspect::run(&args),
        Some(Verb::Export(args)) => cmd::export::run(&args),
        Some(Verb::Import(args)) => cmd::import::run(&args),
        Some(Verb::Algorithms(args)) => cmd::algorithms::run(&args),
        Some(Verb::Bench(args)) => cmd::bench::run(&args),
        Some(Verb::Compare(args)) => cmd::compare::run(&args),
        Some(Verb::Report(args)) => cmd::report::run(&args),
        Some(Verb::Config(args)) => cmd::config::run(&args),
        Some(Verb::Data(args)) => cmd::data::run(&args),
        Some(Verb::Completions(args)) => cmd::completions::run(&args, Cli::command()),
    })
}
