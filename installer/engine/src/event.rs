//! What a run tells whoever watches it.

use installer_plan::{Change, Verified};
use serde::{Deserialize, Serialize};

/// One line of progress; `--output jsonl` prints it as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The run begins.
    Started {
        steps: usize,
    },
    StepStarted {
        index: usize,
        of: usize,
        id: String,
        change: Change,
    },
    /// The step's effect is done; what it waits for.
    StepWaiting {
        index: usize,
        id: String,
        reason: String,
    },
    StepDone {
        index: usize,
        id: String,
        ms: u64,
    },
    StepFailed {
        index: usize,
        id: String,
        error: String,
    },
    /// Nothing is left to change.
    Applied {
        changed: usize,
        ms: u64,
    },
    /// A camera's way is being proved; what it waits for.
    Verifying {
        camera: String,
        stage: String,
    },
    Verified(Verified),
    VerifyFailed {
        camera: String,
        error: String,
    },
}
