//! What happens to recordings, for those who wait for it.

use std::time::Instant;

use agent_api::Recording;

/// Sent to every listener of the site.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// The first frame of a recording that was asked for by proof `id` arrived.
    Begun {
        id: u64,
        at: Instant,
    },
    /// The recording that begins at `start_ms` is what proof `id` asked for; it will be finished.
    Proven {
        id: u64,
        start_ms: u64,
    },
    Finished {
        recording: Recording,
        frames: u64,
        at: Instant,
    },
    Uploaded {
        file: String,
        at: Instant,
    },
}
