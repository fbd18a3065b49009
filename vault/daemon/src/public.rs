//! The second place where the API is served, for people and other machines: with a certificate of
//! its own, and never a reason for the vault not to take recordings.

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::watch;
use vault_api::PublicConfig;
use vault_http::{Vault, router};

use crate::tls::{TlsListener, listen};

/// Addresses come late at boot, and files of a certificate one after the other.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Serves until `stop` changes or its sender is gone.
pub(crate) async fn serve(config: PublicConfig, vault: Arc<Vault>, mut stop: watch::Receiver<()>) {
    let mut pause = FIRST_PAUSE;
    let listener = loop {
        match open(&config).await {
            Ok(listener) => break listener,
            Err(error) => {
                let wait = pause.as_secs();
                tracing::error!("{error:#}; recordings go on, next try in {wait} s");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
            _ = stop.changed() => return,
        }
    };
    tracing::info!("others reach the vault at {}", config.listen);
    let stopped = async move {
        // A sender that is gone means the same.
        drop(stop.changed().await);
    };
    let server = axum::serve(listener, router(vault)).with_graceful_shutdown(stopped);
    if let Err(error) = server.into_future().await {
        tracing::error!(
            "nobody else is served at {} any more: {error}",
            config.listen
        );
    }
}

async fn open(config: &PublicConfig) -> anyhow::Result<TlsListener> {
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on {} for others", config.listen))?;
    listen(&config.tls, listener)
}
