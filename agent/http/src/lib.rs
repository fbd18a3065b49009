//! The agent's API over HTTP; the calls are listed in `agent-api`.
//!
//! Invariant: nothing but health and metrics is told without the bearer token, and nothing on disk
//! is reached but finished recordings that the store lists.
//! It must not know how frames come. Start at [`router`].

mod metrics;
mod range;
mod recordings;
mod tls;
mod token;

use std::sync::Arc;
use std::time::Duration;

use agent_api::{CameraStatus, Health, Proof};
use agent_store::Store;
use axum::extract::{Path, Query, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures::future::BoxFuture;
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};

pub use metrics::CameraMetrics;
pub use tls::{TlsError, TlsListener, read_certificates};
pub use token::{Token, TokenError, read_token};

/// A proof needs time to be seen, and no one keeps a connection open for an hour.
const PROOF_SECONDS: std::ops::RangeInclusive<u64> = 1..=300;
const DEFAULT_PROOF_SECONDS: u64 = 5;

/// What the API asks the running agent.
pub trait Site: Send + Sync + 'static {
    fn health(&self) -> Health;
    fn cameras(&self) -> Vec<CameraStatus>;
    fn metrics(&self) -> Vec<CameraMetrics>;
    /// Records at least `span` that begins now, and follows it to the vault.
    fn prove(&self, camera: &str, span: Duration) -> BoxFuture<'static, Result<Proof, ProofError>>;
}

/// Why there is no proof.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("there is no camera `{0}`")]
    NoCamera(String),
    #[error("camera `{camera}` gave no finished recording within {seconds} s")]
    NoRecording { camera: String, seconds: u64 },
    #[error("recording `{recording}` was not uploaded within {seconds} s")]
    NotUploaded { recording: String, seconds: u64 },
    #[error("the agent is being stopped")]
    Stopping,
}

/// Body of every answer that is not a success.
#[derive(Debug, Serialize)]
struct Problem {
    status: &'static str,
    message: String,
}

#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) site: Arc<dyn Site>,
    pub(crate) store: Arc<Store>,
    token: Arc<Token>,
}

/// All calls; hand it to `axum::serve`.
pub fn router(site: Arc<dyn Site>, store: Arc<Store>, token: Token) -> Router {
    let api = Api {
        site,
        store,
        token: Arc::new(token),
    };
    let closed = Router::new()
        .route("/api/cameras", get(cameras))
        .route("/api/cameras/{name}/proof", post(proof))
        .route("/api/recordings", get(recordings::list))
        .route("/api/recordings/{file}", get(recordings::media))
        .layer(middleware::from_fn_with_state(api.clone(), admit));
    Router::new()
        .route("/healthz", get(health))
        .route("/metrics", get(metrics::scrape))
        .merge(closed)
        .fallback(|| async { problem(StatusCode::NOT_FOUND, "not_found", "there is no such call") })
        .with_state(api)
}

async fn admit(State(api): State<Api>, request: Request, next: Next) -> Response {
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    if given.is_some_and(|given| api.token.matches(given)) {
        return next.run(request).await;
    }
    let answer = problem(
        StatusCode::UNAUTHORIZED,
        "unauthorized",
        "this call needs the bearer token",
    );
    ([(header::WWW_AUTHENTICATE, "Bearer")], answer).into_response()
}

async fn health(State(api): State<Api>) -> Response {
    let health = api.site.health();
    let status = if health.status == "ok" {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(health)).into_response()
}

async fn cameras(State(api): State<Api>) -> Json<Vec<CameraStatus>> {
    Json(api.site.cameras())
}

#[derive(Deserialize)]
struct ProofQuery {
    seconds: Option<u64>,
}

async fn proof(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(query): Query<ProofQuery>,
) -> Response {
    let seconds = query.seconds.unwrap_or(DEFAULT_PROOF_SECONDS);
    if !PROOF_SECONDS.contains(&seconds) {
        let text = "`seconds` is between 1 and 300";
        return problem(StatusCode::BAD_REQUEST, "bad_request", text);
    }
    match api.site.prove(&name, Duration::from_secs(seconds)).await {
        Ok(proof) => Json(proof).into_response(),
        Err(error) => {
            let (status, word) = match &error {
                ProofError::NoCamera(_) => (StatusCode::NOT_FOUND, "no_camera"),
                ProofError::NoRecording { .. } => (StatusCode::GATEWAY_TIMEOUT, "no_recording"),
                ProofError::NotUploaded { .. } => (StatusCode::GATEWAY_TIMEOUT, "not_uploaded"),
                ProofError::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
            };
            problem(status, word, &error.to_string())
        }
    }
}

pub(crate) fn problem(status: StatusCode, word: &'static str, message: &str) -> Response {
    (
        status,
        Json(Problem {
            status: word,
            message: message.to_owned(),
        }),
    )
        .into_response()
}

/// The error and its sources in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(Some(error), |e| e.source());
    sources
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
