//! One container takes over from another.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use agent_api::CameraStatus;
use installer_engine::wait::{Waited, until};
use installer_engine::{EffectError, ErrorKind, Footage, Probe, read_cameras};
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

impl DockerWorld {
    /// The gap is the time in which neither gives frames; after it each camera that records all the
    /// time has to write something newer. Where the second does not do as well, the first runs
    /// again.
    pub(crate) async fn swap(&mut self, swap: &Swap<'_>) -> Result<(), EffectError> {
        let asked = Instant::now();
        let mut before = Footage::default();
        if swap.records {
            let cameras = self.cameras(swap.service, swap.from).await;
            before = Footage::of(&cameras.unwrap_or_default(), swap.continuous);
        }
        let begun = Instant::now();
        self.stop(swap.from).await?;
        // It may have written until now.
        before.was_written_for(asked.elapsed());
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

    async fn gives_frames(&self, swap: &Swap<'_>, before: &Footage) -> Probe {
        match self.container_probe(swap.to, swap.digest).await {
            Probe::Met if before.giving.is_empty() => Probe::Met,
            Probe::Met => match self.cameras(swap.service, swap.to).await {
                Some(cameras) => before.is_given_by(&Footage::of(&cameras, swap.continuous)),
                None => Probe::Waiting("its API does not answer yet".to_owned()),
            },
            other => other,
        }
    }

    async fn writes(&self, swap: &Swap<'_>, before: &Footage) -> Probe {
        if before.ends.is_empty() {
            return Probe::Met;
        }
        let Some(cameras) = self.cameras(swap.service, swap.to).await else {
            return Probe::Waiting("its API does not answer".to_owned());
        };
        before.is_outlived_by(&Footage::of(&cameras, swap.continuous))
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
