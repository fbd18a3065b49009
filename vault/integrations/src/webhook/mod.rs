//! Webhooks: one POST per event, signed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use reqwest::Client;
use sha2::Sha256;
use tokio::sync::watch;
use url::Url;
use vault_api::Event;
use vault_catalogue::{Catalogue, CatalogueError};

/// Lower-case hex HMAC-SHA256 of the body under the webhook's key.
pub const SIGNATURE_HEADER: &str = "x-stakeout-signature";
const SEQUENCE_HEADER: &str = "x-stakeout-event-seq";

const TIMEOUT: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// Events read from the catalogue at once.
const BATCH: usize = 100;

#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    #[error("cannot reach webhook `{name}`")]
    Send {
        name: String,
        source: reqwest::Error,
    },
    #[error("webhook `{name}` answered {status}")]
    Refused { name: String, status: u16 },
    #[error("cannot read the outbox for webhook `{name}`")]
    Outbox {
        name: String,
        source: CatalogueError,
    },
    #[error("a task of webhook `{name}` did not end")]
    Task {
        name: String,
        source: tokio::task::JoinError,
    },
}

/// One address that hears of every event.
pub struct Webhook {
    pub name: String,
    pub url: Url,
    /// Key of the signature.
    pub secret: String,
    pub client: Client,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Webhook {
    /// A client that follows no redirects: a signature is for the address that was configured.
    pub fn client(url: &Url) -> reqwest::Result<Client> {
        let client = Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("stakeout-vault/", env!("CARGO_PKG_VERSION")));
        // A minimal system has no certificates; plain HTTP needs none.
        let plain = url.scheme() == "http";
        let client = if plain {
            client.tls_certs_only([])
        } else {
            client
        };
        client.build()
    }

    async fn send(&self, event: &Event) -> Result<(), WebhookError> {
        let body = serde_json::to_vec(event).expect("invariant: plain data serialises");
        let answer = self
            .client
            .post(self.url.clone())
            .header("content-type", "application/json")
            .header(SEQUENCE_HEADER, event.seq)
            .header(SIGNATURE_HEADER, signature(&self.secret, &body))
            .body(body)
            .send()
            .await
            // An address may hold a token; the log must not.
            .map_err(|source| WebhookError::Send {
                name: self.name.clone(),
                source: source.without_url(),
            })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        Err(WebhookError::Refused {
            name: self.name.clone(),
            status: status.as_u16(),
        })
    }
}

fn signature(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())
        .expect("invariant: HMAC takes keys of any length");
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}

/// Delivers for as long as the process lives.
pub async fn deliver(
    webhook: Webhook,
    catalogue: Arc<Mutex<Catalogue>>,
    mut news: watch::Receiver<u64>,
) {
    let mut pause = FIRST_PAUSE;
    loop {
        // What comes while we send is seen as a change below.
        news.mark_unchanged();
        match deliver_waiting(&webhook, &catalogue).await {
            Ok(0) => {
                pause = FIRST_PAUSE;
                if news.changed().await.is_err() {
                    return;
                }
            }
            Ok(_) => pause = FIRST_PAUSE,
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                let cause = cause.unwrap_or_default();
                tracing::warn!("{error} {cause}; next try in {} s", pause.as_secs());
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Sends what waits, in order; returns how many events that was.
async fn deliver_waiting(
    webhook: &Webhook,
    catalogue: &Arc<Mutex<Catalogue>>,
) -> Result<usize, WebhookError> {
    let name = webhook.name.clone();
    let events = ask(webhook, catalogue, move |catalogue| {
        let taken = catalogue.delivered(&name)?;
        catalogue.events(taken, None, BATCH)
    })
    .await?;
    for (sent, event) in events.iter().enumerate() {
        if let Err(error) = webhook.send(event).await {
            // What got through counts; the one that did not is tried again as if it were the first.
            return if sent == 0 { Err(error) } else { Ok(sent) };
        }
        let (name, seq) = (webhook.name.clone(), event.seq);
        ask(webhook, catalogue, move |catalogue| {
            catalogue.deliver(&name, seq)
        })
        .await?;
    }
    Ok(events.len())
}

async fn ask<T: Send + 'static>(
    webhook: &Webhook,
    catalogue: &Arc<Mutex<Catalogue>>,
    question: impl FnOnce(&mut Catalogue) -> Result<T, CatalogueError> + Send + 'static,
) -> Result<T, WebhookError> {
    let catalogue = Arc::clone(catalogue);
    let answer = tokio::task::spawn_blocking(move || {
        question(&mut catalogue.lock().unwrap_or_else(PoisonError::into_inner))
    });
    let name = webhook.name.clone();
    match answer.await {
        Ok(answer) => answer.map_err(|source| WebhookError::Outbox { name, source }),
        Err(source) => Err(WebhookError::Task { name, source }),
    }
}

#[cfg(test)]
mod tests;
