//! Sizes as people write and read them.

/// Bytes in words, with the units of disks and of RAM alike: `4.2 MB`.
pub fn size(bytes: u64) -> String {
    let steps = [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    match steps.into_iter().find(|&(unit, _)| bytes as f64 >= unit) {
        Some((unit, name)) => format!("{:.1} {name}", bytes as f64 / unit),
        None => format!("{bytes} bytes"),
    }
}

/// Reads a size: a number with `kB`, `MB`, `GB`, `KiB`, `MiB` or `GiB` behind it, or without a unit, in bytes.
pub fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let (digits, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len()));
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "kib" => 1024.0,
        "mib" => 1024.0 * 1024.0,
        "gib" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    let bytes = digits.trim().parse::<f64>().ok()? * factor;
    (1.0..9e18).contains(&bytes).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_every_unit() {
        let pairs =
            [("1500", 1500), ("2GB", 2_000_000_000), ("512 MiB", 512 << 20), ("1.5g", 1_500_000_000), ("1KiB", 1024)];
        for (text, bytes) in pairs {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in ["", "GB", "-1GB", "0", "2 PB", "inf", "nan", "1e99", "2GBs"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_shown_with_one_digit() {
        assert_eq!([999, 1000, 4_240_000, 3_000_000_000].map(size), ["999 bytes", "1.0 kB", "4.2 MB", "3.0 GB"]);
    }
}
