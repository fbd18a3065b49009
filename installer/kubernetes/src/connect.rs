//! The way to a cluster: a kubeconfig as `kubectl` finds it, or what a pod is given.

use std::env;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use camino::Utf8PathBuf;
use http::Method;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde::Deserialize;

use crate::error::KubernetesError;
use crate::request::{Asked, Extent, RequestError, patiently};

/// A machine that answers at all does so much sooner.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What a person says about where the cluster is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Choice {
    /// A file, in place of `KUBECONFIG` and `~/.kube/config`.
    pub kubeconfig: Option<Utf8PathBuf>,
    /// A context, in place of the current one.
    pub context: Option<String>,
}

/// Where a cluster is, and who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// `https://10.0.0.1:6443`
    pub server: String,
    /// Name in the kubeconfig; `in-cluster` in a pod.
    pub context: String,
    /// `KUBECONFIG`, a path, or `the pod's service account`.
    pub named_by: String,
}

/// A cluster that answers. Clones count together.
#[derive(Clone)]
pub struct Connection {
    pub client: Client,
    pub origin: Origin,
    /// `v1.34.4`
    pub version: String,
    pub(crate) choice: Choice,
    pub(crate) requests: Requests,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("origin", &self.origin)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// How many requests have been made; watches, logs and forwarded ports are left out.
    pub fn requests(&self) -> &Requests {
        &self.requests
    }
}

/// Counts what the API server is asked.
#[derive(Debug, Clone, Default)]
pub struct Requests {
    reads: Arc<AtomicU64>,
    writes: Arc<AtomicU64>,
}

impl Requests {
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    pub(crate) fn count(&self, writes: bool) {
        let counter = if writes { &self.writes } else { &self.reads };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Finds the cluster, and asks it for its version.
pub async fn connect(choice: &Choice) -> Result<Connection, KubernetesError> {
    let (mut config, context, named_by) = configure(choice).await?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    // See [`crate::request`].
    config.default_retry = false;
    let server = config.cluster_url.to_string();
    let origin = Origin {
        server: server.trim_end_matches('/').to_owned(),
        context,
        named_by,
    };
    let client = Client::try_from(config).map_err(|source| match source {
        // The program that makes tokens is run at once.
        kube::Error::Auth(_) => KubernetesError::Login {
            server: origin.server.clone(),
            source: RequestError::Transport(source),
        },
        _ => KubernetesError::Configuration {
            origin: origin.named_by.clone(),
            source: source.into(),
        },
    })?;
    let mut connection = Connection {
        client,
        origin,
        version: String::new(),
        choice: choice.clone(),
        requests: Requests::default(),
    };
    connection.version = read_version(&connection).await?;
    Ok(connection)
}

async fn read_version(connection: &Connection) -> Result<String, KubernetesError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Version {
        git_version: String,
    }
    let asked = || Asked {
        verb: "get",
        resource: "/version".to_owned(),
        name: String::new(),
    };
    let failed = |error| KubernetesError::of(&connection.origin.server, asked(), error);
    let ask = || connection.send(Method::GET, "/version", Extent::Whole.accept(), None);
    let bytes = match ask().await {
        // Whoever has the wrong address wants to know it soon.
        Err(error @ (RequestError::Transport(_) | RequestError::Timeout)) => Err(error),
        Err(error) if error.retry_after().is_some() => patiently(ask).await,
        answered => answered,
    };
    let bytes = bytes.map_err(failed)?;
    let version: Version = serde_json::from_slice(&bytes)
        .map_err(RequestError::Answer)
        .map_err(failed)?;
    Ok(version.git_version)
}

/// The client's configuration, its context, and who named it.
async fn configure(choice: &Choice) -> Result<(Config, String, String), KubernetesError> {
    let Some((kubeconfig, named_by)) = read_kubeconfig(choice)? else {
        let Ok(config) = Config::incluster() else {
            return Err(KubernetesError::Unconfigured {
                looked: default_path().display().to_string(),
            });
        };
        let named_by = "the pod's service account".to_owned();
        return Ok((config, "in-cluster".to_owned(), named_by));
    };
    let context = choice
        .context
        .clone()
        .or_else(|| kubeconfig.current_context.clone())
        .unwrap_or_default();
    let contexts = &kubeconfig.contexts;
    if !contexts.iter().any(|known| known.name == context) {
        let known: Vec<_> = contexts.iter().map(|known| known.name.as_str()).collect();
        return Err(KubernetesError::Context {
            context,
            origin: named_by,
            known: known.join(", "),
        });
    }
    let options = KubeConfigOptions {
        context: Some(context.clone()),
        ..KubeConfigOptions::default()
    };
    let config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(|source| KubernetesError::Configuration {
            origin: named_by.clone(),
            source: source.into(),
        })?;
    Ok((config, context, named_by))
}

/// The file or files that `kubectl` would read; nothing where there is none.
fn read_kubeconfig(choice: &Choice) -> Result<Option<(Kubeconfig, String)>, KubernetesError> {
    let unusable = |origin: &str, source: kube::config::KubeconfigError| {
        let origin = origin.to_owned();
        KubernetesError::Configuration {
            origin,
            source: source.into(),
        }
    };
    let read = |path: PathBuf| {
        let name = path.display().to_string();
        match Kubeconfig::read_from(path) {
            Ok(config) => Ok(Some((config, name))),
            Err(error) => Err(unusable(&name, error)),
        }
    };
    if let Some(path) = &choice.kubeconfig {
        return read(path.clone().into());
    }
    const VARIABLE: &str = "KUBECONFIG";
    if env::var_os(VARIABLE).is_some_and(|value| !value.is_empty()) {
        let config = Kubeconfig::from_env().map_err(|error| unusable(VARIABLE, error))?;
        return Ok(config.map(|config| (config, VARIABLE.to_owned())));
    }
    let path = default_path();
    // A context that a person names is in a file; only without one a pod's own account is meant.
    if path.exists() || choice.context.is_some() {
        return read(path);
    }
    Ok(None)
}

fn default_path() -> PathBuf {
    let home = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    home.join(".kube/config")
}
