//! Decides what has to change at a site.
//!
//! Invariant: no clock, disk, network or randomness is used in this crate; the same profile and
//! facts give the same plan, byte for byte, and no plan holds a secret.
//! It must not know how a step is done. Start at [`host::plan`] and [`docker::plan`].

mod access;
mod certificate;
mod check;
mod digest;
pub mod docker;
mod facts;
pub mod host;
pub mod kubernetes;
pub mod moving;
mod plan;
mod receipt;
mod secret;
mod show;
mod storage;
mod text;

pub use access::{AccessFacts, AddressFact, OwnCertificate, OwnFact, Standing};
pub use certificate::{CertificateFact, CertificateFacts};
pub use check::{Finding, Severity};
pub use digest::{Digest, digest_of};
pub use facts::{
    CameraFact, DataDirectory, Disk, Facts, Machine, PathFact, PortFact, SecretFact, ServiceFact,
    ServiceManager, Writable,
};
pub use plan::{Action, Change, Condition, HostAction, Operation, Plan, Step};
pub use receipt::{Owned, Pending, Receipt, StepState, Verified, VerifiedHop};
pub use show::{human_bytes, show};
pub use storage::{Promise, StorageEstimate, estimate};
