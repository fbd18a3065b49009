//! What goes, oldest first: by age, by quota, and so that the disk never fills.

use std::sync::Arc;

use camino::Utf8PathBuf;
use vault_api::Recording;
use vault_catalogue::Totals;
use vault_storage::StorageError;

use crate::problem::chain;
use crate::vault::{Vault, VaultError, now_ms};

/// How much footage stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    pub age_ms: Option<i64>,
    pub quota_bytes: Option<u64>,
    /// Bytes that stay free on the disk; 5 % of it, at most 10 GiB, where nothing is said.
    pub reserve_bytes: Option<u64>,
}

impl Policy {
    fn over_quota(&self, totals: &Totals) -> u64 {
        let held = u64::try_from(totals.bytes).unwrap_or(0);
        let over = |quota| held.saturating_sub(quota);
        self.quota_bytes.map_or(0, over)
    }

    /// Says no only where nothing has to go.
    fn might_want(&self, totals: &Totals, short: u64, now_ms: i64) -> bool {
        let ages = self.age_ms.zip(totals.oldest_ms);
        let aged = ages.is_some_and(|(age, oldest)| oldest < now_ms - age);
        totals.recordings > 0 && (aged || short > 0 || self.over_quota(totals) > 0)
    }
}

/// Bytes that the disk is short of its reserve. Where no disk is seen, nothing is kept free: quota
/// and age alone decide.
fn short(vault: &Vault) -> Result<u64, StorageError> {
    Ok(vault.provider.space()?.map_or(0, |space| {
        let reserve = vault.policy.reserve_bytes;
        let reserve = reserve.unwrap_or_else(|| (space.total / 20).min(10 << 30));
        reserve.saturating_sub(space.free)
    }))
}

/// Recordings looked at between two looks at the disk.
const BATCH: usize = 50;

/// Makes what room the policy allows, for an upload that found none.
pub(crate) async fn make_room(vault: &Arc<Vault>) {
    let vault = Arc::clone(vault);
    // Its own task: a client that leaves must not stop it between row and object.
    let room = tokio::spawn(async move { retain(&vault, now_ms()).await });
    match room.await {
        Ok(Ok(gone)) => tracing::warn!("the disk is full; {gone} recordings went, oldest first"),
        Ok(Err(error)) => {
            tracing::error!("the disk is full and retention failed: {}", chain(&error));
        }
        Err(error) => tracing::error!("retention did not end: {error}"),
    }
}

/// Deletes what the policy no longer wants; returns how many recordings went.
///
/// The catalogue is told first: a crash in between leaves an object that the next start takes up
/// again, never a recording without an object. On a disk without any room it is the other way
/// round, and where a server keeps the objects, which may be away at any time; the next round takes
/// the row.
pub async fn retain(vault: &Vault, now_ms: i64) -> Result<usize, VaultError> {
    let _turn = vault.retaining.lock().await;
    let policy = vault.policy;
    let mut gone = 0;
    loop {
        // Mostly nothing has to go, which the sums tell without a look at the recordings.
        let totals = vault.ask(|catalogue| catalogue.totals()).await?;
        if !policy.might_want(&totals, short(vault)?, now_ms) {
            return Ok(gone);
        }
        // In this order: what another vault took meanwhile is in the list and not in the sums.
        let (oldest, totals) = vault
            .ask(|catalogue| {
                let oldest = catalogue.oldest(BATCH)?;
                catalogue.recount();
                Ok((oldest, catalogue.totals()?))
            })
            .await?;
        let mut excess = policy.over_quota(&totals).max(short(vault)?);
        let mut batch = 0;
        for recording in oldest {
            let expired = policy.age_ms.is_some_and(|age| {
                recording.start_ms.saturating_add(recording.duration_ms) < now_ms - age
            });
            if !expired && excess == 0 {
                break;
            }
            excess = excess.saturating_sub(u64::try_from(recording.bytes).unwrap_or(0));
            remove(vault, recording, now_ms).await?;
            batch += 1;
        }
        gone += batch;
        if batch > 0 {
            vault.tell();
        }
        if batch < BATCH {
            return Ok(gone);
        }
    }
}

async fn remove(vault: &Vault, recording: Recording, now_ms: i64) -> Result<(), VaultError> {
    let location = Utf8PathBuf::from(recording.location.clone());
    if !vault.provider.is_remote() {
        let known = recording.clone();
        let told = vault.ask(move |catalogue| catalogue.expire(&known, now_ms));
        match told.await {
            // Not even the row's removal finds room, so the object makes some first.
            Err(error) if error.is_full() => {}
            told => {
                told?;
                return Ok(vault.provider.delete(&location).await?);
            }
        }
    }
    vault.provider.delete(&location).await?;
    vault
        .ask(move |catalogue| catalogue.expire(&recording, now_ms))
        .await
}
