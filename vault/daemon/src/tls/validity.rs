//! From when to when a certificate is valid (RFC 5280, section 4.1.2.5).
//!
//! The little of DER that leads there; everything else of a certificate is for rustls to judge.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    from: Timestamp,
    until: Timestamp,
}

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// `[0] EXPLICIT Version`.
const VERSION: u8 = 0xa0;

impl Validity {
    /// Reads it from a certificate; `None` where that is none.
    pub(super) fn read(certificate: &[u8]) -> Option<Self> {
        let (_, certificate, _) = element(certificate)?;
        let (_, mut rest, _) = element(certificate)?;
        // Version, serial number, signature and issuer come before it.
        for wanted in [VERSION, INTEGER, SEQUENCE, SEQUENCE] {
            let (tag, _, next) = element(rest)?;
            if tag == wanted {
                rest = next;
            } else if wanted != VERSION {
                // Version 1 is not written down; the others are always there.
                return None;
            }
        }
        let (_, validity, _) = element(rest).filter(|(tag, ..)| *tag == SEQUENCE)?;
        let (from, rest) = time(validity)?;
        let (until, _) = time(rest)?;
        Some(Self { from, until })
    }

    /// How long it may stay: until a third of its time is left. Zero when that has come.
    pub(super) fn left(self, now: Timestamp) -> Duration {
        let span = self.until.duration_since(self.from) / 3 * 2;
        let renewal = self.from.checked_add(span).unwrap_or(self.from);
        Duration::try_from(renewal.duration_since(now)).unwrap_or(Duration::ZERO)
    }

    pub(super) fn is_over(self, now: Timestamp) -> bool {
        now >= self.until
    }
}

/// Tag, content and what follows the first element.
fn element(data: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = data.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first & 0x80 != 0 {
        let (bytes, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if bytes.len() > 4 {
            return None;
        }
        length = bytes
            .iter()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        rest = after;
    }
    let (content, after) = rest.split_at_checked(length)?;
    Some((tag, content, after))
}

fn time(data: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (tag, content, rest) = element(data)?;
    let text = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
    let full = match tag {
        // Two digits of a year are of 1950 to 2049.
        UTC_TIME if *content.first()? >= b'5' => format!("19{text}"),
        UTC_TIME => format!("20{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let time = DateTime::strptime("%Y%m%d%H%M%S", full).ok()?;
    let time = time.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some((time.timestamp(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_a_certificate_are_read() {
        let mut params = rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 1, 31);
        let key = rcgen::KeyPair::generate().unwrap();
        let made = params.self_signed(&key).unwrap();
        let validity = Validity::read(made.der()).unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let wanted = Validity {
            from: at("2020-01-01T00:00:00Z"),
            until: at("2020-01-31T00:00:00Z"),
        };
        assert_eq!(validity, wanted);
        let days = |count: u64| Duration::from_secs(count * 86400);
        assert_eq!(validity.left(at("2020-01-01T00:00:00Z")), days(20));
        assert_eq!(validity.left(at("2020-01-21T00:00:00Z")), days(0));
        assert_eq!(validity.left(at("2020-02-21T00:00:00Z")), days(0));
        assert!(!validity.is_over(at("2020-01-30T00:00:00Z")));
        assert!(validity.is_over(at("2020-01-31T00:00:00Z")));
    }

    #[test]
    fn what_is_no_certificate_has_no_times() {
        for data in [
            &b""[..],
            b"0",
            b"0\x80",
            b"\x30\x84\xff\xff\xff\xff",
            b"\x30\x02\x30\x00",
        ] {
            assert_eq!(Validity::read(data), None);
        }
    }
}
