//! How many requests are in flight: more for as long as the server keeps up, fewer when it says that
//! it does not, or takes its time.

use std::collections::VecDeque;
use std::future::Future;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use installer_engine::EffectError;

const FIRST: f64 = 8.0;
/// An API server lets a few hundred changes through at a time; some of that is for others.
const MOST: f64 = 64.0;

/// An answer that takes this long, and this many times the shortest one, had to wait.
const SLOW: Duration = Duration::from_millis(500);
const SLOWER: u32 = 8;

/// Pauses that a server asks for are kept here for this long in all; longer ones are for the step
/// loop, which tells of them.
const PATIENCE: Duration = Duration::from_secs(10);

/// As long as the step loop waits where it is told to.
const INSISTENCE: Duration = Duration::from_mins(5);

/// The limit, and what it follows from.
#[derive(Debug, Clone)]
pub(crate) struct Pace {
    limit: f64,
    /// Nothing has been slow yet, so twice as many may be tried soon.
    growing: bool,
    shortest: Duration,
    /// Answers that still belong to the requests of before the last slowing down.
    stale: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            limit: FIRST,
            growing: true,
            shortest: Duration::MAX,
            stale: 0,
        }
    }
}

impl Pace {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between one and sixty-four"
    )]
    pub(crate) fn limit(&self) -> usize {
        self.limit as usize
    }

    /// An answer came after this long.
    pub(crate) fn answered(&mut self, after: Duration) {
        self.shortest = self.shortest.min(after);
        self.stale = self.stale.saturating_sub(1);
        if after > SLOW && after > self.shortest * SLOWER {
            self.slow_down(0.8);
        } else {
            let more = if self.growing { 1.0 } else { 1.0 / self.limit };
            self.limit = (self.limit + more).min(MOST);
        }
    }

    /// The server asked to come back later.
    pub(crate) fn refused(&mut self) {
        self.stale = self.stale.saturating_sub(1);
        self.slow_down(0.5);
    }

    /// Once for all that was in flight at the same time.
    fn slow_down(&mut self, to: f64) {
        self.growing = false;
        if self.stale == 0 {
            self.stale = self.limit();
            self.limit = (self.limit * to).max(1.0);
        }
    }
}

/// Performs all of these, as many at a time as the pace allows. What a server puts off is tried
/// again; after another error, or when `interrupted`, nothing more is begun. Results are by index;
/// what was not begun has none.
pub(crate) async fn perform_all<T, R, F>(
    pace: &mut Pace,
    items: &[T],
    interrupted: impl Fn() -> bool,
    perform: impl Fn(usize) -> F,
) -> Vec<(usize, Result<R, EffectError>)>
where
    F: Future<Output = Result<R, EffectError>>,
{
    let mut queue: VecDeque<usize> = (0..items.len()).collect();
    let mut flying = FuturesUnordered::new();
    let mut results = Vec::with_capacity(items.len());
    let (mut paused, mut stopped) = (Duration::ZERO, false);
    let mut put_off: Option<Instant> = None;
    loop {
        if let Some(until) = put_off
            && flying.is_empty()
            && !stopped
        {
            tokio::time::sleep_until(until.into()).await;
            put_off = None;
        }
        let ready = put_off.is_none_or(|until| until <= Instant::now());
        stopped |= interrupted();
        while ready && !stopped && flying.len() < pace.limit() {
            let Some(index) = queue.pop_front() else {
                break;
            };
            let effect = perform(index);
            flying.push(async move {
                let begun = Instant::now();
                (index, effect.await, begun.elapsed())
            });
        }
        let Some((index, result, took)) = flying.next().await else {
            return results;
        };
        let pause = match &result {
            Ok(_) => {
                pace.answered(took);
                results.push((index, result));
                continue;
            }
            Err(error) => error.retry_after,
        };
        match pause {
            Some(pause) if paused + pause <= PATIENCE && !stopped => {
                pace.refused();
                queue.push_front(index);
                // Those that were in flight with it are put off by the same pause.
                if put_off.is_none_or(|until| until <= Instant::now()) {
                    paused += pause;
                    put_off = Some(Instant::now() + pause);
                }
            }
            _ => {
                stopped = true;
                results.push((index, result));
            }
        }
    }
}

/// Performs this, and again after each pause that the server asks for, for as long as the step loop
/// would. `told` hears each new reason; nothing comes of what is interrupted.
pub(crate) async fn insist<R, F>(
    interrupted: impl Fn() -> bool,
    mut told: impl FnMut(&str),
    perform: impl Fn() -> F,
) -> Result<Option<R>, EffectError>
where
    F: Future<Output = Result<R, EffectError>>,
{
    let (begun, mut last) = (Instant::now(), String::new());
    loop {
        let error = match perform().await {
            Ok(done) => return Ok(Some(done)),
            Err(error) => error,
        };
        let in_time = |pause: &Duration| begun.elapsed() + *pause <= INSISTENCE;
        let Some(pause) = error.retry_after.filter(in_time) else {
            return Err(error);
        };
        let reason = error.to_string();
        if reason != last {
            told(&reason);
            last = reason;
        }
        if interrupted() {
            return Ok(None);
        }
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use installer_engine::ErrorKind;

    use super::*;

    const FAST: Duration = Duration::from_millis(5);

    #[test]
    fn more_are_tried_until_the_server_has_enough() {
        let mut pace = Pace::default();
        assert_eq!(pace.limit(), 8);
        for _ in 0..20 {
            pace.answered(FAST);
        }
        assert_eq!(pace.limit(), 28);
        for _ in 0..100 {
            pace.answered(FAST);
        }
        assert_eq!(pace.limit(), 64);
        // All in flight are refused, and that counts once.
        for _ in 0..10 {
            pace.refused();
        }
        assert_eq!(pace.limit(), 32);
        for _ in 0..64 {
            pace.answered(FAST);
        }
        assert_eq!(pace.limit(), 33);
        pace.answered(Duration::from_secs(2));
        assert_eq!(pace.limit(), 27);
        for _ in 0..1_000 {
            pace.refused();
        }
        assert_eq!(pace.limit(), 1);
    }

    fn refused(after: Option<Duration>) -> EffectError {
        let mut error = EffectError::new(ErrorKind::Transient, "cannot");
        error.retry_after = after;
        error
    }

    #[tokio::test]
    async fn what_is_put_off_is_done_after_the_pause() {
        let tried = RefCell::new(vec![0; 100]);
        const PAUSE: Duration = Duration::from_millis(50);
        let begun = Instant::now();
        let done = perform_all(
            &mut Pace::default(),
            &[(); 100],
            || false,
            |index| {
                let tried = &tried;
                async move {
                    tokio::time::sleep(FAST).await;
                    tried.borrow_mut()[index] += 1;
                    if index == 40 && tried.borrow()[index] < 3 {
                        return Err(refused(Some(PAUSE)));
                    }
                    Ok(index)
                }
            },
        )
        .await;
        assert_eq!(done.len(), 100);
        assert!(
            done.iter()
                .all(|(index, result)| matches!(result, Ok(i) if i == index))
        );
        assert!(begun.elapsed() >= PAUSE * 2);
        let most = *tried.borrow().iter().max().unwrap();
        assert_eq!((tried.borrow()[40], most), (3, 3));
    }

    #[tokio::test]
    async fn an_error_ends_it_and_so_does_an_interruption() {
        let done = perform_all(
            &mut Pace::default(),
            &[(); 100],
            || false,
            |index| async move {
                tokio::task::yield_now().await;
                if index == 3 {
                    Err(refused(None))
                } else {
                    Ok(())
                }
            },
        )
        .await;
        assert!(done.len() < 30, "{}", done.len());
        assert_eq!(done.iter().filter(|(_, result)| result.is_err()).count(), 1);
        let asked = Cell::new(0);
        let interrupted = || {
            asked.set(asked.get() + 1);
            asked.get() > 2
        };
        let done = perform_all(&mut Pace::default(), &[(); 100], interrupted, |_| async {
            Ok(())
        })
        .await;
        assert!(done.len() < 20, "{}", done.len());
    }

    #[tokio::test]
    async fn what_is_insisted_on_tells_each_reason_once() {
        let tried = Cell::new(0);
        let mut told = Vec::new();
        let perform = || async {
            tried.set(tried.get() + 1);
            if tried.get() < 4 {
                return Err(refused(Some(FAST)));
            }
            Ok(tried.get())
        };
        let done = insist(|| false, |reason| told.push(reason.to_owned()), perform).await;
        assert!(matches!(done, Ok(Some(4))), "{done:?}");
        assert_eq!(told, ["cannot"]);
        tried.set(0);
        let stopped = insist(|| true, |_| {}, perform).await;
        assert!(matches!(stopped, Ok(None)), "{stopped:?}");
        let failed: Result<Option<()>, _> =
            insist(|| false, |_| {}, || async { Err(refused(None)) }).await;
        assert!(failed.is_err());
    }
}
