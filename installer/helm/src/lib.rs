//! Helm, as a process: releases of charts, and nothing else.
//!
//! Invariant: values go in by standard input and are never part of a command line; nothing is waited
//! for but hooks, since readiness is judged elsewhere. It must not know plans, nor what a chart is
//! for. Start at [`Helm`].

mod chart;
mod error;
mod process;
mod release;

pub use chart::{ChartContents, read_chart};
pub use error::HelmError;
pub use process::{ClusterAccess, Helm, PROGRAM_VARIABLE};
pub use release::{Released, Upgrade};
