//! The way of events from the outbox to one integration.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use vault_api::Event;
use vault_catalogue::{Catalogue, CatalogueError};

use crate::amqp::AmqpError;
use crate::mqtt::MqttError;
use crate::webhook::WebhookError;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Whoever comes back is told soon; a try costs next to nothing.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Events read from the catalogue at once.
const BATCH: usize = 100;

/// Who hears of events.
pub trait Sink: Send + 'static {
    /// By it deliveries are counted.
    fn name(&self) -> &str;

    /// Fails when an event could not be sent now.
    fn ready(&mut self) -> impl Future<Output = Result<(), SinkError>> + Send;

    /// Returns when the other side has the event for good.
    fn send(&mut self, event: &Event) -> impl Future<Output = Result<(), SinkError>> + Send;

    /// What has to go on while there is nothing to send; returns when it is no longer ready.
    fn idle(&mut self) -> impl Future<Output = ()> + Send;
}

/// Why an integration did not take an event.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    #[error(transparent)]
    Mqtt(#[from] MqttError),
    #[error(transparent)]
    Amqp(#[from] AmqpError),
}

#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error("cannot read the outbox for `{name}`")]
    Outbox {
        name: String,
        source: CatalogueError,
    },
    #[error("a task of `{name}` did not end")]
    Task {
        name: String,
        source: tokio::task::JoinError,
    },
}

/// Delivers for as long as the process lives. What keeps it from doing so is told to `trouble`.
pub async fn deliver(
    mut sink: impl Sink,
    catalogue: Arc<dyn Catalogue>,
    mut news: watch::Receiver<u64>,
    trouble: watch::Sender<Option<String>>,
) {
    let mut pause = FIRST_PAUSE;
    loop {
        // What comes while we send is seen as a change below.
        news.mark_unchanged();
        match deliver_waiting(&mut sink, &catalogue).await {
            Ok(sent) => {
                pause = FIRST_PAUSE;
                trouble.send_replace(None);
                if sent > 0 {
                    continue;
                }
                tokio::select! {
                    changed = news.changed() => if changed.is_err() { return },
                    () = sink.idle() => {}
                }
            }
            Err(error) => {
                let said = chain(&error);
                tracing::warn!("{said}; next try in {} s", pause.as_secs());
                trouble.send_replace(Some(said));
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// An error and what caused it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Errors of others often say what their cause says.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// Sends what waits, in order; returns how many events that was.
async fn deliver_waiting(
    sink: &mut impl Sink,
    catalogue: &Arc<dyn Catalogue>,
) -> Result<usize, DeliveryError> {
    sink.ready().await?;
    let name = sink.name().to_owned();
    let events = ask(sink.name(), catalogue, move |catalogue| {
        if !catalogue.claim(&name)? {
            return Ok(Vec::new());
        }
        let taken = catalogue.delivered(&name)?;
        catalogue.events(taken, None, BATCH)
    })
    .await?;
    for (sent, event) in events.iter().enumerate() {
        if let Err(error) = sink.send(event).await {
            // What got through counts; the one that did not is tried again as if it were the first.
            return if sent == 0 {
                Err(error.into())
            } else {
                Ok(sent)
            };
        }
        let (name, seq) = (sink.name().to_owned(), event.seq);
        let ours = ask(sink.name(), catalogue, move |catalogue| {
            catalogue.deliver(&name, seq)?;
            catalogue.claim(&name)
        });
        if !ours.await? {
            return Ok(sent + 1);
        }
    }
    Ok(events.len())
}

async fn ask<T: Send + 'static>(
    name: &str,
    catalogue: &Arc<dyn Catalogue>,
    question: impl FnOnce(&dyn Catalogue) -> Result<T, CatalogueError> + Send + 'static,
) -> Result<T, DeliveryError> {
    let catalogue = Arc::clone(catalogue);
    let answer = tokio::task::spawn_blocking(move || question(&*catalogue));
    let name = name.to_owned();
    match answer.await {
        Ok(answer) => answer.map_err(|source| DeliveryError::Outbox { name, source }),
        Err(source) => Err(DeliveryError::Task { name, source }),
    }
}
