//! Sends a timeline to one client at the pace of a clock.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agent_media::Track;
use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::clip::Clip;
use crate::options::Faults;
use crate::queue::NotTaken;
use crate::rtp::{BrokenSample, Payload, aac_payloads, video_payloads};
use crate::session::Outlet;
use crate::timeline::{Timeline, Unit, clock_rate, nanoseconds, scale};

/// RFC 3550 section 6.2: five seconds is the recommended minimum.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// Why a player ended; it never ends by itself.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlayerError {
    #[error(transparent)]
    NotTaken(#[from] NotTaken),
    #[error("cannot read the clip")]
    Read(#[from] io::Error),
    #[error(transparent)]
    Broken(#[from] BrokenSample),
}

#[derive(Debug)]
pub(crate) struct Player {
    pub(crate) clip: Arc<Clip>,
    pub(crate) timeline: Timeline,
    pub(crate) outlets: Vec<Outlet>,
    pub(crate) paused: watch::Receiver<bool>,
    pub(crate) faults: Faults,
}

impl Player {
    /// Plays until the client does not take it, or the clip cannot be read.
    pub(crate) async fn run(mut self) -> Result<(), PlayerError> {
        let begin = Instant::now();
        let origin = self.timeline.start;
        let mut report_at = begin;
        let mut awaits_key = false;
        while let Some(unit) = self.timeline.next() {
            let Some(outlet) = self
                .outlets
                .iter()
                .position(|outlet| outlet.track == unit.track)
            else {
                continue;
            };
            // Read ahead of the deadline, so that the disk's time does not show.
            let data = self.clip.read(unit.place).await?;
            // Deadlines are counted from one instant: lateness never adds up.
            sleep_until(begin + unit.due.saturating_sub(origin)).await;
            if self
                .faults
                .stall_after
                .is_some_and(|after| begin.elapsed() >= after)
            {
                std::future::pending::<()>().await;
            }
            awaits_key |= *self.paused.borrow();
            if awaits_key && (*self.paused.borrow() || !self.is_entry(unit)) {
                continue;
            }
            awaits_key = false;
            if Instant::now() >= report_at {
                self.send_reports(begin.elapsed()).await?;
                report_at += REPORT_EVERY;
            }
            let payloads = self.payloads(unit, &data)?;
            let lose = self.faults.lose_every;
            self.outlets[outlet]
                .send(unit.ticks, &payloads, lose)
                .await?;
        }
        Ok(())
    }

    /// Whether a decoder can begin with this unit.
    fn is_entry(&self, unit: Unit) -> bool {
        let has_video = self
            .outlets
            .iter()
            .any(|outlet| outlet.track == Track::Video);
        unit.key && (unit.track == Track::Video || !has_video)
    }

    fn payloads<'a>(&self, unit: Unit, data: &'a Bytes) -> Result<Vec<Payload<'a>>, BrokenSample> {
        let video = &self.clip.video;
        let sets = if unit.key {
            &video.parameter_sets[..]
        } else {
            &[]
        };
        match unit.track {
            Track::Video => video_payloads(video.codec, video.length_size, sets, data),
            Track::Audio => Ok(aac_payloads(data)),
        }
    }

    async fn send_reports(&self, elapsed: Duration) -> Result<(), NotTaken> {
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        for outlet in &self.outlets {
            let rate = clock_rate(&self.clip, outlet.track);
            let passed = scale(nanoseconds(elapsed), rate, 1_000_000_000);
            let start = self.timeline.start_ticks(outlet.track);
            outlet.report(unix, start + passed).await?;
        }
        Ok(())
    }
}
