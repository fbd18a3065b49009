//! Does one step. What was done already is done: every effect can be repeated without harm.

mod bucket;
mod cluster;
mod role;

use std::time::Duration;

use installer_engine::wait::{self, Waited};
use installer_engine::{EffectError, ErrorKind, Probe};

use crate::account::Account;
use crate::facts::Facts;
use crate::plan::{Plan, plan};
use crate::step::Step;
use crate::wanted::Wanted;

/// What a step made, for a receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    pub arn: String,
}

impl Account {
    /// Does `step`. What another call has to notice first, or what is asked too often, is tried
    /// again until `deadline` has passed; `progress` hears why.
    pub async fn perform(
        &self,
        step: &Step,
        deadline: Duration,
        progress: impl FnMut(&str),
    ) -> Result<Option<Made>, EffectError> {
        let last = std::cell::RefCell::new(None);
        let probe = async || match self.perform_once(step).await {
            Ok(made) => {
                *last.borrow_mut() = Some(Ok(made));
                Probe::Met
            }
            Err(error) => {
                let waits = error.kind == ErrorKind::Transient;
                let why = whole(&error);
                *last.borrow_mut() = Some(Err(error));
                if waits {
                    Probe::Waiting(why)
                } else {
                    Probe::Failed(why)
                }
            }
        };
        let waited = wait::until(deadline, || false, progress, probe).await;
        match (last.into_inner(), waited) {
            (Some(done), _) => done,
            (None, _) => Err(EffectError::new(
                ErrorKind::Bug,
                format!("nobody tried `{step}`"),
            )),
        }
    }

    async fn perform_once(&self, step: &Step) -> Result<Option<Made>, EffectError> {
        match step {
            Step::MakeBucket { .. }
            | Step::TagBucket { .. }
            | Step::BlockPublic { .. }
            | Step::EnforceOwner { .. }
            | Step::Encrypt { .. }
            | Step::SetLifecycle { .. }
            | Step::SetBucketPolicy { .. }
            | Step::EmptyBucket { .. }
            | Step::ReleaseBucket { .. }
            | Step::RemoveBucket { .. } => self.change_bucket(step).await,
            Step::MakeAssociation { .. }
            | Step::SetAssociation { .. }
            | Step::RemoveAssociation { .. } => self.change_association(step).await,
            Step::MakeProvider { .. }
            | Step::MakeRole { .. }
            | Step::TagRole { .. }
            | Step::SetTrust { .. }
            | Step::SetBoundary { .. }
            | Step::SetPolicy { .. }
            | Step::RemovePolicy { .. }
            | Step::Detach { .. }
            | Step::RemoveRole { .. } => self.change_role(step).await,
        }
    }

    /// Waits until Amazon shows what was done: what was written a moment ago is not seen everywhere
    /// at once. Returns what is there then.
    pub async fn settle(
        &self,
        wanted: &Wanted,
        deadline: Duration,
        progress: impl FnMut(&str),
    ) -> Result<(Facts, Plan), EffectError> {
        let seen = std::cell::RefCell::new(None);
        let probe = async || match Box::pin(self.observe(wanted)).await {
            Err(error) if error.kind == ErrorKind::Transient => Probe::Waiting(whole(&error)),
            Err(error) => {
                let why = whole(&error);
                *seen.borrow_mut() = Some(Err(error));
                Probe::Failed(why)
            }
            Ok(facts) => match plan(wanted, &facts) {
                Ok(plan) if plan.steps.is_empty() => {
                    *seen.borrow_mut() = Some(Ok((facts, plan)));
                    Probe::Met
                }
                Ok(plan) => {
                    let missing = plan.steps.iter().map(ToString::to_string);
                    Probe::Waiting(format!(
                        "not seen yet: {}",
                        missing.collect::<Vec<_>>().join("; ")
                    ))
                }
                Err(refusals) => {
                    let why = refusals.iter().map(ToString::to_string);
                    Probe::Failed(why.collect::<Vec<_>>().join("; "))
                }
            },
        };
        let waited = wait::until(deadline, || false, progress, probe).await;
        match (seen.into_inner(), waited) {
            (Some(seen), _) => seen,
            (None, Waited::Failed(why)) => Err(EffectError::new(ErrorKind::Conflict, why)),
            (None, Waited::TimedOut(why)) => Err(EffectError::new(ErrorKind::Transient, why)),
            (None, other) => Err(EffectError::new(ErrorKind::Bug, format!("{other:?}"))),
        }
    }
}

/// An error with what is below it, in one line.
fn whole(error: &EffectError) -> String {
    match &error.source {
        Some(source) => format!("{error} ({source})"),
        None => error.to_string(),
    }
}
