//! Damaged records and files: counted, listed, and tolerated up to a number.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::arithmetic_side_effects)]

use crate::DataError;

/// Descriptions that are kept; the count goes on.
const MAX_LISTED: usize = 100;
/// Descriptions in an error message.
const MAX_IN_MESSAGE: usize = 10;

/// What was found damaged so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    allowed: usize,
    survey: bool,
    count: usize,
    listed: Vec<String>,
}

impl Damage {
    /// Tolerates `allowed` damaged records or image files.
    pub fn allowing(allowed: usize) -> Damage {
        Damage { allowed, ..Damage::default() }
    }

    /// Tolerates everything, to list it: also files of which nothing can be used.
    pub(crate) fn survey() -> Damage {
        Damage { allowed: usize::MAX, survey: true, ..Damage::default() }
    }

    /// How much is damaged: records, or image files.
    pub fn count(&self) -> usize {
        self.count
    }

    /// What is damaged and how, with paths; the first hundred.
    pub fn listed(&self) -> &[String] {
        &self.listed
    }

    /// Counts a damaged record or image file.
    ///
    /// # Errors
    /// The damage itself where none is tolerated, [`DataError::TooMuchDamage`] beyond the number that is.
    pub(crate) fn report(&mut self, damage: DataError) -> Result<(), DataError> {
        if self.allowed == 0 {
            return Err(damage);
        }
        self.add(1, [damage.to_string()])
    }

    /// Counts a file of many records of which nothing can be used: that is tolerated only in a survey.
    pub(crate) fn report_file<T>(&mut self, read: Result<T, DataError>) -> Result<Option<T>, DataError> {
        match read {
            Ok(value) => Ok(Some(value)),
            Err(damage) if self.survey => self.report(damage).map(|()| None),
            Err(damage) => Err(damage),
        }
    }

    /// Counts damage that was found earlier, of which `listed` are known.
    pub(crate) fn add(&mut self, count: usize, listed: impl IntoIterator<Item = String>) -> Result<(), DataError> {
        self.count = self.count.saturating_add(count);
        let room = MAX_LISTED.saturating_sub(self.listed.len());
        self.listed.extend(listed.into_iter().take(room));
        if self.count <= self.allowed {
            return Ok(());
        }
        let first: Vec<&str> = self.listed.iter().take(MAX_IN_MESSAGE).map(String::as_str).collect();
        Err(DataError::TooMuchDamage { found: self.count, allowed: self.allowed, listed: first.join("\n  ") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty(name: &str) -> DataError {
        DataError::Empty { path: name.into() }
    }

    #[test]
    fn damage_is_tolerated_up_to_its_number_and_then_listed() {
        let mut damage = Damage::allowing(2);
        assert!(damage.report(empty("a")).is_ok() && damage.report(empty("b")).is_ok());
        let Err(error) = damage.report(empty("c")) else { panic!("a third was tolerated") };
        let message = error.to_string();
        assert!(message.starts_with("3 damaged records or files"), "{message}");
        assert!(["a is empty", "b is empty", "c is empty"].iter().all(|part| message.contains(part)), "{message}");
    }

    #[test]
    fn without_tolerance_the_first_damage_is_the_error() {
        assert!(matches!(Damage::default().report(empty("a")), Err(DataError::Empty { .. })));
    }

    #[test]
    fn a_whole_file_is_tolerated_only_in_a_survey() {
        assert!(Damage::allowing(9).report_file::<()>(Err(empty("a"))).is_err());
        let mut survey = Damage::survey();
        assert_eq!(survey.report_file::<()>(Err(empty("a"))).ok(), Some(None));
        assert_eq!((survey.count(), survey.listed().len()), (1, 1));
    }
}
