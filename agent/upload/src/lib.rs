//! Takes finished recordings to a vault.
//!
//! Invariant: a local file is removed only after the vault acknowledged that it holds it durably.
//! It must not know of cameras beyond their names. Start at [`Uploader`]; what to send next and
//! when is decided in `queue`, without a clock.

mod calls;
mod client;
mod queue;
mod vault;

use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_api::Recording;
use agent_config::UploadConfig;
use agent_store::{Store, StoreError};

use crate::queue::{Queue, Turn};
pub use crate::vault::VaultError;
use crate::vault::{Refusal, Vault};
pub use calls::Calls;
pub use client::ClientError;

/// New recordings wake the uploader; this is for those that appear by other ways.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// What became of an attempt.
#[derive(Debug)]
pub enum Outcome<'a> {
    /// The vault holds it.
    Uploaded(&'a Recording),
    Failed(&'a Recording, &'a VaultError),
}

/// Sends recordings one by one, oldest first, until it is dropped.
pub struct Uploader {
    store: Arc<Store>,
    vault: Vault,
    queue: Queue,
    calls: Arc<Calls>,
    report: Box<dyn Fn(Outcome<'_>) + Send + Sync>,
}

impl std::fmt::Debug for Uploader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uploader")
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}

impl Uploader {
    /// `calls` wakes it; `report` hears of every attempt.
    pub fn new(
        config: UploadConfig,
        store: Arc<Store>,
        calls: Arc<Calls>,
        report: Box<dyn Fn(Outcome<'_>) + Send + Sync>,
    ) -> Self {
        Self {
            store,
            vault: Vault::new(config),
            queue: Queue::default(),
            calls,
            report,
        }
    }

    /// Runs for ever; safe to cancel at any moment.
    pub async fn run(mut self) {
        for recording in self.store.lost_offers() {
            self.settle_lost(&recording).await;
        }
        loop {
            let now = Instant::now();
            let next = match self.queue.turn(now) {
                Turn::Wait(_) => None,
                Turn::Send => self.pick(now),
            };
            let Some(recording) = next else {
                let wait = self
                    .queue
                    .until_next(now)
                    .unwrap_or(LOOK_AGAIN)
                    .min(LOOK_AGAIN);
                // An outage is not ended by a new recording, but somebody who waits for one
                // recording gets an attempt at once.
                let called = tokio::time::timeout(wait, self.calls.called()).await;
                if called.is_ok_and(|()| self.calls.is_urgent()) {
                    self.queue.reopen();
                }
                continue;
            };
            self.attempt(&recording).await;
        }
    }

    /// What somebody waits for; else the oldest recording that is not set back, else the oldest set back whose time has come.
    fn pick(&self, now: Instant) -> Option<Recording> {
        while let Some(file) = self.calls.next_urgent() {
            if let Some(recording) = self.store.find(&file).filter(|r| !r.uploaded) {
                return Some(recording);
            }
        }
        let regular = self
            .store
            .oldest_pending(&|r| self.queue.admits(&r.camera, &r.file, now));
        regular.or_else(|| {
            self.store
                .oldest_pending(&|r| self.queue.retries(&r.file, now))
        })
    }

    async fn attempt(&mut self, recording: &Recording) {
        let path = self.store.path_of(recording);
        let store = Arc::clone(&self.store);
        let offered = recording.clone();
        if let Err(error) = blocking(move || store.note_offered(&offered)).await {
            tracing::error!(recording = %recording.file, %error, "the upload cannot be noted");
            self.queue.outage(Instant::now(), roll());
            return;
        }
        match self.vault.send(recording, path.as_std_path()).await {
            Ok(()) => {
                self.queue.done(&recording.file);
                self.acknowledge(recording).await;
            }
            Err(error) => {
                (self.report)(Outcome::Failed(recording, &error));
                let file = &recording.file;
                let now = Instant::now();
                match error.refusal() {
                    // Retention or a hand was faster; then the store lists it no longer.
                    Refusal::File if !path.exists() => {
                        if self.store.find(file).is_some() {
                            self.forget(recording, &error).await;
                        }
                    }
                    Refusal::File => {
                        let last = self.queue.refused(&recording.camera, file, now, roll());
                        tracing::warn!(%file, %error, last, "the vault refuses a recording");
                    }
                    Refusal::Everything => {
                        let wait = self.queue.outage(now, roll());
                        tracing::warn!(%file, error = %chain(&error), wait_ms = millis(wait), "upload failed");
                    }
                }
            }
        }
    }

    async fn acknowledge(&self, recording: &Recording) {
        let store = Arc::clone(&self.store);
        let acknowledged = recording.clone();
        let noted = blocking(move || {
            store.note_uploaded(&acknowledged)?;
            store.remove(&acknowledged)
        })
        .await;
        if let Err(error) = noted {
            tracing::error!(recording = %recording.file, %error, "an uploaded recording stays here");
        }
        tracing::info!(recording = %recording.file, bytes = recording.bytes, "uploaded");
        (self.report)(Outcome::Uploaded(recording));
    }

    /// A recording that was offered before a crash and is not here any more: the vault took it,
    /// or someone removed it. Only the vault can tell.
    async fn settle_lost(&self, recording: &Recording) {
        let path = self.store.path_of(recording);
        for attempt in 0.. {
            match self.vault.hand_over(recording, path.as_std_path()).await {
                Ok(()) => {
                    tracing::info!(recording = %recording.file, "the vault has it");
                    self.acknowledge(recording).await;
                    return;
                }
                Err(error) if error.refusal() == Refusal::File => {
                    self.forget(recording, &error).await;
                    return;
                }
                Err(_) => tokio::time::sleep(queue::delay(attempt, roll())).await,
            }
        }
    }

    async fn forget(&self, recording: &Recording, error: &VaultError) {
        tracing::error!(recording = %recording.file, error = %chain(error),
            "a recording is neither here nor in the vault");
        let store = Arc::clone(&self.store);
        let gone = recording.clone();
        if let Err(error) = blocking(move || store.remove(&gone)).await {
            tracing::error!(recording = %recording.file, %error, "the journal cannot be written");
        }
    }
}

/// Journal writes wait for the disk, which the network thread must not.
async fn blocking(
    work: impl FnOnce() -> Result<(), StoreError> + Send + 'static,
) -> Result<(), StoreError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Ok(()))
}

/// Uniform in 0..1, to keep many agents from returning to a vault in step.
fn roll() -> f64 {
    let bits = getrandom::u32().unwrap_or(u32::MAX / 2);
    f64::from(bits) / f64::from(u32::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The error and its sources in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(e) = source {
        text = format!("{text}: {e}");
        source = e.source();
    }
    text
}
