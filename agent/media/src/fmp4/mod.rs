//! Fragmented MP4, `moov` first (ISO/IEC 14496-12 section 8.8).
//!
//! The file is playable after every fragment, and a crash costs at most the fragment that was being
//! gathered. Frames are never copied: a fragment is a head and the frames' own bytes, for `writev`.
//!
//! Times: video counts in 90 kHz, audio in its sample rate, both from the earliest frame of the file.
//! Decode times are derived ([`decode_times`]); where the stream reorders, composition offsets carry
//! the difference and an edit list makes the presentation begin at 0. How far it reorders is known
//! only from its frames, so the header travels with the first fragment.

mod audio_times;
mod decode_times;
mod header;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use bytes::Bytes;

use crate::boxes::{boxed, full, overwrite_u32, put_u32, put_u64};
use crate::{Frame, StreamParameters, TICKS_PER_SECOND, Track};
use audio_times::AudioTimes;
use decode_times::DecodeTimes;

/// Track numbers in the file.
pub(crate) const VIDEO: u32 = 1;
pub(crate) const AUDIO: u32 = 2;
const VIDEO_TIMESCALE: u32 = 90_000;
/// sample_depends_on nothing.
const SYNC: u32 = 0x0200_0000;
/// sample_depends_on others, sample_is_non_sync_sample.
pub(crate) const NOT_SYNC: u32 = 0x0101_0000;

/// A fragment is closed here, so that with a frame's length on top it stays below a second at 5 fps and more.
const LONGEST: i64 = TICKS_PER_SECOND * 8 / 10;
/// A key frame begins a new fragment (players seek there) unless the last one is younger than this.
const KEY_SPACING: i64 = TICKS_PER_SECOND * 4 / 10;
/// Bounds of what is gathered whatever the timestamps say: 4 s at 60 fps, and a burst of 4K key frames.
const MOST_FRAMES: usize = 240;
const MOST_BYTES: usize = 16 << 20;

/// Bytes to append to the file, in this order: `head`, then every one of `frames`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// `moof` and the header of `mdat`; in the first fragment `ftyp` and `moov` before them.
    pub head: Bytes,
    pub frames: Vec<Bytes>,
    /// Sum of all bytes.
    pub bytes: u64,
    /// Frames by track.
    pub video_frames: usize,
    pub audio_frames: usize,
}

/// The end of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    /// What was still gathered.
    pub fragment: Option<Fragment>,
    /// `mfra` with the place of every key frame; append it after the fragment. Empty if nothing was written.
    pub index: Bytes,
    /// Presentation length of the video.
    pub duration_ms: u64,
}

/// Place of a key frame, for `mfra`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyPlace {
    pub(crate) time: u64,
    pub(crate) moof: u64,
    /// Which sample of the run, from 1.
    pub(crate) sample: u32,
}

/// Writes one file. Begin it with a key frame; all else is its matter.
#[derive(Debug)]
pub struct Writer {
    parameters: StreamParameters,
    times: DecodeTimes,
    video: VecDeque<Frame>,
    audio: VecDeque<Frame>,
    /// Absent if the stream has no audio that MP4 can hold.
    audio_times: Option<AudioTimes>,
    gathered_bytes: usize,
    /// Set by the first fragment.
    start: Option<Start>,
    sequence: u32,
    position: u64,
    keys: Vec<KeyPlace>,
    /// End of the last video frame, ticks from the origin.
    end: i64,
}

#[derive(Debug, Clone, Copy)]
struct Start {
    /// Presentation time that is 0 in the file.
    origin: i64,
    delay: i64,
}

struct Run {
    track: u32,
    start: u64,
    /// Duration, size, flags, composition offset.
    samples: Vec<(u32, u32, u32, i32)>,
}

impl Writer {
    pub fn new(parameters: &StreamParameters) -> Self {
        let audio = parameters
            .audio
            .as_ref()
            .filter(|a| a.sample_entry.is_some() && a.sample_rate > 0);
        Self {
            audio_times: audio.map(AudioTimes::new),
            parameters: parameters.clone(),
            times: DecodeTimes::default(),
            video: VecDeque::new(),
            audio: VecDeque::new(),
            gathered_bytes: 0,
            start: None,
            sequence: 0,
            position: 0,
            keys: Vec::new(),
            end: 0,
        }
    }

    /// Takes the next frame in decode order; returns a fragment when one is full.
    ///
    /// Audio without a sample entry is left out.
    pub fn push(&mut self, frame: Frame) -> Option<Fragment> {
        self.gathered_bytes += frame.data.len();
        match frame.track {
            Track::Video => {
                self.times.push(frame.pts);
                self.video.push_back(frame);
            }
            Track::Audio if self.audio_times.is_some() => self.audio.push_back(frame),
            Track::Audio => {
                self.gathered_bytes -= frame.data.len();
                return None;
            }
        }
        let span = |frames: &VecDeque<Frame>| match (frames.front(), frames.back()) {
            (Some(first), Some(last)) => (last.pts.saturating_sub(first.pts), last.key),
            _ => (0, false),
        };
        let ((video, key), (audio, _)) = (span(&self.video), span(&self.audio));
        let full = video >= LONGEST
            || (key && video >= KEY_SPACING)
            || audio >= 2 * LONGEST
            || self.video.len().max(self.audio.len()) >= MOST_FRAMES
            || self.gathered_bytes >= MOST_BYTES;
        if full {
            self.gather(self.times.hold())
        } else {
            None
        }
    }

    /// Everything gathered so far as a fragment: for a stream that pauses.
    pub fn flush(&mut self) -> Option<Fragment> {
        self.gather(0)
    }

    /// Ends the file.
    pub fn finish(mut self) -> Tail {
        let fragment = self.gather(0);
        let index = if self.position == 0 {
            Bytes::new()
        } else {
            index(&self.keys)
        };
        Tail {
            fragment,
            index,
            duration_ms: self.duration_ms(),
        }
    }

    /// Presentation length of what was returned as fragments.
    pub fn duration_ms(&self) -> u64 {
        u64::try_from(self.end.saturating_mul(1000) / TICKS_PER_SECOND).unwrap_or(0)
    }

    /// Bytes returned as fragments.
    pub fn bytes(&self) -> u64 {
        self.position
    }

    /// Presentation span of the frames that wait for their fragment, in ticks.
    pub fn gathered_ticks(&self) -> i64 {
        match (self.video.front(), self.video.back()) {
            (Some(first), Some(last)) => last.pts.saturating_sub(first.pts).max(0),
            _ => 0,
        }
    }

    /// Makes a fragment of all but the last `keep` video frames and, if any are kept, the last audio frame.
    fn gather(&mut self, keep: usize) -> Option<Fragment> {
        let video = self.video.len().saturating_sub(keep);
        let audio = self.audio.len().saturating_sub(keep.min(1));
        if video + audio == 0 {
            return None;
        }
        let mut head = Vec::with_capacity(200 + 16 * (video + audio));
        let start = self.begin(&mut head);
        let mut frames = Vec::with_capacity(video + audio);
        let moof_at = self.position + head.len() as u64;
        let runs = [
            self.video_run(video, start, moof_at, &mut frames),
            self.audio_run(audio, start, &mut frames),
        ];
        self.sequence += 1;
        moof(&mut head, self.sequence, &runs);
        let payload: usize = frames.iter().map(Bytes::len).sum();
        put_u32(&mut head, u32::try_from(payload + 8).unwrap_or(u32::MAX));
        head.extend_from_slice(b"mdat");
        let bytes = (head.len() + payload) as u64;
        self.position += bytes;
        self.gathered_bytes = self.gathered_bytes.saturating_sub(payload);
        Some(Fragment {
            head: head.into(),
            frames,
            bytes,
            video_frames: video,
            audio_frames: audio,
        })
    }

    /// Fixes the origin and writes the header before the first fragment.
    fn begin(&mut self, head: &mut Vec<u8>) -> Start {
        if let Some(start) = self.start {
            return start;
        }
        let first_audio = self.audio.front().map(|frame| frame.pts);
        let origin = self
            .times
            .earliest()
            .into_iter()
            .chain(first_audio)
            .min()
            .unwrap_or(0);
        let delay = self.times.delay(self.video.iter().map(|frame| frame.pts));
        let delay = delay.min(16 * TICKS_PER_SECOND);
        let audio = self
            .parameters
            .audio
            .as_ref()
            .filter(|_| self.audio_times.is_some());
        *head = header::header(&self.parameters, audio, u32::try_from(delay).unwrap_or(0));
        *self.start.insert(Start { origin, delay })
    }

    fn video_run(&mut self, count: usize, start: Start, moof: u64, frames: &mut Vec<Bytes>) -> Run {
        let mut run = Run {
            track: VIDEO,
            start: 0,
            samples: Vec::with_capacity(count),
        };
        for (sample, frame) in (1..).zip(self.video.drain(..count)) {
            let (dts, duration) = self.times.next();
            let time = dts.saturating_sub(start.origin);
            let offset = frame.pts.saturating_add(start.delay).saturating_sub(dts);
            if sample == 1 {
                run.start = u64::try_from(time).unwrap_or(0);
            }
            if frame.key {
                let time = u64::try_from(time.saturating_add(offset)).unwrap_or(0);
                self.keys.push(KeyPlace { time, moof, sample });
            }
            self.end = self.end.max(time.saturating_add(duration));
            run.samples.push((
                u32::try_from(duration).unwrap_or(u32::MAX),
                u32::try_from(frame.data.len()).unwrap_or(u32::MAX),
                if frame.key { SYNC } else { NOT_SYNC },
                i32::try_from(offset).unwrap_or(if offset < 0 { i32::MIN } else { i32::MAX }),
            ));
            frames.push(frame.data);
        }
        run
    }

    fn audio_run(&mut self, count: usize, start: Start, frames: &mut Vec<Bytes>) -> Run {
        let mut run = Run {
            track: AUDIO,
            start: 0,
            samples: Vec::with_capacity(count),
        };
        let Some(times) = &mut self.audio_times else {
            return run;
        };
        for i in 0..count {
            let Some(frame) = self.audio.pop_front() else {
                break;
            };
            let next = self.audio.front().map(|next| next.pts);
            let (time, duration) = times.place(&frame, start.origin, next);
            if i == 0 {
                run.start = u64::try_from(time).unwrap_or(0);
            }
            let size = u32::try_from(frame.data.len()).unwrap_or(u32::MAX);
            run.samples
                .push((u32::try_from(duration).unwrap_or(u32::MAX), size, SYNC, 0));
            frames.push(frame.data);
        }
        run
    }
}

fn moof(out: &mut Vec<u8>, sequence: u32, runs: &[Run]) {
    let start = out.len();
    let mut data_offsets = Vec::with_capacity(runs.len());
    boxed(out, *b"moof", |out| {
        full(out, *b"mfhd", 0, 0, |out| put_u32(out, sequence));
        for run in runs.iter().filter(|run| !run.samples.is_empty()) {
            boxed(out, *b"traf", |out| {
                // default-base-is-moof
                full(out, *b"tfhd", 0, 0x2_0000, |out| put_u32(out, run.track));
                full(out, *b"tfdt", 1, 0, |out| put_u64(out, run.start));
                // Data offset, then per sample duration, size, and for video flags and composition offset.
                let video = run.track == VIDEO;
                full(out, *b"trun", 1, if video { 0xf01 } else { 0x301 }, |out| {
                    put_u32(out, u32::try_from(run.samples.len()).unwrap_or(u32::MAX));
                    data_offsets.push((out.len(), run));
                    put_u32(out, 0);
                    for &(duration, size, flags, offset) in &run.samples {
                        put_u32(out, duration);
                        put_u32(out, size);
                        if video {
                            put_u32(out, flags);
                            out.extend_from_slice(&offset.to_be_bytes());
                        }
                    }
                });
            });
        }
    });
    let mut offset = u32::try_from(out.len() - start + 8).unwrap_or(u32::MAX);
    for (at, run) in data_offsets {
        overwrite_u32(out, at, offset);
        offset = run
            .samples
            .iter()
            .fold(offset, |sum, sample| sum.saturating_add(sample.1));
    }
}

/// `mfra` (section 8.8.9): the fragment and sample of every key frame, found from the end of the file.
pub(crate) fn index(keys: &[KeyPlace]) -> Bytes {
    let mut out = Vec::with_capacity(64 + 22 * keys.len());
    boxed(&mut out, *b"mfra", |out| {
        full(out, *b"tfra", 1, 0, |out| {
            put_u32(out, VIDEO);
            // Traf and trun numbers take one byte, sample numbers four.
            put_u32(out, 3);
            put_u32(out, u32::try_from(keys.len()).unwrap_or(u32::MAX));
            for key in keys {
                put_u64(out, key.time);
                put_u64(out, key.moof);
                out.extend_from_slice(&[1, 1]);
                put_u32(out, key.sample);
            }
        });
        // mfro: the size of mfra, so that a reader finds it from the end.
        full(out, *b"mfro", 0, 0, |out| put_u32(out, 0));
    });
    let (size, at) = (u32::try_from(out.len()).unwrap_or(u32::MAX), out.len() - 4);
    overwrite_u32(&mut out, at, size);
    out.into()
}
