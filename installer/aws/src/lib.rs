//! A site's bucket at Amazon, the role that may use it, and nothing wider.
//!
//! Invariant: nothing here is asked or changed. Start at [`policy`].

pub mod policy;
mod wanted;

pub use wanted::{Deletes, POLICY, ROLE_PATH, Wanted, WantedBinding, WantedBucket};
