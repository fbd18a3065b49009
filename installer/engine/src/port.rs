//! The one boundary through which a run changes the world.

use std::future::Future;
use std::time::Duration;

use installer_plan::{Action, Condition, Receipt};

/// Why something failed, as far as it decides what happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The profile or a flag is wrong.
    User,
    /// The machine is not as it has to be.
    Environment,
    /// Whoever runs this may not do it.
    Forbidden,
    /// It may go through the next time.
    Transient,
    /// Something else changed it meanwhile.
    Conflict,
    Bug,
}

/// An effect that did not happen.
#[derive(Debug, thiserror::Error)]
#[error("{operation}")]
pub struct EffectError {
    pub kind: ErrorKind,
    /// What was being done, and to what: "cannot write `config/vault.json`".
    pub operation: String,
    /// Whoever refused asked to come back after this long.
    pub retry_after: Option<Duration>,
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl EffectError {
    pub fn new(kind: ErrorKind, operation: impl Into<String>) -> Self {
        Self {
            kind,
            operation: operation.into(),
            retry_after: None,
            source: None,
        }
    }

    /// A step of one target was handed to another's adapter.
    pub fn foreign(target: &str) -> Self {
        Self::new(
            ErrorKind::Bug,
            format!("{target} cannot do a step of another target"),
        )
    }

    #[must_use]
    pub fn because(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync + 'static>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }
}

/// How far a condition is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    Met,
    /// Not yet, and what is missing.
    Waiting(String),
    /// It will not come true by waiting, and why.
    Failed(String),
    /// Whoever runs this may not look, and what would have to be allowed.
    Forbidden(String),
}

/// A target as the engine sees it. Every effect can be repeated without harm.
pub trait World {
    fn read_receipt(&self) -> impl Future<Output = Result<Option<Receipt>, EffectError>>;
    fn write_receipt(&mut self, receipt: &Receipt)
    -> impl Future<Output = Result<(), EffectError>>;
    /// Takes the receipt away, and the place where it lay when that is empty.
    fn erase_receipt(&mut self) -> impl Future<Output = Result<(), EffectError>>;
    fn perform(&mut self, action: &Action) -> impl Future<Output = Result<(), EffectError>>;
    /// Does at once what of the next actions, from the first on, needs no order among them; returns
    /// for how many there is nothing more to be done ahead. Each still has its own turn, which finds
    /// it done or says why it fails.
    fn ahead(&mut self, _next: &[&Action]) -> impl Future<Output = usize> {
        std::future::ready(1)
    }
    fn probe(&self, condition: &Condition) -> impl Future<Output = Probe>;
    /// The user asked to stop.
    fn interrupted(&self) -> bool;
}
