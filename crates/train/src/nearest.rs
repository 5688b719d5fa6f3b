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
    let fold = |c: char| if c == '-' { '_' } else { c.to_ascii_lowercase() };
    let b: Vec<char> = b.chars().map(fold).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().map(fold).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
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
