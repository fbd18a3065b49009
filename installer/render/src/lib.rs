//! Typed configuration files, services and units out of a profile.
//!
//! Invariant: no clock, disk, network or randomness is used in this crate, and no secret is in
//! what it makes: secrets are named by path. It must not know what is already there.
//! Start at [`host::render`] and [`docker::render`].

mod access;
mod configuration;
pub mod docker;
pub mod host;
pub mod kubernetes;
pub mod label;
mod layout;
mod secret;
mod store;
mod unit;

pub use access::{ACCESS, ACME_CERTIFICATE, ACME_ROOTS, access_certificate};
pub use configuration::{
    RenderedFile, Role, TEST_CAMERA_USER, agent_of, camera_secret, secret_purposes, service_names,
    test_camera_of,
};
pub use layout::{Layout, SecretName};
pub use secret::{
    SERVICE_USER, SecretOrigin, base_of, chart_login, chart_secret, login_key, login_name,
    login_variable,
};
pub use store::{Store, stores};
pub use unit::{RenderError, UnitContext, render_unit};
