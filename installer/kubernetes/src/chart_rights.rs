//! What Helm needs to be allowed for the charts of a site: read off what they render to.

use std::collections::{BTreeMap, BTreeSet};

use installer_engine::{EffectError, ErrorKind};
use installer_helm::Helm;
use installer_plan::kubernetes::Right;
use installer_render::kubernetes::Release;
use serde::Deserialize;
use serde_json::Value;

use crate::cluster::read_list;
use crate::connect::Connection;
use crate::release::{access, by_helm, upgrade_to};

/// What Helm and we do to objects of a chart; waiting for hooks is a watch.
const CHANGES: [&str; 7] = [
    "get", "list", "watch", "create", "update", "patch", "delete",
];

/// What readiness is judged by, whatever a chart is made of.
const READ: [(&str, &str); 5] = [
    ("apps", "deployments"),
    ("apps", "statefulsets"),
    ("apps", "daemonsets"),
    ("apps", "replicasets"),
    ("", "pods"),
];

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Served {
    resources: Vec<Resource>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Resource {
    name: String,
    kind: String,
    namespaced: bool,
}

/// The rights that releases take, beside those of the site itself.
pub async fn chart_rights(
    connection: &Connection,
    releases: &[Release],
) -> Result<Vec<Right>, EffectError> {
    if releases.is_empty() {
        return Ok(Vec::new());
    }
    let helm = Helm::find(access(connection)).await;
    let helm = helm.map_err(|error| {
        let remedy = error.remedy().unwrap_or("see that it runs");
        let operation = format!("cannot ask Helm what its charts are made of; {remedy}");
        EffectError::new(ErrorKind::Environment, operation).because(error)
    })?;
    let mut served: BTreeMap<String, Vec<Resource>> = BTreeMap::new();
    let mut rights = BTreeSet::new();
    for release in releases {
        let mut allow = |group: &str, resource: &str, name: Option<&str>, verbs: &[&str]| {
            rights.extend(verbs.iter().map(|verb| Right {
                verb: (*verb).to_owned(),
                group: group.to_owned(),
                resource: resource.to_owned(),
                namespace: name.is_none().then(|| release.namespace.clone()),
                // What is not there yet has no name to be asked by.
                name: name.filter(|_| *verb != "create").map(str::to_owned),
                optional: false,
            }));
        };
        // Helm's own notes, and the logins.
        allow("", "secrets", None, &CHANGES);
        for (group, resource) in READ {
            allow(group, resource, None, &["list"]);
        }
        if release.trust.is_some() {
            allow("", "configmaps", None, &["get", "create", "patch"]);
        }
        for object in rendered(&helm, release).await? {
            let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
            let Some((version, kind)) = text("/apiVersion").zip(text("/kind")) else {
                continue;
            };
            if !served.contains_key(version) {
                let known = resources_of(connection, version).await?;
                served.insert(version.to_owned(), known);
            }
            let mut known = served.get(version).into_iter().flatten();
            // Subresources are of the kinds of others.
            let known = known.find(|one| one.kind == kind && !one.name.contains('/'));
            let Some(resource) = known else {
                let operation = format!(
                    "cannot tell what chart `{}` needs: the cluster knows no {kind} of {version}",
                    release.name
                );
                return Err(EffectError::new(ErrorKind::Environment, operation));
            };
            let group = version.split_once('/').map_or("", |(group, _)| group);
            if resource.namespaced {
                allow(group, &resource.name, None, &CHANGES);
            } else if let Some(name) = text("/metadata/name") {
                let verbs = ["get", "create", "update", "patch", "delete"];
                allow(group, &resource.name, Some(name), &verbs);
            }
        }
    }
    Ok(rights.into_iter().collect())
}

async fn rendered(helm: &Helm, release: &Release) -> Result<Vec<Value>, EffectError> {
    let rendered = helm.template(&upgrade_to(release)).await;
    rendered.map_err(|error| by_helm(&release.name, error))
}

async fn resources_of(
    connection: &Connection,
    version: &str,
) -> Result<Vec<Resource>, EffectError> {
    let path = if version.contains('/') {
        format!("/apis/{version}")
    } else {
        format!("/api/{version}")
    };
    let served = read_list::<Served>(connection, &path, version).await;
    let served = served.map_err(|error| {
        let operation = format!("cannot ask the cluster what it knows of {version}");
        EffectError::new(ErrorKind::Environment, operation).because(error)
    })?;
    Ok(served.unwrap_or_default().resources)
}
