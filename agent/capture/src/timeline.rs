//! One clock for the tracks of a session.

use agent_media::TICKS_PER_SECOND;

/// Past this, a camera's own claim of how its tracks belong together is not believed: lips and
/// voice are seconds apart only when `rtptime` in `RTP-Info` is wrong (seen on cheap cameras).
const BELIEVABLE_SKEW_TICKS: i64 = 2 * TICKS_PER_SECOND;

/// Maps a track's own clock to 90 kHz ticks since the session's first frame.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    /// Of the first frame of any track: its time in ticks and its arrival.
    origin: Option<(i64, u64)>,
    /// What is added per track, once its first frame is known.
    shift: [Option<i64>; 2],
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
        let shift = self.shift[track].get_or_insert_with(|| {
            let by_arrival = i64::try_from(arrival_ms.saturating_sub(first_arrival))
                .unwrap_or(0)
                .saturating_mul(TICKS_PER_SECOND / 1000);
            let claimed = ticks.saturating_sub(origin);
            if claimed.saturating_sub(by_arrival).abs() <= BELIEVABLE_SKEW_TICKS {
                origin.saturating_neg()
            } else {
                by_arrival.saturating_sub(ticks)
            }
        });
        ticks.saturating_add(*shift)
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
}
