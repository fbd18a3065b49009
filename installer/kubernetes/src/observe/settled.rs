//! Deployments that run although their controller has not written it down yet.

use std::collections::BTreeMap;
use std::fmt::Debug;

use installer_plan::docker::label;
use installer_plan::kubernetes::ObjectFact;
use installer_render::kubernetes::{Kind, ObjectId};
use k8s_openapi::NamespaceResourceScope;
use kube::api::ListParams;
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

use crate::connect::Connection;
use crate::readiness::{Deployment, Picture, Pod, ReplicaSet, running};

/// Asks for pods where a Deployment does not say that it is ready; `unsettled` are those.
pub(super) async fn look_closer(
    connection: &Connection,
    namespace: &str,
    site: &str,
    unsettled: BTreeMap<String, Deployment>,
    objects: &mut BTreeMap<ObjectId, ObjectFact>,
) {
    if unsettled.is_empty() {
        return;
    }
    let selector = format!("{}={site}", label::SITE);
    let sets = all::<ReplicaSet>(connection, namespace, &selector).await;
    if sets.is_empty() {
        return;
    }
    let picture = Picture {
        deployments: unsettled,
        sets,
        pods: all::<Pod>(connection, namespace, &selector).await,
    };
    for name in running(&picture) {
        if let Some(fact) = objects.get_mut(&ObjectId::new(Kind::Deployment, name)) {
            fact.ready = true;
        }
    }
}

/// None where we may not see them: then their Deployments' word is all there is.
async fn all<K>(connection: &Connection, namespace: &str, selector: &str) -> BTreeMap<String, K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(connection.client.clone(), namespace);
    let listed = api.list(&ListParams::default().labels(selector)).await;
    let items = listed.map(|list| list.items).unwrap_or_default();
    items
        .into_iter()
        .map(|item| (item.name_any(), item))
        .collect()
}
