//! Colours, in light and in dark, and the style sheet that both pages and pictures use.
//!
//! Series have the colours of Okabe and Ito ("Color Universal Design", 2008), which people with any common colour-vision
//! deficiency tell apart; orange is darkened on white, and blue and vermillion are lightened on black, for contrast.

use std::fmt::Write;

/// A named colour.
pub struct Colour {
    name: &'static str,
    light: &'static str,
    dark: &'static str,
}

/// Number of colours for series.
pub const SERIES: usize = 7;
/// Series colours by meaning.
pub const BLUE: usize = 0;
/// For the second of two things.
pub const ORANGE: usize = 1;
/// For the third.
pub const GREEN: usize = 2;

const fn colour(name: &'static str, light: &'static str, dark: &'static str) -> Colour {
    Colour { name, light, dark }
}

const COLOURS: [Colour; 15] = [
    colour("c0", "#0072b2", "#56b4e9"),
    colour("c1", "#d98200", "#f0a830"),
    colour("c2", "#009e73", "#2cc79a"),
    colour("c3", "#c4478a", "#e59ac4"),
    colour("c4", "#d55e00", "#ff8a4c"),
    colour("c5", "#46a5dd", "#0a86cf"),
    colour("c6", "#6b5bb5", "#a99af0"),
    colour("twin", "#8b9198", "#8b929b"),
    colour("page", "#f5f6f8", "#111418"),
    colour("card", "#ffffff", "#1a1e24"),
    colour("edge", "#e1e4e8", "#2d333b"),
    colour("grid", "#e9ebee", "#2a3038"),
    colour("axis", "#9aa1a9", "#6b737d"),
    colour("text", "#1c2126", "#e8eaed"),
    colour("muted", "#5c646d", "#a3abb5"),
];

/// Rules for the classes that drawings use: selector, property, name of a colour.
const RULES: [(&str, &str, &str); 10] = [
    (".t", "fill", "text"),
    (".m", "fill", "muted"),
    (".grid", "stroke", "grid"),
    (".axis", "stroke", "axis"),
    (".plate", "fill", "card"),
    (".plate", "stroke", "edge"),
    (".page", "fill", "page"),
    (".ft", "fill", "twin"),
    (".st", "stroke", "twin"),
    (".hole", "fill", "card"),
];

/// The rules with colours written by `value`.
fn rules(value: impl Fn(&Colour) -> String) -> String {
    let mut css = String::new();
    let find = |name: &str| COLOURS.iter().find(|colour| colour.name == name).map(&value).unwrap_or_default();
    for (selector, property, name) in RULES {
        let _ = write!(css, "{selector}{{{property}:{}}}", find(name));
    }
    for series in 0..SERIES {
        let colour = find(&format!("c{series}"));
        let _ = write!(css, ".f{series}{{fill:{colour}}}.s{series}{{stroke:{colour}}}");
    }
    css
}

/// A style sheet for pictures, in light colours.
pub fn picture_css() -> String {
    rules(|colour| colour.light.to_owned())
}

/// A style sheet for pages: variables, which are other ones where the reader prefers dark, and the rules.
pub fn page_css() -> String {
    let variables = |shade: fn(&Colour) -> &'static str| {
        COLOURS.iter().map(|colour| format!("--{}:{};", colour.name, shade(colour))).collect::<String>()
    };
    format!(
        ":root{{color-scheme:light dark;{}}}@media(prefers-color-scheme:dark){{:root{{{}}}}}{}",
        variables(|colour| colour.light),
        variables(|colour| colour.dark),
        rules(|colour| format!("var(--{})", colour.name))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance of `#rrggbb` (WCAG 2.2).
    fn luminance(colour: &str) -> f64 {
        let channel = |at: usize| {
            let value = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
    }

    #[test]
    fn text_and_series_stand_out_from_the_card_in_light_and_dark() {
        let find = |name: &str| COLOURS.iter().find(|colour| colour.name == name).unwrap();
        for (shade, scheme) in [(0, "light"), (1, "dark")] {
            let of = |name: &str| luminance(if shade == 0 { find(name).light } else { find(name).dark });
            let contrast = |name: &str, ground: &str| {
                let (a, b) = (of(name) + 0.05, of(ground) + 0.05);
                if a > b { a / b } else { b / a }
            };
            for ground in ["card", "page"] {
                assert!(contrast("text", ground) > 7.0 && contrast("muted", ground) > 4.5, "{scheme} on {ground}");
            }
            for series in 0..SERIES {
                let found = contrast(&format!("c{series}"), "card");
                assert!(found > 2.5, "{scheme}: c{series} has {found:.2}");
            }
        }
    }

    #[test]
    fn every_rule_names_a_colour_that_there_is() {
        for (_, _, name) in RULES {
            assert!(COLOURS.iter().any(|colour| colour.name == name), "{name}");
        }
    }
}
