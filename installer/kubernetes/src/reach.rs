//! What the network of a site lets through, tried from inside its pods.
//!
//! NetworkPolicies are kept by every cluster and enforced by those whose network does so: only a
//! connection that is refused proves one.

use installer_plan::docker::label;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, AttachParams, ListParams};

use crate::connect::Connection;
use crate::error::KubernetesError;
use crate::forward::is_ready;

/// A connection that the site's policies allow or forbid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// Role of the pod that tries, as its label has it.
    pub from: String,
    /// Program in that pod that can try.
    pub program: String,
    /// `HOST:PORT`, as that pod names it.
    pub to: String,
    pub allowed: bool,
}

/// What came of trying.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    Yes,
    No,
    /// No pod of that role is ready, or it cannot be asked.
    Untried,
}

/// Tries each of these, one after the other: a network is no faster for being hurried.
pub async fn try_paths(
    connection: &Connection,
    namespace: &str,
    paths: &[Path],
) -> Result<Vec<Reached>, KubernetesError> {
    let pods: Api<Pod> = Api::namespaced(connection.client.clone(), namespace);
    let mut reached = Vec::new();
    for path in paths {
        let tried = try_path(&pods, path).await;
        reached.push(match tried {
            Ok(reached) => reached,
            Err(kube::Error::Api(status)) if status.code == 403 => Reached::Untried,
            // How a refusal comes to one who asks for a stream.
            Err(kube::Error::UpgradeConnection(_)) => Reached::Untried,
            Err(source) => {
                return Err(KubernetesError::Read {
                    what: format!("whether {} reaches {}", path.from, path.to),
                    source: source.into(),
                });
            }
        });
    }
    Ok(reached)
}

async fn try_path(pods: &Api<Pod>, path: &Path) -> Result<Reached, kube::Error> {
    let named = ListParams::default().labels(&format!("{}={}", label::ROLE, path.from));
    let found = pods.list(&named).await?;
    let ready = found.items.into_iter().find(is_ready);
    let Some(name) = ready.and_then(|pod| pod.metadata.name) else {
        return Ok(Reached::Untried);
    };
    let attach = AttachParams::default()
        .stdin(false)
        .stdout(true)
        .stderr(true);
    let command = [path.program.as_str(), "reach", &path.to];
    let mut process = pods.exec(&name, command, &attach).await?;
    let status = process.take_status();
    // What it says is of no interest, but it is not to wait until somebody reads it.
    drop((process.stdout(), process.stderr()));
    let status = match status {
        Some(status) => status.await,
        None => None,
    };
    Ok(match status.and_then(|status| status.status).as_deref() {
        Some("Success") => Reached::Yes,
        Some(_) => Reached::No,
        None => Reached::Untried,
    })
}
