//! Sample-exact times of audio frames, from 90 kHz ticks that are rounded and jitter.

use crate::{AudioParameters, Frame, TICKS_PER_SECOND};

/// Nearer than this (of a second) to where the previous frame ended is no gap but rounding.
const SNAP_PER_SECOND: i64 = 100;

#[derive(Debug)]
pub(super) struct AudioTimes {
    rate: i64,
    /// Samples in one frame, where the codec tells.
    frame: FrameLength,
    /// Where the last frame ended, in samples.
    end: i64,
    last_duration: i64,
}

#[derive(Debug, Clone, Copy)]
enum FrameLength {
    Fixed(i64),
    /// One byte per sample and channel.
    Bytes(i64),
    Unknown,
}

impl AudioTimes {
    pub(super) fn new(audio: &AudioParameters) -> Self {
        let frame = match audio.codec.as_str() {
            // AAC-LC, ISO/IEC 14496-3.
            "aac" => FrameLength::Fixed(1024),
            "pcmu" | "pcma" => FrameLength::Bytes(i64::from(audio.channels.max(1))),
            _ => FrameLength::Unknown,
        };
        Self {
            rate: i64::from(audio.sample_rate.max(1)),
            frame,
            end: 0,
            last_duration: 1,
        }
    }

    /// Time and duration in samples of `frame`; `next` is the time of the frame after it.
    pub(super) fn place(&mut self, frame: &Frame, origin: i64, next: Option<i64>) -> (i64, i64) {
        let samples = |pts: i64| {
            let ticks = i128::from(pts.saturating_sub(origin).max(0));
            i64::try_from(ticks * i128::from(self.rate) / i128::from(TICKS_PER_SECOND))
                .unwrap_or(i64::MAX / 2)
        };
        let snap = |time: i64, to: i64| {
            if (time - to).abs() <= self.rate / SNAP_PER_SECOND {
                to
            } else {
                time.max(to)
            }
        };
        let start = snap(samples(frame.pts), self.end);
        let expected = match self.frame {
            FrameLength::Fixed(samples) => Some(samples),
            FrameLength::Bytes(channels) => i64::try_from(frame.data.len())
                .ok()
                .map(|bytes| bytes / channels),
            FrameLength::Unknown => None,
        };
        let end = match (expected, next) {
            (Some(expected), Some(next)) => snap(samples(next), start + expected),
            (Some(expected), None) => start + expected,
            (None, Some(next)) => samples(next),
            (None, None) => start + self.last_duration,
        };
        self.last_duration = (end - start).max(1);
        self.end = start + self.last_duration;
        (start, self.last_duration)
    }
}
