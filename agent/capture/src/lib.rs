//! RTSP sessions with cameras, and the question what a camera offers.
//!
//! Invariant: no text that leaves this crate holds a user name or a password.
//! It must not know of files, recorders or the vault. Start at [`Session`], then [`probe`].

mod credentials;
mod describe;
mod error;
mod probe;
mod session;
mod stall;
mod timeline;

pub use credentials::{Credentials, CredentialsError, read_credentials};
pub use error::CaptureError;
pub use probe::probe;
pub use session::{Event, Session, Target};
