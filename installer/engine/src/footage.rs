//! What an agent's cameras give and write, before it is replaced and after.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agent_api::{CameraState, CameraStatus};

use crate::port::Probe;

/// What an agent's cameras do at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Footage {
    /// Cameras that give frames.
    pub giving: BTreeSet<String>,
    /// End of the newest footage in the agent's Unix milliseconds, of those that write all the time.
    pub ends: BTreeMap<String, u64>,
}

impl Footage {
    /// `continuous` are the cameras that record all the time.
    pub fn of(cameras: &[CameraStatus], continuous: &BTreeSet<String>) -> Self {
        let giving = cameras
            .iter()
            .filter(|camera| camera.state == CameraState::Receiving && camera.frames > 0);
        let ends = giving
            .clone()
            .filter(|camera| continuous.contains(&camera.name))
            .filter_map(|camera| Some((camera.name.clone(), camera.newest_footage_ms?)));
        Self {
            ends: ends.collect(),
            giving: giving.map(|camera| camera.name.clone()).collect(),
        }
    }

    /// All of these cameras, and footage of those that record all the time.
    pub fn add_all(&mut self, cameras: &BTreeSet<String>, continuous: &BTreeSet<String>) {
        self.giving.extend(cameras.iter().cloned());
        for camera in continuous {
            self.ends.entry(camera.clone()).or_default();
        }
    }

    /// The agent may have gone on for this long.
    pub fn was_written_for(&mut self, more: Duration) {
        let more = u64::try_from(more.as_millis()).unwrap_or(u64::MAX);
        for end in self.ends.values_mut() {
            *end = end.saturating_add(more);
        }
    }

    /// Whether every camera that gave frames gives them `now`.
    pub fn is_given_by(&self, now: &Self) -> Probe {
        waits("no frame from", self.giving.difference(&now.giving))
    }

    /// Whether every camera that wrote has written something newer `now`.
    pub fn is_outlived_by(&self, now: &Self) -> Probe {
        let behind = self.ends.iter().filter(|(camera, end)| {
            let newer = now.ends.get(*camera).is_some_and(|now| now > *end);
            !newer
        });
        waits("nothing newer on disk of", behind.map(|(camera, _)| camera))
    }
}

fn waits<'a>(what: &str, cameras: impl Iterator<Item = &'a String>) -> Probe {
    let names: Vec<_> = cameras.map(String::as_str).collect();
    if names.is_empty() {
        return Probe::Met;
    }
    Probe::Waiting(format!("{what} {} yet", names.join(", ")))
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
        let before = Footage::of(&cameras, &BTreeSet::from(continuous));
        let giving: Vec<_> = before.giving.iter().map(String::as_str).collect();
        assert_eq!(giving, ["all-day", "first-file", "motion"]);
        assert_eq!(before.ends, BTreeMap::from([("all-day".to_owned(), 5)]));
    }
}
