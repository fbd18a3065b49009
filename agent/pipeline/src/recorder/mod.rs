//! When a file begins, what is in it, when it ends.
//!
//! - A file begins with a key frame, and ends right before the key frame that could begin the next one.
//!   So adjacent files neither overlap nor miss a frame, and a file is longer than `longest` by up to one
//!   group of pictures. There is no harder limit: cutting elsewhere would lose all up to the next key frame.
//! - A proof is a file of its own: it begins with the next key frame and ends before the first one after its
//!   time. It too is never cut elsewhere. In motion mode what was held before it is let go.
//! - Motion mode holds `pre` of footage, opens at the last key frame before it, and ends before the first key
//!   frame after `post`; if none comes for `longest` more, it ends there and the rest of the group is let go.
//! - An event outlives a session: if motion was `post` ago at most, the next session is recorded at once.

mod message;
mod ring;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use agent_media::{Frame, StreamParameters, TICKS_PER_SECOND, Track};

use crate::MotionEvent;
use ring::Ring;

pub use message::{CloseReason, Command, Gap, GapCause, Input, Policy, Summary, When};

/// A stream whose clock goes back further than this has begun anew. Reordered frames go back by less.
const CLOCK_JUMP: i64 = 5 * TICKS_PER_SECOND;
/// A pause after which gathered frames are better on disk. Slower cameras exist, but are as well served.
const PAUSE_MS: u64 = 1_000;
/// Clocks that are set back by less than this do not make files overlap in name.
const CLOCK_SET_MS: u64 = 60_000;

/// The recorder of one camera.
#[derive(Debug)]
pub struct Recorder {
    policy: Policy,
    parameters: Option<Arc<StreamParameters>>,
    ring: Ring,
    file: Option<File>,
    /// Proofs that wait for a key frame.
    wishes: Vec<Wish>,
    event: Option<Event>,
    /// Last video frame of this session.
    last: Option<Seen>,
    /// Set until the first key frame of a session.
    missing: Option<Missing>,
    /// Frames before it are of no use: no decoder can begin with them.
    synchronised: bool,
    /// Wall clock of the last frame that was written.
    end_ms: u64,
}

#[derive(Debug)]
struct File {
    start: i64,
    wishes: Vec<Wish>,
    summary: Summary,
    flushed: bool,
}

#[derive(Debug, Clone, Copy)]
struct Wish {
    id: u64,
    /// Ticks.
    length: i64,
}

/// Motion, or a wish to record, that is not over.
#[derive(Debug, Clone, Copy)]
struct Event {
    until: Until,
    motion: Option<MotionEvent>,
    manual: bool,
}

#[derive(Debug, Clone, Copy)]
enum Until {
    /// Presentation time of this session.
    Pts(i64),
    /// Monotonic milliseconds, while there is no session.
    Clock(u64),
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    pts: i64,
    now_ms: u64,
    arrival_ms: u64,
}

#[derive(Debug, Clone, Copy)]
struct Missing {
    cause: GapCause,
    since: Seen,
    /// Whether it counts if no frame was let go.
    always: bool,
}

impl Recorder {
    pub fn new(policy: Policy) -> Self {
        Self {
            ring: Ring::new(ticks(policy.pre_ms), policy.most_bytes),
            policy,
            parameters: None,
            file: None,
            wishes: Vec::new(),
            event: None,
            last: None,
            missing: None,
            synchronised: false,
            end_ms: 0,
        }
    }

    /// Takes in what happened at `now_ms`, monotonic milliseconds of any origin.
    pub fn handle(&mut self, now_ms: u64, input: Input) -> Vec<Command> {
        let mut out = Vec::new();
        match input {
            Input::Parameters(parameters) => self.parameters(parameters, &mut out),
            Input::Frame(frame) => self.frame(now_ms, frame, &mut out),
            Input::Motion { pts, event } => {
                let pts = pts.or(self.last.map(|last| last.pts));
                self.trigger(
                    now_ms,
                    pts,
                    ticks(self.policy.post_ms),
                    Some(event),
                    &mut out,
                );
            }
            Input::Record { milliseconds } => {
                let pts = self.last.map(|last| last.pts);
                self.trigger(now_ms, pts, ticks(milliseconds), None, &mut out);
            }
            Input::Proof { id, milliseconds } => self.wishes.push(Wish {
                id,
                length: ticks(milliseconds),
            }),
            Input::Ended => self.end_session(now_ms, GapCause::Disconnected, &mut out),
            Input::Stop => self.close(CloseReason::Stopped, &mut out),
            Input::Tick => {
                let paused = self
                    .last
                    .is_some_and(|last| now_ms.saturating_sub(last.now_ms) >= PAUSE_MS);
                if let Some(file) = self.file.as_mut().filter(|file| paused && !file.flushed) {
                    file.flushed = true;
                    out.push(Command::Flush);
                }
            }
        }
        out
    }

    fn parameters(&mut self, parameters: Arc<StreamParameters>, out: &mut Vec<Command>) {
        if self.parameters.as_ref() == Some(&parameters) {
            return;
        }
        self.close(CloseReason::ParametersChanged, out);
        self.ring.clear();
        self.parameters = Some(parameters);
        self.synchronised = false;
        if let (None, Some(since)) = (self.missing, self.last) {
            self.missing = Some(Missing {
                cause: GapCause::ParametersChanged,
                since,
                always: false,
            });
        }
    }

    fn frame(&mut self, now_ms: u64, frame: Frame, out: &mut Vec<Command>) {
        let video = frame.track == Track::Video;
        if video
            && self
                .last
                .is_some_and(|last| frame.pts < last.pts - CLOCK_JUMP)
        {
            self.end_session(now_ms, GapCause::ClockJump, out);
        }
        if !self.synchronised {
            if !video || !frame.key || self.parameters.is_none() {
                if let Some(missing) = &mut self.missing {
                    missing.always = true;
                }
                return;
            }
            self.synchronise(now_ms, &frame, out);
        }
        if frame.lost > 0 {
            let (from_ms, pts) = self
                .last
                .map_or((frame.arrival_ms, frame.pts), |l| (l.arrival_ms, l.pts));
            let duration_ms = milliseconds(frame.pts - pts);
            let cause = GapCause::PacketLoss {
                packets: frame.lost,
            };
            out.push(Command::Gap(Gap {
                cause,
                from_ms,
                duration_ms,
            }));
        }
        if video {
            self.last = Some(Seen {
                pts: frame.pts,
                now_ms,
                arrival_ms: frame.arrival_ms,
            });
            if frame.key {
                self.key_frame(&frame, out);
            } else if self.is_overdue(frame.pts) {
                self.close(CloseReason::Quiet, out);
                self.ring.clear();
            }
        }
        self.keep(frame, out);
    }

    /// The first key frame of a session.
    fn synchronise(&mut self, now_ms: u64, frame: &Frame, out: &mut Vec<Command>) {
        self.synchronised = true;
        if let Some(Missing {
            cause,
            since,
            always,
        }) = self.missing.take()
            && always
        {
            let duration_ms = now_ms.saturating_sub(since.now_ms);
            out.push(Command::Gap(Gap {
                cause,
                from_ms: since.arrival_ms,
                duration_ms,
            }));
        }
        if let Some(Event {
            until: until @ Until::Clock(_),
            ..
        }) = &mut self.event
        {
            let Until::Clock(end) = *until else { return };
            *until = Until::Pts(frame.pts.saturating_add(ticks(end.saturating_sub(now_ms))));
            if end <= now_ms {
                self.event = None;
            }
        }
    }

    /// Ends and begins files where both can be done.
    fn key_frame(&mut self, frame: &Frame, out: &mut Vec<Command>) {
        if let Some(reason) = self.reason_to_close(frame.pts) {
            self.close(reason, out);
        }
        let always = self.policy.when != When::Motion;
        if self.file.is_none()
            && (always || !self.wishes.is_empty() || self.event_at(frame.pts).is_some())
        {
            self.ring.clear();
            self.open(frame, out);
        }
    }

    fn reason_to_close(&self, pts: i64) -> Option<CloseReason> {
        let file = self.file.as_ref()?;
        if !file.wishes.is_empty() {
            return self.wishes_met(pts).then_some(CloseReason::ProofDone);
        }
        if !self.wishes.is_empty() {
            return Some(CloseReason::ProofBegins);
        }
        if self.is_over(pts) {
            return Some(CloseReason::Quiet);
        }
        (pts - file.start >= ticks(self.policy.longest_ms)).then_some(CloseReason::Longest)
    }

    /// Motion mode has nothing to record at `pts`.
    fn is_over(&self, pts: i64) -> bool {
        self.policy.when == When::Motion && self.file.is_some() && self.event_at(pts).is_none()
    }

    /// Motion mode has had nothing to record for `longest`, and no key frame came to end the file at.
    fn is_overdue(&self, pts: i64) -> bool {
        let Some(file) = self
            .file
            .as_ref()
            .filter(|_| self.policy.when == When::Motion)
        else {
            return false;
        };
        let wished = file
            .wishes
            .iter()
            .map(|wish| wish.length)
            .max()
            .unwrap_or(0);
        let until = match self.event.map(|event| event.until) {
            Some(Until::Pts(until)) => until.max(file.start + wished),
            _ => file.start + wished,
        };
        pts > until.saturating_add(ticks(self.policy.longest_ms))
    }

    fn wishes_met(&self, pts: i64) -> bool {
        self.file.as_ref().is_some_and(|file| {
            file.wishes
                .iter()
                .all(|wish| pts - file.start >= wish.length)
        })
    }

    fn event_at(&self, pts: i64) -> Option<&Event> {
        self.event
            .as_ref()
            .filter(|event| matches!(event.until, Until::Pts(until) if pts <= until))
    }

    fn trigger(
        &mut self,
        now_ms: u64,
        pts: Option<i64>,
        length: i64,
        motion: Option<MotionEvent>,
        out: &mut Vec<Command>,
    ) {
        let Some(pts) = pts.filter(|_| self.synchronised) else {
            // No session: remembered until there is one.
            let until = Until::Clock(now_ms.saturating_add(milliseconds(length)));
            self.event = Some(Event {
                until,
                motion,
                manual: motion.is_none(),
            });
            return;
        };
        let mut until = pts.saturating_add(length);
        let mut event = Event {
            until: Until::Pts(until),
            motion,
            manual: motion.is_none(),
        };
        if let Some(running) = self.event_at(pts) {
            if let Until::Pts(other) = running.until {
                until = until.max(other);
            }
            let motion = running.motion.or(motion);
            event = Event {
                until: Until::Pts(until),
                motion,
                manual: running.manual || event.manual,
            };
        }
        self.event = Some(event);
        if let Some(file) = &mut self.file {
            file.summary.motion = file.summary.motion.or(motion);
            file.summary.manual |= motion.is_none();
            return;
        }
        let held = self.ring.take_from(pts - ticks(self.policy.pre_ms));
        if let Some(first) = held.first() {
            self.open(first, out);
            for frame in held {
                self.keep(frame, out);
            }
        }
    }

    fn open(&mut self, first: &Frame, out: &mut Vec<Command>) {
        let Some(parameters) = self.parameters.clone() else {
            return;
        };
        let event = self.last.and_then(|last| self.event_at(last.pts)).copied();
        let wishes = std::mem::take(&mut self.wishes);
        // Files follow each other in name too, unless somebody set the clock.
        let start_ms = match self.end_ms.checked_sub(first.arrival_ms) {
            Some(ahead) if ahead < CLOCK_SET_MS => self.end_ms + 1,
            _ => first.arrival_ms,
        };
        let summary = event.map_or_else(Summary::default, |event| Summary {
            motion: event.motion,
            manual: event.manual,
            ..Summary::default()
        });
        let proofs = wishes.iter().map(|wish| wish.id).collect();
        self.end_ms = start_ms;
        self.file = Some(File {
            start: first.pts,
            wishes,
            summary,
            flushed: false,
        });
        out.push(Command::Open {
            start_ms,
            parameters,
            proofs,
        });
    }

    /// Writes a frame, or holds it for a trigger.
    fn keep(&mut self, frame: Frame, out: &mut Vec<Command>) {
        if let Some(file) = &mut self.file {
            file.flushed = false;
            file.summary.frames += u64::from(frame.track == Track::Video);
            self.end_ms = frame.arrival_ms.max(self.end_ms);
            out.push(Command::Write(frame));
        } else if self.policy.when == When::Motion {
            self.ring.push(frame);
        }
    }

    fn close(&mut self, reason: CloseReason, out: &mut Vec<Command>) {
        let Some(mut file) = self.file.take() else {
            return;
        };
        let end = self.last.map_or(file.start, |last| last.pts);
        for wish in file.wishes {
            // One that was interrupted is tried again.
            if reason == CloseReason::ProofDone || end - file.start >= wish.length {
                file.summary.proofs.push(wish.id);
            } else {
                self.wishes.push(wish);
            }
        }
        out.push(Command::Close {
            reason,
            summary: file.summary,
        });
    }

    fn end_session(&mut self, now_ms: u64, cause: GapCause, out: &mut Vec<Command>) {
        self.close(CloseReason::SessionEnded, out);
        self.ring.clear();
        self.synchronised = false;
        let Some(last) = self.last.take() else { return };
        if let Some(event) = &mut self.event
            && let Until::Pts(until) = event.until
        {
            let rest = milliseconds(until - last.pts);
            // What went by since the last frame is over.
            let spent = now_ms.saturating_sub(last.now_ms);
            event.until = Until::Clock(now_ms.saturating_add(rest.saturating_sub(spent)));
        }
        // A gap within a gap is one.
        self.missing
            .get_or_insert(Missing {
                cause,
                since: last,
                always: true,
            })
            .always = true;
    }
}

fn ticks(milliseconds: u64) -> i64 {
    i64::try_from(milliseconds)
        .unwrap_or(i64::MAX)
        .saturating_mul(TICKS_PER_SECOND / 1000)
        .min(i64::MAX / 4)
}

fn milliseconds(ticks: i64) -> u64 {
    u64::try_from(ticks / (TICKS_PER_SECOND / 1000)).unwrap_or(0)
}
