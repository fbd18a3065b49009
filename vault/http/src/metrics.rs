//! Sums: for people as JSON, for Prometheus as text.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use vault_api::{IntegrationUsage, Usage};
use vault_storage::StorageError;

use crate::problem::{Refusal, chain};
use crate::vault::{Vault, VaultError};

async fn read(vault: &Vault) -> Result<Usage, VaultError> {
    let names: Vec<_> = vault
        .integrations
        .iter()
        .map(|one| one.name.clone())
        .collect();
    let (totals, undelivered, each) = vault
        .ask(move |catalogue| {
            let each = names
                .iter()
                .map(|name| catalogue.undelivered(std::slice::from_ref(name)));
            let each = each.collect::<Result<Vec<_>, _>>()?;
            Ok((catalogue.totals()?, catalogue.undelivered(&names)?, each))
        })
        .await?;
    let integrations = vault.integrations.iter().zip(each);
    let integrations = integrations.map(|(one, undelivered)| IntegrationUsage {
        name: one.name.clone(),
        undelivered,
        trouble: one.trouble.borrow().clone(),
    });
    let space = vault.provider.space()?;
    Ok(Usage {
        recordings: u64::try_from(totals.recordings).unwrap_or(0),
        bytes: u64::try_from(totals.bytes).unwrap_or(0),
        oldest_ms: totals.oldest_ms,
        newest_ms: totals.newest_ms,
        undelivered,
        disk_free: space.map(|space| space.free),
        disk_total: space.map(|space| space.total),
        integrations: integrations.collect(),
    })
}

/// Well means: the catalogue answers and the provider could take a recording.
/// Integrations may fail meanwhile: their events wait, and a restart would help nobody.
pub(crate) async fn health(State(vault): State<Arc<Vault>>) -> Result<String, Refusal> {
    let unwell = |error: VaultError| {
        // What another server said is what its owner has to know.
        let message = match &error {
            VaultError::Storage(StorageError::Remote { .. }) => Some(chain(&error)),
            VaultError::Catalogue(unavailable) if unavailable.is_unavailable() => {
                Some(chain(&error))
            }
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
        .ask(|catalogue| catalogue.probe())
        .await
        .map_err(unwell)?;
    let probed = vault.provider.probe().await;
    probed.map_err(|error| unwell(error.into()))?;
    let mut text = "ok\n".to_owned();
    for one in &vault.integrations {
        if let Some(trouble) = &*one.trouble.borrow() {
            text.extend([trouble.as_str(), "\n"]);
        }
    }
    Ok(text)
}

pub(crate) async fn usage(
    State(vault): State<Arc<Vault>>,
    headers: HeaderMap,
) -> Result<Json<Usage>, Refusal> {
    vault.keys.require_admin(&headers)?;
    Ok(Json(
        read(&vault)
            .await
            .map_err(|error| Refusal::catalogue(&error))?,
    ))
}

pub(crate) async fn show(State(vault): State<Arc<Vault>>) -> Result<impl IntoResponse, Refusal> {
    let usage = read(&vault)
        .await
        .map_err(|error| Refusal::catalogue(&error))?;
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
    if !usage.integrations.is_empty() {
        text.push_str("# HELP stakeout_vault_integration_up Whether it takes events.\n");
        text.push_str("# TYPE stakeout_vault_integration_up gauge\n");
    }
    for one in usage.integrations {
        let (name, up) = (
            one.name.replace(['"', '\\', '\n'], "_"),
            u8::from(one.trouble.is_none()),
        );
        let line = format!("stakeout_vault_integration_up{{name=\"{name}\"}} {up}\n");
        text.push_str(&line);
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text))
}
