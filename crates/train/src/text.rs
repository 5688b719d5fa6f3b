//! Text from outside, made safe to print.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::arithmetic_side_effects)]

/// At most `longest` characters of a text on one line, with control characters escaped. What is cut is marked.
pub fn plain(text: &str, longest: usize) -> String {
    let escape = |letter: char| if letter.is_control() { letter.escape_default().to_string() } else { letter.into() };
    let mut plain: String = text.chars().take(longest).map(escape).collect();
    if text.chars().nth(longest).is_some() {
        plain.push('…');
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_stays_on_its_line_and_is_cut() {
        assert_eq!(plain("a\nb\u{1b}[31m ä", 100), "a\\nb\\u{1b}[31m ä");
        assert_eq!(plain("abcd", 3), "abc…");
        assert_eq!(plain("abc", 3), "abc");
    }
}
