//! Sample entries built from parameter sets (ISO/IEC 14496-15 sections 5.3.3 and 8.3.3).

use bytes::Bytes;

use super::{NalError, Sps, parse_sps, unit_type};
use crate::boxes::{boxed, put};
use crate::{VideoCodec, VideoParameters};

/// Parameters of a stream whose sets are known, with a complete `avc1` or `hvc1` box.
///
/// `sets` may hold them in any order and twice; the result has each once, VPS before SPS before PPS.
pub fn video_parameters(
    codec: VideoCodec,
    sets: impl IntoIterator<Item = Bytes>,
) -> Result<VideoParameters, NalError> {
    let (vps, sps, pps) = match codec {
        VideoCodec::H264 => (None, 7, 8),
        VideoCodec::H265 => (Some(32), 33, 34),
    };
    let sets: Vec<Bytes> = sets.into_iter().collect();
    let of = |wanted: u8| {
        let mut found: Vec<Bytes> = Vec::new();
        for set in &sets {
            let usable = unit_type(codec, set) == Some(wanted) && u16::try_from(set.len()).is_ok();
            if usable && !found.contains(set) && found.len() < 31 {
                found.push(set.clone());
            }
        }
        found
    };
    let missing = |set| NalError::Missing { codec, set };
    let (vpss, spss, ppss) = (vps.map(of).unwrap_or_default(), of(sps), of(pps));
    let first = spss.first().ok_or(missing("sequence parameter set"))?;
    if ppss.is_empty() {
        return Err(missing("picture parameter set"));
    }
    if vps.is_some() && vpss.is_empty() {
        return Err(missing("video parameter set"));
    }
    let parsed = parse_sps(codec, first)?;
    let entry = match codec {
        VideoCodec::H264 => visual(*b"avc1", &parsed, |out| avcc(out, &parsed, &spss, &ppss)),
        VideoCodec::H265 => visual(*b"hvc1", &parsed, |out| {
            hvcc(out, &parsed, [&vpss, &spss, &ppss]);
        }),
    };
    Ok(VideoParameters {
        codec,
        width: parsed.width,
        height: parsed.height,
        sample_entry: entry.into(),
        parameter_sets: [vpss, spss, ppss].concat(),
    })
}

/// Sample entry for G.711 as QuickTime names it; `codec` is `pcmu` or `pcma`, all others have none here.
pub fn g711_sample_entry(codec: &str, sample_rate: u32, channels: u16) -> Option<Bytes> {
    let kind = match codec {
        "pcmu" => *b"ulaw",
        "pcma" => *b"alaw",
        _ => return None,
    };
    let rate = u16::try_from(sample_rate).ok()?;
    let mut out = Vec::new();
    boxed(&mut out, kind, |out| {
        put(out, &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        put(out, &channels.to_be_bytes());
        put(out, &[0, 16, 0, 0, 0, 0]);
        put(out, &rate.to_be_bytes());
        put(out, &[0, 0]);
    });
    Some(out.into())
}

/// VisualSampleEntry, ISO/IEC 14496-12 section 12.1.3.
fn visual(kind: [u8; 4], sps: &Sps, configuration: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let side = |pixels: u32| u16::try_from(pixels).unwrap_or(u16::MAX).to_be_bytes();
    let mut out = Vec::new();
    boxed(&mut out, kind, |out| {
        put(out, &[0, 0, 0, 0, 0, 0, 0, 1]);
        put(out, &[0; 16]);
        put(out, &side(sps.width));
        put(out, &side(sps.height));
        // 72 dpi twice, one frame per sample, no compressor name, 24 bits deep.
        put(out, &[0, 0x48, 0, 0, 0, 0x48, 0, 0, 0, 0, 0, 0, 0, 1]);
        put(out, &[0; 32]);
        put(out, &[0, 0x18, 0xff, 0xff]);
        configuration(out);
    });
    out
}

fn avcc(out: &mut Vec<u8>, sps: &Sps, spss: &[Bytes], ppss: &[Bytes]) {
    boxed(out, *b"avcC", |out| {
        put(out, &[1]);
        put(out, &sps.profile);
        put(out, &[0xff, 0xe0 | count(spss)]);
        for set in spss {
            with_length(out, set);
        }
        put(out, &[count(ppss)]);
        for set in ppss {
            with_length(out, set);
        }
        // Baseline, Main and Extended end here; the others say their sample format.
        if !matches!(sps.profile.first(), Some(66 | 77 | 88)) {
            put(
                out,
                &[
                    0xfc | sps.chroma_format,
                    0xf8 | (sps.luma_depth - 8),
                    0xf8 | (sps.chroma_depth - 8),
                    0,
                ],
            );
        }
    });
}

fn hvcc(out: &mut Vec<u8>, sps: &Sps, sets: [&[Bytes]; 3]) {
    boxed(out, *b"hvcC", |out| {
        put(out, &[1]);
        put(out, &sps.profile);
        // Spatial segmentation and parallelism unknown.
        put(out, &[0xf0, 0, 0xfc, 0xfc | sps.chroma_format]);
        put(
            out,
            &[
                0xf8 | (sps.luma_depth - 8),
                0xf8 | (sps.chroma_depth - 8),
                0,
                0,
            ],
        );
        put(
            out,
            &[
                (sps.temporal_layers & 7) << 3 | u8::from(sps.temporal_nesting) << 2 | 3,
                3,
            ],
        );
        for (kind, sets) in (32u8..).zip(sets) {
            // All sets are here: array_completeness, as `hvc1` demands.
            put(out, &[0x80 | kind, 0, count(sets)]);
            for set in sets {
                with_length(out, set);
            }
        }
    });
}

fn count(sets: &[Bytes]) -> u8 {
    u8::try_from(sets.len()).unwrap_or(u8::MAX)
}

fn with_length(out: &mut Vec<u8>, set: &[u8]) {
    put(
        out,
        &u16::try_from(set.len()).unwrap_or(u16::MAX).to_be_bytes(),
    );
    put(out, set);
}
