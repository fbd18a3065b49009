//! When to try a camera again.

use std::time::Duration;

/// A camera that restarted its server is back at once; one that is off must not be flooded.
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(15);
/// A camera that sends and then falls over again after less has not recovered.
const PROVEN: Duration = Duration::from_secs(30);

/// Jittered exponential back-off.
#[derive(Debug, Clone, Copy, Default)]
pub struct Backoff {
    failures: u32,
    /// First frame since the last failure, monotonic milliseconds.
    good_since: Option<u64>,
}

impl Backoff {
    /// A frame arrived at `now_ms` (monotonic). After 30 s of them the next failure counts as the first.
    pub fn frame(&mut self, now_ms: u64) {
        let since = *self.good_since.get_or_insert(now_ms);
        if u128::from(now_ms.saturating_sub(since)) >= PROVEN.as_millis() {
            self.failures = 0;
        }
    }

    /// An attempt or a session failed: how long to wait. `random` is any number, all equally likely;
    /// it spreads the wait over its upper half, so that cameras behind one switch do not return as one.
    pub fn failed(&mut self, random: u32) -> Duration {
        self.good_since = None;
        let full = FIRST.saturating_mul(1 << self.failures.min(5)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        full / 2 + (full / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn waits_double_up_to_fifteen_seconds() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..8)
            .map(|_| backoff.failed(u32::MAX).as_millis())
            .collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 15_000, 15_000, 15_000]);
    }

    #[test]
    fn thirty_good_seconds_begin_anew() {
        let mut backoff = Backoff::default();
        let fall = |backoff: &mut Backoff| backoff.failed(u32::MAX).as_millis();
        assert_eq!((fall(&mut backoff), fall(&mut backoff)), (500, 1000));
        (0..=29).for_each(|s| backoff.frame(s * 1000));
        assert_eq!(fall(&mut backoff), 2000);
        (40..=70).for_each(|s| backoff.frame(s * 1000));
        assert_eq!(fall(&mut backoff), 500);
    }

    proptest! {
        #[test]
        fn every_wait_is_in_bounds(randoms in prop::collection::vec(any::<u32>(), 1..50)) {
            let mut backoff = Backoff::default();
            for random in randoms {
                let wait = backoff.failed(random);
                prop_assert!(wait >= FIRST / 2 && wait <= LONGEST);
            }
        }
    }
}
