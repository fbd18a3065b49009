//! Durations and sizes as people write them.

use std::time::Duration;

const SECOND: u64 = 1000;
/// Longest first, in milliseconds.
const DURATIONS: [(&str, u64); 6] = [
    ("w", 7 * 24 * 3600 * SECOND),
    ("d", 24 * 3600 * SECOND),
    ("h", 3600 * SECOND),
    ("m", 60 * SECOND),
    ("s", SECOND),
    ("ms", 1),
];
/// Largest first where they are written out.
const BYTES: [(&str, u64); 12] = [
    ("PiB", 1 << 50),
    ("PB", 1_000_000_000_000_000),
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("kB", 1_000),
    ("B", 1),
];

/// Reads `10s`, `30d`, `1h30m`; units w, d, h, m, s and ms, each at most once and in that order.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total: u64 = 0;
    let mut units = DURATIONS.iter();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (number, after) = split_digits(rest)?;
        let letters = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, tail) = after.split_at(letters);
        let (_, factor) = units.by_ref().find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(*factor)?)?;
        rest = tail;
    }
    Some(Duration::from_millis(total))
}

/// Writes what [`parse_duration`] reads. Less than a millisecond is dropped.
pub fn format_duration(duration: Duration) -> String {
    let mut left = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, factor) in DURATIONS {
        // `2w` only for whole weeks: people count `30d`, not `4w2d`.
        if unit == "w" && !left.is_multiple_of(factor) {
            continue;
        }
        if left >= factor {
            text += &(left / factor).to_string();
            text += unit;
            left %= factor;
        }
    }
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}

/// Reads `500MB` (decimal), `2TiB` (binary), `1.5 GB`.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let (whole, after) = split_digits(text)?;
    let (fraction, unit) = match after.strip_prefix('.') {
        Some(after) => split_digits(after)?,
        None => ("", after),
    };
    let unit = unit.strip_prefix(' ').unwrap_or(unit);
    let (_, factor) = BYTES.iter().find(|(name, _)| *name == unit)?;
    if fraction.len() > 6 {
        return None;
    }
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let number = whole.parse::<u64>().ok().map(u128::from)? * scale
        + fraction
            .parse::<u128>()
            .ok()
            .filter(|_| !fraction.is_empty())
            .unwrap_or(0);
    u64::try_from(number.checked_mul(u128::from(*factor))? / scale).ok()
}

/// Writes what [`parse_bytes`] reads, exactly, in the largest unit that divides `bytes`.
pub fn format_bytes(bytes: u64) -> String {
    let unit = BYTES
        .iter()
        .find(|(name, factor)| *name != "kB" && bytes >= *factor && bytes.is_multiple_of(*factor));
    let (name, factor) = unit.unwrap_or(&("B", 1));
    format!("{}{name}", bytes / factor)
}

fn split_digits(text: &str) -> Option<(&str, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations() {
        for (text, ms) in [
            ("500ms", 500),
            ("0s", 0),
            ("10s", 10_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("30d", 2_592_000_000),
            ("1w", 604_800_000),
        ] {
            assert_eq!(
                parse_duration(text),
                Some(Duration::from_millis(ms)),
                "{text}"
            );
            assert_eq!(format_duration(Duration::from_millis(ms)), text);
        }
        for text in [
            "",
            "10",
            "s",
            "10 s",
            "1.5h",
            "30m1h",
            "1m1m",
            "-1s",
            "1y",
            "99999999999999999999w",
            "1ſ",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("500MB", 500_000_000),
            ("2TiB", 2 << 40),
            ("100GiB", 100 << 30),
        ] {
            assert_eq!(parse_bytes(text), Some(bytes), "{text}");
            assert_eq!(format_bytes(bytes), text);
        }
        assert_eq!(parse_bytes("1.5 GB"), Some(1_500_000_000));
        assert_eq!(parse_bytes("12kB"), Some(12_000));
        for text in [
            "",
            "5",
            "5M",
            "5gb",
            "GB",
            "1.GB",
            "1..5GB",
            "-1GB",
            "99999999PiB",
            "1 000MB",
        ] {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(ms in any::<u64>(), bytes in any::<u64>()) {
            let duration = Duration::from_millis(ms);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Some(duration));
            prop_assert_eq!(parse_bytes(&format_bytes(bytes)), Some(bytes));
        }

        #[test]
        fn nothing_panics(text in "\\PC{0,24}") {
            parse_duration(&text);
            parse_bytes(&text);
        }
    }
}
