//! `[engine] kernels`: which layers use the sparse kernels and which the dense ones, and the file that remembers it.
//!
//! The rule is the default because it depends on densities alone: a configuration then gives the same bits on every
//! machine with the same instruction set. Measured choices depend on the machine and its load, so every run writes its
//! choices to `kernels.json`; resuming reads them from there, and `--kernels RUN/kernels.json` repeats them.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::arithmetic_side_effects)]

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use bidst_engine::{Choice, Kernel, Kernels, Network};
use serde::{Deserialize, Serialize};

use crate::config::ConfigError;
use crate::error::TrainError;
use crate::nearest::hint;
use crate::run_dir::RunDir;

/// What `[engine] kernels` may be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum KernelSetting {
    /// `rule`: by density, with fixed thresholds.
    #[default]
    Rule,
    /// `auto`: whichever is faster on this machine, measured at the start.
    Auto,
    /// `sparse`: sparse kernels everywhere.
    Sparse,
    /// `dense`: dense kernels everywhere.
    Dense,
    /// Anything else: the choices in this file, such as the `kernels.json` of a run.
    File(PathBuf),
}

/// The settings that have a name.
const NAMED: [(&str, KernelSetting); 4] = [
    ("rule", KernelSetting::Rule),
    ("auto", KernelSetting::Auto),
    ("sparse", KernelSetting::Sparse),
    ("dense", KernelSetting::Dense),
];

impl From<String> for KernelSetting {
    fn from(word: String) -> KernelSetting {
        let named = NAMED.into_iter().find(|(name, _)| *name == word);
        named.map_or_else(|| KernelSetting::File(PathBuf::from(word)), |(_, setting)| setting)
    }
}

impl From<KernelSetting> for String {
    fn from(setting: KernelSetting) -> String {
        match &setting {
            KernelSetting::File(path) => path.display().to_string(),
            _ => {
                NAMED.iter().find(|(_, named)| *named == setting).map(|(name, _)| *name).unwrap_or_default().to_owned()
            }
        }
    }
}

impl KernelSetting {
    /// The settings that have a name.
    pub(crate) fn names() -> Vec<&'static str> {
        NAMED.iter().map(|(name, _)| *name).collect()
    }

    /// Gives the layers of `network` their kernels.
    ///
    /// # Errors
    /// If there is no such file, if it is none that a run wrote, or if it is that of another network.
    pub(crate) fn apply(&self, network: &mut Network) -> Result<(), TrainError> {
        let kernels = match self {
            KernelSetting::Rule => Kernels::Rule,
            KernelSetting::Auto => Kernels::Listed(network.measure_kernels()),
            KernelSetting::Sparse => Kernels::All(Kernel::Sparse),
            KernelSetting::Dense => Kernels::All(Kernel::Dense),
            KernelSetting::File(path) => Kernels::Listed(read(path)?),
        };
        Ok(network.set_kernels(&kernels)?)
    }

    /// The setting with which the run in the folder `run` continues: what was measured or read then holds.
    pub(crate) fn resumed(self, run: &Path) -> KernelSetting {
        let saved = RunDir::kernels_path(run);
        match self {
            KernelSetting::Auto | KernelSetting::File(_) if saved.is_file() => KernelSetting::File(saved),
            setting => setting,
        }
    }
}

fn read(path: &Path) -> Result<Vec<Choice>, TrainError> {
    let refuse = |message| ConfigError::of_key("engine.kernels", message).into();
    let text = fs::read_to_string(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            let (word, names) = (path.display().to_string(), KernelSetting::names());
            let near = hint(&word, names.iter().copied());
            refuse(format!("there is no file `{word}`{near} (by name there is: {})", names.join(", ")))
        }
        _ if path.is_dir() => {
            refuse(format!("`{}` is a folder; give a file such as the kernels.json of a run", path.display()))
        }
        _ => TrainError::io("read", path)(error),
    })?;
    serde_json::from_str(&text).map_err(|source| TrainError::Kernels { path: path.to_owned(), source })
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_survives_the_round_trip_through_its_word() {
        for word in ["rule", "auto", "sparse", "dense", "runs/a/kernels.json"] {
            let setting = KernelSetting::from(word.to_owned());
            assert_eq!(String::from(setting.clone()), word);
            assert_eq!(matches!(setting, KernelSetting::File(_)), word.contains('/'));
        }
    }

    #[test]
    fn a_misspelt_setting_is_answered_with_the_nearest_name() {
        let message = read(Path::new("dens")).unwrap_err().to_string();
        assert!(message.contains("`engine.kernels`") && message.contains("did you mean `dense`?"), "{message}");
    }

    #[test]
    fn a_file_that_holds_no_choices_is_refused_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("other.json");
        for text in ["", "{}", "[{\"layer\": \"fc.weight\"}]", "[{\"layer\": 1}]"] {
            fs::write(&path, text).unwrap();
            let message = read(&path).unwrap_err().to_string();
            assert!(message.contains("other.json") && message.contains("kernels.json"), "{message}");
        }
    }
}
