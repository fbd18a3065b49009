//! The real program, and what it works with.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod acme;
mod api;
mod brokers;
mod container;
mod faults;
mod kill;
mod mongo;
mod repeats;
mod replicas;
mod s3;
mod scratch;
mod support;
