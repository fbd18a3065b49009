//! What the agent says over HTTP and on the standard output of `stakeout-agent probe`.
//!
//! Invariant: types only; a field is added, never renamed. It knows nothing of how they are served.
//!
//! | call | answer |
//! |---|---|
//! | `GET /healthz` | 200 or 503, [`Health`]; open |
//! | `GET /metrics` | Prometheus text; open |
//! | `GET /api/cameras` | `Vec<`[`CameraStatus`]`>`; bearer token |
//! | `POST /api/cameras/{name}/proof?seconds=N` | [`Proof`]: closes a recording of at least N seconds that begins after the call (a manual one where nothing would be recorded), waits until it is uploaded when there is a vault; bearer token |
//! | `GET /api/recordings?camera=NAME` | `Vec<`[`Recording`]`>`, newest first; bearer token |
//! | `GET /api/recordings/{file}` | `video/mp4` with ranges; bearer token |

mod files;

pub use files::{FileAnswer, FileRequest, Present};

use serde::{Deserialize, Serialize};

/// Answer of `/healthz`: the process works, whatever its cameras do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `ok` or `failing`.
    pub status: String,
    pub version: String,
    /// Cameras whose frames arrive now, of all.
    pub recording: usize,
    pub cameras: usize,
}

/// What a camera's task does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CameraState {
    Connecting,
    /// Frames arrive and are written, or wait for motion.
    Receiving,
    /// The last attempt failed; the next comes after a back-off.
    Failing,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CameraStatus {
    pub name: String,
    pub state: CameraState,
    /// The last failure, without credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codec: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// Milliseconds since the last frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_frame_ms: Option<u64>,
    pub frames: u64,
    pub bytes: u64,
    pub reconnects: u64,
    /// Recordings that wait for their upload.
    pub pending_uploads: u64,
    /// Newest file, open or finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_recording: Option<String>,
    /// Unix milliseconds of the newest footage on disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_footage_ms: Option<u64>,
}

/// A recording that was made to prove the way from camera to vault. Times in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    pub camera: String,
    /// File name of the recording.
    pub recording: String,
    /// From the call to the first frame of the recording.
    pub first_frame_ms: u64,
    /// From the first frame to the finished file.
    pub recorded_ms: u64,
    /// From the finished file to the vault's acknowledgement; absent without a vault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uploaded_ms: Option<u64>,
    pub bytes: u64,
    pub frames: u64,
}

/// One finished recording in the agent's own directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recording {
    pub file: String,
    pub camera: String,
    /// Unix milliseconds of the first frame.
    pub start_ms: u64,
    pub duration_ms: u64,
    pub bytes: u64,
    pub uploaded: bool,
}

/// What `stakeout-agent probe` reads from standard input: nothing of it is ever on a command line.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeRequest {
    /// URL without user and password.
    pub rtsp: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// How long to measure bit rate, frame rate and key-frame distance, in milliseconds.
    pub measure_ms: u64,
}

impl std::fmt::Debug for ProbeRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProbeRequest")
            .field("rtsp", &self.rtsp)
            .finish_non_exhaustive()
    }
}

/// What a camera offers, or why nobody can tell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "lowercase")]
pub enum ProbeReport {
    Ok(Offer),
    Failed(ProbeFailure),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    /// `h264` or `h265`.
    pub codec: String,
    pub width: u32,
    pub height: u32,
    /// Measured frames per second.
    pub fps: f64,
    /// Measured distance of key frames in seconds; absent when fewer than two came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gop_seconds: Option<f64>,
    /// Measured, video only.
    pub bits_per_second: u64,
    pub measured_ms: u64,
    /// `aac`, `pcmu`, …; absent when the camera offers none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio: Option<String>,
    /// `none`, `basic` or `digest`.
    pub auth: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeFailure {
    pub kind: ProbeFailureKind,
    /// What failed and where, without credentials.
    pub message: String,
    /// What to do.
    pub help: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeFailureKind {
    /// The URL is not one that an agent can open.
    Url,
    Dns,
    Refused,
    /// No answer at all: wrong address, firewall, camera off.
    Unreachable,
    Unauthorized,
    NotFound,
    UnsupportedCodec,
    /// The session was set up, and no frame came.
    NoPackets,
    /// The server does not speak RTSP as it should.
    Protocol,
}
