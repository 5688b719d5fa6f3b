//! The embedded font and how wide text is in it.
//!
//! Pages and pictures carry the same font (Inter, SIL Open Font License 1.1, cut down to Latin-1 and a few signs), so a
//! label has the same width everywhere, and labels that do not touch here touch nowhere.

/// Weight of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// For labels.
    Regular,
    /// For titles and figures.
    SemiBold,
}

/// The font files, as TrueType.
pub const FILES: [(Weight, &[u8]); 2] = [
    (Weight::Regular, include_bytes!("../../assets/Inter-Regular.ttf")),
    (Weight::SemiBold, include_bytes!("../../assets/Inter-SemiBold.ttf")),
];

/// Units per em of both files.
const EM: f64 = 2048.0;
/// What is assumed of characters beyond ASCII: as wide as the widest that the font has.
const WIDEST: u16 = 2089;

/// Advance widths of the characters from space to tilde.
#[rustfmt::skip]
const REGULAR: [u16; 95] = [
    576, 589, 954, 1297, 1314, 2011, 1319, 614, 747, 747, 1026, 1355, 590, 942, 590, 738, 1292, 833, 1249, 1265, 1323,
    1215, 1270, 1159, 1267, 1270, 590, 618, 1355, 1355, 1355, 1047, 1978, 1413, 1340, 1496, 1478, 1231, 1209, 1528, 1522,
    550, 1169, 1376, 1158, 1850, 1543, 1566, 1308, 1566, 1318, 1314, 1322, 1524, 1413, 2018, 1397, 1390, 1288, 747, 738,
    747, 965, 934, 661, 1150, 1254, 1170, 1254, 1194, 758, 1256, 1211, 496, 496, 1124, 496, 1794, 1210, 1228, 1254, 1254,
    771, 1081, 670, 1211, 1151, 1676, 1118, 1151, 1131, 873, 681, 873, 1355,
];

/// Advance widths of the characters from space to tilde.
#[rustfmt::skip]
const SEMI_BOLD: [u16; 95] = [
    516, 658, 1071, 1318, 1332, 2057, 1357, 667, 764, 764, 1105, 1378, 653, 953, 653, 776, 1351, 866, 1276, 1303, 1364,
    1254, 1310, 1180, 1311, 1310, 653, 674, 1378, 1378, 1378, 1113, 2046, 1490, 1350, 1509, 1479, 1240, 1204, 1534, 1527,
    567, 1187, 1440, 1158, 1889, 1555, 1574, 1321, 1583, 1336, 1332, 1352, 1507, 1490, 2089, 1474, 1461, 1336, 764, 776,
    764, 986, 961, 719, 1176, 1278, 1193, 1278, 1211, 796, 1281, 1254, 536, 536, 1166, 536, 1844, 1253, 1247, 1278, 1278,
    813, 1125, 723, 1254, 1202, 1719, 1165, 1205, 1159, 931, 735, 931, 1378,
];

/// Width of `text` at `size` pixels.
pub fn width(text: &str, size: f64, weight: Weight) -> f64 {
    text.chars().map(|letter| advance(letter, weight)).sum::<f64>() * size / EM
}

fn advance(letter: char, weight: Weight) -> f64 {
    let table = if weight == Weight::Regular { &REGULAR } else { &SEMI_BOLD };
    let ascii = (letter as usize).checked_sub(0x20).and_then(|at| table.get(at));
    f64::from(match letter {
        '·' => 653,
        '×' | '±' | '−' => 1378,
        '–' => 1024,
        _ => ascii.copied().unwrap_or(WIDEST),
    })
}

/// `text` as it is if it fits `room` pixels, else with its middle left out: layers and runs differ at their ends.
pub fn fit(text: &str, room: f64, size: f64, weight: Weight) -> String {
    if width(text, size, weight) <= room {
        return text.to_owned();
    }
    let letters: Vec<char> = text.chars().collect();
    let mut left = room - width("…", size, weight);
    let (mut head, mut tail) = (0, letters.len());
    while head < tail {
        let from_head = head <= letters.len() - tail;
        let next = if from_head { letters[head] } else { letters[tail - 1] };
        left -= advance(next, weight) * size / EM;
        if left < 0.0 {
            break;
        }
        if from_head { head += 1 } else { tail -= 1 }
    }
    let part = |range: std::ops::Range<usize>| letters[range].iter().collect::<String>();
    format!("{}…{}", part(0..head), part(tail..letters.len()))
}

/// Text from outside made fit to be shown: no control characters, no overlong names.
pub fn plain(text: &str) -> String {
    const LONGEST: usize = 300;
    let shown = |letter: char| match letter {
        '\n' | '\t' => ' ',
        letter if letter.is_control() || is_formatting(letter) => '\u{fffd}',
        letter => letter,
    };
    let mut plain: String = text.chars().take(LONGEST).map(shown).collect();
    if text.chars().nth(LONGEST).is_some() {
        plain.push('…');
    }
    plain
}

/// Characters that reorder or hide others, and those that XML does not allow.
fn is_formatting(letter: char) -> bool {
    matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fff0}'..='\u{ffff}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_fits_stays_and_a_longer_one_loses_its_middle() {
        assert_eq!(fit("conv1", 100.0, 11.0, Weight::Regular), "conv1");
        let name = "layer1.0.a_very_long_name_of_a_block.conv2";
        let short = fit(name, 90.0, 11.0, Weight::Regular);
        assert!(short.starts_with("layer") && short.ends_with("conv2") && short.contains('…'), "{short}");
        assert!(width(&short, 11.0, Weight::Regular) <= 90.0);
        assert_eq!(fit("abc", 1.0, 11.0, Weight::Regular), "…");
    }

    #[test]
    fn control_characters_and_overlong_names_are_not_shown() {
        assert_eq!(plain("a\u{1b}[31mb\u{202e}c\nd"), "a\u{fffd}[31mb\u{fffd}c d");
        assert_eq!(plain(&"x".repeat(5_000)).chars().count(), 301);
    }
}
