//! How much the claims ask for, and how many days of footage that is.

use std::collections::BTreeMap;

use installer_render::agent_of;
use installer_render::kubernetes::{BUFFER_BYTES, Kind, ObjectId};
use installer_spec::{Keeper, Profile, Provider};

use super::KubernetesFacts;
use crate::facts::Disk;
use crate::storage::{StorageEstimate, estimate as days_of, keeps_here};

/// For footage where neither `quota` nor `retention` says how much there will be.
const FOOTAGE_BYTES: u64 = 50 << 30;
/// A catalogue, or what a broker keeps.
const SMALL_BYTES: u64 = 1 << 30;

/// The claim that holds the footage, where it stays in the cluster.
fn footage_claim(profile: &Profile) -> Option<&'static str> {
    match profile.storage.provider {
        Provider::Filesystem => Some("vault"),
        Provider::Minio => Some("minio"),
        Provider::S3(_) => None,
    }
}

/// What a claim asks for, in whole GiB. One that is there never shrinks, and grows for a quota only:
/// bit rates move by themselves.
pub(super) fn bytes(profile: &Profile, facts: &KubernetesFacts, claim: &str) -> u64 {
    let id = ObjectId::new(Kind::PersistentVolumeClaim, claim);
    let there = facts.objects.get(&id).and_then(|fact| fact.storage_bytes);
    if let Some(cameras) = cameras_of(profile, claim) {
        let wanted = of_agent(profile, facts, cameras);
        // What is there and has footage of nobody else's never shrinks either.
        return wanted.max(there.unwrap_or_default());
    }
    let holds_footage = footage_claim(profile) == Some(claim);
    let wanted = match (holds_footage, profile.storage.quota, there) {
        (false, ..) => SMALL_BYTES,
        (true, Some(quota), _) => with_reserve(quota),
        (true, None, Some(there)) => there,
        (true, None, None) => promised(profile, facts).map_or(FOOTAGE_BYTES, with_reserve),
    };
    wanted.max(there.unwrap_or_default())
}

/// How many cameras the agent of this name records; nothing where it is another's name.
fn cameras_of(profile: &Profile, claim: &str) -> Option<u64> {
    let recorded = profile.cameras.iter();
    let recorded = recorded.filter(|camera| agent_of(profile, camera) == claim);
    let recorded = u64::try_from(recorded.count()).unwrap_or(u64::MAX);
    (recorded > 0).then_some(recorded)
}

/// What an agent's claim asks for: its part of all footage where it keeps it, else what waits for
/// the vault.
fn of_agent(profile: &Profile, facts: &KubernetesFacts, cameras: u64) -> u64 {
    if profile.storage.keeper == Keeper::Vault {
        return BUFFER_BYTES * cameras;
    }
    let all = u64::try_from(profile.cameras.len().max(1)).unwrap_or(u64::MAX);
    let part = |whole: u64| with_reserve(whole / all * cameras);
    let whole = profile.storage.quota.or_else(|| promised(profile, facts));
    whole.map_or_else(|| part(FOOTAGE_BYTES), part)
}

/// Bytes of the footage that `retention` promises.
fn promised(profile: &Profile, facts: &KubernetesFacts) -> Option<u64> {
    days_of(profile, &facts.cameras, disk(0)).promised_bytes
}

/// The vault leaves a twentieth of its disk free, and has its catalogue beside the footage.
fn with_reserve(bytes: u64) -> u64 {
    let whole = bytes / 19 * 20 + SMALL_BYTES;
    whole.div_ceil(1 << 30) << 30
}

fn disk(bytes: u64) -> Disk {
    Disk {
        free_bytes: bytes,
        total_bytes: bytes,
        footage_bytes: 0,
    }
}

/// How many days of footage the claim holds; nothing where footage leaves the cluster.
pub(super) fn estimate(
    profile: &Profile,
    facts: &KubernetesFacts,
    volumes: &BTreeMap<String, u64>,
) -> Option<StorageEstimate> {
    let bytes = match profile.storage.keeper {
        Keeper::Agent => volumes.values().sum(),
        Keeper::Vault => {
            let claim = footage_claim(profile).filter(|_| keeps_here(profile))?;
            *volumes.get(claim)?
        }
    };
    Some(days_of(profile, &facts.cameras, disk(bytes)))
}
