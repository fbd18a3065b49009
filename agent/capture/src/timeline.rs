//! One clock for the tracks of a session.

use agent_media::TICKS_PER_SECOND;

/// Past this, a camera's own claim of how its tracks belong together is not believed: lips and
/// voice are seconds apart only when `rtptime` in `RTP-Info` is wrong (seen on cheap cameras).
const BELIEVABLE_SKEW_TICKS: i64 = 2 * TICKS_PER_SECOND;

/// A camera's clock that leaps this far away from ours was set anew (or its clip began again);
/// below, it is the network that holds frames back or delivers them in a burst.
const LEAP_TICKS: i64 = 10 * TICKS_PER_SECOND;

/// Maps a track's own clock to 90 kHz ticks since the session's first frame.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    /// Of the first frame of any track: its time in ticks and its arrival.
    origin: Option<(i64, u64)>,
    tracks: [Option<Place>; 2],
}

/// Where a track is.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// What is added to the track's own time.
    shift: i64,
    /// Of its last frame: time in the session, and arrival.
    last: i64,
    arrival_ms: u64,
}

impl Timeline {
    /// Time of a frame on track `track` (0 or 1) that is `elapsed` units of `clock_rate` into
    /// its stream and arrived at `arrival_ms`.
    pub(crate) fn place(
        &mut self,
        track: usize,
        elapsed: i64,
        clock_rate: u32,
        arrival_ms: u64,
    ) -> i64 {
        let ticks = to_ticks(elapsed, clock_rate);
        let (origin, first_arrival) = *self.origin.get_or_insert((ticks, arrival_ms));
        let since = |earlier: u64| {
            let ms = i64::try_from(arrival_ms.saturating_sub(earlier)).unwrap_or(0);
            ms.saturating_mul(TICKS_PER_SECOND / 1000)
        };
        let shift = match self.tracks[track] {
            Some(place) => {
                let expected = place.last.saturating_add(since(place.arrival_ms));
                let claimed = ticks.saturating_add(place.shift);
                let leapt = claimed.saturating_sub(expected).saturating_abs() > LEAP_TICKS;
                if leapt {
                    expected.saturating_sub(ticks)
                } else {
                    place.shift
                }
            }
            None => {
                let by_arrival = since(first_arrival);
                let claimed = ticks.saturating_sub(origin);
                let skew = claimed.saturating_sub(by_arrival).saturating_abs();
                if skew <= BELIEVABLE_SKEW_TICKS {
                    origin.saturating_neg()
                } else {
                    by_arrival.saturating_sub(ticks)
                }
            }
        };
        let last = ticks.saturating_add(shift);
        self.tracks[track] = Some(Place {
            shift,
            last,
            arrival_ms,
        });
        last
    }
}

fn to_ticks(units: i64, clock_rate: u32) -> i64 {
    let ticks = i128::from(units) * i128::from(TICKS_PER_SECOND) / i128::from(clock_rate.max(1));
    i64::try_from(ticks).unwrap_or(if units < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tracks_share_the_first_frames_origin() {
        let mut line = Timeline::default();
        assert_eq!(line.place(0, 9_000, 90_000, 1_000), 0);
        assert_eq!(line.place(0, 12_600, 90_000, 1_040), 3_600);
        // 0.15 s into its own 8 kHz stream: 0.05 s after the first picture.
        assert_eq!(line.place(1, 1_200, 8_000, 1_060), 4_500);
    }

    #[test]
    fn audio_a_minute_ahead_is_placed_by_arrival() {
        let mut line = Timeline::default();
        line.place(0, 0, 90_000, 1_000);
        assert_eq!(line.place(1, 48_000 * 60, 48_000, 1_100), 9_000);
        assert_eq!(
            line.place(1, 48_000 * 60 + 1_024, 48_000, 1_121),
            9_000 + 1_920
        );
    }

    #[test]
    fn a_camera_that_sets_its_clock_does_not_leap_in_the_recording() {
        let mut line = Timeline::default();
        line.place(0, 0, 90_000, 1_000);
        assert_eq!(line.place(0, 3_600, 90_000, 1_040), 3_600);
        assert_eq!(line.place(0, 90_000 * 3_600, 90_000, 1_080), 7_200);
        assert_eq!(line.place(0, 90_000 * 3_600 + 3_600, 90_000, 1_120), 10_800);
        assert_eq!(line.place(0, 0, 90_000, 1_160), 14_400);
    }
}
