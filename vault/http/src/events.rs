//! The events of the vault, for whoever asks.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use serde::Deserialize;
use tokio::time::Instant;
use vault_api::Event;

use crate::problem::Refusal;
use crate::vault::Vault;

/// Nobody is held longer.
const WAIT_MAX: Duration = Duration::from_secs(30);
const LIMIT: usize = 1000;

#[derive(Debug, Deserialize)]
pub(crate) struct EventsQuery {
    after: Option<i64>,
    recording: Option<i64>,
    wait_ms: Option<u64>,
}

pub(crate) async fn list(
    State(vault): State<Arc<Vault>>,
    headers: HeaderMap,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Result<Json<Vec<Event>>, Refusal> {
    vault.keys.require_admin(&headers)?;
    let Query(query) = query.map_err(|error| Refusal::query(&error))?;
    let wait = Duration::from_millis(query.wait_ms.unwrap_or(0)).min(WAIT_MAX);
    let deadline = Instant::now() + wait;
    let mut news = vault.news();
    let after = query.after.unwrap_or(0);
    loop {
        let found = vault
            .ask(move |c| c.events(after, query.recording, LIMIT))
            .await;
        let found = found.map_err(|error| Refusal::catalogue(&error))?;
        if !found.is_empty() || vault.stopping() {
            return Ok(Json(found));
        }
        match tokio::time::timeout_at(deadline, news.changed()).await {
            Ok(Ok(())) => {}
            _ => return Ok(Json(found)),
        }
    }
}
