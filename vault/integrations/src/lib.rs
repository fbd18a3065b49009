//! Tells integrations of events: in order, at least once, until they take them.
//!
//! Invariant: an event counts as taken only after the other side said so, and what was taken is
//! on disk. It must not know who stored what. Start at [`Webhook`].

mod webhook;

pub use webhook::{SIGNATURE_HEADER, Webhook, WebhookError, deliver};
