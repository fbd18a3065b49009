//! Tells integrations of events: in order, at least once, until they take them.
//!
//! Invariant: an event counts as taken only after the other side said so, and what was taken is
//! on disk. It must not know who stored what. Start at [`deliver`].

mod amqp;
mod broker;
mod deliver;
mod mqtt;
mod webhook;

pub use amqp::{Amqp, AmqpError};
pub use broker::{Broker, Credentials, RootsError};
pub use deliver::{DeliveryError, Sink, SinkError, deliver};
pub use mqtt::{Mqtt, MqttError};
pub use webhook::{SIGNATURE_HEADER, Webhook, WebhookError};
