//! The part of sequence parameter sets that a recorder needs.

use super::bits::Bits;
use super::{NalError, unit_type};
use crate::VideoCodec;

/// Larger than any camera's picture (16K), so that a forged set cannot ask for gigabytes.
const LARGEST_SIDE: u32 = 16_384;

/// What a sequence parameter set says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sps {
    /// Pixels, cropping applied.
    pub width: u32,
    pub height: u32,
    /// 0 grey, 1 4:2:0, 2 4:2:2, 3 4:4:4.
    pub chroma_format: u8,
    pub luma_depth: u8,
    pub chroma_depth: u8,
    /// H.264: profile, constraints, level. H.265: the 12 bytes of the general profile, tier and level.
    pub profile: Vec<u8>,
    /// H.265: temporal layers; 1 for H.264.
    pub temporal_layers: u8,
    /// H.265: a decoder may switch layers anywhere.
    pub temporal_nesting: bool,
}

/// Parses a sequence parameter set, header included.
pub fn parse_sps(codec: VideoCodec, unit: &[u8]) -> Result<Sps, NalError> {
    let (wanted, header) = match codec {
        VideoCodec::H264 => (7, 1),
        VideoCodec::H265 => (33, 2),
    };
    if unit_type(codec, unit) != Some(wanted) {
        return Err(NalError::Invalid {
            codec,
            why: "the unit is of another type",
        });
    }
    let mut bits = Bits::new(unit.get(header..).unwrap_or_default());
    let sps = match codec {
        VideoCodec::H264 => parse_h264(&mut bits),
        VideoCodec::H265 => parse_h265(&mut bits),
    };
    let sps = sps.ok_or(NalError::Truncated(codec))?;
    let sane = |side: u32| (1..=LARGEST_SIDE).contains(&side);
    if !sane(sps.width) || !sane(sps.height) {
        return Err(NalError::Invalid {
            codec,
            why: "the picture has an impossible size",
        });
    }
    if sps.chroma_format > 3 || sps.luma_depth > 16 || sps.chroma_depth > 16 {
        return Err(NalError::Invalid {
            codec,
            why: "the sample format is unknown",
        });
    }
    Ok(sps)
}

/// H.264 section 7.3.2.1.1.
fn parse_h264(bits: &mut Bits) -> Option<Sps> {
    let profile = vec![bits.byte()?, bits.byte()?, bits.byte()?];
    let profile_idc = *profile.first()?;
    bits.unsigned()?;
    let (mut chroma_format, mut luma_depth, mut chroma_depth, mut separate) = (1, 8, 8, false);
    if matches!(
        profile_idc,
        100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 134 | 135 | 138 | 139
    ) {
        chroma_format = small(bits.unsigned()?);
        separate = chroma_format == 3 && bits.bit()?;
        luma_depth = small(bits.unsigned()?).saturating_add(8);
        chroma_depth = small(bits.unsigned()?).saturating_add(8);
        bits.bit()?;
        if bits.bit()? {
            for list in 0..if chroma_format == 3 { 12 } else { 8 } {
                if bits.bit()? {
                    skip_scaling_list(bits, if list < 6 { 16 } else { 64 })?;
                }
            }
        }
    }
    bits.unsigned()?;
    match bits.unsigned()? {
        0 => {
            bits.unsigned()?;
        }
        1 => {
            bits.bit()?;
            bits.signed()?;
            bits.signed()?;
            for _ in 0..bits.unsigned()?.min(255) {
                bits.signed()?;
            }
        }
        _ => {}
    }
    bits.unsigned()?;
    bits.bit()?;
    let width_macroblocks = bits.unsigned()?.checked_add(1)?;
    let height_units = bits.unsigned()?.checked_add(1)?;
    let frames_only = bits.bit()?;
    if !frames_only {
        bits.bit()?;
    }
    bits.bit()?;
    let fields = if frames_only { 1 } else { 2 };
    let (crop_x, crop_y) = match (chroma_format, separate) {
        (1, false) => (2, 2 * fields),
        (2, false) => (2, fields),
        _ => (1, fields),
    };
    let crop = crop(bits)?;
    Some(Sps {
        width: cropped(width_macroblocks.checked_mul(16)?, crop_x, crop[0], crop[1]),
        height: cropped(
            height_units.checked_mul(16 * fields)?,
            crop_y,
            crop[2],
            crop[3],
        ),
        chroma_format,
        luma_depth,
        chroma_depth,
        profile,
        temporal_layers: 1,
        temporal_nesting: false,
    })
}

/// H.264 section 7.3.2.1.1.1; the values are of no interest here.
fn skip_scaling_list(bits: &mut Bits, size: usize) -> Option<()> {
    let (mut last, mut next) = (8, 8);
    for _ in 0..size {
        if next != 0 {
            next = (last + bits.signed()? + 256) % 256;
        }
        last = if next == 0 { last } else { next };
    }
    Some(())
}

/// H.265 sections 7.3.2.2.1 and 7.3.3.
fn parse_h265(bits: &mut Bits) -> Option<Sps> {
    bits.take(4)?;
    let sub_layers = bits.take(3)?;
    let temporal_nesting = bits.bit()?;
    let profile = (0..12).map(|_| bits.byte()).collect::<Option<Vec<_>>>()?;
    let present = (0..sub_layers)
        .map(|_| Some((bits.bit()?, bits.bit()?)))
        .collect::<Option<Vec<_>>>()?;
    if sub_layers > 0 {
        bits.skip(usize::try_from(2 * (8 - sub_layers)).ok()?);
    }
    for (profile, level) in present {
        bits.skip(if profile { 88 } else { 0 } + if level { 8 } else { 0 });
    }
    bits.unsigned()?;
    let chroma_format = small(bits.unsigned()?);
    let separate = chroma_format == 3 && bits.bit()?;
    let (width, height) = (bits.unsigned()?, bits.unsigned()?);
    let (crop_x, crop_y) = match (chroma_format, separate) {
        (1, false) => (2, 2),
        (2, false) => (2, 1),
        _ => (1, 1),
    };
    let crop = crop(bits)?;
    Some(Sps {
        width: cropped(width, crop_x, crop[0], crop[1]),
        height: cropped(height, crop_y, crop[2], crop[3]),
        chroma_format,
        luma_depth: small(bits.unsigned()?).saturating_add(8),
        chroma_depth: small(bits.unsigned()?).saturating_add(8),
        profile,
        temporal_layers: small(sub_layers + 1),
        temporal_nesting,
    })
}

/// Left, right, top and bottom offsets, all 0 without a window.
fn crop(bits: &mut Bits) -> Option<[u32; 4]> {
    let mut offsets = [0; 4];
    if bits.bit()? {
        for offset in &mut offsets {
            *offset = bits.unsigned()?;
        }
    }
    Some(offsets)
}

fn cropped(side: u32, unit: u32, before: u32, after: u32) -> u32 {
    side.saturating_sub(before.saturating_add(after).saturating_mul(unit))
}

fn small(value: u32) -> u8 {
    u8::try_from(value).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_cropping() {
        // x264, 640x360 High (360 is cropped out of 368), and x265, 320x184 Main (184 is a multiple of 8 only).
        let h264 = [
            0x67, 0x64, 0x00, 0x1e, 0xac, 0xd9, 0x40, 0xa0, 0x2f, 0xf9, 0x70, 0x11, 0x00, 0x00,
            0x03, 0x00, 0x01, 0x00, 0x00, 0x03, 0x00, 0x32, 0x0f, 0x16, 0x2d, 0x96,
        ];
        let sps = parse_sps(VideoCodec::H264, &h264).unwrap();
        assert_eq!(
            (sps.width, sps.height, sps.profile),
            (640, 360, vec![0x64, 0, 0x1e])
        );
        assert_eq!(
            parse_sps(VideoCodec::H264, &h264[..8]),
            Err(NalError::Truncated(VideoCodec::H264))
        );
        assert!(matches!(
            parse_sps(VideoCodec::H265, &h264),
            Err(NalError::Invalid { .. })
        ));
    }
}
