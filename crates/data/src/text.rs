//! Names from outside, made safe to print.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::arithmetic_side_effects)]

use std::fmt::{self, Display, Formatter, Write};
use std::path::Path;

/// Characters of a name that are shown.
const MAX_SHOWN: usize = 512;

/// Displays a path or a name on one line: control characters and those that turn the direction of writing are escaped,
/// very long names are cut.
pub(crate) struct Shown<'a>(pub &'a Path);

/// As [`Shown`], for `path`.
pub(crate) fn shown(path: &Path) -> Shown<'_> {
    Shown(path)
}

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (position, character) in self.0.to_string_lossy().chars().enumerate() {
            if position == MAX_SHOWN {
                return f.write_str("...");
            }
            match character {
                '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => {
                    write!(f, "{}", character.escape_unicode())?;
                }
                _ if character.is_control() => write!(f, "{}", character.escape_default())?,
                _ => f.write_char(character)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_on_its_line_and_cannot_turn_it_around() {
        let show = |name: &str| shown(Path::new(name)).to_string();
        assert_eq!(show("a/b c-ä.png"), "a/b c-ä.png");
        assert_eq!(show("a\nb\u{1b}[31m\u{202e}gpj"), "a\\nb\\u{1b}[31m\\u{202e}gpj");
        assert_eq!(show(&"x".repeat(600)).len(), MAX_SHOWN + 3);
    }
}
