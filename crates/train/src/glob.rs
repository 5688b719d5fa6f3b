//! Layer names with wildcards: `*` stands for any text, `?` for one character.

/// Whether `name` as a whole matches `pattern`.
pub fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut p, mut n) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        if p < pattern.len() && pattern[p] == '*' {
            retry = Some((p + 1, n));
            p += 1;
        } else if p < pattern.len() && (pattern[p] == '?' || pattern[p] == name[n]) {
            p += 1;
            n += 1;
        } else if let Some((after_star, taken)) = retry {
            retry = Some((after_star, taken + 1));
            p = after_star;
            n = taken + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_and_question_marks_match_as_in_a_shell() {
        assert!(matches("conv1", "conv1"));
        assert!(!matches("conv1", "layer1.0.conv1"));
        assert!(matches("*.downsample.*", "layer2.0.downsample.conv"));
        assert!(matches("layer?.*.conv2", "layer3.4.conv2"));
        assert!(matches("*", "") && matches("a*b*c", "aXbXbXc"));
        assert!(!matches("a*b", "aXc"));
    }
}
