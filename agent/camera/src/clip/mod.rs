//! A clip: the index of an MP4 file's samples, and their bytes on demand.

mod index;
mod quicktime;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use agent_media::VideoCodec;
use bytes::Bytes;

use crate::options::{CameraError, SourceChoice};

/// Made by `examples/generate_scene.rs`, whose head says how.
static SCENE: &[u8] = include_bytes!("../../assets/scene.mp4");

/// Where a sample lies in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) offset: u64,
    pub(crate) size: u32,
}

/// One access unit; times are ticks of the track's time scale, the clip's first sample being 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct VideoSample {
    pub(crate) place: Place,
    pub(crate) decode: u64,
    /// Shifted so that the earliest one in the clip is 0.
    pub(crate) present: u64,
    pub(crate) key: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VideoTrack {
    pub(crate) codec: VideoCodec,
    /// VPS (H.265 only), SPS, PPS without prefix.
    pub(crate) parameter_sets: Vec<Bytes>,
    /// Bytes of the length before each NAL unit: 1, 2 or 4.
    pub(crate) length_size: usize,
    /// Ticks per second.
    pub(crate) timescale: u32,
    /// Ticks of one pass through the clip.
    pub(crate) duration: u64,
    /// In decoding order; the first is a key frame.
    pub(crate) samples: Vec<VideoSample>,
}

/// AAC in frames of equal duration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AudioTrack {
    /// AudioSpecificConfig (ISO/IEC 14496-3 section 1.6).
    pub(crate) config: Vec<u8>,
    /// RTP clock, samples per second.
    pub(crate) clock_rate: u32,
    pub(crate) channels: u8,
    /// Ticks per second.
    pub(crate) timescale: u32,
    /// Ticks of a frame.
    pub(crate) frame_duration: u32,
    pub(crate) frames: Vec<Place>,
}

#[derive(Debug)]
enum Data {
    Memory(&'static [u8]),
    File(Arc<File>),
}

/// An opened clip.
#[derive(Debug)]
pub(crate) struct Clip {
    pub(crate) video: VideoTrack,
    pub(crate) audio: Option<AudioTrack>,
    data: Data,
}

impl Clip {
    /// Opens a clip and reads its index; blocks on the disk.
    pub(crate) fn open(source: &SourceChoice) -> Result<Self, CameraError> {
        let (name, data, length) = match source {
            SourceChoice::Scene => (
                "the built-in scene".to_owned(),
                Data::Memory(SCENE),
                SCENE.len() as u64,
            ),
            SourceChoice::File(path) => {
                let failed = |source| CameraError::Read {
                    clip: path.to_string(),
                    source,
                };
                let file = File::open(path).map_err(failed)?;
                let length = file.metadata().map_err(failed)?.len();
                (path.to_string(), Data::File(Arc::new(file)), length)
            }
        };
        let (video, audio) = index::read(&name, length, |place| data.read(place))?;
        Ok(Self { video, audio, data })
    }

    #[cfg(test)]
    pub(crate) fn of_tracks(video: VideoTrack, audio: Option<AudioTrack>) -> Self {
        Self {
            video,
            audio,
            data: Data::Memory(&[]),
        }
    }

    /// Reads one sample without blocking the runtime.
    pub(crate) async fn read(&self, place: Place) -> io::Result<Bytes> {
        match &self.data {
            Data::Memory(_) => self.data.read(place),
            Data::File(file) => {
                let data = Data::File(Arc::clone(file));
                tokio::task::spawn_blocking(move || data.read(place))
                    .await
                    .map_err(io::Error::other)?
            }
        }
    }
}

impl Data {
    fn read(&self, place: Place) -> io::Result<Bytes> {
        let size = place.size as usize;
        match self {
            Self::Memory(bytes) => usize::try_from(place.offset)
                .ok()
                .and_then(|start| bytes.get(start..start.checked_add(size)?))
                .map(Bytes::from_static)
                .ok_or_else(|| io::ErrorKind::UnexpectedEof.into()),
            Self::File(file) => {
                let mut bytes = vec![0; size];
                file.read_exact_at(&mut bytes, place.offset)?;
                Ok(bytes.into())
            }
        }
    }
}
