//! The certificates of a site: makes the internal CA and what it issues, and reads what is there.
//!
//! Invariant: no clock, disk or network is used in this crate; time comes in as a parameter. Keys
//! and serial numbers take randomness from the system, by `ring`. A key is never shown: [`Secret`]
//! hides it from `Debug`, and no error repeats what it was given.
//! It must not know which parts a site has nor where files lie. Start at [`make_authority`] and
//! [`issue`]; [`Facts`] is what a certificate says.
//!
//! # Rotating the CA
//! Two CAs of one site have the same subject and different keys; whoever checks a chain tries both.
//! So a rotation has three steps, and nobody is refused between them: give everybody the
//! [`trust_bundle`] of the new and the old CA; issue every leaf again from the new one; give
//! everybody the bundle of the new one alone.

mod error;
mod facts;
mod issue;
mod name;
mod own;

pub use error::PkiError;
pub use facts::{Facts, Fingerprint, find_issuer, read_facts, renewal_due, trust_bundle};
pub use issue::{Pair, Secret, check_pair, issue, make_authority};
pub use name::Name;
pub use own::{check_own, is_for};
