//! Byte ranges of an HTTP request (RFC 9110, section 14): one range, or the whole.

/// What part of a body is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    Whole,
    /// First byte, and how many.
    Part {
        start: u64,
        length: u64,
    },
    /// Outside of the body.
    Unsatisfiable,
}

/// Reads a `Range` header for a body of `size` bytes. What it does not understand, several ranges
/// among it, is the whole, as the RFC allows.
pub(crate) fn parse(header: Option<&str>, size: u64) -> Wanted {
    let parts = header.and_then(|header| header.trim().split_once('='));
    let Some((unit, spec)) = parts else {
        return Wanted::Whole;
    };
    let Some((first, last)) = spec.split_once('-') else {
        return Wanted::Whole;
    };
    if !unit.eq_ignore_ascii_case("bytes") {
        return Wanted::Whole;
    }
    match (position(first.trim()), position(last.trim())) {
        (Position::Number(start), last) => {
            let end = match last {
                Position::Number(end) => end,
                Position::Absent => u64::MAX,
                Position::Invalid => return Wanted::Whole,
            };
            if end < start {
                return Wanted::Whole;
            }
            if start >= size {
                return Wanted::Unsatisfiable;
            }
            let length = end.saturating_add(1).min(size) - start;
            Wanted::Part { start, length }
        }
        (Position::Absent, Position::Number(suffix)) => match suffix.min(size) {
            0 => Wanted::Unsatisfiable,
            length => Wanted::Part {
                start: size - length,
                length,
            },
        },
        _ => Wanted::Whole,
    }
}

enum Position {
    Number(u64),
    Absent,
    Invalid,
}

/// Digits and nothing else; a number past all bodies is past this one, too.
fn position(text: &str) -> Position {
    if text.is_empty() {
        return Position::Absent;
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Position::Invalid;
    }
    Position::Number(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_rfc_says() {
        let part = |start, length| Wanted::Part { start, length };
        for (header, wanted) in [
            ("bytes=0-0", part(0, 1)),
            ("bytes=2-5", part(2, 4)),
            ("bytes=8-", part(8, 2)),
            ("bytes=8-99999999999999999999", part(8, 2)),
            ("bytes=99999999999999999999-", Wanted::Unsatisfiable),
            ("Bytes=0-0", part(0, 1)),
            ("bytes=+1-2", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("bytes=5-1000", part(5, 5)),
            ("bytes=-3", part(7, 3)),
            ("bytes=-30", part(0, 10)),
            ("bytes=-0", Wanted::Unsatisfiable),
            ("bytes=10-", Wanted::Unsatisfiable),
            ("bytes=5-2", Wanted::Whole),
            ("bytes=0-1,4-5", Wanted::Whole),
            ("bytes=a-b", Wanted::Whole),
            ("lines=1-2", Wanted::Whole),
        ] {
            assert_eq!(parse(Some(header), 10), wanted, "{header}");
        }
        assert_eq!(parse(None, 10), Wanted::Whole);
    }
    proptest::proptest! {
        #[test]
        fn a_part_is_never_empty_and_never_past_the_end(header in "\\PC{0,12}|[bB]ytes=[0-9]{0,21}-[0-9]{0,21}", size in 0u64..40) {
            if let Wanted::Part { start, length } = parse(Some(&header), size) {
                proptest::prop_assert!(length > 0 && start + length <= size, "{header}");
            }
        }

        #[test]
        fn first_and_last_are_both_within(first in 0u64..50, more in 0u64..50, size in 1u64..40) {
            let wanted = if first >= size {
                Wanted::Unsatisfiable
            } else {
                Wanted::Part { start: first, length: (more + 1).min(size - first) }
            };
            proptest::prop_assert_eq!(parse(Some(&format!("bytes={first}-{}", first + more)), size), wanted);
        }
    }
}
