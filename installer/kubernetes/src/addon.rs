//! Addons of a cluster: whether they are on, and the cluster's own command that turns them on.

use std::env;
use std::io;
use std::process::Stdio;
use std::time::Duration;

use installer_engine::{EffectError, ErrorKind, Probe};
use installer_plan::kubernetes::{AddonFacts, Brings, Cluster, judge};
use installer_spec::{Addons, Profile};
use serde::Deserialize;
use tokio::process::Command;
use tokio::time::timeout;

use crate::cluster::read_all;
use crate::connect::Connection;
use crate::error::KubernetesError;
use crate::rights::asks_for_rights;

/// The command may restart the API server, and fetch images from the internet.
const ENABLE: Duration = Duration::from_mins(10);

/// Of what a command says when it fails, its last lines say why.
const LINES_SAID: usize = 3;

/// Where names are answered, in every cluster that we know.
const DNS: &str = "kube-dns";

/// What planning may know of addons; nothing is asked where the profile leaves them alone, or the
/// cluster has none.
pub(crate) async fn read_addons(
    connection: &Connection,
    profile: &Profile,
    cluster: &Cluster,
) -> Result<AddonFacts, KubernetesError> {
    let flavour = judge(&cluster.signs).map(|(flavour, _)| flavour);
    let market = flavour.and_then(|flavour| flavour.addons.as_ref());
    let Some(market) = market.filter(|_| profile.cluster.addons == Addons::Enable) else {
        return Ok(AddonFacts::default());
    };
    Ok(AddonFacts {
        dns: is_there(connection, &named("services")).await,
        // Where we are refused the question, somebody asks for rights.
        rbac: Some(asks_for_rights(connection).await?.unwrap_or(true)),
        command: market.command.first().is_some_and(|one| is_here(one)),
    })
}

fn named(resource: &str) -> String {
    format!("/api/v1/namespaces/kube-system/{resource}/{DNS}")
}

/// Nothing where we may not see it.
async fn is_there(connection: &Connection, path: &str) -> Option<bool> {
    match connection.get_path(path).await {
        Ok(_) => Some(true),
        Err(error) if error.code() == Some(404) => Some(false),
        Err(_) => None,
    }
}

/// Whether a program is found as a shell would find it.
fn is_here(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Runs the command that turns an addon on.
pub(crate) async fn enable(name: &str, command: &[String]) -> Result<(), EffectError> {
    let line = command.join(" ");
    let failed = |kind, why: String| {
        let operation = format!("cannot enable addon `{name}`: {why}");
        EffectError::new(kind, operation)
    };
    let Some((program, words)) = command.split_first() else {
        return Err(failed(ErrorKind::Bug, "there is no command".to_owned()));
    };
    let run = |source: io::Error| {
        let why = match source.kind() {
            io::ErrorKind::NotFound => format!(
                "there is no `{program}` here; run this on a node of the cluster, or there `{line}`"
            ),
            _ => format!("cannot run `{line}`"),
        };
        failed(ErrorKind::Environment, why).because(source)
    };
    let child = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(run)?;
    let ended = timeout(ENABLE, child.wait_with_output()).await;
    let slow = |_| {
        let why = format!("`{line}` had not ended after {} s", ENABLE.as_secs());
        failed(ErrorKind::Transient, why)
    };
    let output = ended.map_err(slow)?.map_err(run)?;
    if output.status.success() {
        return Ok(());
    }
    // Some say on standard output what is wrong.
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<_> = said.lines().map(str::trim).collect();
    let lines: Vec<_> = lines.into_iter().filter(|line| !line.is_empty()).collect();
    let from = lines.len().saturating_sub(LINES_SAID);
    let said = lines.get(from..).unwrap_or_default().join("; ");
    let why = format!("`{line}` says: {}", installer_spec::mask(&said));
    Err(failed(ErrorKind::Environment, why))
}

/// Whether what an addon brings is there.
pub(crate) async fn probe(connection: &Connection, brings: &Brings) -> Probe {
    let waiting = |what: &str| Probe::Waiting(what.to_owned());
    match brings {
        Brings::Dns => match has_endpoints(connection).await {
            Ok(true) => Probe::Met,
            Ok(false) => waiting("nobody answers for Service `kube-dns`"),
            Err(error) => Probe::Waiting(error.to_string()),
        },
        Brings::Rbac => match asks_for_rights(connection).await {
            Ok(None | Some(true)) => Probe::Met,
            Ok(Some(false)) => waiting("the API server asks for nobody's rights"),
            // It starts anew.
            Err(error) => Probe::Waiting(error.to_string()),
        },
        Brings::StorageClass { name, .. } => {
            let path = format!("/apis/storage.k8s.io/v1/storageclasses/{name}");
            found(connection, &path, &format!("storage class `{name}`")).await
        }
        Brings::IngressClass { name, .. } => {
            let path = format!("/apis/networking.k8s.io/v1/ingressclasses/{name}");
            found(connection, &path, &format!("Ingress class `{name}`")).await
        }
        Brings::LoadBalancer => {
            let path = "/apis/metallb.io";
            found(connection, path, "what knows `metallb.io`").await
        }
    }
}

async fn found(connection: &Connection, path: &str, what: &str) -> Probe {
    match is_there(connection, path).await {
        Some(true) => Probe::Met,
        _ => Probe::Waiting(format!("{what} is not there")),
    }
}

async fn has_endpoints(connection: &Connection) -> Result<bool, KubernetesError> {
    #[derive(Deserialize)]
    struct Slice {
        #[serde(default)]
        endpoints: Vec<Endpoint>,
    }
    #[derive(Deserialize)]
    struct Endpoint {
        #[serde(default)]
        conditions: Conditions,
    }
    #[derive(Default, Deserialize)]
    struct Conditions {
        ready: Option<bool>,
    }
    let path = format!(
        "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices?\
         labelSelector=kubernetes.io%2Fservice-name%3D{DNS}"
    );
    let slices = read_all::<Slice>(connection, &path, "endpointslices.discovery.k8s.io").await?;
    let mut endpoints = slices.iter().flat_map(|slice| &slice.endpoints);
    Ok(endpoints.any(|one| one.conditions.ready != Some(false)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[tokio::test]
    async fn a_command_that_fails_is_told_with_what_it_said() {
        enable("dns", &words("true dns")).await.unwrap();
        let failed = enable("dns", &words("ls /nonexistent/addon")).await;
        let told = failed.unwrap_err().to_string();
        assert!(told.contains("addon `dns`"), "{told}");
        assert!(told.contains("/nonexistent/addon"), "{told}");
        let failed = enable("dns", &words("stakeout-no-such-program enable dns")).await;
        let told = failed.unwrap_err().to_string();
        assert!(told.contains("on a node of the cluster"), "{told}");
        assert!(!is_here("stakeout-no-such-program") && is_here("ls"));
    }
}
