//! Decides what is recorded, under which name, for how long, and what is deleted.
//!
//! Invariant: plain functions of input and time; no clock, disk, network, runtime or randomness is used here.
//! It must not know how frames arrive, how motion pictures are decoded or how files are written.
//! Start at [`recorder::Recorder`].

pub mod motion;
pub mod names;
pub mod reconnect;
pub mod recorder;
pub mod retention;

pub use motion::{Detector, MotionEvent, Rect};
pub use names::FileName;
pub use reconnect::Backoff;
pub use recorder::{Command, Input, Policy, Recorder, When};
