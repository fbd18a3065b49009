//! Answers that are not a success: a status, a stable word and a sentence.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use vault_api::Problem;

/// Why a request was not served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    pub status: StatusCode,
    pub word: &'static str,
    pub message: String,
}

impl Refusal {
    pub fn new(status: StatusCode, word: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            word,
            message: message.into(),
        }
    }

    /// Something of ours failed; the client may try again. Details go to the log.
    pub(crate) fn internal(error: &dyn std::error::Error) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        tracing::error!("{text}");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal_error",
            "the vault failed; its log says why",
        )
    }

    pub(crate) fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "there is no such recording",
        )
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = Problem {
            status: self.word.to_owned(),
            message: self.message,
        };
        (self.status, Json(body)).into_response()
    }
}

/// Body for paths that are not ours.
pub(crate) fn absent() -> Json<Problem> {
    Json(Problem {
        status: "not_found".to_owned(),
        message: "there is no such call".to_owned(),
    })
}
