//! Answers that are not a success: a status, a stable word and a sentence.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use vault_api::Problem;
use vault_storage::StorageError;

use crate::vault::VaultError;

/// A server that is restarted is back by then.
const RETRY_AFTER_SECONDS: &str = "5";

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
        tracing::error!("{}", chain(error));
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal_error",
            "the vault failed; its log says why",
        )
    }

    /// A server of objects that is away is nothing of ours; the client tries again all the same.
    pub(crate) fn storage(error: &StorageError) -> Self {
        match error {
            StorageError::Remote { .. } => {
                tracing::warn!("{}", chain(error));
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "storage_unavailable",
                    "the store of objects cannot be used now; the vault's log says why",
                )
            }
            _ => Self::internal(error),
        }
    }

    /// A question to the catalogue failed.
    pub(crate) fn catalogue(error: &VaultError) -> Self {
        match error {
            VaultError::Catalogue(unavailable) if unavailable.is_unavailable() => {
                tracing::warn!("{}", chain(error));
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "catalogue_unavailable",
                    "the database of the catalogue cannot be used now; the vault's log says why",
                )
            }
            _ => Self::internal(error),
        }
    }

    pub(crate) fn query(rejection: &QueryRejection) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "query_invalid",
            rejection.body_text(),
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

/// An error and what caused it, in one line for the log.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = Problem {
            status: self.word.to_owned(),
            message: self.message,
        };
        let mut answer = (self.status, Json(body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            // RFC 9110, section 15.5.2, wants the scheme named.
            let scheme = HeaderValue::from_static("Bearer");
            answer.headers_mut().insert(WWW_AUTHENTICATE, scheme);
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            let after = HeaderValue::from_static(RETRY_AFTER_SECONDS);
            answer.headers_mut().insert(RETRY_AFTER, after);
        }
        answer
    }
}

/// For paths that are not ours.
pub(crate) async fn absent() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "not_found", "there is no such call")
}

/// For paths that are ours, asked in another way.
pub(crate) async fn other_method() -> Refusal {
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "this call takes another method",
    )
}
