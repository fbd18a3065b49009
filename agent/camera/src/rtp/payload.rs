//! Frames cut into RTP payloads: H.264 (RFC 6184), H.265 (RFC 7798), AAC (RFC 3640).

use agent_media::VideoCodec;
use bytes::Bytes;

/// Largest payload: an Ethernet frame less IPv6, UDP and RTP headers, and some tunnel's share.
pub(crate) const LARGEST: usize = 1400;

/// NAL unit type of a fragment: FU-A (RFC 6184 table 1) and FU (RFC 7798 section 4.4.3).
const FU_A: u8 = 28;
const FU: u8 = 49;

/// One packet without its RTP header.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Payload<'a> {
    pub(crate) head: Vec<u8>,
    pub(crate) body: &'a [u8],
    /// Ends the frame: the RTP marker bit.
    pub(crate) last: bool,
}

impl Payload<'_> {
    pub(crate) fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }
}

/// A sample whose NAL lengths run past its end.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("video sample has a NAL unit length past its end")]
pub(crate) struct BrokenSample;

/// Cuts one access unit; `parameter_sets` go before it in one aggregation packet, except when
/// the sample already carries its own.
pub(crate) fn video_payloads<'a>(
    codec: VideoCodec,
    length_size: usize,
    parameter_sets: &[Bytes],
    sample: &'a [u8],
) -> Result<Vec<Payload<'a>>, BrokenSample> {
    let units = units(length_size, sample)?;
    let mut payloads = Vec::with_capacity(sample.len() / LARGEST + units.len() + 1);
    if !parameter_sets.is_empty() && !units.iter().any(|unit| is_parameter_set(codec, unit)) {
        payloads.extend(aggregate(codec, parameter_sets));
    }
    for unit in units {
        if unit.len() <= LARGEST {
            payloads.push(Payload {
                head: Vec::new(),
                body: unit,
                last: false,
            });
        } else {
            fragment(codec, unit, &mut payloads);
        }
    }
    if let Some(payload) = payloads.last_mut() {
        payload.last = true;
    }
    Ok(payloads)
}

/// One AAC frame in AAC-hbr mode (RFC 3640 section 3.3.6): a header section of 16 bits, in it
/// 13 bits of size and 3 of index.
pub(crate) fn aac_payloads(frame: &[u8]) -> Vec<Payload<'_>> {
    // An AAC frame has at most 768 bytes per channel (ISO/IEC 14496-3 section 4.5.3): 13 bits do.
    let size = u16::try_from(frame.len() & 0x1fff).unwrap_or(0) << 3;
    let [high, low] = size.to_be_bytes();
    let count = frame.len().div_ceil(LARGEST);
    let part = |(index, body)| Payload {
        head: vec![0, 16, high, low],
        body,
        last: index + 1 == count,
    };
    frame.chunks(LARGEST).enumerate().map(part).collect()
}

fn units(length_size: usize, mut sample: &[u8]) -> Result<Vec<&[u8]>, BrokenSample> {
    let mut units = Vec::new();
    while !sample.is_empty() {
        let (length, rest) = sample.split_at_checked(length_size).ok_or(BrokenSample)?;
        let length = length
            .iter()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        let (unit, rest) = rest.split_at_checked(length).ok_or(BrokenSample)?;
        // Two bytes: the longer of the two codecs' NAL headers.
        if unit.len() >= 2 {
            units.push(unit);
        }
        sample = rest;
    }
    Ok(units)
}

fn is_parameter_set(codec: VideoCodec, unit: &[u8]) -> bool {
    match codec {
        VideoCodec::H264 => matches!(unit[0] & 0x1f, 7 | 8),
        VideoCodec::H265 => matches!(unit[0] >> 1 & 0x3f, 32..=34),
    }
}

/// STAP-A (RFC 6184 section 5.7.1) or AP (RFC 7798 section 4.4.2); sets too large for one packet
/// go alone.
fn aggregate<'a>(codec: VideoCodec, sets: &[Bytes]) -> Vec<Payload<'a>> {
    let alone = |head: Vec<u8>| Payload {
        head,
        body: &[],
        last: false,
    };
    let mut head = match codec {
        // The highest importance (nal_ref_idc 3) and type 24.
        VideoCodec::H264 => vec![0x78],
        // Type 48, layer 0, temporal id 1.
        VideoCodec::H265 => vec![48 << 1, 1],
    };
    for set in sets {
        let Ok(size) = u16::try_from(set.len()) else {
            continue;
        };
        head.extend_from_slice(&size.to_be_bytes());
        head.extend_from_slice(set);
    }
    if head.len() > LARGEST {
        return sets.iter().map(|set| alone(set.to_vec())).collect();
    }
    vec![alone(head)]
}

/// FU-A (RFC 6184 section 5.8) or FU (RFC 7798 section 4.4.3).
fn fragment<'a>(codec: VideoCodec, unit: &'a [u8], payloads: &mut Vec<Payload<'a>>) {
    let (indicator, kind, body) = match codec {
        VideoCodec::H264 => (vec![unit[0] & 0xe0 | FU_A], unit[0] & 0x1f, &unit[1..]),
        VideoCodec::H265 => (
            vec![unit[0] & 0x81 | FU << 1, unit[1]],
            unit[0] >> 1 & 0x3f,
            &unit[2..],
        ),
    };
    let parts = body.chunks(LARGEST - indicator.len() - 1);
    let end = parts.len() - 1;
    for (index, body) in parts.enumerate() {
        let mut head = indicator.clone();
        let start_bit = if index == 0 { 0x80 } else { 0 };
        let end_bit = if index == end { 0x40 } else { 0 };
        head.push(start_bit | end_bit | kind);
        payloads.push(Payload {
            head,
            body,
            last: false,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(units: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for unit in units {
            bytes.extend_from_slice(&u32::try_from(unit.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(unit);
        }
        bytes
    }

    /// Puts fragments together again as a receiver does.
    fn rejoin(payloads: &[Payload<'_>], header: usize) -> Vec<u8> {
        payloads
            .iter()
            .flat_map(|payload| &payload.body[header..])
            .copied()
            .collect()
    }

    #[test]
    fn a_key_frame_is_preceded_by_its_parameter_sets() {
        let sets = [
            Bytes::from_static(&[0x67, 1, 2, 3]),
            Bytes::from_static(&[0x68, 9]),
        ];
        let sample = sample(&[&[0x65, 1, 2]]);
        let payloads = video_payloads(VideoCodec::H264, 4, &sets, &sample).unwrap();
        assert_eq!(payloads.len(), 2);
        assert_eq!(payloads[0].head, [0x78, 0, 4, 0x67, 1, 2, 3, 0, 2, 0x68, 9]);
        assert_eq!((payloads[0].last, payloads[1].last), (false, true));
        assert_eq!(payloads[1].body, [0x65, 1, 2]);
    }

    #[test]
    fn own_parameter_sets_are_not_doubled() {
        let sets = [
            Bytes::from_static(&[0x67, 1]),
            Bytes::from_static(&[0x68, 9]),
        ];
        let sample = sample(&[&[0x67, 5], &[0x68, 6], &[0x65, 1, 2]]);
        assert_eq!(
            video_payloads(VideoCodec::H264, 4, &sets, &sample)
                .unwrap()
                .len(),
            3
        );
    }

    #[test]
    fn large_units_are_fragmented_and_complete() {
        let mut unit = vec![0x65];
        unit.extend((0..5000_u32).map(|value| value.to_be_bytes()[3]));
        let sample = sample(&[&unit]);
        let payloads = video_payloads(VideoCodec::H264, 4, &[], &sample).unwrap();
        assert!(payloads.iter().all(|payload| payload.len() <= LARGEST));
        assert_eq!(payloads[0].head, [0x7c, 0x85]);
        assert_eq!(payloads.last().unwrap().head, [0x7c, 0x45]);
        assert_eq!(rejoin(&payloads, 0), &unit[1..]);

        let mut unit = vec![19 << 1, 1];
        unit.extend(vec![7; 3000]);
        let sample = self::sample(&[&unit]);
        let payloads = video_payloads(VideoCodec::H265, 4, &[], &sample).unwrap();
        assert_eq!(payloads[0].head, [49 << 1, 1, 0x93]);
        assert_eq!(payloads[1].head, [49 << 1, 1, 19]);
        assert_eq!(payloads.last().unwrap().head, [49 << 1, 1, 0x53]);
        assert_eq!(rejoin(&payloads, 0), &unit[2..]);
    }

    #[test]
    fn a_broken_sample_is_an_error() {
        for sample in [&[0, 0][..], &[0, 0, 0, 9, 1, 2]] {
            assert_eq!(
                video_payloads(VideoCodec::H264, 4, &[], sample),
                Err(BrokenSample)
            );
        }
    }

    #[test]
    fn sound_carries_its_size() {
        let payloads = aac_payloads(&[5; 300]);
        assert_eq!(payloads[0].head, [0, 16, 0x09, 0x60]);
        assert!(payloads[0].last);
        let split = aac_payloads(&[5; 3000]);
        assert_eq!(split.iter().filter(|payload| payload.last).count(), 1);
        assert_eq!(
            split
                .iter()
                .map(|payload| payload.body.len())
                .sum::<usize>(),
            3000
        );
    }
}
