//! PEM, as far as certificates and keys need it (RFC 7468).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// One block of text, in lines of 64.
pub(crate) fn encode(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    for (at, letter) in STANDARD.encode(der).chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            text.push('\n');
        }
        text.push(letter);
    }
    text + &format!("\n-----END {label}-----\n")
}

/// The first block with this label.
pub(crate) fn decode(label: &str, text: &str) -> Option<Vec<u8>> {
    let begin = format!("-----BEGIN {label}-----");
    let end = format!("-----END {label}-----");
    let (_, rest) = text.split_once(&begin)?;
    let (body, _) = rest.split_once(&end)?;
    let letters: String = body.split_whitespace().collect();
    STANDARD.decode(letters).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_reads_as_it_was_written() {
        for length in [0, 1, 47, 48, 49, 96, 500] {
            let der = vec![7; length];
            let text = encode("THING", &der);
            assert!(text.lines().all(|line| line.len() <= 64), "{text}");
            assert_eq!(decode("THING", &format!("before\n{text}after")), Some(der));
            assert_eq!(decode("OTHER", &text), None);
        }
    }
}
