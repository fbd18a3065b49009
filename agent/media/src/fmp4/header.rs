//! `ftyp` and `moov` (ISO/IEC 14496-12 sections 4.3 and 8.2 to 8.8).

use super::{AUDIO, NOT_SYNC, SYNC, VIDEO};
use crate::boxes::{boxed, full, put, put_each_u32, put_u32};
use crate::{AudioParameters, StreamParameters, VideoParameters};

const UNITY: [u32; 9] = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000];
/// `und`, undetermined, in packed ISO 639-2.
const UNDETERMINED: u32 = 0x55c4_0000;

/// `delay` is how much later than its presentation time a frame is decoded; an edit list takes it back.
pub(super) fn header(
    parameters: &StreamParameters,
    audio: Option<&AudioParameters>,
    delay: u32,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(1500);
    boxed(&mut out, *b"ftyp", |out| {
        put(out, b"isom\0\0\x02\0isomiso6iso2avc1mp41");
    });
    boxed(&mut out, *b"moov", |out| {
        full(out, *b"mvhd", 0, 0, |out| {
            // Created and changed unknown, milliseconds, duration in fragments; rate and volume 1.
            put_each_u32(out, &[0, 0, 1000, 0, 0x1_0000, 0x0100_0000, 0, 0]);
            put_each_u32(out, &UNITY);
            put(out, &[0; 24]);
            put_u32(out, AUDIO + 1);
        });
        video_track(out, &parameters.video, delay);
        if let Some(audio) = audio {
            audio_track(out, audio);
        }
        boxed(out, *b"mvex", |out| {
            extends(out, VIDEO, NOT_SYNC);
            if audio.is_some() {
                extends(out, AUDIO, SYNC);
            }
        });
    });
    out
}

fn extends(out: &mut Vec<u8>, track: u32, flags: u32) {
    full(out, *b"trex", 0, 0, |out| {
        put_each_u32(out, &[track, 1, 0, 0, flags]);
    });
}

fn video_track(out: &mut Vec<u8>, video: &VideoParameters, delay: u32) {
    boxed(out, *b"trak", |out| {
        track_header(out, VIDEO, 0, video.width, video.height);
        if delay > 0 {
            boxed(out, *b"edts", |out| {
                // One edit over the whole, however long: duration 0 in a fragmented file.
                full(out, *b"elst", 0, 0, |out| {
                    put_each_u32(out, &[1, 0, delay, 0x1_0000]);
                });
            });
        }
        let media_header = |out: &mut Vec<u8>| full(out, *b"vmhd", 0, 1, |out| put(out, &[0; 8]));
        media(
            out,
            super::VIDEO_TIMESCALE,
            *b"vide",
            media_header,
            &video.sample_entry,
        );
    });
}

fn audio_track(out: &mut Vec<u8>, audio: &AudioParameters) {
    boxed(out, *b"trak", |out| {
        track_header(out, AUDIO, 0x0100, 0, 0);
        let media_header = |out: &mut Vec<u8>| full(out, *b"smhd", 0, 0, |out| put(out, &[0; 4]));
        let entry = audio.sample_entry.as_deref().unwrap_or_default();
        media(out, audio.sample_rate, *b"soun", media_header, entry);
    });
}

fn track_header(out: &mut Vec<u8>, track: u32, volume: u32, width: u32, height: u32) {
    // Enabled, in the movie.
    full(out, *b"tkhd", 0, 3, |out| {
        put_each_u32(out, &[0, 0, track, 0, 0, 0, 0, 0, volume << 16]);
        put_each_u32(out, &UNITY);
        put_u32(out, width.min(0xffff) << 16);
        put_u32(out, height.min(0xffff) << 16);
    });
}

fn media(
    out: &mut Vec<u8>,
    timescale: u32,
    handler: [u8; 4],
    media_header: impl FnOnce(&mut Vec<u8>),
    sample_entry: &[u8],
) {
    boxed(out, *b"mdia", |out| {
        full(out, *b"mdhd", 0, 0, |out| {
            put_each_u32(out, &[0, 0, timescale, 0, UNDETERMINED]);
        });
        full(out, *b"hdlr", 0, 0, |out| {
            put_u32(out, 0);
            put(out, &handler);
            put(out, &[0; 12]);
            put(out, b"stakeout\0");
        });
        boxed(out, *b"minf", |out| {
            media_header(out);
            boxed(out, *b"dinf", |out| {
                full(out, *b"dref", 0, 0, |out| {
                    put_u32(out, 1);
                    // The data is in this file.
                    full(out, *b"url ", 0, 1, |_| {});
                });
            });
            boxed(out, *b"stbl", |out| {
                full(out, *b"stsd", 0, 0, |out| {
                    put_u32(out, 1);
                    put(out, sample_entry);
                });
                for empty in [*b"stts", *b"stsc", *b"stco"] {
                    full(out, empty, 0, 0, |out| put_u32(out, 0));
                }
                full(out, *b"stsz", 0, 0, |out| put(out, &[0; 8]));
            });
        });
    });
}
