//! H.265 by `rusty_h265`.

use agent_media::{Frame, Picture, VideoCodec, VideoParameters};

use crate::{DecodeError, KeyFrameDecoder, stream};

/// Holds nothing between key frames, as [`crate::H264`].
#[derive(Debug, Clone, Copy)]
pub struct H265;

impl KeyFrameDecoder for H265 {
    fn decode(
        &mut self,
        parameters: &VideoParameters,
        frame: &Frame,
    ) -> Result<Picture, DecodeError> {
        let stream = stream(VideoCodec::H265, parameters, frame)?;
        let mut decoder = rusty_h265::Decoder::new();
        let pushed = decoder.push_annexb(&stream, None);
        pushed.map_err(|e| DecodeError::Refused(e.to_string()))?;
        decoder.flush();
        let decoded = decoder.next_frame().map_err(|_| DecodeError::NoPicture)?;
        let picture = &decoded.picture;
        let (left, top, width, height) = picture.crop;
        let [plane, ..] = &picture.planes;
        // Of 10 bits the upper 8: motion needs no finer steps.
        let shift = u32::from(picture.bit_depth_luma.saturating_sub(8));
        let mut luma = Vec::with_capacity(width * height);
        for y in top..top + height {
            let start = y * plane.stride + left;
            let row = plane
                .data
                .get(start..start + width)
                .ok_or(DecodeError::NoPicture)?;
            luma.extend(
                row.iter()
                    .map(|&v| u8::try_from(v >> shift).unwrap_or(u8::MAX)),
            );
        }
        Ok(Picture {
            width,
            height,
            stride: width,
            luma,
        })
    }
}
