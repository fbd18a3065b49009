//! What the vault holds, and the bytes of it.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method, Response, StatusCode, header};
use axum::response::IntoResponse;
use camino::Utf8PathBuf;
use serde::Deserialize;
use vault_api::{Page, Recording};

use crate::problem::Refusal;
use crate::range::{self, Wanted};
use crate::vault::Vault;

/// One page at most.
const LIMIT_MAX: usize = 1000;

#[derive(Debug, Deserialize)]
pub(crate) struct ListQuery {
    camera: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

pub(crate) async fn list(
    State(vault): State<Arc<Vault>>,
    headers: HeaderMap,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<Page>, Refusal> {
    vault.keys.require_any(&headers)?;
    let Query(query) = query.map_err(|error| Refusal::query(&error))?;
    // What a form left empty is not asked for.
    let after = query.after.as_deref().filter(|after| !after.is_empty());
    let camera = query.camera.filter(|camera| !camera.is_empty());
    let after = after.map(str::parse).transpose();
    let after = after.map_err(|error: vault_catalogue::NotAToken| {
        Refusal::new(StatusCode::BAD_REQUEST, "after_invalid", error.to_string())
    })?;
    let limit = query.limit.unwrap_or(100).clamp(1, LIMIT_MAX);
    let page = vault.ask(move |catalogue| catalogue.page(camera.as_deref(), after, limit));
    Ok(Json(
        page.await.map_err(|error| Refusal::catalogue(&error))?,
    ))
}

pub(crate) async fn show(
    State(vault): State<Arc<Vault>>,
    headers: HeaderMap,
    id: Result<Path<i64>, PathRejection>,
) -> Result<Json<Recording>, Refusal> {
    vault.keys.require_any(&headers)?;
    Ok(Json(find(&vault, id).await?))
}

async fn find(vault: &Vault, id: Result<Path<i64>, PathRejection>) -> Result<Recording, Refusal> {
    let Path(id) = id.map_err(|_| Refusal::not_found())?;
    let found = vault.ask(move |catalogue| catalogue.by_id(id)).await;
    found
        .map_err(|error| Refusal::catalogue(&error))?
        .ok_or_else(Refusal::not_found)
}

pub(crate) async fn media(
    State(vault): State<Arc<Vault>>,
    method: Method,
    headers: HeaderMap,
    id: Result<Path<i64>, PathRejection>,
) -> Result<Response<Body>, Refusal> {
    vault.keys.require_any(&headers)?;
    let recording = find(&vault, id).await?;
    let location = Utf8PathBuf::from(recording.location);
    let size = vault.provider.size(&location).await;
    let size = size
        .map_err(|error| Refusal::storage(&error))?
        .ok_or_else(Refusal::not_found)?;
    let etag = format!("\"{}-{size}\"", recording.id);
    let asked = headers
        .get(header::RANGE)
        .and_then(|value| value.to_str().ok());
    // A client that holds another version gets the whole.
    let fresh = headers
        .get(header::IF_RANGE)
        .is_none_or(|value| value.as_bytes() == etag.as_bytes());
    let answer = Response::builder()
        .header(header::CONTENT_TYPE, "video/mp4")
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::ETAG, &etag);
    let (answer, start, length) =
        match range::parse(asked.filter(|_| fresh && method == Method::GET), size) {
            Wanted::Whole => (answer.status(StatusCode::OK), 0, size),
            Wanted::Part { start, length } => {
                let range = format!("bytes {start}-{}/{size}", start + length - 1);
                let answer = answer.status(StatusCode::PARTIAL_CONTENT);
                (answer.header(header::CONTENT_RANGE, range), start, length)
            }
            Wanted::Unsatisfiable => {
                let refusal = Refusal::new(
                    StatusCode::RANGE_NOT_SATISFIABLE,
                    "range_not_satisfiable",
                    format!("the recording has {size} bytes"),
                );
                let range = [(header::CONTENT_RANGE, format!("bytes */{size}"))];
                return Ok((range, refusal).into_response());
            }
        };
    // An object that goes while it is being read ends early, which the client notices.
    let pieces = vault.provider.stream(&location, start, length);
    let answer = answer
        .header(header::CONTENT_LENGTH, length)
        .body(Body::from_stream(pieces));
    Ok(answer.expect("invariant: fixed headers are valid"))
}
