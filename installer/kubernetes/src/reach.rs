//! What the network of a site lets through, tried from inside its pods.
//!
//! NetworkPolicies are kept by every cluster and enforced by those whose network does so: only a
//! connection that is refused proves one.

use std::collections::BTreeMap;

use futures::{StreamExt as _, stream};
use installer_render::kubernetes::Path;
use installer_render::{Role, label};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::{Api, AttachParams, ListParams};

use crate::connect::Connection;
use crate::error::KubernetesError;
use crate::forward::is_ready;

/// Each takes seconds where a network drops what it forbids.
const AT_ONCE: usize = 16;

/// As which our programs' `reach` ends where a name has no address.
const NO_ADDRESS: &str = "3";

/// What came of trying.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    Yes,
    No,
    /// Nobody in that pod's reach knows an address of the name.
    Nameless,
    /// No pod of that service is ready, or it cannot be asked.
    Untried,
}

/// Tries each of these; the answers have their order.
pub async fn try_paths(
    connection: &Connection,
    namespace: &str,
    paths: &[Path],
) -> Result<Vec<Reached>, KubernetesError> {
    let pods: Api<Pod> = Api::namespaced(connection.client.clone(), namespace);
    let read = |what: String, source: kube::Error| KubernetesError::Read {
        what,
        source: source.into(),
    };
    let ours = ListParams::default().labels(label::SERVICE);
    let found = match pods.list(&ours).await {
        Ok(found) => found,
        Err(kube::Error::Api(status)) if status.code == 403 => {
            return Ok(vec![Reached::Untried; paths.len()]);
        }
        Err(source) => return Err(read(format!("the list of pods of {namespace}"), source)),
    };
    let ready = found.items.into_iter().filter(is_ready);
    let names: BTreeMap<String, String> = ready
        .filter_map(|pod| {
            let service = pod.metadata.labels?.remove(label::SERVICE)?;
            Some((service, pod.metadata.name?))
        })
        .collect();
    let tried = stream::iter(paths).map(async |path| {
        let Some(name) = names.get(&path.from) else {
            return Ok(Reached::Untried);
        };
        match try_path(&pods, name, path).await {
            Ok(reached) => Ok(reached),
            Err(kube::Error::Api(status)) if status.code == 403 => Ok(Reached::Untried),
            // How a refusal comes to one who asks for a stream.
            Err(kube::Error::UpgradeConnection(_)) => Ok(Reached::Untried),
            Err(source) => Err(read(
                format!("whether {} reaches {path}", path.from),
                source,
            )),
        }
    });
    let tried: Vec<_> = tried.buffered(AT_ONCE).collect().await;
    tried.into_iter().collect()
}

async fn try_path(pods: &Api<Pod>, name: &str, path: &Path) -> Result<Reached, kube::Error> {
    let program = match path.role {
        Role::Vault => "stakeout-vault",
        Role::Agent | Role::TestCamera => "stakeout-agent",
        // What runs there is others'.
        Role::Store => return Ok(Reached::Untried),
    };
    let attach = AttachParams::default()
        .stdin(false)
        .stdout(true)
        .stderr(true);
    let command = [program, "reach", &path.to_string()].map(str::to_owned);
    let mut process = pods.exec(name, command, &attach).await?;
    let status = process.take_status();
    // What it says is of no interest, but it is not to wait until somebody reads it.
    drop((process.stdout(), process.stderr()));
    let status = match status {
        Some(status) => status.await,
        None => None,
    };
    Ok(status.map_or(Reached::Untried, |status| judge(&status)))
}

/// What the end of `reach` says.
fn judge(status: &Status) -> Reached {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let mut exits = causes
        .flatten()
        .filter(|cause| cause.reason.as_deref() == Some("ExitCode"));
    let exit = exits.find_map(|cause| cause.message.as_deref());
    match (status.status.as_deref(), exit) {
        (Some("Success"), _) => Reached::Yes,
        (Some(_), Some(NO_ADDRESS)) => Reached::Nameless,
        (Some(_), Some("1")) => Reached::No,
        // The program did not come to its end, or is not there.
        _ => Reached::Untried,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_exit_tells_what_became_of_it() {
        let exit = |code: &str| {
            json!({
                "status": "Failure", "reason": "NonZeroExitCode",
                "details": { "causes": [ { "reason": "ExitCode", "message": code } ] },
            })
        };
        for (status, reached) in [
            (json!({ "status": "Success" }), Reached::Yes),
            (exit("1"), Reached::No),
            (exit("3"), Reached::Nameless),
            // As a shell ends where the program is not.
            (exit("127"), Reached::Untried),
            (
                json!({ "status": "Failure", "reason": "InternalError" }),
                Reached::Untried,
            ),
        ] {
            let status: Status = serde_json::from_value(status).unwrap();
            assert_eq!(judge(&status), reached, "{status:?}");
        }
    }
}
