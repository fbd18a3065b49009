//! One request to the API server, and why it came to nothing.
//!
//! The client's own layer that tries again for minutes is off: who waits here is seen to wait, in
//! the step loop or in [`Pace`](crate::pace::Pace).

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, header};
use http_body_util::BodyExt as _;
use installer_plan::kubernetes::FIELD_MANAGER;
use installer_render::kubernetes::{Kind, ObjectId};
use jiff::Timestamp;
use kube::client::Body;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::connect::Connection;

/// Not the manager of what we apply: a field that it no longer says would be taken away.
const RESTARTER: &str = "stakeout-restart";

/// A list of ten thousand objects takes a slow server some seconds; an answer that takes longer
/// than this will not come.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What may go through later is asked this many times, twice as long apart each time.
const TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// Longer than this nobody is kept waiting here because the server says so: nothing tells of it.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// After this long nothing is asked again: a server that is too slow to answer takes a while each
/// time.
const PATIENCE: Duration = Duration::from_secs(45);

/// Answers with these mean that the same request may go through later: too many requests, and a
/// server or a store behind it that is not there at the moment.
const LATER: [u16; 4] = [429, 502, 503, 504];

/// What is asked for, as rules of RBAC call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub verb: &'static str,
    /// `deployments.apps`
    pub resource: String,
    /// Empty for all of them.
    pub name: String,
}

impl std::fmt::Display for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.name.is_empty() {
            write!(f, "{} {}", self.verb, self.resource)
        } else {
            write!(f, "{} {} `{}`", self.verb, self.resource, self.name)
        }
    }
}

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error("the API server does not answer within {} s", TIMEOUT.as_secs())]
    Timeout,
    #[error("the API server cannot be reached")]
    Transport(#[source] kube::Error),
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// The connection broke, or somebody on the way has kept the rest.
    #[error("the API server's answer ends in its middle")]
    Short,
    #[error("the API server's answer cannot be read")]
    Answer(#[source] serde_json::Error),
}

/// The server's word for a no.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Refusal {
    pub code: u16,
    /// `Conflict`, `Invalid`, `Forbidden`, …
    pub reason: String,
    pub message: String,
    pub causes: Vec<Cause>,
    pub retry_after: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Cause {
    pub reason: String,
    pub message: String,
    pub field: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl RequestError {
    pub(crate) fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    pub(crate) fn code(&self) -> Option<u16> {
        self.refusal().map(|refusal| refusal.code)
    }

    /// How long to wait before the same request may go through; absent where waiting cannot help.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        const SOON: Duration = Duration::from_secs(1);
        match self {
            Self::Timeout | Self::Transport(_) | Self::Short => Some(SOON),
            Self::Refused(refusal) => refusal.later().then(|| refusal.retry_after.unwrap_or(SOON)),
            Self::Answer(error) => error.is_eof().then_some(SOON),
        }
    }
}

impl Refusal {
    /// Reads an answer's status and body; the body is a `Status`, or plain text of a proxy.
    pub(crate) fn read(code: u16, headers: &HeaderMap, body: &[u8]) -> Self {
        #[derive(Deserialize, Default)]
        #[serde(default, rename_all = "camelCase")]
        struct Details {
            causes: Vec<Cause>,
            retry_after_seconds: u64,
        }
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Status {
            message: String,
            reason: String,
            details: Option<Details>,
        }
        let status: Status = serde_json::from_slice(body).unwrap_or_else(|_| Status {
            message: String::from_utf8_lossy(body).trim().to_owned(),
            ..Status::default()
        });
        let details = status.details.unwrap_or_default();
        let header = headers
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let seconds = header.or(Some(details.retry_after_seconds).filter(|s| *s > 0));
        let message = if status.message.is_empty() {
            "it does not say why".to_owned()
        } else {
            installer_spec::mask(&status.message)
        };
        Self {
            code,
            reason: status.reason,
            message,
            causes: details.causes,
            retry_after: seconds.map(Duration::from_secs),
        }
    }

    fn later(&self) -> bool {
        // A server whose store lost its leader says 500 and how long to wait.
        LATER.contains(&self.code)
            || (self.code >= 500 && self.retry_after.is_some())
            || self.is_starting()
            // One of the same name is still being removed.
            || self.has_cause("NamespaceTerminating")
    }

    /// An API server that goes down or comes up asks itself, and nobody answers. A webhook that nobody
    /// answers for is another matter.
    fn is_starting(&self) -> bool {
        self.code == 500
            && self.message.contains("connect: connection refused")
            && !self.message.contains("webhook")
    }

    /// Whoever asks has no right to what was asked; quotas and admission answer with the same code.
    pub(crate) fn is_about_rights(&self) -> bool {
        let said = self.message.contains("forbidden: User ") && self.message.contains(" cannot ");
        self.code == 403 && said && !self.is_admission()
    }

    /// Policies answer as if the object were invalid, webhooks with any code and reason they like.
    pub(crate) fn is_admission(&self) -> bool {
        let said = |words| self.message.contains(words);
        said("ValidatingAdmissionPolicy") || said("admission webhook")
    }

    pub(crate) fn has_cause(&self, reason: &str) -> bool {
        self.causes.iter().any(|cause| cause.reason == reason)
    }
}

/// What of an object is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    Whole,
    Metadata,
}

impl Extent {
    pub(crate) fn accept(self) -> &'static str {
        match self {
            Self::Whole => "application/json",
            Self::Metadata => "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
        }
    }

    fn accept_list(self) -> &'static str {
        match self {
            Self::Whole => "application/json",
            Self::Metadata => "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
        }
    }
}

/// Whether fields of other managers may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Force {
    No,
    Yes,
}

impl Force {
    fn parameter(self) -> &'static str {
        match self {
            Self::No => "",
            Self::Yes => "&force=true",
        }
    }
}

/// `deployments.apps`
fn resource(kind: Kind) -> String {
    match kind.group() {
        "" => kind.plural().to_owned(),
        group => format!("{}.{group}", kind.plural()),
    }
}

pub(crate) fn asked(verb: &'static str, kind: Kind, name: &str) -> Asked {
    Asked {
        verb,
        resource: resource(kind),
        name: name.to_owned(),
    }
}

/// Path of a kind's collection.
pub(crate) fn collection(kind: Kind, namespace: &str) -> String {
    let root = match kind.group() {
        "" => "/api/v1".to_owned(),
        group => format!("/apis/{group}/v1"),
    };
    if kind.is_namespaced() {
        format!("{root}/namespaces/{namespace}/{}", kind.plural())
    } else {
        format!("{root}/{}", kind.plural())
    }
}

fn path(id: &ObjectId, namespace: &str) -> String {
    format!("{}/{}", collection(id.kind, namespace), id.name)
}

impl Connection {
    /// One request, one answer, which is one JSON object.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        body: Option<(&str, Vec<u8>)>,
    ) -> Result<Bytes, RequestError> {
        let writes = method != Method::GET && !path.ends_with("dryRun=All");
        self.requests.count(writes);
        if writes {
            tracing::debug!("{method} {path}");
        } else {
            tracing::trace!("{method} {path}");
        }
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::ACCEPT, accept);
        let bytes = match body {
            Some((kind, bytes)) => {
                request = request.header(header::CONTENT_TYPE, kind);
                bytes
            }
            None => Vec::new(),
        };
        let request = request
            .body(Body::from(bytes))
            .map_err(|error| RequestError::Transport(kube::Error::HttpError(error)))?;
        let exchange = async {
            let answer = self.client.send(request).await;
            let (parts, body) = answer.map_err(RequestError::Transport)?.into_parts();
            let body = body.collect().await.map_err(|error| {
                tracing::debug!("{path}: {error}");
                RequestError::Short
            })?;
            Ok((parts, body.to_bytes()))
        };
        let (parts, bytes) = tokio::time::timeout(TIMEOUT, exchange)
            .await
            .map_err(|_| RequestError::Timeout)??;
        if parts.status.is_success() {
            return if is_whole(&bytes) {
                Ok(bytes)
            } else {
                Err(RequestError::Short)
            };
        }
        let refusal = Refusal::read(parts.status.as_u16(), &parts.headers, &bytes);
        Err(RequestError::Refused(refusal.into()))
    }

    /// Reads, and asks again for some seconds where that may help.
    async fn read(&self, path: &str, accept: &str) -> Result<Bytes, RequestError> {
        patiently(|| self.send(Method::GET, path, accept, None)).await
    }

    pub(crate) async fn get_path(&self, path: &str) -> Result<Bytes, RequestError> {
        self.read(path, Extent::Whole.accept()).await
    }

    /// An object; nothing where it is not there.
    pub(crate) async fn get(
        &self,
        namespace: &str,
        id: &ObjectId,
        extent: Extent,
    ) -> Result<Option<Value>, RequestError> {
        match self.read(&path(id, namespace), extent.accept()).await {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(RequestError::Answer),
            Err(error) if error.code() == Some(404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All objects of a kind that the selector fits; an empty one fits all.
    pub(crate) async fn list(
        &self,
        namespace: &str,
        kind: Kind,
        selector: &str,
        extent: Extent,
    ) -> Result<Bytes, RequestError> {
        let mut path = collection(kind, namespace);
        if !selector.is_empty() {
            path = format!("{path}?labelSelector={}", encode(selector));
        }
        self.read(&path, extent.accept_list()).await
    }

    /// Says what we say of an object; answers its metadata.
    pub(crate) async fn apply(
        &self,
        namespace: &str,
        id: &ObjectId,
        value: &Value,
        force: Force,
    ) -> Result<Applied, RequestError> {
        #[derive(Deserialize)]
        struct Answer {
            metadata: Applied,
        }
        let path = format!(
            "{}?fieldManager={FIELD_MANAGER}&fieldValidation=Strict{}",
            path(id, namespace),
            force.parameter(),
        );
        let body = serde_json::to_vec(value).map_err(RequestError::Answer)?;
        let bytes = self
            .send(
                Method::PATCH,
                &path,
                Extent::Metadata.accept(),
                Some(("application/apply-patch+yaml", body)),
            )
            .await?;
        let answer: Answer = serde_json::from_slice(&bytes).map_err(RequestError::Answer)?;
        Ok(answer.metadata)
    }

    /// Has the pods of a Deployment made anew, as `kubectl rollout restart` does; answers its metadata.
    /// What we say of the Deployment stays as it is.
    pub(crate) async fn restart(
        &self,
        namespace: &str,
        id: &ObjectId,
    ) -> Result<Applied, RequestError> {
        #[derive(Deserialize)]
        struct Answer {
            metadata: Applied,
        }
        let now = Timestamp::now().to_string();
        let annotations = json!({ "kubectl.kubernetes.io/restartedAt": now });
        let patch = json!({
            "spec": { "template": { "metadata": { "annotations": annotations } } },
        });
        let path = format!(
            "{}?fieldManager={RESTARTER}&fieldValidation=Strict",
            path(id, namespace)
        );
        let body = serde_json::to_vec(&patch).map_err(RequestError::Answer)?;
        let body = Some(("application/merge-patch+json", body));
        let accept = Extent::Metadata.accept();
        let bytes = self.send(Method::PATCH, &path, accept, body).await?;
        let answer: Answer = serde_json::from_slice(&bytes).map_err(RequestError::Answer)?;
        Ok(answer.metadata)
    }

    /// What an object would be after what we say of it. Nothing changes.
    pub(crate) async fn dry_run(
        &self,
        namespace: &str,
        id: &ObjectId,
        value: &Value,
        force: Force,
    ) -> Result<Value, RequestError> {
        let path = format!(
            "{}?fieldManager={FIELD_MANAGER}&fieldValidation=Strict{}&dryRun=All",
            path(id, namespace),
            force.parameter(),
        );
        let body = serde_json::to_vec(value).map_err(RequestError::Answer)?;
        let body = Some(("application/apply-patch+yaml", body));
        let accept = Extent::Whole.accept();
        let bytes = self.send(Method::PATCH, &path, accept, body).await?;
        serde_json::from_slice(&bytes).map_err(RequestError::Answer)
    }

    /// Writes down who has said what of an object, if nobody has changed it since this version.
    pub(crate) async fn replace_managed_fields(
        &self,
        namespace: &str,
        id: &ObjectId,
        fields: &Value,
        version: Option<&Value>,
    ) -> Result<(), RequestError> {
        let patch = json!([
            { "op": "replace", "path": "/metadata/managedFields", "value": fields },
            { "op": "replace", "path": "/metadata/resourceVersion", "value": version },
        ]);
        let path = format!("{}?fieldManager={FIELD_MANAGER}", path(id, namespace));
        let body = serde_json::to_vec(&patch).map_err(RequestError::Answer)?;
        let body = Some(("application/json-patch+json", body));
        let accept = Extent::Metadata.accept();
        self.send(Method::PATCH, &path, accept, body)
            .await
            .map(drop)
    }

    /// Takes an object away; with a UID, that one only.
    pub(crate) async fn delete(
        &self,
        namespace: &str,
        id: &ObjectId,
        uid: Option<&str>,
    ) -> Result<(), RequestError> {
        let propagation = match id.kind {
            // Gone means that its pods are, too.
            Kind::Deployment => "Foreground",
            _ => "Background",
        };
        self.delete_path(&path(id, namespace), propagation, uid)
            .await
    }

    pub(crate) async fn delete_path(
        &self,
        path: &str,
        propagation: &str,
        uid: Option<&str>,
    ) -> Result<(), RequestError> {
        let mut options = json!({
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": propagation,
        });
        if let (Some(uid), Some(options)) = (uid, options.as_object_mut()) {
            options.insert("preconditions".to_owned(), json!({ "uid": uid }));
        }
        let body = serde_json::to_vec(&options).map_err(RequestError::Answer)?;
        let accept = Extent::Metadata.accept();
        let body = Some(("application/json", body));
        match self.send(Method::DELETE, path, accept, body).await {
            // Gone already; another one has its name; or it is on its way.
            Err(error) if matches!(error.code(), Some(404 | 409)) => Ok(()),
            other => other.map(drop),
        }
    }
}

/// Asks, and asks again for some seconds where that may help.
pub(crate) async fn patiently<T, F>(ask: impl Fn() -> F) -> Result<T, RequestError>
where
    F: Future<Output = Result<T, RequestError>>,
{
    let (begun, mut pause) = (Instant::now(), FIRST_PAUSE);
    for _ in 1..TRIES {
        match ask().await {
            Err(error) => match (error.retry_after(), error.refusal()) {
                // The server says how long; nobody else does.
                (Some(told), Some(_)) if told <= LONGEST_PAUSE => {
                    tracing::debug!("{error}; again in {} s", told.as_secs());
                    tokio::time::sleep(told.max(pause)).await;
                }
                (Some(_), None) if begun.elapsed() < PATIENCE => tokio::time::sleep(pause).await,
                _ => return Err(error),
            },
            answered => return answered,
        }
        pause *= 2;
    }
    ask().await
}

/// Every answer that is asked for here is one object. The server writes it on one line, and ends that
/// line: of those a thousand objects are not parsed twice to know it.
fn is_whole(answer: &[u8]) -> bool {
    answer.ends_with(b"}\n") || serde_json::from_slice::<IgnoredAny>(answer).is_ok()
}

/// What the server notes of an object that was applied.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Applied {
    pub(crate) uid: String,
    /// Of kinds that count their changes.
    #[serde(default)]
    pub(crate) generation: i64,
    /// It is being removed, and what was said of it goes with it.
    #[serde(default, rename = "deletionTimestamp")]
    pub(crate) ending: Option<String>,
}

/// Selectors hold few characters that URLs do not.
pub(crate) fn encode(selector: &str) -> String {
    selector
        .replace('!', "%21")
        .replace('=', "%3D")
        .replace(',', "%2C")
        .replace(' ', "%20")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_and_so_is_a_proxys_text() {
        let body =
            br#"{"kind":"Status","message":"Apply failed with 1 conflict","reason":"Conflict",
            "details":{"causes":[{"reason":"FieldManagerConflict",
            "message":"conflict with \"kubectl-edit\" using apps/v1","field":".spec.replicas"}]},
            "code":409}"#;
        let refusal = Refusal::read(409, &HeaderMap::new(), body);
        assert!(refusal.has_cause("FieldManagerConflict"));
        assert!(!refusal.later());
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, "7".parse().unwrap());
        let error =
            RequestError::Refused(Refusal::read(429, &headers, b"Too many requests\n").into());
        assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
        assert_eq!(error.to_string(), "Too many requests (429)");
    }

    #[test]
    fn an_answer_that_ends_early_is_seen() {
        assert!(is_whole(b"{\"items\":[]}\n"));
        assert!(is_whole(b"{\n  \"major\": \"1\"\n}"));
        assert!(!is_whole(b"{\"items\":[{\"a\":"));
        assert!(!is_whole(b"{\"items\":[{\"a\":{}}"));
        assert!(!is_whole(b""));
        assert!(RequestError::Short.retry_after().is_some());
    }

    #[tokio::test]
    async fn what_is_put_off_is_asked_again_after_the_pause() {
        let tried = std::cell::Cell::new(0);
        let refused = |code, pause| {
            RequestError::Refused(Box::new(Refusal {
                code,
                retry_after: Some(pause),
                ..Refusal::default()
            }))
        };
        let (begun, pause) = (Instant::now(), Duration::from_millis(300));
        let answered = patiently(|| async {
            tried.set(tried.get() + 1);
            match tried.get() {
                1 => Err(refused(429, pause)),
                2 => Err(RequestError::Short),
                _ => Ok(()),
            }
        });
        assert!(answered.await.is_ok());
        assert_eq!(tried.get(), 3);
        assert!(begun.elapsed() >= pause + FIRST_PAUSE * 2);
        // Longer than a person is kept waiting without a word; and what is refused for good.
        for (code, pause) in [(429, LONGEST_PAUSE * 2), (403, pause)] {
            tried.set(0);
            let answered: Result<(), _> = patiently(|| async {
                tried.set(tried.get() + 1);
                Err(refused(code, pause))
            })
            .await;
            assert_eq!((answered.is_err(), tried.get()), (true, 1));
        }
    }

    #[test]
    fn a_server_that_starts_is_waited_for_and_a_missing_webhook_is_not() {
        let refused = |message: &str| Refusal {
            code: 500,
            message: message.to_owned(),
            ..Refusal::default()
        };
        let itself = "Get \"https://10.0.0.1:6443/api/v1/namespaces/n\": dial tcp 10.0.0.1:6443: \
            connect: connection refused";
        assert!(refused(itself).later());
        let webhook = "failed calling webhook \"a.b.c\": dial tcp 127.0.0.1:1: connect: \
            connection refused";
        assert!(!refused(webhook).later());
    }

    #[test]
    fn only_rbac_is_about_rights() {
        let refused = |message: &str| Refusal {
            code: 403,
            reason: "Forbidden".to_owned(),
            message: message.to_owned(),
            ..Refusal::default()
        };
        let rbac = "secrets is forbidden: User \"u\" cannot list resource \"secrets\" in API group \
            \"\" in the namespace \"n\"";
        assert!(refused(rbac).is_about_rights());
        assert!(!refused("pods \"a\" is forbidden: exceeded quota: q").is_about_rights());
        // Webhooks may say what they like.
        let webhook = format!("admission webhook \"w\" denied the request: {rbac}");
        assert!(!refused(&webhook).is_about_rights());
        assert!(!refused("this cannot be").is_about_rights());
    }

    #[test]
    fn paths_follow_the_kind() {
        let path = |kind| path(&ObjectId::new(kind, "a"), "n");
        assert_eq!(
            path(Kind::Deployment),
            "/apis/apps/v1/namespaces/n/deployments/a"
        );
        assert_eq!(path(Kind::Namespace), "/api/v1/namespaces/a");
        assert_eq!(
            path(Kind::ValidatingAdmissionPolicy),
            "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/a"
        );
    }
}
