//! Decode times out of presentation times.
//!
//! A camera's frames come in decode order with presentation times only. The n-th frame is decoded at
//! the n-th smallest presentation time: this is the one assignment that keeps the total length, is
//! strictly rising, and equals the presentation time where nothing is reordered. It needs to see as
//! many frames ahead as the stream reorders; the depth is learned from the stream itself.

use std::collections::VecDeque;

/// H.264 and H.265 reorder at most 16 pictures.
const DEEPEST: usize = 16;
/// Length of a lone frame: 25 per second is the commonest camera rate.
const GUESS: i64 = 3_600;

#[derive(Debug, Default)]
pub(super) struct DecodeTimes {
    /// Presentation times whose turn has not come, ascending.
    waiting: Vec<i64>,
    /// The last presentation times, to see reordering.
    recent: VecDeque<i64>,
    /// Frames that were seen to overtake another.
    depth: usize,
    /// No decode time may be earlier.
    floor: Option<i64>,
    last_duration: Option<i64>,
}

impl DecodeTimes {
    pub(super) fn push(&mut self, pts: i64) {
        let overtaken = self.recent.iter().filter(|&&other| other > pts).count();
        self.depth = self.depth.max(overtaken);
        if self.recent.len() == DEEPEST {
            self.recent.pop_front();
        }
        self.recent.push_back(pts);
        let at = self.waiting.partition_point(|&other| other <= pts);
        self.waiting.insert(at, pts);
    }

    /// Frames to hold back so that a later one cannot spoil what was written: one for the duration
    /// of the frame before it, and those that may still be overtaken.
    pub(super) fn hold(&self) -> usize {
        self.depth + 1
    }

    pub(super) fn earliest(&self) -> Option<i64> {
        self.waiting.first().copied()
    }

    /// How much later than its presentation a frame would be decoded at worst; `pts` in decode order.
    pub(super) fn delay(&self, pts: impl Iterator<Item = i64>) -> i64 {
        self.waiting
            .iter()
            .zip(pts)
            .map(|(dts, pts)| dts.saturating_sub(pts))
            .max()
            .unwrap_or(0)
            .max(0)
    }

    /// Decode time and duration of the next frame in decode order.
    pub(super) fn next(&mut self) -> (i64, i64) {
        let own = if self.waiting.is_empty() {
            0
        } else {
            self.waiting.remove(0)
        };
        let dts = self.floor.map_or(own, |floor| own.max(floor));
        let guess = self.last_duration.unwrap_or(GUESS);
        let duration = self
            .waiting
            .first()
            .map_or(guess, |next| next.saturating_sub(dts).max(1));
        self.last_duration = Some(duration);
        self.floor = Some(dts.saturating_add(duration));
        (dts, duration)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(pts: &[i64]) -> Vec<i64> {
        let mut times = DecodeTimes::default();
        for &p in pts {
            times.push(p);
        }
        pts.iter().map(|_| times.next().0).collect()
    }

    #[test]
    fn without_reordering_decode_is_presentation() {
        assert_eq!(run(&[0, 3600, 7200, 14400]), [0, 3600, 7200, 14400]);
    }

    #[test]
    fn b_frames_take_the_sorted_times() {
        assert_eq!(
            run(&[0, 300, 100, 200, 600, 400, 500]),
            [0, 100, 200, 300, 400, 500, 600]
        );
    }

    #[test]
    fn the_last_frame_lasts_as_long_as_the_one_before() {
        let mut times = DecodeTimes::default();
        times.push(0);
        times.push(9000);
        assert_eq!((times.next(), times.next()), ((0, 9000), (9000, 9000)));
        times.push(50_000);
        assert_eq!(
            times.next(),
            (50_000, 9000),
            "after a pause the real time counts"
        );
    }

    proptest! {
        #[test]
        fn decode_times_rise_whatever_comes(steps in prop::collection::vec((-100_000i64..100_000, any::<bool>()), 1..80)) {
            let mut times = DecodeTimes::default();
            let (mut last, mut held) = (i64::MIN, 0);
            for (pts, take) in steps {
                times.push(pts);
                held += 1;
                while take && held > times.hold() {
                    let (dts, duration) = times.next();
                    prop_assert!(dts > last && duration > 0);
                    last = dts;
                    held -= 1;
                }
            }
        }
    }
}
