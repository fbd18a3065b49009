//! Which access units a decoder can start at.

use agent_media::VideoCodec;

/// retina calls an H.265 CRA picture no random access point; it is one. H.264: IDR (NAL type 5);
/// H.265: BLA, IDR, CRA (16 to 21). `data` holds NAL units with four-byte lengths.
pub(crate) fn is_key(codec: VideoCodec, data: &[u8]) -> bool {
    let mut rest = data;
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let Some(&first) = behind.first() else {
            return false;
        };
        let key = match codec {
            VideoCodec::H264 => first & 0x1f == 5,
            VideoCodec::H265 => (16..=21).contains(&((first >> 1) & 0x3f)),
        };
        if key {
            return true;
        }
        rest = behind.get(length..).unwrap_or_default();
    }
    false
}
