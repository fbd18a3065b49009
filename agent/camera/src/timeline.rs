//! What is due when: the clip as one endless timeline per track.
//!
//! Every value is computed from the pass and the sample, never by adding up, so nothing drifts
//! and the loop's seam is a step like any other.

use std::sync::Arc;
use std::time::Duration;

use agent_media::{TICKS_PER_SECOND, Track};

use crate::clip::{AudioTrack, Clip, Place, VideoTrack};

/// RTP clock of video (RFC 6184 section 8.2.1, RFC 7798 section 7.1).
const VIDEO_CLOCK: u32 = 90_000;
const _: () = assert!(VIDEO_CLOCK as i64 == TICKS_PER_SECOND);

/// When a clip's sound ends at most so many frames before its pictures, its last frame is
/// repeated instead of leaving a hole; encoders end tracks a few frames apart.
const FILLED_FRAMES: u64 = 4;

/// One frame of one track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) track: Track,
    pub(crate) place: Place,
    /// When it is sent, since the camera's start.
    pub(crate) due: Duration,
    /// When it is shown: ticks of the track's RTP clock since the camera's start.
    pub(crate) ticks: u64,
    pub(crate) key: bool,
}

/// Yields units in the order they are due. Never ends.
#[derive(Debug)]
pub(crate) struct Timeline {
    clip: Arc<Clip>,
    pass: u64,
    sample: usize,
    /// Number of the next audio frame since the camera's start.
    slot: Option<u64>,
    /// Due time of the first video unit.
    pub(crate) start: Duration,
    /// See [`Timeline::start_ticks`]: video, audio.
    start_ticks: [u64; 2],
}

/// RTP clock of a track.
pub(crate) fn clock_rate(clip: &Clip, track: Track) -> u32 {
    match track {
        Track::Video => VIDEO_CLOCK,
        Track::Audio => clip
            .audio
            .as_ref()
            .map_or(VIDEO_CLOCK, |audio| audio.clock_rate),
    }
}

impl Timeline {
    /// Starts at the last key frame that is due at or before `elapsed`.
    pub(crate) fn starting_at(clip: Arc<Clip>, elapsed: Duration) -> Self {
        let video = &clip.video;
        let position = scale(nanoseconds(elapsed), video.timescale, 1_000_000_000);
        let pass = position / video.duration;
        let within = position % video.duration;
        let sample = video
            .samples
            .iter()
            .rposition(|sample| sample.key && sample.decode <= within)
            .unwrap_or(0);
        let first = video_unit(video, pass, sample);
        let start_ticks = [
            first.ticks,
            scale(first.ticks, clock_rate(&clip, Track::Audio), VIDEO_CLOCK),
        ];
        let slot = clip.audio.as_ref().map(|audio| {
            let ticks = scale(first.ticks, audio.timescale, VIDEO_CLOCK);
            ticks.div_ceil(u64::from(audio.frame_duration))
        });
        Self {
            pass,
            sample,
            slot,
            start: first.due,
            start_ticks,
            clip,
        }
    }

    /// RTP time of `track` at the instant that the first video unit shows.
    pub(crate) fn start_ticks(&self, track: Track) -> u64 {
        let [video, audio] = self.start_ticks;
        match track {
            Track::Video => video,
            Track::Audio => audio,
        }
    }

    fn next_video(&mut self) -> Unit {
        let unit = video_unit(&self.clip.video, self.pass, self.sample);
        self.sample += 1;
        if self.sample == self.clip.video.samples.len() {
            self.sample = 0;
            self.pass += 1;
        }
        unit
    }

    /// The next audio unit when it is due before `limit`, skipping silence.
    fn next_audio(&mut self, limit: Duration) -> Option<Unit> {
        let clip = Arc::clone(&self.clip);
        let audio = clip.audio.as_ref()?;
        loop {
            let slot = self.slot?;
            if audio_due(audio, slot) >= limit {
                return None;
            }
            self.slot = Some(slot + 1);
            if let Some(unit) = audio_unit(&clip.video, audio, slot) {
                return Some(unit);
            }
        }
    }
}

impl Iterator for Timeline {
    type Item = Unit;

    fn next(&mut self) -> Option<Unit> {
        let limit = video_unit(&self.clip.video, self.pass, self.sample).due;
        Some(self.next_audio(limit).unwrap_or_else(|| self.next_video()))
    }
}

fn video_unit(video: &VideoTrack, pass: u64, sample: usize) -> Unit {
    let sample = video.samples[sample];
    let base = pass * video.duration;
    Unit {
        track: Track::Video,
        place: sample.place,
        due: Duration::from_nanos(scale(base + sample.decode, 1_000_000_000, video.timescale)),
        ticks: scale(base + sample.present, VIDEO_CLOCK, video.timescale),
        key: sample.key,
    }
}

/// Sound lies on a grid of whole frames that ignores the seams: a pass begins with the frame
/// nearest to it, so sound never shifts by more than half a frame against the picture.
fn audio_unit(video: &VideoTrack, audio: &AudioTrack, slot: u64) -> Option<Unit> {
    let frame = u64::from(audio.frame_duration);
    let first_slot = |pass: u64| {
        let begin = scale(pass * video.duration, audio.timescale, video.timescale);
        (begin + frame / 2) / frame
    };
    let estimate = scale(slot * frame, video.timescale, audio.timescale) / video.duration;
    // Rounding to the grid can put a slot into the pass before or after the one it lies in.
    let pass = [estimate + 1, estimate, estimate.saturating_sub(1)]
        .into_iter()
        .find(|pass| first_slot(*pass) <= slot)?;
    let index = slot - first_slot(pass);
    let count = audio.frames.len() as u64;
    let missing = (first_slot(pass + 1) - first_slot(pass)).saturating_sub(count);
    let index = if missing <= FILLED_FRAMES {
        index.min(count.checked_sub(1)?)
    } else {
        index
    };
    let place = *audio.frames.get(usize::try_from(index).ok()?)?;
    Some(Unit {
        track: Track::Audio,
        place,
        due: audio_due(audio, slot),
        ticks: scale(slot * frame, audio.clock_rate, audio.timescale),
        key: true,
    })
}

fn audio_due(audio: &AudioTrack, slot: u64) -> Duration {
    let ticks = slot * u64::from(audio.frame_duration);
    Duration::from_nanos(scale(ticks, 1_000_000_000, audio.timescale))
}

/// `value * to / from`, rounded down, without overflow in between.
pub(crate) fn scale(value: u64, to: u32, from: u32) -> u64 {
    let scaled = u128::from(value) * u128::from(to) / u128::from(from.max(1));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
