//! Webhooks: one POST per event, signed.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use reqwest::Client;
use sha2::Sha256;
use url::Url;
use vault_api::Event;

use crate::deliver::{Sink, SinkError};

/// Lower-case hex HMAC-SHA256 of the body under the webhook's key.
pub const SIGNATURE_HEADER: &str = "x-stakeout-signature";
const SEQUENCE_HEADER: &str = "x-stakeout-event-seq";

const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    #[error("cannot reach webhook `{name}`")]
    Send {
        name: String,
        source: reqwest::Error,
    },
    #[error("webhook `{name}` answered {status}")]
    Refused { name: String, status: u16 },
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

    async fn post(&self, event: &Event) -> Result<(), WebhookError> {
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

impl Sink for Webhook {
    fn name(&self) -> &str {
        &self.name
    }

    async fn ready(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    async fn send(&mut self, event: &Event) -> Result<(), SinkError> {
        Ok(self.post(event).await?)
    }

    async fn idle(&mut self) {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests;
