//! Performs a plan and proves its result.
//!
//! Invariant: it decides nothing; the receipt is written before the first effect and a step is
//! done only when its condition holds. It must not know which target a step belongs to.
//! Start at [`apply`].

mod access;
mod apply;
pub mod certificate;
mod event;
mod footage;
mod forward;
mod hashed;
mod login;
mod port;
mod primitives;
pub mod secret;
mod verify;
pub mod wait;

pub use access::{collide, look_at_address, read_access};
pub use apply::{Applied, ApplyError, apply, first_receipt};
pub use event::Event;
pub use footage::Footage;
pub use forward::Forward;
pub use login::{Logins, format_login, parse_login, resolve_login, resolve_logins};
pub use port::{EffectError, ErrorKind, Probe, World};
pub use primitives::{CRASH_VARIABLE, Primitives};
pub use verify::{
    CameraAccess, VaultAccess, VerifyError, read_cameras, read_clip, read_usage, verify,
};
