//! How much footage fits.

use std::collections::BTreeMap;

use camino::Utf8Path;
use installer_spec::{Profile, Provider, Source, TestSource, When};
use serde::{Deserialize, Serialize};

use crate::check::{Finding, Severity};
use crate::facts::{CameraFact, Disk};
use crate::receipt::Receipt;
use crate::show::{days, human_bytes};

/// Taken for a camera that nobody could measure: 1080p at 25 frames per second, H.264.
const ASSUMED_BITS_PER_SECOND: u64 = 4_000_000;

/// The built-in scene's.
const SCENE_BITS_PER_SECOND: u64 = 400_000;

/// The vault leaves 5 % of the disk free, at most 10 GiB.
const RESERVE_PERCENT: u64 = 5;
const RESERVE_MAX: u64 = 10 << 30;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StorageEstimate {
    pub cameras: usize,
    /// Cameras whose bit rate is assumed, not measured.
    pub assumed: usize,
    /// Cameras that record on motion only: less than this will be written.
    pub on_motion: usize,
    pub bits_per_second: u64,
    pub bytes_per_day: u64,
    /// Bytes that footage may take.
    pub room_bytes: u64,
    pub limit: Limit,
    /// Days of footage that fit.
    pub days: f64,
    /// Days asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_days: Option<f64>,
    /// Bytes of that many days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promised_bytes: Option<u64>,
}

/// What bounds the footage first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Limit {
    Quota,
    Disk,
}

/// What the owner has agreed to about retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// The profile's retention is what must be kept.
    Whole,
    /// What the disk can hold is enough (`--accept-short-retention`).
    Short,
}

/// Says when there is no room at all: what is recorded would go at once. A new site does not begin
/// like that; one that runs may need a change all the more.
pub(crate) fn room_finding(
    storage: &StorageEstimate,
    data: &Utf8Path,
    receipt: Option<&Receipt>,
) -> Option<Finding> {
    let five_minutes = storage.bytes_per_day / 288;
    if storage.limit == Limit::Quota || storage.room_bytes >= five_minutes {
        return None;
    }
    let severity = match receipt {
        None => Severity::Error,
        Some(_) => Severity::Warning,
    };
    Some(Finding::new(
        severity,
        "no-room",
        format!(
            "the disk of `{data}` has room for {} of footage beside what is kept free for the \
             machine, which is less than five minutes",
            human_bytes(storage.room_bytes)
        ),
        "free some of it, or set `storage.path` to another disk: 5 % of it, at most 10 GiB, stay \
         free",
    ))
}

/// Says when less footage fits than the profile promises. Where the disk is too small nothing
/// begins, unless the owner has agreed; a quota is the owner's own word.
pub(crate) fn retention_finding(storage: &StorageEstimate, promise: Promise) -> Option<Finding> {
    let asked = storage
        .retention_days
        .filter(|asked| *asked > storage.days)?;
    // What moves decides how much is written; nobody knows it beforehand.
    if storage.on_motion == storage.cameras {
        return None;
    }
    let (limit, severity) = match (storage.limit, promise) {
        (Limit::Quota, _) => ("quota", Severity::Warning),
        (Limit::Disk, Promise::Short) => ("disk", Severity::Warning),
        (Limit::Disk, Promise::Whole) => ("disk", Severity::Error),
    };
    let message = format!(
        "{} of footage are asked for, which is {} at {} a day; {} fit the {limit} ({})",
        days(asked),
        human_bytes(storage.promised_bytes.unwrap_or_default()),
        human_bytes(storage.bytes_per_day),
        days(storage.days),
        human_bytes(storage.room_bytes),
    );
    let help = match severity {
        Severity::Error => {
            "give it a bigger disk, lower `retention` or the cameras' bit rate, or go on with \
             --accept-short-retention"
        }
        _ => "the oldest footage goes first; give it more room, or lower the cameras' bit rate",
    };
    Some(Finding::new(severity, "retention-short", message, help))
}

/// Whether footage stays on the site's own disk.
pub(crate) fn keeps_here(profile: &Profile) -> bool {
    !matches!(profile.storage.provider, Provider::S3(_))
}

/// Computes how many days of footage the site can hold.
///
/// `measured` holds cameras by name; `disk` is that of the data directory.
pub fn estimate(
    profile: &Profile,
    measured: &BTreeMap<String, CameraFact>,
    disk: Disk,
) -> StorageEstimate {
    let (mut bits_per_second, mut assumed, mut on_motion) = (0u64, 0, 0);
    for camera in &profile.cameras {
        let known =
            (camera.source == Source::Test(TestSource::Scene)).then_some(SCENE_BITS_PER_SECOND);
        let measured = measured.get(&camera.name).map(|fact| fact.bits_per_second);
        let measured = measured.or(known);
        assumed += usize::from(measured.is_none());
        on_motion += usize::from(camera.record.when == When::Motion);
        bits_per_second =
            bits_per_second.saturating_add(measured.unwrap_or(ASSUMED_BITS_PER_SECOND));
    }
    let bytes_per_day = (bits_per_second / 8).saturating_mul(86_400);
    let reserve = (disk.total_bytes / 100 * RESERVE_PERCENT).min(RESERVE_MAX);
    let on_disk = (disk.free_bytes + disk.footage_bytes).saturating_sub(reserve);
    let (room_bytes, limit) = match profile.storage.quota {
        Some(quota) if quota <= on_disk => (quota, Limit::Quota),
        _ => (on_disk, Limit::Disk),
    };
    StorageEstimate {
        cameras: profile.cameras.len(),
        assumed,
        on_motion,
        bits_per_second,
        bytes_per_day,
        room_bytes,
        limit,
        days: room_bytes as f64 / bytes_per_day.max(1) as f64,
        promised_bytes: profile
            .storage
            .retention
            .map(|age| (bytes_per_day / 86_400).saturating_mul(age.as_secs())),
        retention_days: profile
            .storage
            .retention
            .map(|age| age.as_secs_f64() / 86_400.0),
    }
}
