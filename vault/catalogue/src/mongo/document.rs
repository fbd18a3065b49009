//! The documents as they lie in the database.

use mongodb::bson::{Document, doc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use vault_api::{Event, Recording};

use crate::NewRecording;

/// Collection `recordings`: a recording, and what still has to be told of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Kept {
    /// See [`recording_id`].
    #[serde(rename = "_id")]
    pub(super) id: String,
    #[serde(flatten)]
    pub(super) recording: Recording,
    /// The event `recording.stored` is among the events.
    pub(super) told: bool,
    /// When it expired; 0 while it is there.
    pub(super) gone_ms: i64,
}

/// Collection `events`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Told {
    /// See [`event_id`].
    #[serde(rename = "_id")]
    pub(super) id: String,
    /// What keeps an event from being told twice where a vault ended half-way.
    pub(super) once: String,
    pub(super) event: Event,
}

/// Collection `deliveries`, one document per integration.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Delivery {
    pub(super) seq: i64,
}

/// Collection `claims`: who tells an integration. The one with the highest number counts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Claim {
    /// See [`claim_id`].
    #[serde(rename = "_id")]
    pub(super) id: String,
    pub(super) integration: String,
    pub(super) number: i64,
    pub(super) holder: String,
    pub(super) until_ms: i64,
}

/// Collection `numbers`, one document.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Numbers {
    /// Of an event; there may be some beyond it after a crash.
    pub(super) last: i64,
}

/// Integers that JavaScript reads without loss.
const ID_MAX: u64 = (1 << 53) - 1;

/// The number of a recording is the hash of its name: the same one after a rebuild, and found by
/// either without an index of its own, which `FerretDB` 1 would not use. `probe` is for the day when
/// two names have the same.
pub(super) fn recording_id(account: &str, key: &str, probe: u64) -> i64 {
    let hash = Sha256::digest(format!("{account}\0{key}"));
    let mut number = [0; 8];
    number.copy_from_slice(&hash[..8]);
    let id = u64::from_be_bytes(number).wrapping_add(probe) & ID_MAX;
    i64::try_from(id).unwrap_or(0)
}

/// Text, since `FerretDB` 1 finds no number without reading everything; of one length, so that it is
/// in the order of numbers.
pub(super) fn recording_key(id: i64) -> String {
    format!("{id:016}")
}

pub(super) fn event_id(seq: i64) -> String {
    format!("{seq:019}")
}

pub(super) fn claim_id(integration: &str, number: i64) -> String {
    format!("{integration}/{number:019}")
}

impl Kept {
    pub(super) fn new(new: &NewRecording, id: i64) -> Self {
        Self {
            id: recording_key(id),
            recording: new.with_id(id),
            told: false,
            gone_ms: 0,
        }
    }

    pub(super) fn is(&self, account: &str, key: &str) -> bool {
        self.recording.account == account && self.recording.key == key
    }
}

/// Recordings that are there, as a filter.
pub(super) fn there() -> Document {
    doc! { "gone_ms": 0_i64 }
}
