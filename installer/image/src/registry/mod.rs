//! A client of the OCI distribution API (distribution-spec 1.1), for one repository.

mod auth;
mod lookup;
mod push;

use std::sync::Mutex;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use url::Url;

use crate::Digest;
use auth::{Challenge, TokenAnswer};

pub use auth::Login;
pub use lookup::{label, look_up};
pub use push::{Pushed, push};

/// A registry answers a manifest within seconds, also through a slow line.
const TIMEOUT: Duration = Duration::from_mins(2);

/// How often a registry that says "later" is asked again, and how long it may make us wait.
const TRIES: u32 = 5;
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// Manifests are small; registries themselves refuse larger ones (distribution-spec: 4 MiB).
const LARGEST_MANIFEST: usize = 4 << 20;

/// Where a name without a registry, or with this one, is served.
const HUB: &str = "docker.io";
const HUB_SERVER: &str = "registry-1.docker.io";

/// Whatever a repository may list under a tag.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// Why a registry was of no use.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("`{0}` names no registry and repository")]
    Name(String),
    #[error("cannot prepare for connections")]
    Client(#[source] reqwest::Error),
    #[error("cannot reach `{server}`")]
    Reach {
        server: String,
        source: reqwest::Error,
    },
    #[error("`{server}` refuses: {what}")]
    Denied { server: String, what: String },
    #[error("`{server}` does not have {what}")]
    Absent { server: String, what: String },
    #[error("`{server}` still says \"later\" after {TRIES} tries: {what}")]
    Busy { server: String, what: String },
    #[error("`{server}` answers {status} to {what}: {answer}")]
    Status {
        server: String,
        what: String,
        status: StatusCode,
        answer: String,
    },
    #[error("`{server}` answers what cannot be read to {what}: {why}")]
    Answer {
        server: String,
        what: String,
        why: String,
    },
    #[error(transparent)]
    Layout(#[from] crate::LayoutError),
}

/// One repository of one registry.
#[derive(Debug)]
pub struct Registry {
    client: Client,
    /// `https://HOST[:PORT]/v2/`.
    base: Url,
    /// For messages.
    server: String,
    repository: String,
    login: Option<Login>,
    /// The header that the registry took last.
    proof: Mutex<Option<HeaderValue>>,
}

/// A manifest as a registry has it.
#[derive(Debug, Clone)]
pub(crate) struct Fetched {
    pub(crate) digest: Digest,
    pub(crate) bytes: Vec<u8>,
}

impl Registry {
    /// `name` is `HOST[:PORT]/REPOSITORY`. A loopback address is spoken to without TLS.
    pub fn new(name: &str, login: Option<Login>) -> Result<Self, RegistryError> {
        let wrong = || RegistryError::Name(name.to_owned());
        let (host, repository) = name.split_once('/').ok_or_else(wrong)?;
        if repository.is_empty() || !(host.contains(['.', ':']) || host == "localhost") {
            return Err(wrong());
        }
        let server = if host == HUB { HUB_SERVER } else { host };
        let address = Url::parse(&format!("http://{server}/v2/")).map_err(|_| wrong())?;
        let loopback = match address.host() {
            Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
            Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
            Some(url::Host::Domain(name)) => name == "localhost",
            None => false,
        };
        let mut client = Client::builder()
            .timeout(TIMEOUT)
            .user_agent(concat!("stakeout/", env!("CARGO_PKG_VERSION")));
        let base = if loopback {
            // A minimal system has no certificates; plain HTTP needs none.
            client = client.tls_certs_only([]);
            address
        } else {
            Url::parse(&format!("https://{server}/v2/")).map_err(|_| wrong())?
        };
        Ok(Self {
            client: client.build().map_err(RegistryError::Client)?,
            base,
            server: server.to_owned(),
            repository: repository.to_owned(),
            login,
            proof: Mutex::new(None),
        })
    }

    fn url(&self, rest: &str) -> Url {
        let path = format!("{}/{rest}", self.repository);
        self.base.join(&path).unwrap_or_else(|_| self.base.clone())
    }

    fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.client.request(method, url)
    }

    /// How long the registry asks to wait before it gives a manifest, if it does: one request.
    async fn told_to_wait(&self, reference: &str) -> Option<Duration> {
        let request = self
            .request(Method::HEAD, self.url(&format!("manifests/{reference}")))
            .header(ACCEPT, MANIFESTS);
        let response = request.send().await.ok()?;
        let asked = told(response.headers().get(RETRY_AFTER));
        asked.filter(|_| is_busy(response.status()))
    }

    /// A manifest by tag or digest; its content is checked against what names it.
    pub(crate) async fn manifest(&self, reference: &str) -> Result<Fetched, RegistryError> {
        let what = format!("manifest {}:{reference}", self.repository);
        let request = self
            .request(Method::GET, self.url(&format!("manifests/{reference}")))
            .header(ACCEPT, MANIFESTS);
        let bytes = self.content(request, &what, LARGEST_MANIFEST).await?;
        self.checked(bytes, reference, &what)
    }

    /// Small content by its digest.
    pub(crate) async fn blob(&self, digest: &Digest) -> Result<Vec<u8>, RegistryError> {
        let what = format!("content {digest}");
        let request = self.request(Method::GET, self.url(&format!("blobs/{digest}")));
        let bytes = self.content(request, &what, LARGEST_MANIFEST).await?;
        Ok(self.checked(bytes, digest.as_str(), &what)?.bytes)
    }

    fn checked(
        &self,
        bytes: Vec<u8>,
        reference: &str,
        what: &str,
    ) -> Result<Fetched, RegistryError> {
        let digest = Digest::of(&bytes);
        if reference.starts_with("sha256:") && reference != digest.as_str() {
            return Err(self.unreadable(what, format!("its digest is {digest}")));
        }
        Ok(Fetched { digest, bytes })
    }

    async fn content(
        &self,
        request: RequestBuilder,
        what: &str,
        most: usize,
    ) -> Result<Vec<u8>, RegistryError> {
        let mut response = self.send(request, what).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| self.lost(e))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > most {
                return Err(self.unreadable(what, format!("it is longer than {most} bytes")));
            }
        }
        Ok(bytes)
    }

    /// Sends, proves who we are when asked, waits when told to; any answer but success is an error.
    pub(crate) async fn send(
        &self,
        request: RequestBuilder,
        what: &str,
    ) -> Result<Response, RegistryError> {
        let mut asked = false;
        let mut tries = 0;
        loop {
            let Some(mut request) = request.try_clone() else {
                return Err(self.unreadable(what, "it cannot be sent twice".to_owned()));
            };
            if let Some(proof) = self.proof() {
                request = request.header(AUTHORIZATION, proof);
            }
            let response = request.send().await.map_err(|error| self.lost(error))?;
            match response.status() {
                status if status.is_success() => return Ok(response),
                StatusCode::UNAUTHORIZED if !asked => {
                    asked = true;
                    self.prove(&response, what).await?;
                }
                status if is_busy(status) => {
                    tries += 1;
                    if tries == TRIES {
                        return Err(RegistryError::Busy {
                            server: self.server.clone(),
                            what: what.to_owned(),
                        });
                    }
                    tokio::time::sleep(wait(response.headers().get(RETRY_AFTER), tries)).await;
                }
                _ => return Err(self.refusal(response, what).await),
            }
        }
    }

    fn proof(&self) -> Option<HeaderValue> {
        let proof = self
            .proof
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        proof.clone()
    }

    /// Gets the proof that a 401 asks for.
    async fn prove(&self, response: &Response, what: &str) -> Result<(), RegistryError> {
        let headers = response.headers().get_all(WWW_AUTHENTICATE);
        let challenge = headers
            .iter()
            .find_map(|header| Challenge::parse(header.to_str().ok()?));
        let proof = match (challenge, &self.login) {
            (Some(Challenge::Basic), Some(login)) => basic(login),
            (
                Some(Challenge::Bearer {
                    mut realm,
                    service,
                    scope,
                }),
                login,
            ) => {
                for (name, value) in [("service", service), ("scope", scope)] {
                    if let Some(value) = value {
                        realm.query_pairs_mut().append_pair(name, &value);
                    }
                }
                let mut request = self.request(Method::GET, realm);
                if let Some(login) = login {
                    request = request.basic_auth(&login.user, Some(&login.password));
                }
                let response = request.send().await.map_err(|error| self.lost(error))?;
                if !response.status().is_success() {
                    return Err(self.refusal(response, what).await);
                }
                let answer: Result<TokenAnswer, _> = response.json().await;
                let token = answer.ok().and_then(TokenAnswer::take);
                let token = token.ok_or_else(|| {
                    self.unreadable(what, "its token server gave no token".to_owned())
                })?;
                format!("Bearer {token}")
            }
            (Some(Challenge::Basic) | None, _) => {
                return Err(RegistryError::Denied {
                    server: self.server.clone(),
                    what: format!("{what} needs a login"),
                });
            }
        };
        let mut value = HeaderValue::from_str(&proof)
            .map_err(|_| self.unreadable(what, "its token is no header".to_owned()))?;
        value.set_sensitive(true);
        let mut place = self
            .proof
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        *place = Some(value);
        Ok(())
    }

    fn lost(&self, source: reqwest::Error) -> RegistryError {
        RegistryError::Reach {
            server: self.server.clone(),
            // The URL may hold a token; the server is named already.
            source: source.without_url(),
        }
    }

    pub(crate) fn unreadable(&self, what: &str, why: String) -> RegistryError {
        RegistryError::Answer {
            server: self.server.clone(),
            what: what.to_owned(),
            why,
        }
    }

    async fn refusal(&self, response: Response, what: &str) -> RegistryError {
        let server = self.server.clone();
        let what = what.to_owned();
        match response.status() {
            StatusCode::NOT_FOUND => RegistryError::Absent { server, what },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                RegistryError::Denied { server, what }
            }
            status => {
                let text = response.text().await.unwrap_or_default();
                let answer = text.chars().take(200).collect();
                RegistryError::Status {
                    server,
                    what,
                    status,
                    answer,
                }
            }
        }
    }
}

fn basic(login: &Login) -> String {
    use base64::Engine as _;
    let text = format!("{}:{}", login.user, login.password);
    format!(
        "Basic {}",
        base64::engine::general_purpose::STANDARD.encode(text)
    )
}

/// Repository and tag or digest of `HOST/REPOSITORY:TAG` or `…@DIGEST`.
fn parts(image: &str) -> Option<(&str, &str)> {
    image.rsplit_once('@').or_else(|| {
        let split = image.rsplit_once(':');
        split.filter(|(_, tag)| !tag.contains('/'))
    })
}

/// Asks whether an image is there, for whoever comes without a login. `image` is
/// `HOST/REPOSITORY:TAG` or `…@DIGEST`.
pub async fn ask_for(image: &str) -> Result<(), RegistryError> {
    let (name, reference) = parts(image).ok_or_else(|| RegistryError::Name(image.to_owned()))?;
    let registry = Registry::new(name, None)?;
    let url = registry.url(&format!("manifests/{reference}"));
    let request = registry
        .request(Method::HEAD, url)
        .header(ACCEPT, MANIFESTS);
    let what = format!("manifest {}:{reference}", registry.repository);
    registry.send(request, &what).await.map(drop)
}

/// How long the registry of an image asks to wait, if it does, of whoever asks for it here.
/// `image` is `HOST/REPOSITORY:TAG` or `…@DIGEST`.
pub async fn told_to_wait(image: &str) -> Option<Duration> {
    let (name, reference) = parts(image)?;
    Registry::new(name, None)
        .ok()?
        .told_to_wait(reference)
        .await
}

fn is_busy(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    )
}

/// What `Retry-After` says; else a second, doubled with each try.
fn wait(header: Option<&HeaderValue>, tries: u32) -> Duration {
    told(header)
        .unwrap_or_else(|| Duration::from_secs(1 << tries.min(6)) / 2)
        .min(LONGEST_WAIT)
}

/// Seconds; the form with a date is nobody's among registries.
fn told(header: Option<&HeaderValue>) -> Option<Duration> {
    let seconds = header?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests;
