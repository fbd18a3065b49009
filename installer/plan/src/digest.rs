//! Content digests: SHA-256 in lower-case hex.

use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// SHA-256, 64 lower-case hex digits.
pub type Digest = String;

/// Digest of a value's JSON. Maps are ordered, so equal values have equal digests.
pub fn digest_of<T: Serialize>(value: &T) -> Digest {
    let bytes = serde_json::to_vec(value).expect("invariant: plain data serialises");
    hex::encode(Sha256::digest(bytes))
}
