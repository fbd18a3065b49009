//! Typed configuration files, services and units out of a profile.
//!
//! Invariant: no clock, disk, network or randomness is used in this crate, and no secret is in
//! what it makes: secrets are named by path. It must not know what is already there.
//! Start at [`host::render`].

pub mod host;
mod layout;
mod unit;

pub use layout::{Layout, SecretName};
pub use unit::{RenderError, UnitContext, render_unit};
