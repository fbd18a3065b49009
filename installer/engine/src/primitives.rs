//! Counting effects, so that a crash test can end the process after any of them.

use rustix::process::Signal;

/// Names the primitive after which the process kills itself: crash tests count them up.
pub const CRASH_VARIABLE: &str = "STAKEOUT_TEST_CRASH_AFTER";

/// How many primitive effects a run has performed.
#[derive(Debug)]
pub struct Primitives {
    done: u64,
    crash_after: Option<u64>,
}

impl Primitives {
    /// `crash_after`: the number of primitives after which the process dies by SIGKILL.
    pub fn new(crash_after: Option<u64>) -> Self {
        Self {
            done: 0,
            crash_after,
        }
    }

    /// Primitives performed so far.
    pub fn count(&self) -> u64 {
        self.done
    }

    /// Every primitive ends here.
    pub fn done(&mut self) {
        self.done += 1;
        if self.crash_after == Some(self.done) {
            let me = rustix::process::getpid();
            rustix::process::kill_process(me, Signal::KILL)
                .expect("invariant: a process may kill itself");
        }
    }
}
