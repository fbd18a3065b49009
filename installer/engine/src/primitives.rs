//! Counting effects, so that a crash test can end the process after any of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::Signal;

/// Names the primitive after which the process kills itself: crash tests count them up.
pub const CRASH_VARIABLE: &str = "STAKEOUT_TEST_CRASH_AFTER";

/// How many primitive effects a run has performed; clones count together.
#[derive(Debug, Clone)]
pub struct Primitives {
    done: Arc<AtomicU64>,
    crash_after: Option<u64>,
}

impl Primitives {
    /// `crash_after`: the number of primitives after which the process dies by SIGKILL.
    pub fn new(crash_after: Option<u64>) -> Self {
        Self {
            done: Arc::default(),
            crash_after,
        }
    }

    /// Primitives performed so far.
    pub fn count(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Every primitive ends here.
    pub fn done(&mut self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if self.crash_after == Some(done) {
            let me = rustix::process::getpid();
            rustix::process::kill_process(me, Signal::KILL)
                .expect("invariant: a process may kill itself");
        }
    }
}
