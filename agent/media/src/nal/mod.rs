//! NAL units of H.264 (ITU-T H.264 section 7.3) and H.265 (ITU-T H.265 section 7.3).
//!
//! "Length-prefixed" always means four-byte big-endian lengths, the form that [`crate::Frame`] and MP4 use.

mod bits;
mod sample_entry;
mod sps;

use bytes::Bytes;

use crate::VideoCodec;

pub use sample_entry::{g711_sample_entry, video_parameters};
pub use sps::{Sps, parse_sps};

/// Why a parameter set cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NalError {
    #[error("{codec} sequence parameter set ends early", codec = .0.name())]
    Truncated(VideoCodec),
    #[error("{codec} sequence parameter set has no meaning: {why}", codec = .codec.name())]
    Invalid {
        codec: VideoCodec,
        why: &'static str,
    },
    #[error("{codec} stream has no {set}", codec = .codec.name())]
    Missing {
        codec: VideoCodec,
        set: &'static str,
    },
}

/// The NAL units of a length-prefixed access unit; a cut last one is left out.
pub fn units(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = data;
    std::iter::from_fn(move || {
        let (length, behind) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (unit, behind) = behind.split_at_checked(length)?;
        rest = behind;
        Some(unit)
    })
    .filter(|unit| !unit.is_empty())
}

/// The NAL units of an Annex B byte stream, start codes and trailing zeros removed.
pub fn annex_b_units(stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = after_start_code(stream);
    std::iter::from_fn(move || {
        let data = rest?;
        let next = data.windows(3).position(|w| w == [0, 0, 1]);
        let (unit, behind) = data.split_at(next.unwrap_or(data.len()));
        rest = behind.get(3..).filter(|_| next.is_some());
        // Zeros before a start code are trailing_zero_8bits or part of a four-byte start code.
        let end = unit
            .iter()
            .rposition(|&b| b != 0)
            .map_or(0, |last| last + 1);
        unit.get(..end)
    })
    .filter(|unit| !unit.is_empty())
}

/// Annex B form of a length-prefixed access unit.
pub fn to_annex_b(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + 16);
    units(data).for_each(|unit| push_annex_b(&mut out, unit));
    out
}

/// Appends one unit with its start code.
pub fn push_annex_b(out: &mut Vec<u8>, unit: &[u8]) {
    out.extend_from_slice(&[0, 0, 0, 1]);
    out.extend_from_slice(unit);
}

/// Length-prefixed form of an Annex B byte stream.
pub fn to_length_prefixed(stream: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(stream.len() + 16);
    for unit in annex_b_units(stream) {
        out.extend_from_slice(&u32::try_from(unit.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(unit);
    }
    out
}

/// NAL type of a unit.
pub fn unit_type(codec: VideoCodec, unit: &[u8]) -> Option<u8> {
    let first = *unit.first()?;
    Some(match codec {
        VideoCodec::H264 => first & 0x1f,
        VideoCodec::H265 => (first >> 1) & 0x3f,
    })
}

/// Whether a decoder can start at this length-prefixed access unit: H.264 IDR (5), H.265 BLA, IDR and CRA (16 to 21).
pub fn is_key(codec: VideoCodec, data: &[u8]) -> bool {
    units(data)
        .filter_map(|unit| unit_type(codec, unit))
        .any(|t| match codec {
            VideoCodec::H264 => t == 5,
            VideoCodec::H265 => (16..=21).contains(&t),
        })
}

/// Whether the unit is a VPS, SPS or PPS.
pub fn is_parameter_set(codec: VideoCodec, unit: &[u8]) -> bool {
    matches!(
        (codec, unit_type(codec, unit)),
        (VideoCodec::H264, Some(7 | 8)) | (VideoCodec::H265, Some(32..=34))
    )
}

/// The parameter sets inside a length-prefixed access unit, in their order.
pub fn parameter_sets(codec: VideoCodec, data: &[u8]) -> Vec<Bytes> {
    units(data)
        .filter(|unit| is_parameter_set(codec, unit))
        .map(Bytes::copy_from_slice)
        .collect()
}

fn after_start_code(stream: &[u8]) -> Option<&[u8]> {
    let at = stream.windows(3).position(|w| w == [0, 0, 1])?;
    stream.get(at + 3..)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn key_frames_are_told_by_nal_type() {
        let unit = |header: &[u8]| {
            let mut data = vec![
                0,
                0,
                0,
                2,
                0x06,
                0x05,
                0,
                0,
                0,
                u8::try_from(header.len()).unwrap(),
            ];
            data.extend_from_slice(header);
            data
        };
        assert!(is_key(VideoCodec::H264, &unit(&[0x65, 1])));
        assert!(!is_key(VideoCodec::H264, &unit(&[0x41, 1])));
        for (t, key) in [
            (1, false),
            (15, false),
            (16, true),
            (19, true),
            (21, true),
            (22, false),
        ] {
            assert_eq!(
                is_key(VideoCodec::H265, &unit(&[t << 1, 1])),
                key,
                "type {t}"
            );
        }
        assert!(
            !is_key(VideoCodec::H264, &[0, 0, 0, 9, 0x65]),
            "a cut unit is no key frame"
        );
    }

    #[test]
    fn start_codes_of_three_and_four_bytes_split_alike() {
        let stream = [
            0, 0, 0, 1, 0x67, 1, 2, 0, 0, 1, 0x68, 3, 0, 0, 0, 1, 0x65, 4, 0, 0,
        ];
        let found: Vec<_> = annex_b_units(&stream).collect();
        assert_eq!(found, [&[0x67, 1, 2][..], &[0x68, 3], &[0x65, 4]]);
    }

    proptest! {
        #[test]
        fn annex_b_and_back_is_the_same(units in prop::collection::vec(prop::collection::vec(1u8.., 1..40), 0..6)) {
            let mut data = Vec::new();
            for unit in &units {
                data.extend_from_slice(&u32::try_from(unit.len()).unwrap().to_be_bytes());
                data.extend_from_slice(unit);
            }
            prop_assert_eq!(to_length_prefixed(&to_annex_b(&data)), data);
        }

        #[test]
        fn nonsense_never_panics(data in prop::collection::vec(any::<u8>(), 0..300)) {
            for codec in [VideoCodec::H264, VideoCodec::H265] {
                is_key(codec, &data);
                let sets = parameter_sets(codec, &data);
                let _ignored = (video_parameters(codec, sets), parse_sps(codec, &data));
            }
            annex_b_units(&data).for_each(drop);
        }
    }
}
