//! Text files: digests and differences.

use crate::digest::Digest;

/// Digest of a file with this text.
pub(crate) fn text_digest(text: &str) -> Digest {
    use sha2::Digest as _;
    hex::encode(sha2::Sha256::digest(text.as_bytes()))
}

/// Changed lines, old ones with `-` and new ones with `+`.
pub(crate) fn difference(old: &str, new: &str) -> Vec<String> {
    let diff = similar::TextDiff::from_lines(old, new);
    diff.iter_all_changes()
        .filter_map(|change| {
            let sign = match change.tag() {
                similar::ChangeTag::Equal => return None,
                similar::ChangeTag::Delete => '-',
                similar::ChangeTag::Insert => '+',
            };
            Some(format!("{sign} {}", change.value().trim()))
        })
        .collect()
}
