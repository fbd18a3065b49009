//! What goes wrong with a cluster.

use installer_engine::{EffectError, ErrorKind};
use installer_plan::kubernetes::{Conflict, Hand};
use installer_render::kubernetes::ObjectId;

use crate::request::{Asked, Cause, Refusal, RequestError};

#[derive(Debug, thiserror::Error)]
pub enum KubernetesError {
    /// Nobody says where a cluster is.
    #[error("no cluster is configured: {looked} is not there, and this is no pod")]
    Unconfigured { looked: String },
    #[error("the configuration `{origin}` of the cluster cannot be used")]
    Configuration {
        origin: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("the context `{context}` is not in {origin}; it has: {known}")]
    Context {
        context: String,
        origin: String,
        known: String,
    },
    #[error("no API server answers at {server}")]
    Unreachable {
        server: String,
        #[source]
        source: RequestError,
    },
    #[error("the certificate of the API server at {server} and what is trusted do not go together")]
    Certificate {
        server: String,
        #[source]
        source: RequestError,
    },
    /// The program that makes tokens, or what it made.
    #[error("nobody can be logged in at the API server at {server}")]
    Login {
        server: String,
        #[source]
        source: RequestError,
    },
    #[error("the API server at {server} does not know who asks")]
    Unauthorized { server: String },
    #[error("the right to {asked} is missing")]
    Forbidden {
        asked: Box<Asked>,
        #[source]
        source: RequestError,
    },
    /// It answers, and asks to come back later.
    #[error("the API server at {server} does not let us {asked} for now")]
    Busy {
        server: String,
        asked: Box<Asked>,
        #[source]
        source: RequestError,
    },
    #[error("the cluster does not let us {asked}")]
    Cluster {
        asked: Box<Asked>,
        #[source]
        source: RequestError,
    },
    #[error("{what} cannot be read")]
    Read {
        what: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl KubernetesError {
    /// Names what is missing where rights are.
    pub(crate) fn of(server: &str, asked: Asked, source: RequestError) -> Self {
        let (server, asked) = (server.to_owned(), Box::new(asked));
        match &source {
            RequestError::Transport(error) => match Fault::of(error) {
                Fault::Certificate => Self::Certificate { server, source },
                Fault::Login => Self::Login { server, source },
                Fault::Way => Self::Unreachable { server, source },
            },
            RequestError::Timeout => Self::Unreachable { server, source },
            RequestError::Refused(refusal) if refusal.code == 401 => Self::Unauthorized { server },
            RequestError::Refused(refusal) if refusal.is_about_rights() => {
                Self::Forbidden { asked, source }
            }
            error if error.retry_after().is_some() => Self::Busy {
                server,
                asked,
                source,
            },
            RequestError::Refused(_) | RequestError::Short | RequestError::Answer(_) => {
                Self::Cluster { asked, source }
            }
        }
    }
}

/// What is wrong with the way to a server.
enum Fault {
    Certificate,
    Login,
    Way,
}

impl Fault {
    /// Looks for the layer that failed, wherever in the chain it is.
    fn of(error: &kube::Error) -> Self {
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(error) = next {
            if let Some(kube::Error::Auth(_)) = error.downcast_ref() {
                return Self::Login;
            }
            // The TLS library's own words: its error is wrapped as text on the way.
            let said = error.to_string().to_lowercase();
            if said.contains("certificate") || said.contains("received fatal alert") {
                return Self::Certificate;
            }
            next = error.source();
        }
        Self::Way
    }
}

/// An effect that the cluster refused. Its kind decides whether trying again can help.
pub(crate) fn effect(server: &str, doing: &str, asked: Asked, error: RequestError) -> EffectError {
    let retry_after = error.retry_after();
    let refusal = error.refusal().cloned().unwrap_or_default();
    let immutable = immutable(&refusal);
    let kind = match &error {
        _ if retry_after.is_some() => ErrorKind::Transient,
        RequestError::Refused(_) => kind(&refusal),
        RequestError::Answer(_) => ErrorKind::Bug,
        RequestError::Timeout | RequestError::Transport(_) | RequestError::Short => {
            ErrorKind::Transient
        }
    };
    let operation = match (immutable, retry_after) {
        (Some(field), _) => format!(
            "cannot {doing}: {field} stays as it was made, so it has to be removed and made anew"
        ),
        // The step loop tells of nothing else while it waits.
        (None, Some(_)) => format!("cannot {doing}: {}", momentary(&error)),
        (None, None) => format!("cannot {doing}"),
    };
    let mut failed = EffectError::new(kind, operation);
    failed.retry_after = retry_after;
    failed.because(KubernetesError::of(server, asked, error))
}

/// Why something may go through later.
fn momentary(error: &RequestError) -> String {
    match error {
        RequestError::Refused(refusal) if refusal.has_cause("NamespaceTerminating") => {
            "the namespace of this name is still being removed".to_owned()
        }
        RequestError::Refused(refusal) if refusal.code == 429 => {
            "the API server has too much to do".to_owned()
        }
        other => other.to_string(),
    }
}

/// By the server's code and reason.
fn kind(refusal: &Refusal) -> ErrorKind {
    match refusal.code {
        409 => ErrorKind::Conflict,
        401 => ErrorKind::Forbidden,
        403 if refusal.is_about_rights() => ErrorKind::Forbidden,
        // What we say is no such object; a policy or a webhook has its own opinion.
        400 | 422 if !refusal.is_admission() && immutable(refusal).is_none() => ErrorKind::Bug,
        _ => ErrorKind::Environment,
    }
}

/// The first field that may not change any more.
fn immutable(refusal: &Refusal) -> Option<&str> {
    fixed(refusal).into_iter().next()
}

/// The fields that may not change any more.
pub(crate) fn fixed(refusal: &Refusal) -> Vec<&str> {
    // In the words of the validation of each kind: most; claims; claims that would shrink;
    // addresses of Services.
    const SAID: [&str; 4] = [
        "field is immutable",
        "is immutable after",
        "can not be less than",
        "may not change once set",
    ];
    let is_fixed = |cause: &&Cause| {
        let said = &cause.message;
        !cause.field.is_empty() && SAID.iter().any(|words| said.contains(words))
    };
    let causes = refusal.causes.iter().filter(|_| refusal.code == 422);
    causes
        .filter(is_fixed)
        .map(|cause| cause.field.as_str())
        .collect()
}

/// Who has which of the fields that we would say, and since when. The server's words are
/// `conflict with "kubectl-edit" using apps/v1 at 2026-11-21T18:00:00Z`, without what follows the
/// name where that one applies, too.
pub(crate) fn conflicts(refusal: &Refusal) -> Vec<Conflict> {
    let conflict = |cause: &&Cause| cause.reason == "FieldManagerConflict";
    let causes = refusal.causes.iter().filter(conflict);
    causes
        .map(|cause| {
            let whose = cause.message.strip_prefix("conflict with ");
            let whose = whose.unwrap_or(&cause.message);
            let mut parts = whose.splitn(3, '"');
            let manager = parts.nth(1).unwrap_or(whose).to_owned();
            let time = parts.next().and_then(|rest| rest.rsplit_once(" at "));
            let time = time.map(|(_, time)| time.to_owned()).unwrap_or_default();
            Conflict {
                field: cause.field.trim_start_matches('.').to_owned(),
                by: Hand { manager, time },
            }
        })
        .collect()
}

/// A thing of the cluster that has to be there and is not.
pub(crate) fn gone(id: &ObjectId, what: &str) -> EffectError {
    EffectError::new(ErrorKind::Conflict, format!("{what} of `{id}` is gone"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u16, message: &str, cause: (&str, &str, &str)) -> Refusal {
        Refusal {
            code,
            message: message.to_owned(),
            causes: vec![Cause {
                reason: cause.0.to_owned(),
                message: cause.1.to_owned(),
                field: cause.2.to_owned(),
            }],
            ..Refusal::default()
        }
    }

    fn told(refusal: Refusal) -> (ErrorKind, String) {
        let asked = Asked {
            verb: "patch",
            resource: "deployments.apps".to_owned(),
            name: "a".to_owned(),
        };
        let error = effect(
            "s",
            "apply `Deployment/a`",
            asked,
            RequestError::Refused(refusal.into()),
        );
        (error.kind, error.operation)
    }

    #[test]
    fn a_field_that_stays_is_named() {
        let cause = (
            "FieldValueInvalid",
            "Invalid value: {}: field is immutable",
            "spec.selector",
        );
        let (kind, operation) = told(refused(422, "Deployment is invalid", cause));
        assert_eq!(kind, ErrorKind::Environment);
        assert!(
            operation.contains("spec.selector stays as it was made"),
            "{operation}"
        );
    }

    #[test]
    fn what_is_wrong_decides_the_kind() {
        let none = ("", "", "");
        for (code, message, kind) in [
            (422, "a is invalid", ErrorKind::Bug),
            (
                400,
                "strict decoding error: unknown field \"spec.x\"",
                ErrorKind::Bug,
            ),
            (
                422,
                "ValidatingAdmissionPolicy 'p' denied request",
                ErrorKind::Environment,
            ),
            (
                400,
                "admission webhook \"w\" denied the request",
                ErrorKind::Environment,
            ),
            (403, "exceeded quota: q", ErrorKind::Environment),
            (503, "shutting down", ErrorKind::Transient),
            (409, "object has been modified", ErrorKind::Conflict),
        ] {
            assert_eq!(told(refused(code, message, none)).0, kind, "{message}");
        }
    }

    #[test]
    fn a_conflict_names_manager_and_field() {
        for (message, told) in [
            (
                "conflict with \"kubectl-edit\" using apps/v1 at 2026-11-21T18:00:00Z",
                "`spec.replicas` is of `kubectl-edit` since 2026-11-21T18:00:00Z",
            ),
            (
                "conflict with \"scaler\" with subresource \"scale\" using apps/v1",
                "`spec.replicas` is of `scaler`",
            ),
            ("conflict with \"helm\"", "`spec.replicas` is of `helm`"),
        ] {
            let cause = ("FieldManagerConflict", message, ".spec.replicas");
            let found = conflicts(&refused(409, "Apply failed", cause));
            assert_eq!(
                found.iter().map(ToString::to_string).collect::<Vec<_>>(),
                [told]
            );
        }
        assert!(conflicts(&refused(409, "modified", ("", "", ""))).is_empty());
    }
}
