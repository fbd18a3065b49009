//! Finished recordings: list and media.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncSeekExt, SeekFrom};
use tokio_util::io::ReaderStream;

use crate::range::{Wanted, parse};
use crate::{Api, problem};

/// Large enough to keep system calls rare, small enough for many readers.
const CHUNK: usize = 64 * 1024;

#[derive(Deserialize)]
pub(crate) struct ListQuery {
    camera: Option<String>,
}

pub(crate) async fn list(
    State(api): State<Api>,
    Query(query): Query<ListQuery>,
) -> Json<Vec<agent_api::Recording>> {
    let mut recordings = api.store.recordings(query.camera.as_deref());
    recordings.reverse();
    Json(recordings)
}

/// The name is only looked up in the store's list, so it cannot lead anywhere else.
pub(crate) async fn media(
    State(api): State<Api>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    let missing = || {
        problem(
            StatusCode::NOT_FOUND,
            "no_recording",
            "there is no such recording",
        )
    };
    let Some(recording) = api.store.find(&name) else {
        return missing();
    };
    // It may have been uploaded or expired in this very moment.
    let Ok(mut file) = tokio::fs::File::open(api.store.path_of(&recording)).await else {
        return missing();
    };
    let length = match file.metadata().await {
        Ok(metadata) => metadata.len(),
        Err(error) => {
            tracing::error!(recording = %name, %error, "a recording cannot be read");
            let text = "the recording cannot be read";
            return problem(StatusCode::INTERNAL_SERVER_ERROR, "unreadable", text);
        }
    };
    // No validators are sent, so an `If-Range` never matches and means the whole.
    let asked = headers
        .get(header::RANGE)
        .filter(|_| !headers.contains_key(header::IF_RANGE))
        .and_then(|v| v.to_str().ok());
    let (status, first, count) = match parse(asked, length) {
        Wanted::Whole => (StatusCode::OK, 0, length),
        Wanted::Part(first, last) => (StatusCode::PARTIAL_CONTENT, first, last - first + 1),
        Wanted::Unsatisfiable => {
            let length = format!("bytes */{length}");
            let headers = [(header::CONTENT_RANGE, length)];
            return (StatusCode::RANGE_NOT_SATISFIABLE, headers).into_response();
        }
    };
    if first > 0 && file.seek(SeekFrom::Start(first)).await.is_err() {
        return missing();
    }
    let body = Body::from_stream(ReaderStream::with_capacity(file.take(count), CHUNK));
    let fixed = [
        (header::CONTENT_TYPE, "video/mp4".to_owned()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (header::CONTENT_LENGTH, count.to_string()),
        // Recordings are of people: no cache on the way keeps them.
        (header::CACHE_CONTROL, "private, no-store".to_owned()),
    ];
    let mut response = (status, fixed, body).into_response();
    if status == StatusCode::PARTIAL_CONTENT
        && let Ok(range) = format!("bytes {first}-{}/{length}", first + count - 1).parse()
    {
        response.headers_mut().insert(header::CONTENT_RANGE, range);
    }
    response
}
