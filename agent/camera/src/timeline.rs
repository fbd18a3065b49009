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

#[cfg(test)]
mod tests {
    use agent_media::VideoCodec;
    use proptest::prelude::*;

    use super::*;
    use crate::clip::VideoSample;

    /// `rate` frames per second with a B-frame pattern, a key frame every `gop`; sound of
    /// `audio_frames` frames of 1024 at 48 kHz.
    fn clip(frames: u64, gop: u64, audio_frames: u64) -> Arc<Clip> {
        let (timescale, step) = (12_800, 512);
        let place = |offset| Place { offset, size: 1 };
        let sample = |index: u64| {
            // I P B P B …: each B-frame is shown before the P-frame that is sent before it.
            let (key, at) = (index - index % gop, index % gop);
            let last = at + 1 == gop || index + 1 == frames;
            let shown = match at {
                0 => 0,
                _ if at % 2 == 0 => at - 1,
                _ if last => at,
                _ => at + 1,
            };
            VideoSample {
                place: place(index),
                decode: index * step,
                present: (key + shown) * step,
                key: at == 0,
            }
        };
        Arc::new(Clip::of_tracks(
            VideoTrack {
                codec: VideoCodec::H264,
                parameter_sets: Vec::new(),
                length_size: 4,
                timescale,
                duration: frames * step,
                samples: (0..frames).map(sample).collect(),
            },
            (audio_frames > 0).then(|| AudioTrack {
                config: vec![0x11, 0x90],
                clock_rate: 48_000,
                channels: 2,
                timescale: 48_000,
                frame_duration: 1024,
                frames: (0..audio_frames)
                    .map(|index| place(1_000_000 + index))
                    .collect(),
            }),
        ))
    }

    fn ticks(clip: &Arc<Clip>, track: Track, count: usize) -> Vec<u64> {
        let timeline = Timeline::starting_at(Arc::clone(clip), Duration::ZERO);
        let mut ticks: Vec<_> = timeline
            .filter(|unit| unit.track == track)
            .map(|unit| unit.ticks)
            .take(count)
            .collect();
        ticks.sort_unstable();
        ticks
    }

    #[test]
    fn pictures_step_evenly_across_seams() {
        let clip = clip(10, 5, 0);
        assert!(
            ticks(&clip, Track::Video, 100)
                .windows(2)
                .all(|pair| pair[1] - pair[0] == 3600)
        );
    }

    #[test]
    fn sound_steps_evenly_across_seams_and_keeps_to_the_picture() {
        // One second of pictures is 46.9 frames of sound: longer, shorter and equal clips of sound.
        for audio_frames in [44, 46, 47, 48, 60] {
            let clip = clip(25, 5, audio_frames);
            let steps = ticks(&clip, Track::Audio, 5000);
            assert!(
                steps.windows(2).all(|pair| pair[1] - pair[0] == 1024),
                "{audio_frames}"
            );
            let begins = Timeline::starting_at(clip, Duration::ZERO);
            let begins = begins
                .filter(|unit| unit.place.offset == 1_000_000)
                .take(50);
            for (pass, unit) in begins.enumerate() {
                assert!(
                    unit.ticks.abs_diff(pass as u64 * 48_000) <= 512,
                    "pass {pass}"
                );
            }
        }
    }

    #[test]
    fn much_shorter_sound_leaves_a_silence() {
        let steps = ticks(&clip(25, 5, 20), Track::Audio, 100);
        assert!(steps.windows(2).all(|pair| pair[1] > pair[0]));
        assert_eq!(
            steps
                .windows(2)
                .filter(|pair| pair[1] - pair[0] > 1024)
                .count(),
            4
        );
    }

    proptest! {
        #[test]
        fn starts_at_a_key_frame_and_goes_forward(
            elapsed in 0_u64..10_000_000_000, frames in 1_u64..60, gop in 1_u64..30, audio in 0_u64..80,
        ) {
            let clip = clip(frames, gop, audio);
            let elapsed = Duration::from_millis(elapsed);
            let mut timeline = Timeline::starting_at(Arc::clone(&clip), elapsed);
            let (start, start_ticks) = (timeline.start, timeline.start_ticks(Track::Video));
            prop_assert!(start <= elapsed);
            prop_assert!(elapsed.saturating_sub(start) <= Duration::from_millis(40 * (gop.min(frames) + 1)));
            let units: Vec<_> = timeline.by_ref().take(200).collect();
            let first = units.iter().find(|unit| unit.track == Track::Video).unwrap();
            prop_assert!(first.key && first.ticks == start_ticks && first.due == start);
            prop_assert!(units.windows(2).all(|pair| pair[0].due <= pair[1].due));
            let sound: Vec<_> = units.iter().filter(|unit| unit.track == Track::Audio).collect();
            prop_assert!(sound.windows(2).all(|pair| pair[0].ticks < pair[1].ticks));
        }
    }
}
