//! Sums: for people as JSON, for Prometheus as text.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use vault_api::Usage;

use crate::problem::Refusal;
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
        disk_free: Some(space.free),
        disk_total: Some(space.total),
    })
}

/// Well means: the catalogue answers and the provider's folder is there.
pub(crate) async fn health(State(vault): State<Arc<Vault>>) -> Result<&'static str, Refusal> {
    let totals = vault.ask(|catalogue| catalogue.totals()).await;
    let space = totals.and_then(|_| Ok(vault.provider.space()?));
    match space {
        Ok(_) => Ok("ok\n"),
        Err(error) => Err(Refusal {
            status: StatusCode::SERVICE_UNAVAILABLE,
            word: "unhealthy",
            ..Refusal::internal(&error)
        }),
    }
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
