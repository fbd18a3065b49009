//! Amazon as the tests meet it: moto behind a door that counts and fails, and what moto has not,
//! with the shapes of the Amazon EKS API Reference.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// An answer that stands for another.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    /// "CreateRole", "PUT ?tagging", "POST pod-identity-associations".
    pub(crate) call: &'static str,
    pub(crate) times: u32,
    pub(crate) status: u16,
    pub(crate) body: String,
    pub(crate) header: Option<(&'static str, String)>,
    /// It is done all the same, and only the answer is lost.
    pub(crate) done: bool,
}

impl Fault {
    pub(crate) fn new(call: &'static str, times: u32, status: u16, body: &str) -> Self {
        Self {
            call,
            times,
            status,
            body: body.to_owned(),
            header: None,
            done: false,
        }
    }

    /// An error of IAM's and STS' query API.
    pub(crate) fn query(call: &'static str, times: u32, status: u16, code: &str) -> Self {
        let body = format!(
            "<ErrorResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><Error>\
             <Type>Sender</Type><Code>{code}</Code><Message>as it is with {code}</Message></Error>\
             <RequestId>1</RequestId></ErrorResponse>"
        );
        Self::new(call, times, status, &body)
    }

    /// An error of S3's.
    pub(crate) fn s3(call: &'static str, times: u32, status: u16, code: &str) -> Self {
        let body = format!(
            "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>as it is with {code}\
             </Message><RequestId>1</RequestId></Error>"
        );
        Self::new(call, times, status, &body)
    }

    /// An error of EKS.
    pub(crate) fn eks(call: &'static str, times: u32, code: &str, message: &str) -> Self {
        let body = json!({ "message": message }).to_string();
        let mut fault = Self::new(call, times, 400, &body);
        fault.header = Some(("x-amzn-errortype", code.to_owned()));
        fault
    }
}

#[derive(Debug, Default)]
struct Inner {
    moto: String,
    writes: Vec<String>,
    faults: Vec<Fault>,
    addon: Option<&'static str>,
    associations: BTreeMap<String, Value>,
    made: u32,
    /// So many lists of associations still show what was there before.
    blind: u32,
}

#[derive(Debug, Clone)]
pub(crate) struct StandIn {
    pub(crate) url: String,
    inner: Arc<Mutex<Inner>>,
}

impl StandIn {
    pub(crate) async fn start(moto: &str) -> Self {
        let inner = Arc::new(Mutex::new(Inner {
            moto: moto.to_owned(),
            addon: Some("ACTIVE"),
            ..Inner::default()
        }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&inner));
        drop(tokio::spawn(
            async move { axum::serve(listener, router).await },
        ));
        Self { url, inner }
    }

    /// What was changed since the last look.
    pub(crate) fn writes(&self) -> Vec<String> {
        std::mem::take(&mut self.inner.lock().unwrap().writes)
    }

    pub(crate) fn fault(&self, fault: Fault) {
        self.inner.lock().unwrap().faults.push(fault);
    }

    pub(crate) fn addon(&self, state: Option<&'static str>) {
        self.inner.lock().unwrap().addon = state;
    }

    pub(crate) fn blind(&self, lists: u32) {
        self.inner.lock().unwrap().blind = lists;
    }

    pub(crate) fn associations(&self) -> Vec<Value> {
        self.inner
            .lock()
            .unwrap()
            .associations
            .values()
            .cloned()
            .collect()
    }

    /// Changes every association behind everybody's back.
    pub(crate) fn tamper(&self, change: impl Fn(&mut Value)) {
        self.inner
            .lock()
            .unwrap()
            .associations
            .values_mut()
            .for_each(change);
    }
}

/// What is asked for, in few words.
fn named(request: &Request, body: &str) -> String {
    if let Some(rest) = body.strip_prefix("Action=") {
        return rest.split('&').next().unwrap_or_default().to_owned();
    }
    let (method, path) = (request.method(), request.uri().path());
    if path.starts_with("/clusters") {
        let mut parts = path.split('/').skip(3);
        return format!("{method} {}", parts.next().unwrap_or("cluster"));
    }
    let query = request.uri().query().unwrap_or_default();
    let word = query.split(['&', '=']).next().unwrap_or_default();
    match word {
        "" | "x-id" if path.trim_matches('/').contains('/') => format!("{method} object"),
        "" | "x-id" => format!("{method} bucket"),
        word => format!("{method} ?{word}"),
    }
}

fn is_write(name: &str) -> bool {
    !["Get", "List", "HEAD", "GET", "Assume"]
        .iter()
        .any(|read| name.starts_with(read))
}

async fn answer(State(inner): State<Arc<Mutex<Inner>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let request = Request::from_parts(parts, Body::empty());
    let name = named(&request, &String::from_utf8_lossy(&body));
    let fault = {
        let mut inner = inner.lock().unwrap();
        let fault = inner
            .faults
            .iter_mut()
            .find(|f| f.call == name && f.times > 0);
        let fault = fault.map(|fault| {
            fault.times -= 1;
            fault.clone()
        });
        if is_write(&name) && fault.as_ref().is_none_or(|fault| fault.done) {
            inner.writes.push(name.clone());
        }
        fault
    };
    let refused = fault.as_ref().map(|fault| {
        let mut answer = Response::builder().status(fault.status);
        if let Some((name, value)) = &fault.header {
            answer = answer.header(*name, value);
        }
        answer.body(Body::from(fault.body.clone())).unwrap()
    });
    match (refused, fault.is_some_and(|fault| fault.done)) {
        (Some(refused), false) => refused,
        (refused, _) => {
            let done = if request.uri().path().starts_with("/clusters/")
                && request.uri().path().matches('/').count() > 2
            {
                cluster(&inner, &request, &body)
            } else {
                forward(&inner, request, body).await
            };
            refused.unwrap_or(done)
        }
    }
}

async fn forward(inner: &Mutex<Inner>, request: Request, body: axum::body::Bytes) -> Response {
    let target = inner.lock().unwrap().moto.clone();
    let (parts, _) = request.into_parts();
    let sent = reqwest::Client::new()
        .request(parts.method.clone(), format!("{target}{}", parts.uri))
        // Among them `Host`, which is signed.
        .headers(parts.headers.clone())
        .body(body)
        .send()
        .await
        .unwrap();
    let mut answer = Response::builder().status(sent.status());
    let framing = ["transfer-encoding", "content-length"];
    let headers = sent.headers().clone();
    for (name, value) in headers
        .iter()
        .filter(|(name, _)| !framing.contains(&name.as_str()))
    {
        answer = answer.header(name, value);
    }
    let body = sent.bytes().await.unwrap();
    // moto's clusters share one issuer.
    let cluster = parts.uri.path().strip_prefix("/clusters/");
    let body = match (cluster, std::str::from_utf8(&body)) {
        (Some(cluster), Ok(text)) => {
            let issuer = regex::Regex::new("/id/[A-Za-z0-9]+").unwrap();
            Body::from(issuer.replace(text, format!("/id/{cluster}")).into_owned())
        }
        _ => Body::from(body),
    };
    answer.body(body).unwrap()
}

fn not_found() -> Response {
    let header = [("x-amzn-errortype", "ResourceNotFoundException")];
    let body = json!({ "message": "it is not there" }).to_string();
    (StatusCode::NOT_FOUND, header, body).into_response()
}

fn said(value: &Value) -> Response {
    ([("content-type", "application/json")], value.to_string()).into_response()
}

/// "DescribeAddon" and the five calls about Pod Identity associations.
fn cluster(inner: &Mutex<Inner>, request: &Request, body: &[u8]) -> Response {
    let mut inner = inner.lock().unwrap();
    let path = request.uri().path().trim_matches('/').to_owned();
    let parts: Vec<_> = path.split('/').collect();
    let asked: Value = serde_json::from_slice(body).unwrap_or_default();
    match (request.method().as_str(), &parts[..]) {
        ("GET", ["clusters", _, "addons", name]) => match inner.addon {
            Some(state) => said(&json!({ "addon": { "addonName": name, "status": state } })),
            None => not_found(),
        },
        ("GET", ["clusters", _, "pod-identity-associations"]) => {
            if inner.blind > 0 {
                inner.blind -= 1;
                return said(&json!({ "associations": [] }));
            }
            let query = request.uri().query().unwrap_or_default().to_owned();
            let all = inner.associations.values();
            let all = all.filter(|one| {
                ["namespace", "serviceAccount"]
                    .iter()
                    .all(|key| query.contains(&format!("{key}={}", one[*key].as_str().unwrap())))
            });
            said(&json!({ "associations": all.collect::<Vec<_>>() }))
        }
        ("POST", ["clusters", cluster, "pod-identity-associations"]) => {
            let same = |one: &Value| {
                ["namespace", "serviceAccount"]
                    .iter()
                    .all(|key| one[*key] == asked[*key])
            };
            if inner.associations.values().any(same) {
                let header = [("x-amzn-errortype", "ResourceInUseException")];
                let body = json!({ "message": "Association already exists" }).to_string();
                return (StatusCode::CONFLICT, header, body).into_response();
            }
            inner.made += 1;
            let id = format!("a-{}", inner.made);
            let arn =
                format!("arn:aws:eks:eu-west-1:123456789012:podidentityassociation/{cluster}/{id}");
            let made = json!({
                "clusterName": cluster, "namespace": asked["namespace"],
                "serviceAccount": asked["serviceAccount"], "roleArn": asked["roleArn"],
                "associationArn": arn, "associationId": id, "tags": asked["tags"],
            });
            inner.associations.insert(id, made.clone());
            said(&json!({ "association": made }))
        }
        (method, ["clusters", _, "pod-identity-associations", id]) => {
            let Some(found) = inner.associations.get_mut(*id) else {
                return not_found();
            };
            if method == "POST" {
                found["roleArn"] = asked["roleArn"].clone();
            }
            let found = found.clone();
            if method == "DELETE" {
                inner.associations.remove(*id);
            }
            said(&json!({ "association": found }))
        }
        _ => not_found(),
    }
}
