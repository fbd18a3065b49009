//! Frames and the MP4 files made of them.
//!
//! Invariant: no clock, disk, network or randomness is used in this crate.
//! It must not know where frames come from or where bytes go. Start at [`Frame`].

mod frame;

pub use frame::{
    AudioParameters, Frame, StreamParameters, TICKS_PER_SECOND, Track, VideoCodec, VideoParameters,
};
