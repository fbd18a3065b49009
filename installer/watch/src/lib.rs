//! A site as somebody watches it: told in lines, kept in a [`Model`], drawn on a terminal.
//!
//! ```text
//! lines (what a run does, what is seen of the site) → Model → draw
//! ```
//!
//! Invariant: whatever is on the screen follows from the lines and the time alone, so that a
//! recording of them shows what was seen. Who asks the site, and who owns the terminal, is the
//! program's business.

mod draw;
mod line;
mod model;
mod replay;
mod text;
mod view;

pub use draw::draw;
pub use line::{
    CameraSight, DiskSight, Finding, Line, LineError, Outcome, ServiceSight, Sight, SiteSight,
    Told, VaultSight,
};
pub use model::Model;
pub use replay::Replay;
pub use view::{View, Wish};
