//! Amazon's side of a site, against moto, and against what moto has not, as Amazon describes it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod faults;
mod making;
mod rights;
mod standin;
mod world;
