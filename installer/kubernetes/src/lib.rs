//! Observes and changes one namespace of a cluster.
//!
//! Invariant: the cluster is written to through [`KubernetesWorld`] alone, every effect can be
//! repeated, and nothing without this installation's labels is touched. It must not know what is
//! wanted.
//! Start at [`observe()`] and [`KubernetesWorld`].

mod addon;
mod cameras;
mod chart_rights;
mod cluster;
mod connect;
mod effects;
mod error;
mod explain;
mod forward;
mod gone;
mod import;
mod list;
mod lock;
mod managed;
mod observe;
mod pace;
mod reach;
mod readiness;
mod receipt;
mod rehearse;
mod release;
mod request;
mod rights;
mod suspects;
mod watch;
mod ways;
mod world;

pub use chart_rights::chart_rights;
pub use cluster::read_cluster;
pub use connect::{Choice, Connection, Origin, Requests, connect};
pub use error::KubernetesError;
pub use explain::{Explanation, PodExplanation, explain, read_log};
pub use forward::forward;
pub use import::image_way;
pub use lock::{Lock, LockError, Turn};
pub use observe::{KubernetesObserved, Wanted, observe};
pub use reach::{Reached, try_paths};
pub use receipt::receipt_bytes;
pub use rehearse::rehearse;
pub use request::{Asked, Cause, Refusal, RequestError};
pub use rights::{Subject, asks_for_rights, review};
pub use suspects::{Suspect, suspects};
pub use world::{KubernetesWorld, SiteInCluster};
