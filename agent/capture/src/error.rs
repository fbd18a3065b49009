//! Why a camera gives no frames.

use std::io;

use agent_api::{ProbeFailure, ProbeFailureKind};

/// Failures of a session, one per thing that a person would do about it.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    #[error("`{url}` is not a URL that an agent can open: {reason}")]
    Url { url: String, reason: &'static str },
    #[error("no address is known for the name `{host}`")]
    Dns { host: String, source: io::Error },
    #[error("{address} refused the connection")]
    Refused { address: String, source: io::Error },
    #[error("{address} cannot be reached")]
    Unreachable {
        address: String,
        source: Option<io::Error>,
    },
    #[error("{address} did not accept the user and password{}", if *.given { "" } else { ": none were given" })]
    Unauthorized { address: String, given: bool },
    #[error("{address} has no stream at `{path}`")]
    NotFound { address: String, path: String },
    #[error("{address} offers {offered}; H.264 and H.265 are recorded")]
    UnsupportedCodec { address: String, offered: String },
    #[error("{address} set the session up, and no video came for {seconds} s")]
    NoPackets { address: String, seconds: u64 },
    #[error("{address} ended the session")]
    Ended { address: String },
    #[error("{address} does not speak RTSP as it should: {reason}")]
    Protocol { address: String, reason: String },
}

impl CaptureError {
    /// What decides about help, retry and report; never the text.
    pub fn kind(&self) -> ProbeFailureKind {
        match self {
            Self::Url { .. } => ProbeFailureKind::Url,
            Self::Dns { .. } => ProbeFailureKind::Dns,
            Self::Refused { .. } => ProbeFailureKind::Refused,
            Self::Unreachable { .. } => ProbeFailureKind::Unreachable,
            Self::Unauthorized { .. } => ProbeFailureKind::Unauthorized,
            Self::NotFound { .. } => ProbeFailureKind::NotFound,
            Self::UnsupportedCodec { .. } => ProbeFailureKind::UnsupportedCodec,
            Self::NoPackets { .. } => ProbeFailureKind::NoPackets,
            Self::Ended { .. } | Self::Protocol { .. } => ProbeFailureKind::Protocol,
        }
    }

    /// What a person can do.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Url { .. } => {
                "write it as rtsp://HOST[:PORT]/PATH; user and password belong in `credentials`"
            }
            Self::Dns { .. } => {
                "check the spelling of the host, or use the camera's IP address; `getent hosts NAME` shows what this machine knows"
            }
            Self::Refused { .. } => {
                "the machine answers, but no RTSP server listens on this port: switch RTSP on in the camera's settings and check the port (554 is usual)"
            }
            Self::Unreachable { .. } => {
                "check that the camera has power and network, that the address is right, and that no firewall stands between"
            }
            Self::Unauthorized { given: false, .. } => {
                "give `credentials` for this camera: a file with the user on the first line and the password on the second"
            }
            Self::Unauthorized { given: true, .. } => {
                "check user and password in the camera's web page; some cameras want a separate RTSP or ONVIF user, and lock it after wrong attempts"
            }
            Self::NotFound { .. } => {
                "the path of the URL is wrong: look it up in the camera's manual or ask it by ONVIF (Hikvision: /Streaming/Channels/101, Dahua: /cam/realmonitor?channel=1&subtype=0, Axis: /axis-media/media.amp)"
            }
            Self::UnsupportedCodec { .. } => {
                "set the stream's video encoding to H.264 or H.265 in the camera's settings"
            }
            Self::NoPackets { .. } => {
                "the camera may have reached its number of clients or be busy: close other viewers, restart it, and try its sub stream"
            }
            Self::Ended { .. } => {
                "the camera closed the stream; look whether it restarts or limits clients"
            }
            Self::Protocol { .. } => {
                "check that the port is the camera's RTSP port and not its web page; update its firmware"
            }
        }
    }

    pub(crate) fn to_failure(&self) -> ProbeFailure {
        let mut message = self.to_string();
        if let Some(source) = std::error::Error::source(self) {
            message = format!("{message}: {source}");
        }
        ProbeFailure {
            kind: self.kind(),
            message,
            help: self.help().to_owned(),
        }
    }
}
