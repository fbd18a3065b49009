//! Typed configuration files, services and units out of a profile.
//!
//! Invariant: no clock, disk, network or randomness is used in this crate, and no secret is in
//! what it makes: secrets are named by path. It must not know what is already there.
//! Start at [`host::render`] and [`docker::render`].

mod configuration;
pub mod docker;
pub mod host;
mod layout;
mod unit;

pub use configuration::{
    RenderedFile, Role, SecretOrigin, TEST_CAMERA_USER, camera_secret, secret_purposes,
    service_names,
};
pub use layout::{Layout, SecretName};
pub use unit::{RenderError, UnitContext, render_unit};
