//! `bidst completions`

use std::io::{self, Write};

use bidst_train::config::{Kind, keys};
use clap::builder::PossibleValuesParser;
use clap::{Arg, Command};
use clap_complete::Shell;

/// Print a script by which a shell completes verbs, flags and names of algorithms, models and data sets
///
/// For bash, at the end of ~/.bashrc: source <(bidst completions bash). docs/guide.md has a line for each shell.
#[derive(clap::Args)]
pub struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Runs the verb for the whole command line, `command`.
///
/// # Errors
/// See the exit codes.
pub fn run(args: &Args, command: Command) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut with_choices(command), "bidst", &mut script);
    Ok(io::stdout().write_all(&script)?)
}

/// The command with the names that its flags take. The parser has none of them: words are read by the configuration.
fn with_choices(command: Command) -> Command {
    command
        .mut_args(|argument| choices(&argument).map_or(argument.clone(), |names| argument.value_parser(names)))
        .mut_subcommands(with_choices)
}

fn choices(argument: &Arg) -> Option<PossibleValuesParser> {
    let key = keys().find(|key| key.name == argument.get_id().as_str())?;
    match key.kind {
        Kind::Choice(names) => Some(PossibleValuesParser::new(names())),
        _ => None,
    }
}
