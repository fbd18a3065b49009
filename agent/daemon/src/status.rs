//! What a camera's task says of itself: written by it, read by the API.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use agent_api::CameraState;
use agent_media::StreamParameters;

#[derive(Debug, Clone)]
pub(crate) struct Status {
    pub(crate) state: CameraState,
    pub(crate) error: Option<String>,
    /// Codec, width, height.
    pub(crate) video: Option<(&'static str, u32, u32)>,
    pub(crate) last_frame: Option<Instant>,
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    pub(crate) lost_packets: u64,
    /// Sessions that played.
    pub(crate) sessions: u64,
    pub(crate) motion_events: u64,
    pub(crate) decoder_restarts: u64,
    pub(crate) queued_bytes: u64,
    pub(crate) uploads: u64,
    pub(crate) upload_failures: u64,
}

/// Shared by the camera's tasks and the API; held for copies only.
#[derive(Debug)]
pub(crate) struct Board(Mutex<Status>);

impl Default for Board {
    fn default() -> Self {
        Self(Mutex::new(Status {
            state: CameraState::Connecting,
            error: None,
            video: None,
            last_frame: None,
            frames: 0,
            bytes: 0,
            lost_packets: 0,
            sessions: 0,
            motion_events: 0,
            decoder_restarts: 0,
            queued_bytes: 0,
            uploads: 0,
            upload_failures: 0,
        }))
    }
}

impl Board {
    pub(crate) fn change(&self) -> MutexGuard<'_, Status> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn read(&self) -> Status {
        self.change().clone()
    }

    pub(crate) fn note_parameters(&self, parameters: &StreamParameters) {
        let video = &parameters.video;
        self.change().video = Some((video.codec.name(), video.width, video.height));
    }
}
