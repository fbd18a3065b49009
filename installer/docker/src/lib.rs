//! Observes and changes one container engine: images, networks, containers, and the data directory
//! on its machine.
//!
//! Invariant: the engine is written to through [`DockerWorld`] alone, every effect can be repeated,
//! and nothing without this installation's labels is touched. It must not know what is wanted.
//! Start at [`observe()`] and [`DockerWorld`].

mod connect;
mod container;
mod control;
mod error;
mod explain;
mod files;
mod forward;
mod image;
mod observe;
mod swap;
mod world;

pub use connect::{Connection, Origin, connect};
pub use error::DockerError;
pub use explain::{Explanation, explain};
pub use forward::forward;
pub use observe::{
    DockerObserved, NoWayBack, Wanted, WantedImage, check_tables, observe, read_engine,
};
pub use world::{AgentImage, DockerWorld, SiteOnEngine, read_log};
