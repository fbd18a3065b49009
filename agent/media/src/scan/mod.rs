//! What a recording holds, and up to where it is whole.
//!
//! Reads box headers, `moov` and every `moof`, never frames; its memory is bounded by the largest `moof`
//! that [`crate::fmp4`] writes and the number of key frames. Nonsense ends the walk, it never fails it.

mod boxes;
mod moof;
mod moov;

use std::io::{self, Read, Seek, SeekFrom};

use bytes::Bytes;

use crate::VideoCodec;
use crate::fmp4::{KeyPlace, index};
use moov::Movie;

/// The writer's own `moov` has about 1 KiB and its `moof` under 10 KiB; this leaves room for others' files.
const LARGEST_BOX: u64 = 4 << 20;
/// Key frames that are remembered for an index: an hour at 10 per second.
const MOST_KEYS: usize = 36_000;

/// Why nothing can be said of a file.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    #[error("cannot read a recording at byte {offset}")]
    Read { offset: u64, source: io::Error },
    #[error("a recording has no whole fragmented MP4 header")]
    NoHeader,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    pub codec: VideoCodec,
    /// Pixels.
    pub width: u32,
    pub height: u32,
    pub video_frames: u64,
    pub key_frames: u64,
    pub audio_frames: u64,
    /// Sum of the video's frame durations, gaps between fragments included.
    pub duration_ms: u64,
    pub fragments: u64,
    /// Cut here and the rest is whole.
    pub valid_len: u64,
    /// Length of what was scanned.
    pub file_len: u64,
    /// An `mfra` index stands at the end: the file was closed in order.
    pub indexed: bool,
    keys: Vec<KeyPlace>,
}

impl Scan {
    /// Nothing has to be cut off.
    pub fn is_whole(&self) -> bool {
        self.valid_len == self.file_len
    }

    /// `mfra` for a file that was cut at `valid_len` and has none, to be appended there.
    pub fn index(&self) -> Bytes {
        index(&self.keys)
    }
}

/// Walks a recording from its beginning.
pub fn scan(file: &mut (impl Read + Seek)) -> Result<Scan, ScanError> {
    let file_len = file
        .seek(SeekFrom::End(0))
        .map_err(|source| ScanError::Read { offset: 0, source })?;
    let mut walk = Walk {
        movie: None,
        video: Sum::default(),
        audio_frames: 0,
        fragments: 0,
        keys: Vec::new(),
    };
    let (mut at, mut valid_len, mut indexed) = (0, 0, false);
    while let Some((kind, size)) = next_box(file, at, file_len)? {
        let end = at + size;
        match &kind {
            b"moov" if walk.movie.is_none() => walk.movie = moov::parse(&body(file, at, size)?),
            b"moof" => match walk.fragment(file, at, size, file_len)? {
                Some(mdat_end) => {
                    (at, valid_len, indexed) = (mdat_end, mdat_end, false);
                    continue;
                }
                None => break,
            },
            b"mfra" => indexed = true,
            b"ftyp" | b"styp" | b"sidx" | b"free" | b"skip" | b"uuid" | b"emsg" | b"prft" => {}
            _ => break,
        }
        (at, valid_len) = (end, end);
    }
    let Walk {
        movie,
        video,
        audio_frames,
        fragments,
        keys,
    } = walk;
    let movie = movie.ok_or(ScanError::NoHeader)?;
    let ticks = video.end.saturating_sub(video.start.unwrap_or(0));
    let milliseconds = u128::from(ticks) * 1000 / u128::from(movie.video.timescale);
    Ok(Scan {
        codec: movie.codec,
        width: movie.width,
        height: movie.height,
        video_frames: video.frames,
        key_frames: video.keys,
        audio_frames,
        duration_ms: u64::try_from(milliseconds).unwrap_or(u64::MAX),
        fragments,
        valid_len,
        file_len,
        indexed,
        keys,
    })
}

#[derive(Default)]
struct Sum {
    frames: u64,
    keys: u64,
    start: Option<u64>,
    end: u64,
}

struct Walk {
    movie: Option<Movie>,
    video: Sum,
    audio_frames: u64,
    fragments: u64,
    keys: Vec<KeyPlace>,
}

impl Walk {
    /// Takes in a `moof` with its `mdat`; the end of the latter, if both are whole and agree.
    fn fragment(
        &mut self,
        file: &mut (impl Read + Seek),
        at: u64,
        size: u64,
        file_len: u64,
    ) -> Result<Option<u64>, ScanError> {
        let Some(movie) = &self.movie else {
            return Ok(None);
        };
        let Some((kind, mdat_size)) = next_box(file, at + size, file_len)? else {
            return Ok(None);
        };
        if kind != *b"mdat" || size > LARGEST_BOX {
            return Ok(None);
        }
        let end = at + size + mdat_size;
        let Some(runs) = moof::parse(&body(file, at, size)?, movie, end - at) else {
            return Ok(None);
        };
        self.fragments += 1;
        for run in runs {
            if Some(run.track) == movie.audio.map(|audio| audio.id) {
                self.audio_frames += run.frames;
            }
            if run.track != movie.video.id {
                continue;
            }
            // A file without tfdt goes on where it was.
            let base = run.start.unwrap_or(self.video.end);
            self.video.frames += run.frames;
            self.video.keys += run.keys.len() as u64;
            self.video.start.get_or_insert(base);
            self.video.end = self.video.end.max(base.saturating_add(run.duration));
            let room = MOST_KEYS.saturating_sub(self.keys.len());
            let places = run.keys.iter().take(room);
            self.keys.extend(places.map(|&(sample, offset)| KeyPlace {
                time: base.saturating_add_signed(offset),
                moof: at,
                sample,
            }));
        }
        Ok(Some(end))
    }
}

/// Type and size of the box at `at`, if it is whole.
fn next_box(
    file: &mut (impl Read + Seek),
    at: u64,
    file_len: u64,
) -> Result<Option<([u8; 4], u64)>, ScanError> {
    let Some(rest) = file_len.checked_sub(at) else {
        return Ok(None);
    };
    let head = read(file, at, rest.min(16))?;
    Ok(boxes::header(&head)
        .map(|(kind, _, size)| (kind, size))
        .filter(|(_, size)| *size <= rest))
}

fn body(file: &mut (impl Read + Seek), at: u64, size: u64) -> Result<Vec<u8>, ScanError> {
    if size > LARGEST_BOX {
        return Ok(Vec::new());
    }
    let mut bytes = read(file, at, size)?;
    let header = boxes::header(&bytes).map_or(0, |(_, header, _)| header);
    bytes.drain(..header.min(bytes.len()));
    Ok(bytes)
}

fn read(file: &mut (impl Read + Seek), at: u64, size: u64) -> Result<Vec<u8>, ScanError> {
    let failed = |source| ScanError::Read { offset: at, source };
    file.seek(SeekFrom::Start(at)).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(size).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;
    use crate::nal::video_parameters;
    use crate::{Frame, StreamParameters, Track, Writer};

    /// Twelve seconds at 5 fps, a key frame every 2 s.
    fn recording() -> Vec<u8> {
        let sps = [
            0x67, 0x64, 0x00, 0x1e, 0xac, 0xd9, 0x40, 0xa0, 0x2f, 0xf9, 0x70, 0x11, 0x00, 0x00,
            0x03, 0x00, 0x01, 0x00, 0x00, 0x03, 0x00, 0x32, 0x0f, 0x16, 0x2d, 0x96,
        ];
        let sets = vec![
            Bytes::copy_from_slice(&sps),
            Bytes::from_static(&[0x68, 0xeb, 0xe3, 0xcb]),
        ];
        let video = video_parameters(VideoCodec::H264, sets).unwrap();
        let mut writer = Writer::new(&StreamParameters { video, audio: None });
        let mut out = Vec::new();
        for i in 0..60 {
            let data = Bytes::from(vec![7; 30]);
            let frame = Frame {
                track: Track::Video,
                pts: i * 18_000,
                arrival_ms: 0,
                key: i % 10 == 0,
                lost: 0,
                data,
            };
            out.extend(writer.push(frame));
        }
        let tail = writer.finish();
        out.extend(tail.fragment);
        let mut bytes = Vec::new();
        for fragment in out {
            bytes.extend_from_slice(&fragment.head);
            fragment
                .frames
                .iter()
                .for_each(|frame| bytes.extend_from_slice(frame));
        }
        assert_eq!(tail.duration_ms, 12_000);
        bytes.extend_from_slice(&tail.index);
        bytes
    }

    #[test]
    fn a_closed_file_is_whole() {
        let found = scan(&mut Cursor::new(recording())).unwrap();
        assert_eq!(
            (found.video_frames, found.key_frames, found.duration_ms),
            (60, 6, 12_000)
        );
        assert_eq!((found.width, found.height, found.indexed), (640, 360, true));
        assert!(found.is_whole() && found.fragments >= 12);
    }

    #[test]
    fn a_zero_filled_tail_is_cut_off() {
        let mut bytes = recording();
        let whole = bytes.len() as u64;
        bytes.extend_from_slice(&[0; 4096]);
        assert_eq!(scan(&mut Cursor::new(bytes)).unwrap().valid_len, whole);
    }

    proptest! {
        #[test]
        fn nonsense_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            prop_assert!(scan(&mut Cursor::new(bytes)).is_err());
        }

        #[test]
        fn damage_never_panics_and_never_lengthens(
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = recording();
            for (at, value) in damage {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            bytes.truncate(cut.index(bytes.len()) + 1);
            if let Ok(found) = scan(&mut Cursor::new(&bytes)) {
                prop_assert!(found.valid_len <= bytes.len() as u64);
            }
        }
    }
}
