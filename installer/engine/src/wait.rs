//! Waiting: a condition, a deadline, and the only sleep of the installer.

use std::future::Future;
use std::time::{Duration, Instant};

use crate::port::Probe;

/// Short enough that nobody notices, long enough that a slow board does not.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// How a wait ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waited {
    Met,
    /// The deadline passed; what was missing last.
    TimedOut(String),
    Failed(String),
    Forbidden(String),
    Interrupted,
}

/// Asks `probe` until it is met, fails for good, or `deadline` has passed. `changed` hears each
/// new reason to wait.
pub async fn until<F, P>(
    deadline: Duration,
    mut interrupted: impl FnMut() -> bool,
    mut changed: impl FnMut(&str),
    mut probe: P,
) -> Waited
where
    F: Future<Output = Probe>,
    P: FnMut() -> F,
{
    let begun = Instant::now();
    let mut pause = FIRST_PAUSE;
    let mut last = String::new();
    loop {
        match probe().await {
            Probe::Met => return Waited::Met,
            Probe::Failed(reason) => return Waited::Failed(reason),
            Probe::Forbidden(reason) => return Waited::Forbidden(reason),
            Probe::Waiting(reason) => {
                if reason != last {
                    changed(&reason);
                    last = reason;
                }
            }
        }
        if interrupted() {
            return Waited::Interrupted;
        }
        let left = deadline.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Waited::TimedOut(last);
        }
        tokio::time::sleep(pause.min(left)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
