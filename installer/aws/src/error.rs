//! What Amazon answers when it does not do something, as the engine's kinds.

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use installer_engine::{EffectError, ErrorKind};

/// What a service said.
#[derive(Debug, thiserror::Error)]
#[error("{code}: {message}")]
struct Answer {
    code: String,
    message: String,
}

/// The call did not get an answer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NoAnswer(String);

/// Who calls is not who he was ("Common errors" of each service's API reference).
const LOGGED_OUT: [&str; 9] = [
    "ExpiredToken",
    "ExpiredTokenException",
    "RequestExpired",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
    "UnrecognizedClientException",
];

const DENIED: [&str; 6] = [
    "AccessDenied",
    "AccessDeniedException",
    "AllAccessDisabled",
    "MissingAuthenticationToken",
    "UnauthorizedAccess",
    "UnauthorizedOperation",
];

/// It may go through the next time: too many calls, or what was made a moment ago is not known
/// everywhere yet.
const PASSING: [&str; 18] = [
    "ConcurrentModification",
    "DeleteConflict",
    "InternalError",
    "InternalFailure",
    "OperationAborted",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestTimeout",
    "ResourceInUseException",
    "ServerException",
    "ServiceFailure",
    "ServiceUnavailable",
    "ServiceUnavailableException",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "UnmodifiableEntity",
];

const TAKEN: [&str; 5] = [
    "BucketAlreadyExists",
    "EntityAlreadyExists",
    "ResourcePropertyAlreadyExists",
    "BucketNotEmpty",
    "PreconditionFailed",
];

pub(crate) fn code<E: ProvideErrorMetadata>(error: &SdkError<E>) -> &str {
    error.code().unwrap_or_default()
}

pub(crate) fn status<E>(error: &SdkError<E>) -> Option<u16> {
    error.raw_response().map(|answer| answer.status().as_u16())
}

/// `action` is IAM's name of the right that the call needs, `operation` what was being done.
pub(crate) fn failed<E>(action: &str, operation: &str, error: &SdkError<E>) -> EffectError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    if status(error).is_none() {
        let kind = match error {
            SdkError::ConstructionFailure(_) => ErrorKind::Bug,
            _ => ErrorKind::Transient,
        };
        let source = NoAnswer(chain(error));
        return EffectError::new(kind, format!("cannot {operation}")).because(source);
    }
    let code = code(error);
    let (kind, why) = if LOGGED_OUT.contains(&code) {
        let why = format!("cannot {operation}: the login at AWS is over or wrong ({action})");
        (ErrorKind::Forbidden, why)
    } else if DENIED.contains(&code) || (code.is_empty() && status(error) == Some(403)) {
        (
            ErrorKind::Forbidden,
            format!("cannot {operation}: {action} is not allowed"),
        )
    } else if PASSING.contains(&code) || status(error).is_some_and(|status| status >= 500) {
        (ErrorKind::Transient, format!("cannot {operation}"))
    } else if TAKEN.contains(&code) {
        (ErrorKind::Conflict, format!("cannot {operation}"))
    } else {
        (ErrorKind::Environment, format!("cannot {operation}"))
    };
    let message = match error.message() {
        Some(message) => message.to_owned(),
        None => chain(error),
    };
    let code = match (code, status(error)) {
        ("", Some(status)) => format!("HTTP {status}"),
        (code, _) => code.to_owned(),
    };
    EffectError::new(kind, why).because(Answer { code, message })
}

/// An error and what is below it, without what was sent or answered.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(error) = below {
        text.push_str(": ");
        text.push_str(&error.to_string());
        below = error.source();
    }
    text
}
