//! What may be sent now: a plain state machine over time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_mins(1);
/// Refusals after which a recording lets the ones behind it pass.
const PATIENCE: u32 = 3;

/// Whether anything may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    Send,
    /// The vault does not work at all.
    Wait(Duration),
}

#[derive(Debug)]
struct Refused {
    camera: String,
    times: u32,
    until: Instant,
}

/// Remembers failures; a recording it does not know may be sent at once.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    outages: u32,
    closed_until: Option<Instant>,
    refused: BTreeMap<String, Refused>,
}

impl Queue {
    pub(crate) fn turn(&self, now: Instant) -> Turn {
        match self.closed_until {
            Some(until) if until > now => Turn::Wait(until - now),
            _ => Turn::Send,
        }
    }

    /// In its regular place: not set back, and nothing of its camera is just being retried.
    pub(crate) fn admits(&self, camera: &str, file: &str, now: Instant) -> bool {
        self.refused.get(file).is_none_or(|r| r.times < PATIENCE)
            && !self.refused.values().any(|r| r.holds_up(camera, now))
    }

    /// Set back, and its time has come.
    pub(crate) fn retries(&self, file: &str, now: Instant) -> bool {
        self.refused
            .get(file)
            .is_some_and(|r| r.times >= PATIENCE && r.until <= now)
    }

    /// Until something may change by time alone.
    pub(crate) fn until_next(&self, now: Instant) -> Option<Duration> {
        let times = self
            .refused
            .values()
            .map(|r| r.until)
            .chain(self.closed_until);
        times.filter(|t| *t > now).map(|t| t - now).min()
    }

    pub(crate) fn done(&mut self, file: &str) {
        self.refused.remove(file);
        self.outages = 0;
        self.closed_until = None;
    }

    /// An attempt is worth it now, outage or not.
    pub(crate) fn reopen(&mut self) {
        self.closed_until = None;
    }

    /// The vault does not want this one recording. Returns how often now.
    pub(crate) fn refused(&mut self, camera: &str, file: &str, now: Instant, roll: f64) -> u32 {
        self.outages = 0;
        self.closed_until = None;
        let entry = self
            .refused
            .entry(file.to_owned())
            .or_insert_with(|| Refused {
                camera: camera.to_owned(),
                times: 0,
                until: now,
            });
        entry.until = now + delay(entry.times, roll);
        entry.times = entry.times.saturating_add(1);
        entry.times
    }

    /// The vault does not work. Returns how long nothing is sent.
    pub(crate) fn outage(&mut self, now: Instant, roll: f64) -> Duration {
        let wait = delay(self.outages, roll);
        self.outages = self.outages.saturating_add(1);
        self.closed_until = Some(now + wait);
        wait
    }
}

impl Refused {
    fn holds_up(&self, camera: &str, now: Instant) -> bool {
        self.camera == camera && self.times < PATIENCE && self.until > now
    }
}

/// Doubles from 1 s to 60 s; between half and all of it, by `roll` in 0..1.
pub(crate) fn delay(attempt: u32, roll: f64) -> Duration {
    let full = FIRST_DELAY
        .saturating_mul(1 << attempt.min(6))
        .min(LONGEST_DELAY);
    full.mul_f64(0.5 + roll.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_closes_the_queue_longer_and_longer() {
        let mut queue = Queue::default();
        let now = Instant::now();
        let waits: Vec<_> = (0..8).map(|_| queue.outage(now, 1.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(queue.turn(now), Turn::Wait(Duration::from_mins(1)));
        queue.done("a");
        assert_eq!(queue.turn(now), Turn::Send);
        assert_eq!(queue.outage(now, 0.0), Duration::from_millis(500));
    }

    #[test]
    fn a_refused_recording_first_keeps_its_place_and_then_lets_others_pass() {
        let mut queue = Queue::default();
        let now = Instant::now();
        queue.refused("gate", "bad", now, 1.0);
        assert!(!queue.admits("gate", "bad", now), "in its back-off");
        assert!(!queue.admits("gate", "next", now), "order is kept");
        assert!(
            queue.admits("yard", "other", now),
            "another camera's is not held up"
        );
        let later = now + Duration::from_secs(2);
        assert!(queue.admits("gate", "bad", later));
        queue.refused("gate", "bad", later, 1.0);
        queue.refused("gate", "bad", later, 1.0);
        assert!(queue.admits("gate", "next", later));
        assert!(!queue.admits("gate", "bad", later) && !queue.retries("bad", later));
        let end = later + Duration::from_secs(5);
        assert!(queue.retries("bad", end));
        assert_eq!(queue.until_next(later), Some(Duration::from_secs(4)));
    }
}
