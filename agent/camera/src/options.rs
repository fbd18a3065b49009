//! What a test camera is asked to be.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use camino::Utf8PathBuf;

/// Where the pictures come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceChoice {
    /// The built-in scene: 640x360, 25 fps, 10 s, H.264 without B-frames, a key frame per second.
    Scene,
    /// A progressive MP4 file with H.264 or H.265, and AAC when it has sound. It is read sample
    /// by sample, so it may be larger than the memory.
    File(Utf8PathBuf),
}

/// User and password that clients must prove by Digest.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    pub user: String,
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Login(hidden)")
    }
}

/// What a client sees first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// The camera's clock runs from [`crate::Server::bind`] on; a client joins at the last key
    /// frame, as with a camera that has been on for a while.
    #[default]
    Running,
    /// Every client gets the clip from its beginning.
    Beginning,
}

/// Failures on purpose, counted from each PLAY.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    /// Sends no more media, but keeps the connection and goes on answering.
    pub stall_after: Option<Duration>,
    /// Resets the connection (TCP RST).
    pub reset_after: Option<Duration>,
    /// Leaves out every n-th RTP packet; its sequence number is missing too.
    pub lose_every: Option<u32>,
}

/// Everything that [`crate::Server::bind`] needs.
#[derive(Debug, Clone)]
pub struct Options {
    pub source: SourceChoice,
    /// Port 0 takes a free one; see [`crate::Server::local_addr`].
    pub listen: SocketAddr,
    /// `None`: no login is asked.
    pub login: Option<Login>,
    /// `/` accepts any path; any other value answers 404 to every other path.
    pub path: String,
    pub start: Start,
    /// A UDP session without a request or a receiver report for so long is ended.
    pub session_timeout: Duration,
    pub faults: Faults,
}

impl Options {
    /// A camera on a free port of loopback, without login, that accepts any path.
    pub fn new(source: SourceChoice) -> Self {
        Self {
            source,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            login: None,
            path: "/".to_owned(),
            start: Start::default(),
            // RFC 2326 section 12.37 names 60 s as the value that clients assume.
            session_timeout: Duration::from_mins(1),
            faults: Faults::default(),
        }
    }
}

/// Why a camera cannot serve. `clip` is the file's path or the name of the built-in scene.
#[derive(Debug, thiserror::Error)]
pub enum CameraError {
    #[error("cannot read clip `{clip}`")]
    Read { clip: String, source: io::Error },
    #[error("clip `{clip}` is not an MP4 file that can be read")]
    Format {
        clip: String,
        source: shiguredo_mp4::demux::DemuxError,
    },
    #[error("clip `{clip}` ends before its index or its samples do")]
    Truncated { clip: String },
    #[error(
        "clip `{clip}` has no video samples with a key frame (fragmented files are not served)"
    )]
    NoVideo { clip: String },
    #[error("clip `{clip}` holds {what}, which the test camera does not serve")]
    Unsupported { clip: String, what: String },
    #[error("cannot listen on {address}")]
    Listen {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("cannot accept connections on {address}")]
    Accept {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("cannot get random numbers from the system")]
    Random { source: getrandom::Error },
}
