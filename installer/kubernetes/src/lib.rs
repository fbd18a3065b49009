//! Observes and changes one namespace of a cluster.
//!
//! Invariant: the cluster is written to through [`KubernetesWorld`] alone, every effect can be
//! repeated, and nothing without this installation's labels is touched. It must not know what is
//! wanted.

mod cluster;
mod connect;
mod error;
mod list;
mod managed;
mod observe;
mod readiness;
mod receipt;
mod request;

pub use cluster::read_cluster;
pub use connect::{Choice, Connection, Origin, Requests, connect};
pub use error::KubernetesError;
pub use observe::{KubernetesObserved, Wanted, observe};
pub use request::{Asked, Cause, Refusal, RequestError};
