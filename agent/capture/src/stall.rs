//! How long a silent camera is waited for.

use std::time::Duration;

/// Before two frames came nothing is known of the rate, so slow cameras get time.
const UNKNOWN: Duration = Duration::from_secs(10);
/// The shortest wait: reconnecting sooner would punish every hiccup of a network.
const SHORTEST: Duration = Duration::from_secs(5);
/// A camera that sends one picture a minute is waited for, not one that sends none.
const LONGEST: Duration = Duration::from_mins(5);

/// Learns the distance of frames and gives the deadline for the next: the longer of 5 s and four
/// intervals. Key frames play no role: a long GOP is not a stall.
#[derive(Debug, Default)]
pub(crate) struct Stall {
    interval: Option<Duration>,
    frames: u32,
}

impl Stall {
    /// Notes a frame that came `since_last` after the one before it.
    pub(crate) fn note(&mut self, since_last: Duration) {
        self.frames = self.frames.saturating_add(1);
        if self.frames < 2 {
            return;
        }
        // A slow average: single late frames move it little, a changed rate does within seconds.
        self.interval = Some(match self.interval {
            None => since_last,
            Some(mean) => (mean * 7 + since_last) / 8,
        });
    }

    pub(crate) fn deadline(&self) -> Duration {
        self.interval
            .map_or(UNKNOWN, |i| (i * 4).clamp(SHORTEST, LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(interval: Duration) -> Duration {
        let mut stall = Stall::default();
        for _ in 0..50 {
            stall.note(interval);
        }
        stall.deadline()
    }

    #[test]
    fn the_deadline_follows_the_frame_rate() {
        assert_eq!(Stall::default().deadline(), UNKNOWN);
        assert_eq!(after(Duration::from_millis(40)), SHORTEST);
        assert_eq!(after(Duration::from_secs(10)), Duration::from_secs(40));
        assert_eq!(after(Duration::from_mins(15)), LONGEST);
    }
}
