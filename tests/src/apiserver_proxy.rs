//! A proxy before a cluster's API server that fails as it is told, and counts what is asked.
//!
//! It listens on loopback, has a kubeconfig of its own, and asks the server with the administrator's
//! certificate, or with the token of whoever asks it. Watches are passed on as they come; a page of a
//! list has one item, so that there is always a next one. Upgraded
//! connections (forwarded ports, logs that follow) are not passed on.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, Once};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use camino::{Utf8Path, Utf8PathBuf};
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::cluster::Cluster;

/// What an answer becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// 429, and to come back after so many seconds; the server is not asked.
    Busy(u64),
    /// 503, as of a server that is starting; it is not asked.
    Unavailable,
    /// The server does what it was asked, and the connection ends in the middle of its answer.
    Cut,
    /// The server does what it was asked; its answer ends early, and looks complete to HTTP.
    Short,
    /// 410: what a watch or a list would go on from is forgotten.
    Gone,
    /// A watch ends after this long, as those of a server that is shut down.
    Ends(Duration),
    /// The answer takes this much longer.
    Late(Duration),
}

/// Which requests meet a fault, counted and bounded.
#[derive(Debug, Clone)]
pub struct Rule {
    fault: Fault,
    verbs: &'static [&'static str],
    resource: &'static str,
    every: u32,
    most: u32,
    /// Of lists, only those that go on where a page ended.
    continued: bool,
    /// Requests that it is about.
    seen: u32,
    /// Those of them that failed.
    met: u32,
}

impl Rule {
    /// Each of the first `most` requests.
    pub fn first(most: u32, fault: Fault) -> Self {
        Self::every(1, most, fault)
    }

    /// One of `every` requests, `most` in all.
    pub fn every(every: u32, most: u32, fault: Fault) -> Self {
        Self {
            fault,
            verbs: &[],
            resource: "",
            every,
            most,
            continued: false,
            seen: 0,
            met: 0,
        }
    }

    /// Only requests with one of these verbs, as rules of RBAC call them.
    #[must_use]
    pub fn verbs(mut self, verbs: &'static [&'static str]) -> Self {
        self.verbs = verbs;
        self
    }

    /// Only requests about this resource, in the plural.
    #[must_use]
    pub fn of(mut self, resource: &'static str) -> Self {
        self.resource = resource;
        self
    }

    /// Only requests for what follows a page of a list.
    #[must_use]
    pub fn continued(mut self) -> Self {
        self.continued = true;
        self
    }

    fn meets(&mut self, asked: &Asked) -> Option<Fault> {
        let verb = self.verbs.is_empty() || self.verbs.contains(&asked.verb);
        let about = verb && (self.resource.is_empty() || self.resource == asked.resource);
        if !about || self.met == self.most || (self.continued && !asked.continued) {
            return None;
        }
        self.seen += 1;
        let meets = self.seen.is_multiple_of(self.every);
        self.met += u32::from(meets);
        meets.then_some(self.fault)
    }
}

/// What a request is about, as rules of RBAC call it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    verb: &'static str,
    resource: String,
    /// It asks for what follows a page.
    continued: bool,
    /// Nothing comes of it.
    rehearsed: bool,
}

impl Asked {
    fn of(method: &Method, path: &str, query: &str) -> Self {
        let mut parts: VecDeque<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let root = match parts.front() {
            Some(&"api") => 2,
            Some(&"apis") => 3,
            // `/version`, `/readyz`
            _ => 0,
        };
        parts.drain(..root.min(parts.len()));
        let in_namespace = parts.front() == Some(&"namespaces") && parts.len() > 2;
        parts.drain(..if in_namespace { 2 } else { 0 });
        let named = parts.len() > 1;
        let watches = query
            .split('&')
            .any(|word| word == "watch=true" || word == "watch=1");
        let verb = match (method.as_str(), named) {
            ("GET", _) if watches => "watch",
            ("GET", true) => "get",
            ("GET", false) if root == 0 => "get",
            ("GET", false) => "list",
            ("POST", _) => "create",
            ("PUT", _) => "update",
            ("PATCH", _) => "patch",
            ("DELETE", _) => "delete",
            _ => "other",
        };
        Self {
            verb,
            resource: parts.front().copied().unwrap_or_default().to_owned(),
            continued: query.split('&').any(|word| word.starts_with("continue=")),
            rehearsed: query.split('&').any(|word| word.starts_with("dryRun=")),
        }
    }

    fn writes(&self) -> bool {
        ["create", "update", "patch", "delete"].contains(&self.verb)
    }
}

type Deed = Box<dyn FnOnce() + Send>;

/// Before which request a deed happens.
enum When {
    /// The next write once there were so many.
    AfterWrites(u64),
    /// The next that really does this to such a resource.
    Before(&'static str, &'static str),
}

#[derive(Default)]
struct Told {
    rules: Vec<Rule>,
    deed: Option<(When, Deed)>,
    counts: BTreeMap<(String, String), u64>,
    writes: u64,
}

struct Way {
    server: String,
    administrator: reqwest::Client,
    /// Says nothing of itself, for those who bring a token.
    bearer: reqwest::Client,
    told: Mutex<Told>,
}

impl Told {
    /// What is to happen before this request.
    fn due(&mut self, asked: &Asked) -> Option<Deed> {
        let (_, deed) = self.deed.take_if(|(when, _)| match when {
            When::AfterWrites(writes) => asked.writes() && self.writes >= *writes,
            When::Before(verb, resource) => {
                (asked.verb, asked.resource.as_str()) == (verb, resource) && !asked.rehearsed
            }
        })?;
        Some(deed)
    }
}

impl Way {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().expect("no holder panics")
    }
}

/// Ends when it is dropped.
pub struct ApiProxy {
    address: SocketAddr,
    way: Arc<Way>,
    folder: tempfile::TempDir,
    _runtime: Runtime,
}

impl std::fmt::Debug for ApiProxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiProxy")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl ApiProxy {
    /// Before the API server of this cluster; nothing fails yet.
    pub fn stand(before: &Cluster) -> Self {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| {
            let provider = rustls::crypto::ring::default_provider();
            drop(provider.install_default());
        });
        let words = ["config", "view", "--raw", "--output", "json"];
        let config: Value =
            serde_json::from_str(&before.kubectl(&words)).expect("kubectl writes JSON");
        let pem = |path: &str| {
            let text = config.pointer(path).and_then(Value::as_str);
            let text = text.expect("a kubeconfig that `ci/parts/kubernetes` wrote");
            STANDARD.decode(text).expect("base 64")
        };
        let trust = pem("/clusters/0/cluster/certificate-authority-data");
        let trust = reqwest::Certificate::from_pem(&trust).expect("a certificate");
        let mut identity = pem("/users/0/user/client-certificate-data");
        identity.extend(pem("/users/0/user/client-key-data"));
        let identity = reqwest::Identity::from_pem(&identity).expect("a certificate and its key");
        let client = || {
            let builder = reqwest::Client::builder().no_proxy();
            builder.tls_certs_only([trust.clone()])
        };
        let server = config.pointer("/clusters/0/cluster/server");
        let way = Arc::new(Way {
            server: server
                .and_then(Value::as_str)
                .expect("it names its server")
                .to_owned(),
            administrator: client().identity(identity).build().expect("a client"),
            bearer: client().build().expect("a client"),
            told: Mutex::default(),
        });
        let runtime = Runtime::new().expect("threads can be started");
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let listener = runtime.block_on(listener).expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let router = axum::Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&way));
        runtime.spawn(async move { axum::serve(listener, router).await });
        let folder = tempfile::tempdir().expect("a folder in /tmp");
        let proxy = Self {
            address,
            way,
            folder,
            _runtime: runtime,
        };
        proxy.write_kubeconfig("administrator", &json!({}));
        proxy
    }

    fn write_kubeconfig(&self, name: &str, user: &Value) -> Utf8PathBuf {
        let folder = Utf8Path::from_path(self.folder.path()).expect("a plain name");
        let path = folder.join(name);
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "proxy",
            "contexts": [{ "name": "proxy", "context": { "cluster": "proxy", "user": name } }],
            "clusters": [{ "name": "proxy", "cluster": { "server": self.server() } }],
            "users": [{ "name": name, "user": user }],
        });
        // JSON is YAML.
        fs::write(&path, config.to_string()).expect("a file in /tmp");
        path
    }

    pub fn server(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Of the administrator.
    pub fn kubeconfig(&self) -> Utf8PathBuf {
        let folder = Utf8Path::from_path(self.folder.path()).expect("a plain name");
        folder.join("administrator")
    }

    /// Of somebody with this token.
    pub fn kubeconfig_of(&self, name: &str, token: &str) -> Utf8PathBuf {
        self.write_kubeconfig(name, &json!({ "token": token }))
    }

    /// From now on, beside what it was told before. The first rule that a request meets counts.
    pub fn inject(&self, rule: Rule) {
        self.way.told().rules.push(rule);
    }

    /// The same for several.
    pub fn inject_all(&self, rules: &[Rule]) {
        self.way.told().rules.extend_from_slice(rules);
    }

    /// Passes everything on again, and has counted nothing.
    pub fn forget(&self) {
        *self.way.told() = Told::default();
    }

    /// Something happens once so many writes have been passed on, before the next.
    pub fn after_writes(&self, writes: u64, deed: impl FnOnce() + Send + 'static) {
        let mut told = self.way.told();
        let when = When::AfterWrites(told.writes + writes);
        told.deed = Some((when, Box::new(deed)));
    }

    /// Something happens before the first request that does this to a resource, in the plural.
    pub fn before(
        &self,
        verb: &'static str,
        resource: &'static str,
        deed: impl FnOnce() + Send + 'static,
    ) {
        self.way.told().deed = Some((When::Before(verb, resource), Box::new(deed)));
    }

    /// How many requests met a fault.
    pub fn met(&self) -> u32 {
        self.way.told().rules.iter().map(|rule| rule.met).sum()
    }

    /// How many requests with this verb were about this resource; an empty word stands for all.
    pub fn count(&self, verb: &str, resource: &str) -> u64 {
        let told = self.way.told();
        let fits = |word: &str, asked: &str| word.is_empty() || word == asked;
        let counts = told.counts.iter();
        counts
            .filter(|((v, r), _)| fits(verb, v) && fits(resource, r))
            .map(|(_, count)| count)
            .sum()
    }

    /// Requests that may change something.
    pub fn writes(&self) -> u64 {
        self.way.told().writes
    }
}

async fn answer(State(way): State<Arc<Way>>, request: Request) -> Response<Body> {
    let uri = request.uri().clone();
    let asked = Asked::of(
        request.method(),
        uri.path(),
        uri.query().unwrap_or_default(),
    );
    let (fault, deed) = {
        let mut told = way.told();
        let key = (asked.verb.to_owned(), asked.resource.clone());
        *told.counts.entry(key).or_default() += 1;
        let fault = told.rules.iter_mut().find_map(|rule| rule.meets(&asked));
        let deed = told.due(&asked);
        told.writes += u64::from(asked.writes());
        (fault, deed)
    };
    if let Some(deed) = deed {
        tokio::task::spawn_blocking(deed)
            .await
            .expect("it does not panic");
    }
    match fault {
        Some(Fault::Busy(seconds)) => {
            let mut answer = refusal(
                429,
                "TooManyRequests",
                "too many requests, please try again later",
            );
            let seconds = seconds.to_string().parse().expect("digits");
            answer.headers_mut().insert(header::RETRY_AFTER, seconds);
            return answer;
        }
        Some(Fault::Unavailable) => {
            return refusal(503, "ServiceUnavailable", "apiserver is shutting down");
        }
        Some(Fault::Gone) => return gone(&asked),
        Some(Fault::Late(by)) => tokio::time::sleep(by).await,
        _ => {}
    }
    match pass(&way, request).await {
        Ok(answer) => spoil(answer, fault, &asked).await,
        Err(error) => refusal(502, "BadGateway", &error.to_string()),
    }
}

fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    })
}

fn refusal(code: u16, reason: &str, message: &str) -> Response<Body> {
    let mut answer = Response::new(Body::from(status(code, reason, message).to_string()));
    *answer.status_mut() = StatusCode::from_u16(code).expect("a code of HTTP");
    let json = "application/json".parse().expect("a header's value");
    answer.headers_mut().insert(header::CONTENT_TYPE, json);
    answer
}

/// A server says so in a watch's first event, and in place of a list.
fn gone(asked: &Asked) -> Response<Body> {
    let (reason, message) = ("Expired", "too old resource version: 1 (2)");
    if asked.verb != "watch" {
        return refusal(410, reason, message);
    }
    let event = json!({ "type": "ERROR", "object": status(410, reason, message) });
    Response::new(Body::from(format!("{event}\n")))
}

/// Asks the server, and answers as soon as it begins to.
async fn pass(way: &Way, request: Request) -> Result<Response<Body>, axum::BoxError> {
    let (parts, body) = request.into_parts();
    let client = if parts.headers.contains_key(header::AUTHORIZATION) {
        &way.bearer
    } else {
        &way.administrator
    };
    let path = small_pages(&parts.uri);
    let body = to_bytes(body, usize::MAX).await?;
    let answered = client
        .request(parts.method, format!("{}{path}", way.server))
        .headers(end_to_end(parts.headers))
        .body(body)
        .send()
        .await?;
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = answered.status();
    *answer.headers_mut() = end_to_end(answered.headers().clone());
    *answer.body_mut() = Body::from_stream(answered.bytes_stream());
    Ok(answer)
}

/// With one item on each page that is asked for, so that lists of a few items have many.
fn small_pages(uri: &Uri) -> String {
    let words = uri.query().unwrap_or_default().split('&');
    let small = words.map(|word| {
        if word.starts_with("limit=") {
            "limit=1"
        } else {
            word
        }
    });
    format!("{}?{}", uri.path(), small.collect::<Vec<_>>().join("&"))
}

/// Without what is said to the next hop only.
fn end_to_end(mut headers: HeaderMap) -> HeaderMap {
    for name in [
        header::HOST,
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ] {
        headers.remove(name);
    }
    headers
}

async fn spoil(answer: Response<Body>, fault: Option<Fault>, asked: &Asked) -> Response<Body> {
    let (parts, body) = answer.into_parts();
    let body = match fault {
        Some(Fault::Ends(after)) => {
            let passed = body.into_data_stream();
            Body::from_stream(passed.take_until(Box::pin(tokio::time::sleep(after))))
        }
        Some(Fault::Cut) => {
            let begin = if asked.verb == "watch" {
                // Whatever comes first.
                let first = body.into_data_stream().next().await;
                first.and_then(Result::ok).unwrap_or_default()
            } else {
                to_bytes(body, usize::MAX).await.unwrap_or_default()
            };
            Body::from_stream(stream::iter([Ok(half(&begin))]).chain(stream::once(hang_up())))
        }
        Some(Fault::Short) => {
            Body::from(half(&to_bytes(body, usize::MAX).await.unwrap_or_default()))
        }
        _ => body,
    };
    Response::from_parts(parts, body)
}

fn half(bytes: &Bytes) -> Bytes {
    bytes.slice(..bytes.len() / 2)
}

/// After what came before it has been sent.
async fn hang_up() -> std::io::Result<Bytes> {
    tokio::time::sleep(Duration::from_millis(20)).await;
    Err(std::io::ErrorKind::ConnectionReset.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_named_as_rbac_names_them() {
        let named = |method: &Method, path: &str, query: &str| {
            let asked = Asked::of(method, path, query);
            format!("{} {}", asked.verb, asked.resource)
        };
        let (get, patch) = (&Method::GET, &Method::PATCH);
        assert_eq!(named(get, "/version", ""), "get version");
        assert_eq!(named(get, "/api/v1/namespaces/n", ""), "get namespaces");
        assert_eq!(named(get, "/api/v1/namespaces/n/pods", ""), "list pods");
        assert_eq!(
            named(get, "/api/v1/namespaces/n/pods", "a=b&watch=true"),
            "watch pods"
        );
        assert_eq!(
            named(patch, "/apis/apps/v1/namespaces/n/deployments/a", ""),
            "patch deployments"
        );
        assert_eq!(
            named(&Method::DELETE, "/apis/a/v1/policies/a", ""),
            "delete policies"
        );
    }

    #[test]
    fn a_rule_is_counted_and_bounded() {
        let asked = |verb| Asked {
            verb,
            resource: "pods".to_owned(),
            continued: false,
            rehearsed: false,
        };
        let mut rule = Rule::every(3, 2, Fault::Unavailable).verbs(&["list"]);
        let mut met = Vec::new();
        for n in 1..20 {
            assert_eq!(rule.meets(&asked("watch")), None);
            met.extend(rule.meets(&asked("list")).map(|_| n));
        }
        assert_eq!(met, [3, 6]);
        assert_eq!(rule.of("secrets").meets(&asked("list")), None);
    }
}
