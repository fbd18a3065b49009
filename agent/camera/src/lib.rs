//! The test camera: serves an MP4 file, or a scene of our own, over RTSP like a camera does.
//!
//! Responsibility: RTSP/1.0 (RFC 2326) with Digest, RTP over TCP and UDP, at the pace of a clock
//! and in an endless loop, for demonstrations, proofs and tests.
//!
//! Invariant: every client sees one timeline per track that only goes forward, without a jump or
//! a gap where the clip begins again; nothing that a client sends or leaves unread makes the
//! camera panic or grow without bound.
//!
//! It must not know the recorder, the vault, or anything that is done with its pictures.
//!
//! Start reading at [`Server`]; then `connection` (requests), `timeline` (what is due when),
//! `player` (sends it) and `rtp` (packets).

mod clip;
mod connection;
mod digest;
mod message;
mod options;
mod player;
mod queue;
mod rtp;
mod sdp;
mod server;
mod session;
mod timeline;
mod transport;

pub use options::{CameraError, Faults, Login, Options, SourceChoice, Start};
pub use server::{Server, serve};
