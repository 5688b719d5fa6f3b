//! Flags that stand for keys of the configuration, made from the list of keys.

use bidst_train::config::{Builder, Key, Kind, keys};
use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Args, Command, Error, FromArgMatches};

/// What the flags say.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Keys and words, in the order of the keys.
    flags: Vec<(&'static Key, String)>,
    /// `KEY=VALUE` settings, in the order in which they were given.
    set: Vec<String>,
}

/// The group of the flags here that decide what a run comes to, for conflicts with others.
pub const GROUP: &str = "settings";
/// Keys whose flags are declared where they are used, for they also go with `--resume`.
const CIRCUMSTANCES: [&str; 3] = ["run.threads", "run.max_memory", "train.on_spike"];
/// Keys whose flags are declared here and go with `--resume` nevertheless: the data may have moved.
const WITH_RESUME: [&str; 1] = ["data.dir"];
const SET: &str = "set";

/// The keys that have a flag here.
fn flagged() -> impl Iterator<Item = (&'static Key, &'static str)> {
    keys().filter(|key| !CIRCUMSTANCES.contains(&key.name)).filter_map(|key| Some((key, key.flag?)))
}

impl Settings {
    /// Settings of a verb with flags of its own: keys with words, and `--set`. Unknown keys are left out.
    pub fn of(words: &[(&str, String)], set: &[String]) -> Settings {
        let word = |key: &Key| words.iter().find(|(name, _)| *name == key.name).map(|(_, word)| word.clone());
        Settings { flags: flagged().filter_map(|(key, _)| Some((key, word(key)?))).collect(), set: set.to_vec() }
    }

    /// What the flag of a key says.
    pub fn word(&self, name: &str) -> Option<&str> {
        self.flags.iter().find(|(key, _)| key.name == name).map(|(_, word)| word.as_str())
    }

    /// Puts the flags, and last those of `--set`, over what `builder` has.
    pub fn apply(&self, builder: Builder) -> Builder {
        let builder = self.flags.iter().fold(builder, |builder, (key, word)| {
            let flag = format!("--{}", key.flag.unwrap_or_default());
            builder.flag(&flag, key.name, key.value(word))
        });
        self.set.iter().fold(builder, |builder, setting| builder.set(setting))
    }
}

impl Args for Settings {
    fn augment_args(command: Command) -> Command {
        let set = Arg::new(SET)
            .long(SET)
            .value_name("KEY=VALUE")
            .action(ArgAction::Append)
            .help("Any key of the configuration, such as --set algorithm.update_interval=50");
        let names = flagged().map(|(key, _)| key.name).filter(|name| !WITH_RESUME.contains(name));
        let ids: Vec<&str> = names.chain([SET]).collect();
        let command = command.args(flagged().map(|(key, flag)| argument(key, flag))).arg(set);
        command.group(ArgGroup::new(GROUP).args(ids).multiple(true))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Settings::augment_args(command)
    }
}

impl FromArgMatches for Settings {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Settings, Error> {
        let word = |key: &Key| matches.get_one::<String>(key.name).cloned();
        let set = matches.get_many::<String>(SET).unwrap_or_default().cloned().collect();
        Ok(Settings { flags: flagged().filter_map(|(key, _)| Some((key, word(key)?))).collect(), set })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Settings::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The flag of a key. Words are read by the configuration, so that all mistakes are reported together.
fn argument(key: &'static Key, flag: &'static str) -> Arg {
    let argument = Arg::new(key.name).long(flag).value_name(value_name(key)).help(help(key)).allow_hyphen_values(true);
    match key.short {
        Some(letter) => argument.short(letter),
        None => argument,
    }
}

/// [`help`] of the key of that name, for flags that are declared elsewhere.
pub fn help_of(name: &str) -> String {
    keys().find(|key| key.name == name).map(help).unwrap_or_default()
}

/// What the key means, and what there is to choose from.
fn help(key: &Key) -> String {
    let mut help = key.meaning().replace('`', "");
    if let Kind::Choice(names) = key.kind {
        help.push_str(&format!(" [possible values: {}]", names().join(", ")));
    }
    if let Some(default) = key.default_value() {
        help.push_str(&format!(" [default: {}]", default.as_str().map_or_else(|| default.to_string(), str::to_owned)));
    }
    help
}

fn value_name(key: &Key) -> &'static str {
    match key.kind {
        Kind::Integer(..) => "N",
        Kind::Number(_) => "X",
        Kind::Path => "PATH",
        Kind::Size => "SIZE",
        Kind::ChoiceOrFile(_) => "CHOICE|FILE",
        _ => "NAME",
    }
}
