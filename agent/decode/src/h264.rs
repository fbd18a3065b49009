//! H.264 by `rusty_h264-decoder`.

use agent_media::{Frame, Picture, VideoCodec, VideoParameters};

use crate::{DecodeError, KeyFrameDecoder, stream};

/// Holds nothing between key frames: a decoder of its own for each costs little beside the decoding,
/// gives the memory back, and cannot be spoilt by the frame before.
#[derive(Debug, Clone, Copy)]
pub struct H264;

impl KeyFrameDecoder for H264 {
    fn decode(
        &mut self,
        parameters: &VideoParameters,
        frame: &Frame,
    ) -> Result<Picture, DecodeError> {
        let stream = stream(VideoCodec::H264, parameters, frame)?;
        let decoded = rusty_h264_decoder::Decoder::new().decode(&stream);
        let decoded = decoded.map_err(|e| DecodeError::Refused(e.to_string()))?;
        let yuv = decoded.ok_or(DecodeError::NoPicture)?;
        if yuv.y.len() != yuv.width * yuv.height {
            return Err(DecodeError::NoPicture);
        }
        Ok(Picture {
            width: yuv.width,
            height: yuv.height,
            stride: yuv.width,
            luma: yuv.y,
        })
    }
}
