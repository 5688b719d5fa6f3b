//! The nearest valid name, for error messages.

/// The candidate with the smallest edit distance to `name`, or `None` when nothing is close (more than a third of the
/// letters differ) or the list is empty. The first of equals wins.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = name.chars().count().max(3).div_ceil(3);
    candidates
        .into_iter()
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `; did you mean "x"?` or nothing, to be appended to a message.
pub fn hint<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, candidates).map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
}

/// Levenshtein distance in characters, ignoring case and the difference of `-` and `_`.
fn distance(a: &str, b: &str) -> usize {
    let fold = |name: &str| name.to_ascii_lowercase().replace('-', "_");
    strsim::levenshtein(&fold(a), &fold(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_name_with_the_fewest_edits() {
        assert_eq!(nearest("lrr", ["momentum", "lr", "epochs"]), Some("lr"));
        assert_eq!(nearest("resnet-32", ["resnet20", "resnet32"]), Some("resnet32"));
    }

    #[test]
    fn says_nothing_when_nothing_is_close() {
        assert_eq!(nearest("quux", ["momentum", "epochs"]), None);
        assert_eq!(hint("quux", []), "");
    }
}
