//! What travels from a camera to the disk.

use bytes::Bytes;

/// Video codecs that are recorded as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VideoCodec {
    H264,
    H265,
}

impl VideoCodec {
    /// Name as ffprobe's users know it, `h264` or `hevc`'s common name `h265`.
    pub fn name(self) -> &'static str {
        match self {
            Self::H264 => "h264",
            Self::H265 => "h265",
        }
    }
}

/// Everything a decoder or an MP4 sample entry needs to know of a video stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VideoParameters {
    pub codec: VideoCodec,
    /// Pixels.
    pub width: u32,
    pub height: u32,
    /// Complete `avc1` or `hvc1` box (ISO/IEC 14496-12 and -15), its size and type included.
    pub sample_entry: Bytes,
    /// Parameter sets (SPS, PPS; for H.265 VPS first) as NAL units without prefix.
    pub parameter_sets: Vec<Bytes>,
}

/// Audio that is recorded as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AudioParameters {
    /// `aac`, `pcmu`, `pcma`, …
    pub codec: String,
    pub sample_rate: u32,
    pub channels: u16,
    /// Complete sample entry box; absent when MP4 has none for the codec here, and then it is not recorded.
    pub sample_entry: Option<Bytes>,
}

/// The tracks of one session; a change of it starts a new file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamParameters {
    pub video: VideoParameters,
    pub audio: Option<AudioParameters>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Track {
    Video,
    Audio,
}

/// One access unit, as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub track: Track,
    /// Presentation time in 90 kHz ticks since the session's first frame; video and audio share the origin.
    pub pts: i64,
    /// Wall clock of its arrival, Unix milliseconds; names files, never measures durations.
    pub arrival_ms: u64,
    /// A decoder can start here (H.264 IDR, H.265 NAL types 16 to 21). Audio: always true.
    pub key: bool,
    /// Packets that were lost right before this frame.
    pub lost: u32,
    /// Video: NAL units with four-byte length prefixes. Audio: the raw coded frame.
    pub data: Bytes,
}

/// 90 kHz, the clock of RTP video (RFC 6184, RFC 7798) and of every timestamp in this crate.
pub const TICKS_PER_SECOND: i64 = 90_000;
