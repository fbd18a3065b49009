//! Sums: for people as JSON, for Prometheus as text.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use vault_api::Usage;
use vault_storage::StorageError;

use crate::problem::{Refusal, chain};
use crate::vault::{Vault, VaultError};

async fn read(vault: &Vault) -> Result<Usage, VaultError> {
    let integrations = vault.integrations.clone();
    let (totals, undelivered) = vault
        .ask(move |catalogue| Ok((catalogue.totals()?, catalogue.undelivered(&integrations)?)))
        .await?;
    let space = vault.provider.space()?;
    Ok(Usage {
        recordings: u64::try_from(totals.recordings).unwrap_or(0),
        bytes: u64::try_from(totals.bytes).unwrap_or(0),
        oldest_ms: totals.oldest_ms,
        newest_ms: totals.newest_ms,
        undelivered,
        disk_free: space.map(|space| space.free),
        disk_total: space.map(|space| space.total),
    })
}

/// Well means: the catalogue answers and the provider could take a recording.
pub(crate) async fn health(State(vault): State<Arc<Vault>>) -> Result<&'static str, Refusal> {
    let unwell = |error: VaultError| {
        // What a server of objects said is what its owner has to know.
        let message = match &error {
            VaultError::Storage(StorageError::Remote { .. }) => Some(chain(&error)),
            _ => None,
        };
        let refusal = Refusal::internal(&error);
        Refusal {
            status: StatusCode::SERVICE_UNAVAILABLE,
            word: "unhealthy",
            message: message.unwrap_or(refusal.message),
        }
    };
    vault
        .ask(|catalogue| catalogue.totals())
        .await
        .map_err(unwell)?;
    let probed = vault.provider.probe().await;
    probed.map_err(|error| unwell(error.into()))?;
    Ok("ok\n")
}

pub(crate) async fn usage(
    State(vault): State<Arc<Vault>>,
    headers: HeaderMap,
) -> Result<Json<Usage>, Refusal> {
    vault.keys.require_admin(&headers)?;
    Ok(Json(
        read(&vault)
            .await
            .map_err(|error| Refusal::internal(&error))?,
    ))
}

pub(crate) async fn show(State(vault): State<Arc<Vault>>) -> Result<impl IntoResponse, Refusal> {
    let usage = read(&vault)
        .await
        .map_err(|error| Refusal::internal(&error))?;
    let mut text = String::new();
    for (name, help, value) in [
        (
            "recordings",
            "Recordings in the catalogue.",
            Some(usage.recordings),
        ),
        ("bytes", "Bytes of all recordings.", Some(usage.bytes)),
        (
            "events_undelivered",
            "Events that an integration has not taken.",
            Some(usage.undelivered),
        ),
        (
            "disk_free_bytes",
            "Bytes free on the disk of the provider.",
            usage.disk_free,
        ),
        (
            "disk_total_bytes",
            "Bytes of the disk of the provider.",
            usage.disk_total,
        ),
    ] {
        let Some(value) = value else { continue };
        let name = format!("stakeout_vault_{name}");
        text.extend([
            format!("# HELP {name} {help}\n"),
            format!("# TYPE {name} gauge\n{name} {value}\n"),
        ]);
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text))
}
