//! The step loop: receipt, effect, settle, receipt.

use std::time::{Duration, Instant};

use installer_plan::{
    Action, Condition, Operation, Owned, Pending, Plan, Receipt, Severity, Step, StepState,
};

use crate::event::Event;
use crate::port::{EffectError, ErrorKind, Probe, World};
use crate::wait::{Waited, until};

/// The receipt notes finished steps at most this often: resuming observes the world anew, so the
/// note is for people, and a thousand cameras must not mean a thousand rewrites.
const NOTE_EVERY: Duration = Duration::from_secs(1);

/// A step that is told to come back later does so for this long in all: registries count requests
/// by the minute, and a person who sees a line about it waits for some of those.
const PATIENCE: Duration = Duration::from_mins(5);

/// What a run did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    pub changed: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("{} checks failed, nothing was changed", .0)]
    Checks(usize),
    #[error("cannot keep the receipt; run the same command again")]
    Receipt(#[source] EffectError),
    #[error("step `{id}` failed; {done} of {of} steps are done, run the same command again")]
    Step {
        id: String,
        done: usize,
        of: usize,
        #[source]
        source: EffectError,
    },
    #[error(
        "`{id}` did not become ready: {reason}; {done} of {of} steps are done, run the same command again"
    )]
    NotReady {
        id: String,
        done: usize,
        of: usize,
        reason: String,
    },
    #[error(
        "gave up waiting for `{id}`: {reason}; {done} of {of} steps are done, run the same command again"
    )]
    TimedOut {
        id: String,
        done: usize,
        of: usize,
        reason: String,
    },
    #[error("interrupted; {done} of {of} steps are done, run the same command again")]
    Interrupted { done: usize, of: usize },
}

/// Brings the world to the plan. A plan without steps writes nothing, unless a run before it
/// ended too early to say so in its receipt.
pub async fn apply<W: World>(
    plan: &Plan,
    installer: &str,
    world: &mut W,
    report: &mut impl FnMut(Event),
) -> Result<Applied, ApplyError> {
    let errors = plan
        .findings
        .iter()
        .filter(|f| f.severity == Severity::Error)
        .count();
    if errors > 0 {
        return Err(ApplyError::Checks(errors));
    }
    let begun = Instant::now();
    let found = world.read_receipt().await.map_err(ApplyError::Receipt)?;
    let settled = found
        .as_ref()
        .is_some_and(|r| r.pending.is_none() && r.owned == plan.owned);
    if plan.is_empty() && settled {
        report(Event::Applied {
            changed: 0,
            ms: millis(begun.elapsed()),
        });
        return Ok(Applied { changed: 0 });
    }
    if plan.is_empty() && found.is_none() && plan.operation == Operation::Uninstall {
        // A removal that was cut short after its receipt had gone.
        world.erase_receipt().await.map_err(ApplyError::Receipt)?;
        report(Event::Applied {
            changed: 0,
            ms: millis(begun.elapsed()),
        });
        return Ok(Applied { changed: 0 });
    }
    let mut receipt = first_receipt(plan, installer, found);
    let of = plan.steps.len();
    keep(Keep::Written(&receipt), (0, of), world, report).await?;
    report(Event::Started {
        steps: plan.steps.len(),
    });

    let (mut noted, mut ahead) = (Instant::now(), 0);
    for (index, step) in plan.steps.iter().enumerate() {
        if index >= ahead && !world.interrupted() {
            let next = until_settled(plan.steps.get(index..).unwrap_or_default());
            ahead = index + world.ahead(&next).await.max(1);
        }
        let result = run_step(plan, index, step, world, report).await;
        if let Err(error) = result {
            // Resuming does not need the note, and why the step failed is what has to be told.
            drop(world.write_receipt(&receipt).await);
            report(Event::StepFailed {
                index,
                id: step.id.clone(),
                error: error.to_string(),
            });
            return Err(error);
        }
        if let Some(state) = receipt
            .pending
            .as_mut()
            .and_then(|p| p.steps.get_mut(index))
        {
            state.1 = StepState::Done;
        }
        if noted.elapsed() >= NOTE_EVERY {
            match world.write_receipt(&receipt).await {
                // The next note comes soon enough.
                Err(error) if error.retry_after.is_none() => {
                    return Err(ApplyError::Receipt(error));
                }
                _ => noted = Instant::now(),
            }
        }
    }
    let last = finish(plan, receipt);
    let last = last.as_ref().map_or(Keep::Erased, Keep::Written);
    keep(last, (of, of), world, report).await?;
    report(Event::Applied {
        changed: plan.steps.len(),
        ms: millis(begun.elapsed()),
    });
    Ok(Applied {
        changed: plan.steps.len(),
    })
}

/// The actions up to the first step whose condition the next ones have to wait for.
fn until_settled(steps: &[Step]) -> Vec<&Action> {
    let settles = steps.iter().position(|step| step.settle.is_some());
    let count = settles.map_or(steps.len(), |index| index + 1);
    steps.iter().take(count).map(|step| &step.action).collect()
}

/// What is written before the first step; `found` is what a run before has left.
pub fn first_receipt(plan: &Plan, installer: &str, found: Option<Receipt>) -> Receipt {
    let mut receipt = found.unwrap_or_else(|| Receipt {
        format: 1,
        site: plan.site.clone(),
        target: plan.target.clone(),
        revision: 0,
        installer: installer.to_owned(),
        owned: Owned::default(),
        pending: None,
        previous_images: std::collections::BTreeMap::new(),
        rates: std::collections::BTreeMap::new(),
        verified: None,
    });
    installer.clone_into(&mut receipt.installer);
    // Debris of an earlier run that did not end stays known until a run has ended.
    let mut owned = plan.owned.clone();
    if let Some(before) = receipt.pending.take() {
        owned.directories.extend(before.owned.directories);
        owned.user = owned.user.or(before.owned.user);
    }
    receipt.pending = Some(Pending {
        operation: plan.operation,
        revision: receipt.revision + 1,
        plan: plan.digest(),
        owned,
        steps: plan
            .steps
            .iter()
            .map(|step| (step.id.clone(), StepState::Todo))
            .collect(),
    });
    receipt
}

/// The receipt of a run that has ended; nothing where nothing is left to be told of.
fn finish(plan: &Plan, mut receipt: Receipt) -> Option<Receipt> {
    if plan.operation == Operation::Uninstall && plan.owned == Owned::default() {
        return None;
    }
    receipt.pending = None;
    receipt.revision += 1;
    if !receipt.owned.images.is_empty() && receipt.owned.images != plan.owned.images {
        receipt.previous_images = receipt.owned.images;
    }
    receipt.owned = plan.owned.clone();
    receipt.rates = plan.rates.clone();
    if plan.operation == Operation::Uninstall {
        receipt.verified = None;
    }
    Some(receipt)
}

/// What becomes of the receipt.
#[derive(Clone, Copy)]
enum Keep<'a> {
    Written(&'a Receipt),
    Erased,
}

/// Writes or erases the receipt, and comes back later for as long as it is asked to.
async fn keep<W: World>(
    what: Keep<'_>,
    (index, of): (usize, usize),
    world: &mut W,
    report: &mut impl FnMut(Event),
) -> Result<(), ApplyError> {
    let begun = Instant::now();
    loop {
        let kept = match what {
            Keep::Written(receipt) => world.write_receipt(receipt).await,
            Keep::Erased => world.erase_receipt().await,
        };
        let Err(source) = kept else {
            return Ok(());
        };
        let told = |reason| {
            report(Event::StepWaiting {
                index,
                id: "receipt".to_owned(),
                reason,
            });
        };
        let waited = wait_as_told(source, begun, world, told).await;
        if waited.map_err(ApplyError::Receipt)? == Waited::Interrupted {
            return Err(ApplyError::Interrupted { done: index, of });
        }
    }
}

async fn run_step<W: World>(
    plan: &Plan,
    index: usize,
    step: &Step,
    world: &mut W,
    report: &mut impl FnMut(Event),
) -> Result<(), ApplyError> {
    let (done, of, id) = (index, plan.steps.len(), step.id.clone());
    if world.interrupted() {
        return Err(ApplyError::Interrupted { done, of });
    }
    let begun = Instant::now();
    report(Event::StepStarted {
        index,
        of,
        id: id.clone(),
        change: step.change,
    });
    while let Err(source) = world.perform(&step.action).await {
        let told = |reason| {
            report(Event::StepWaiting {
                index,
                id: step.id.clone(),
                reason,
            });
        };
        match wait_as_told(source, begun, world, told).await {
            Ok(Waited::Interrupted) => return Err(ApplyError::Interrupted { done, of }),
            Ok(_) => {}
            Err(source) => {
                return Err(ApplyError::Step {
                    id,
                    done,
                    of,
                    source,
                });
            }
        }
    }
    if let Some(condition) = &step.settle {
        let waited = {
            let world = &*world;
            let changed = |reason: &str| {
                let reason = reason.to_owned();
                report(Event::StepWaiting {
                    index,
                    id: step.id.clone(),
                    reason,
                });
            };
            let deadline = deadline(condition);
            until(
                deadline,
                || world.interrupted(),
                changed,
                || world.probe(condition),
            )
            .await
        };
        match waited {
            Waited::Met => {}
            Waited::Failed(reason) => {
                return Err(ApplyError::NotReady {
                    id,
                    done,
                    of,
                    reason,
                });
            }
            Waited::Forbidden(reason) => {
                return Err(ApplyError::Step {
                    id,
                    done,
                    of,
                    source: EffectError::new(ErrorKind::Forbidden, reason),
                });
            }
            Waited::TimedOut(reason) => {
                return Err(ApplyError::TimedOut {
                    id,
                    done,
                    of,
                    reason,
                });
            }
            Waited::Interrupted => return Err(ApplyError::Interrupted { done, of }),
        }
    }
    report(Event::StepDone {
        index,
        id,
        ms: millis(begun.elapsed()),
    });
    Ok(())
}

/// Waits for as long as whoever refused an effect asked for; an error where nobody did, or where
/// that would be too long since it `begun`.
async fn wait_as_told<W: World>(
    refused: EffectError,
    begun: Instant,
    world: &W,
    told: impl FnOnce(String),
) -> Result<Waited, EffectError> {
    let in_time = |pause: &Duration| begun.elapsed() + *pause <= PATIENCE;
    let Some(pause) = refused.retry_after.filter(in_time) else {
        return Err(refused);
    };
    told(format!("{refused}; again in {} s", pause.as_secs()));
    let not_yet = || async { Probe::Waiting(String::new()) };
    Ok(until(pause, || world.interrupted(), |_| {}, not_yet).await)
}

fn deadline(condition: &Condition) -> Duration {
    let seconds = match condition {
        Condition::All { of } => return of.iter().map(deadline).max().unwrap_or_default(),
        Condition::Container {
            deadline_seconds, ..
        }
        | Condition::Gone {
            deadline_seconds, ..
        }
        | Condition::Healthy {
            deadline_seconds, ..
        }
        | Condition::Listening {
            deadline_seconds, ..
        }
        | Condition::Recording {
            deadline_seconds, ..
        }
        | Condition::RolledOut {
            deadline_seconds, ..
        }
        | Condition::Stopped {
            deadline_seconds, ..
        }
        | Condition::Released {
            deadline_seconds, ..
        }
        | Condition::Addon {
            deadline_seconds, ..
        }
        | Condition::SupervisorAnswers { deadline_seconds }
        | Condition::SupervisorGone { deadline_seconds } => *deadline_seconds,
    };
    Duration::from_secs(seconds)
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
