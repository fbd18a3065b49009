//! The vault's API: uploads in, recordings and events out.
//!
//! Invariant: an upload is answered with success only after the provider and the catalogue have
//! it on disk. It must not know how events are delivered. Start at [`router`] and [`Vault`].

mod auth;
mod events;
mod metrics;
mod problem;
mod range;
mod recordings;
mod retention;
mod upload;
mod vault;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

pub use auth::{AccountKeys, Keys};
pub use problem::Refusal;
pub use retention::{Policy, retain};
pub use vault::{Integration, Vault, VaultError, adopt, now_ms};

/// All routes of vault-api's table.
pub fn router(vault: Arc<Vault>) -> Router {
    let ok = || async { "ok\n" };
    Router::new()
        .route("/healthz", get(metrics::health))
        .route("/api/health", get(metrics::health))
        .route("/metrics", get(metrics::show))
        .route("/api/ping", post(upload::ping))
        // The Go agent tells of itself here every 10 s; nothing of it is kept yet.
        .route("/api/devices/heartbeat", post(ok))
        .route("/api/storage", post(upload::store))
        .route("/api/recordings", get(recordings::list))
        .route("/api/recordings/{id}", get(recordings::show))
        .route("/api/recordings/{id}/media", get(recordings::media))
        .route("/api/events", get(events::list))
        .route("/api/usage", get(metrics::usage))
        .fallback(problem::absent)
        .method_not_allowed_fallback(problem::other_method)
        .with_state(vault)
}
