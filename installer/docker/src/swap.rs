//! One container takes over from another.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use agent_api::{CameraState, CameraStatus};
use installer_engine::wait::{Waited, until};
use installer_engine::{EffectError, ErrorKind, Probe, read_cameras};
use installer_render::SecretName;
use installer_render::docker::AGENT_PORT;
use url::Url;

use crate::forward::forward;
use crate::world::DockerWorld;

/// Both containers are there; the second has not run yet.
pub(crate) struct Swap<'a> {
    pub(crate) service: &'a str,
    pub(crate) from: &'a str,
    pub(crate) to: &'a str,
    pub(crate) digest: &'a str,
    /// It is an agent.
    pub(crate) records: bool,
    /// Its cameras that record all the time.
    pub(crate) continuous: &'a BTreeSet<String>,
    pub(crate) deadline: Duration,
}

/// What an agent's cameras did before.
#[derive(Default)]
struct Before {
    giving: BTreeSet<String>,
    /// End of the newest footage in the agent's Unix milliseconds, of those that write all the time.
    footage: BTreeMap<String, u64>,
}

impl DockerWorld {
    /// The gap is the time in which neither gives frames; after it each camera that records all the
    /// time has to write something newer. Where the second does not do as well, the first runs
    /// again.
    pub(crate) async fn swap(&mut self, swap: &Swap<'_>) -> Result<(), EffectError> {
        let asked = Instant::now();
        let mut before = Before::default();
        if swap.records {
            let cameras = self.cameras(swap.service, swap.from).await;
            before = Before::of(&cameras.unwrap_or_default(), swap.continuous);
        }
        let begun = Instant::now();
        self.stop(swap.from).await?;
        // It may have written until now.
        let until_stopped = u64::try_from(asked.elapsed().as_millis()).unwrap_or(u64::MAX);
        for end in before.footage.values_mut() {
            *end = end.saturating_add(until_stopped);
        }
        self.count();
        let operation = format!(
            "the new `{}` does not become well, the old one runs again",
            swap.service
        );
        let failed = EffectError::new(ErrorKind::Environment, operation);
        // It may not even start: an address that it publishes was taken meanwhile.
        if let Err(error) = self.start(swap.to).await {
            self.start(swap.from).await?;
            return Err(failed.because(error));
        }
        self.count();
        let frames = until(
            swap.deadline,
            || false,
            |_| {},
            || self.gives_frames(swap, &before),
        )
        .await;
        let gap = begun.elapsed();
        let segments = match frames {
            Waited::Met => {
                let deadline = swap.deadline;
                until(deadline, || false, |_| {}, || self.writes(swap, &before)).await
            }
            other => other,
        };
        let reason = match segments {
            Waited::Met | Waited::Interrupted => {
                self.note_gap(swap.service, gap);
                return Ok(());
            }
            Waited::TimedOut(reason) | Waited::Failed(reason) | Waited::Forbidden(reason) => reason,
        };
        self.stop(swap.to).await?;
        self.start(swap.from).await?;
        Err(failed.because(reason))
    }

    async fn gives_frames(&self, swap: &Swap<'_>, before: &Before) -> Probe {
        match self.container_probe(swap.to, swap.digest).await {
            Probe::Met if before.giving.is_empty() => Probe::Met,
            Probe::Met => match self.cameras(swap.service, swap.to).await {
                Some(cameras) => {
                    let now = Before::of(&cameras, swap.continuous).giving;
                    waits("no frame from", before.giving.difference(&now))
                }
                None => Probe::Waiting("its API does not answer yet".to_owned()),
            },
            other => other,
        }
    }

    async fn writes(&self, swap: &Swap<'_>, before: &Before) -> Probe {
        if before.footage.is_empty() {
            return Probe::Met;
        }
        let Some(cameras) = self.cameras(swap.service, swap.to).await else {
            return Probe::Waiting("its API does not answer".to_owned());
        };
        let now = Before::of(&cameras, swap.continuous).footage;
        let behind = before.footage.iter().filter(|(camera, end)| {
            let newer = now.get(*camera).is_some_and(|now| now > *end);
            !newer
        });
        waits("nothing newer on disk of", behind.map(|(camera, _)| camera))
    }

    /// An agent's cameras; nothing where it does not say.
    async fn cameras(&self, service: &str, container: &str) -> Option<Vec<CameraStatus>> {
        let control = self.control().await.ok()?;
        let folder = self.layout().secrets();
        let token = control
            .texts
            .iter()
            .filter_map(|(path, text)| {
                let name = SecretName::parse(path.strip_prefix(&folder).ok()?.as_str())?;
                (name.purpose == format!("{service}-token")).then_some((name.version, text))
            })
            .max_by_key(|(version, _)| *version)?
            .1;
        let forward = forward(self.connection(), container, "stakeout-agent", AGENT_PORT);
        let forward = forward.await.ok()?;
        let url = Url::parse(&format!("http://{}/", forward.address()))
            .expect("invariant: a literal URL");
        read_cameras(&url, token.trim_end()).await.ok()
    }
}

fn waits<'a>(what: &str, cameras: impl Iterator<Item = &'a String>) -> Probe {
    let names: Vec<_> = cameras.map(String::as_str).collect();
    if names.is_empty() {
        return Probe::Met;
    }
    Probe::Waiting(format!("{what} {} yet", names.join(", ")))
}

impl Before {
    fn of(cameras: &[CameraStatus], continuous: &BTreeSet<String>) -> Self {
        let giving = cameras
            .iter()
            .filter(|camera| camera.state == CameraState::Receiving && camera.frames > 0);
        let footage = giving
            .clone()
            .filter(|camera| continuous.contains(&camera.name))
            .filter_map(|camera| Some((camera.name.clone(), camera.newest_footage_ms?)));
        Self {
            footage: footage.collect(),
            giving: giving.map(|camera| camera.name.clone()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn camera(name: &str, state: CameraState, footage: Option<u64>) -> CameraStatus {
        CameraStatus {
            name: name.to_owned(),
            state,
            error: None,
            codec: None,
            width: None,
            height: None,
            last_frame_ms: None,
            frames: 1,
            bytes: 0,
            reconnects: 0,
            pending_uploads: 0,
            newest_recording: None,
            newest_footage_ms: footage,
        }
    }

    #[test]
    fn only_what_was_recording_has_to_record_again() {
        let cameras = [
            camera("all-day", CameraState::Receiving, Some(5)),
            camera("motion", CameraState::Receiving, Some(5)),
            camera("first-file", CameraState::Receiving, None),
            camera("dead", CameraState::Failing, Some(5)),
        ];
        let continuous = ["all-day", "first-file", "dead"].map(str::to_owned);
        let before = Before::of(&cameras, &BTreeSet::from(continuous));
        let giving: Vec<_> = before.giving.iter().map(String::as_str).collect();
        assert_eq!(giving, ["all-day", "first-file", "motion"]);
        assert_eq!(before.footage, BTreeMap::from([("all-day".to_owned(), 5)]));
    }
}
