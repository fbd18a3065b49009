//! What goes into a recorder and what comes out.

use std::sync::Arc;

use agent_media::{Frame, StreamParameters};

use crate::MotionEvent;

/// When and how long to record; times in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    pub when: When,
    pub pre_ms: u64,
    pub post_ms: u64,
    pub longest_ms: u64,
    /// Bound of the memory for footage before a trigger.
    pub most_bytes: usize,
}

impl Policy {
    /// 10 s of an 8 Mbit/s camera three times over; a wrongly set 4K camera must not eat a small host.
    pub const MOST_BYTES: usize = 32 << 20;
}

/// What makes the recorder write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    Continuous,
    Motion,
    /// Always, and motion is noted.
    Both,
}

#[derive(Debug, Clone)]
pub enum Input {
    /// Tracks of the session that begins, or that changed within it.
    Parameters(Arc<StreamParameters>),
    Frame(Frame),
    /// Motion in the picture with this presentation time; without one it is now.
    Motion {
        pts: Option<i64>,
        event: MotionEvent,
    },
    /// Somebody wants a recording of this length from now.
    Record {
        milliseconds: u64,
    },
    /// Somebody wants a file of its own of at least this length; `id` names the wish in the commands.
    Proof {
        id: u64,
        milliseconds: u64,
    },
    /// The session with the camera ended; another one follows.
    Ended,
    /// The recorder ends.
    Stop,
    /// Time went by; once a second is enough.
    Tick,
}

/// What the store is to do, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Begin a file. Its first frame is a video key frame.
    Open {
        /// Unix milliseconds of the first frame.
        start_ms: u64,
        parameters: Arc<StreamParameters>,
        /// Wishes for a proof that this file is to fulfil.
        proofs: Vec<u64>,
    },
    Write(Frame),
    /// The camera pauses: put on disk what is gathered.
    Flush,
    Close {
        reason: CloseReason,
        summary: Summary,
    },
    /// Footage is missing.
    Gap(Gap),
}

/// Why a file ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// It was long enough.
    Longest,
    /// No motion for `post`.
    Quiet,
    /// A proof begins.
    ProofBegins,
    /// It was a proof, and is long enough.
    ProofDone,
    ParametersChanged,
    SessionEnded,
    Stopped,
}

/// What is known of a file when it ends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// The first motion in it, or the one it continues.
    pub motion: Option<MotionEvent>,
    /// Somebody asked for it.
    pub manual: bool,
    /// Wishes for a proof that it fulfils.
    pub proofs: Vec<u64>,
    /// Video frames in it.
    pub frames: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    pub cause: GapCause,
    /// Unix milliseconds of the last frame before it.
    pub from_ms: u64,
    pub duration_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapCause {
    /// No session with the camera, or none that had sent a key frame yet.
    Disconnected,
    /// RTP packets that did not arrive.
    PacketLoss { packets: u32 },
    /// The camera changed its stream, and its first frames afterwards were none to begin with.
    ParametersChanged,
    /// The camera's clock went backwards.
    ClockJump,
}
