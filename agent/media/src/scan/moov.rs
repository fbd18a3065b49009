//! Tracks out of `moov`.

use super::boxes::{Fields, child, children, descend};
use crate::VideoCodec;

#[derive(Debug)]
pub(super) struct Movie {
    pub(super) codec: VideoCodec,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) video: Track,
    pub(super) audio: Option<Track>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Track {
    pub(super) id: u32,
    pub(super) timescale: u32,
    /// From `trex`.
    pub(super) duration: u32,
    pub(super) size: u32,
    pub(super) flags: u32,
}

/// The first H.264 or H.265 track and the first sound track; nothing without the former or without `mvex`.
pub(super) fn parse(moov: &[u8]) -> Option<Movie> {
    let extends = child(moov, *b"mvex")?;
    let (mut picture, mut audio) = (None, None);
    for (_, trak) in children(moov).filter(|(kind, _)| kind == b"trak") {
        let Some((track, handler)) = track(trak, extends) else {
            continue;
        };
        match &handler {
            b"vide" if picture.is_none() => {
                picture = sample_entry(trak).map(|entry| (entry, track));
            }
            b"soun" if audio.is_none() => audio = Some(track),
            _ => {}
        }
    }
    let ((codec, width, height), video) = picture?;
    Some(Movie {
        codec,
        width,
        height,
        video,
        audio,
    })
}

fn track(trak: &[u8], extends: &[u8]) -> Option<(Track, [u8; 4])> {
    let mut head = Fields(child(trak, *b"tkhd")?);
    skip_times(&mut head)?;
    let id = head.u32()?;
    let mut media = Fields(descend(trak, &[*b"mdia", *b"mdhd"])?);
    skip_times(&mut media)?;
    let timescale = media.u32().filter(|&scale| scale > 0)?;
    let mut handler = Fields(descend(trak, &[*b"mdia", *b"hdlr"])?);
    handler.skip(8)?;
    let defaults = children(extends)
        .filter(|(kind, _)| kind == b"trex")
        .find_map(|(_, trex)| {
            let mut fields = Fields(trex);
            fields.skip(4)?;
            (fields.u32()? == id).then_some(())?;
            fields.skip(4)?;
            Some((fields.u32()?, fields.u32()?, fields.u32()?))
        });
    let (duration, size, flags) = defaults?;
    Some((
        Track {
            id,
            timescale,
            duration,
            size,
            flags,
        },
        handler.take()?,
    ))
}

/// Version, flags, creation and modification time.
fn skip_times(fields: &mut Fields<'_>) -> Option<()> {
    let [version, ..] = fields.take::<4>()?;
    fields.skip(if version == 1 { 16 } else { 8 })
}

fn sample_entry(trak: &[u8]) -> Option<(VideoCodec, u32, u32)> {
    let stsd = descend(trak, &[*b"mdia", *b"minf", *b"stbl", *b"stsd"])?;
    let (kind, entry) = children(stsd.get(8..)?).next()?;
    let codec = match &kind {
        b"avc1" | b"avc3" => VideoCodec::H264,
        b"hvc1" | b"hev1" => VideoCodec::H265,
        _ => return None,
    };
    let mut fields = Fields(entry);
    fields.skip(24)?;
    Some((codec, u32::from(fields.u16()?), u32::from(fields.u16()?)))
}
