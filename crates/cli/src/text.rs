//! Numbers and tables for people.

use std::fmt::Display;
use std::io::{self, Write};

/// Writes a line to standard output; unlike `println!` it does not panic when the reader has gone.
///
/// # Errors
/// Whatever the system says.
pub fn line(text: impl Display) -> io::Result<()> {
    writeln!(io::stdout(), "{text}")
}

/// `1,860,522`
pub fn count(number: usize) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `512 B`, `17.3 kB`, `2.0 MB`
pub fn bytes(bytes: usize) -> String {
    let mut size = bytes as f64;
    for unit in ["B", "kB", "MB"] {
        if size < 999.5 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{size:.1} {unit}") };
        }
        size /= 1e3;
    }
    format!("{size:.1} GB")
}

/// `91.3%`
pub fn percent(share: f64) -> String {
    format!("{:.1}%", 100.0 * share)
}

/// `41.2 s`, `3 min 05 s`
pub fn seconds(seconds: f64) -> String {
    if seconds < 99.95 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    format!("{} min {:02} s", whole / 60, whole % 60)
}

/// Columns padded to their widest cell: the first to the left, the others to the right.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let pad = |(column, cell): (usize, &String)| match column {
        0 => format!("{cell:<width$}", width = widths[0]),
        _ => format!("{cell:>width$}", width = widths[column]),
    };
    let lines = rows.iter().map(|row| row.iter().enumerate().map(pad).collect::<Vec<_>>().join("  "));
    lines.map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_people_read_them() {
        assert_eq!((count(0), count(999), count(1_860_522)), ("0".into(), "999".into(), "1,860,522".into()));
        assert_eq!((bytes(999), bytes(17_345), bytes(999_960)), ("999 B".into(), "17.3 kB".into(), "1.0 MB".into()));
        assert_eq!((seconds(41.23), seconds(185.4)), ("41.2 s".into(), "3 min 05 s".into()));
        assert_eq!(percent(0.9134), "91.3%");
    }

    #[test]
    fn tables_align_their_columns() {
        let rows = [vec!["layer".to_owned(), "nnz".to_owned()], vec!["fc".to_owned(), "1,280".to_owned()]];
        assert_eq!(table(&rows), "layer    nnz\nfc     1,280");
    }
}
