//! Frames and the MP4 files made of them.
//!
//! Invariant: no clock, disk, network or randomness is used in this crate; [`scan()`] reads what it is given.
//! It must not know where frames come from or where bytes go. Start at [`Frame`], then [`Writer`].

mod boxes;
pub mod fmp4;
mod frame;
pub mod nal;
pub mod picture;
pub mod scan;

pub use fmp4::{Fragment, Tail, Writer};
pub use frame::{
    AudioParameters, Frame, StreamParameters, TICKS_PER_SECOND, Track, VideoCodec, VideoParameters,
};
pub use picture::{Grid, Picture};
pub use scan::{Scan, ScanError, scan};
