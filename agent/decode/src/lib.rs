//! Key frames to luma pictures, in a process of their own.
//!
//! A decoder eats what a camera sends, and a panic ends the process it happens in. So the agent decodes in
//! a child: [`serve`] is the child's whole life, [`Client`] the parent's end of the pipes. A crash or a
//! deadline costs one picture and the child, never the recording.
//!
//! Invariant: no request, however broken, makes the child hold more than one picture and one frame of
//! bounded size. This crate must not know motion, files, or how a process is started.
//! Start at [`KeyFrameDecoder`], then [`Client`].

mod client;
mod h264;
mod h265;
mod protocol;
mod serve;

use agent_media::nal::{parse_sps, push_annex_b, to_annex_b, unit_type, units};
use agent_media::{Frame, Picture, VideoCodec, VideoParameters};

pub use client::{Client, ClientError};
pub use h264::H264;
pub use h265::H265;
pub use serve::{ServeError, serve};

/// Pixels of the largest picture: 8K UHD. Its luma takes 33 MB, and a decoder about four times that.
const MOST_PIXELS: u64 = 7_680 * 4_320;

/// Turns key frames into pictures. Frames are independent: each brings its parameter sets.
pub trait KeyFrameDecoder {
    /// The luma of `frame`, which is a key frame of a stream with these `parameters`.
    fn decode(
        &mut self,
        parameters: &VideoParameters,
        frame: &Frame,
    ) -> Result<Picture, DecodeError>;
}

/// Why a key frame has no picture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the {codec} decoder was given a {found} stream", codec = .codec.name(), found = .found.name())]
    Codec {
        codec: VideoCodec,
        found: VideoCodec,
    },
    #[error("a picture of {width} x {height} is larger than any camera's")]
    TooLarge { width: u32, height: u32 },
    #[error("the key frame holds no whole picture")]
    NoPicture,
    /// In the decoder's words.
    #[error("the key frame cannot be decoded: {0}")]
    Refused(String),
}

/// The decoder for a codec.
pub fn decoder(codec: VideoCodec) -> Box<dyn KeyFrameDecoder + Send> {
    match codec {
        VideoCodec::H264 => Box::new(H264),
        VideoCodec::H265 => Box::new(H265),
    }
}

/// The frame as an Annex B stream behind its parameter sets, once all sizes in it are known to be bearable.
fn stream(
    codec: VideoCodec,
    parameters: &VideoParameters,
    frame: &Frame,
) -> Result<Vec<u8>, DecodeError> {
    if parameters.codec != codec {
        return Err(DecodeError::Codec {
            codec,
            found: parameters.codec,
        });
    }
    let sets = parameters.parameter_sets.iter().map(AsRef::as_ref);
    for unit in sets.chain(units(&frame.data)) {
        // A set in the frame takes the place of one from outside.
        if is_sps(codec, unit) {
            let sps = parse_sps(codec, unit).map_err(|e| DecodeError::Refused(e.to_string()))?;
            if u64::from(sps.width) * u64::from(sps.height) > MOST_PIXELS {
                return Err(DecodeError::TooLarge {
                    width: sps.width,
                    height: sps.height,
                });
            }
        }
    }
    let mut out = Vec::with_capacity(frame.data.len() + 1024);
    for set in &parameters.parameter_sets {
        push_annex_b(&mut out, set);
    }
    out.extend(to_annex_b(&frame.data));
    Ok(out)
}

fn is_sps(codec: VideoCodec, unit: &[u8]) -> bool {
    let wanted = match codec {
        VideoCodec::H264 => 7,
        VideoCodec::H265 => 33,
    };
    unit_type(codec, unit) == Some(wanted)
}
