//! Numbers as people read them at a glance.

/// `850 ms`, `12 s`, `3 min`, `5 h`, `2 d`.
pub(crate) fn time(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..120_000 => format!("{} s", ms / 1_000),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        7_200_000..172_800_000 => format!("{} h", ms / 3_600_000),
        _ => format!("{} d", ms / 86_400_000),
    }
}

/// `640 kbit/s`, `4.2 Mbit/s`.
pub(crate) fn rate(bits_per_second: u64) -> String {
    if bits_per_second < 1_000_000 {
        format!("{} kbit/s", bits_per_second / 1_000)
    } else {
        format!("{:.1} Mbit/s", bits_per_second as f64 / 1e6)
    }
}

/// At most so many letters, the last one an ellipsis where some are missing.
pub(crate) fn short(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(most.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// Names, as many as there is room for.
pub(crate) fn names(all: &[&str], most: usize) -> String {
    let named = all
        .iter()
        .take(most)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    match all.len().saturating_sub(most) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [time(850), time(12_400), time(180_000)],
            ["850 ms", "12 s", "3 min"]
        );
        assert_eq!([time(7_200_000), time(200_000_000)], ["2 h", "2 d"]);
        assert_eq!(
            [rate(640_000), rate(4_249_999)],
            ["640 kbit/s", "4.2 Mbit/s"]
        );
        assert_eq!(short("a name that is long", 8), "a name …");
        assert_eq!(names(&["a", "b", "c"], 2), "a, b and 1 more");
    }
}
