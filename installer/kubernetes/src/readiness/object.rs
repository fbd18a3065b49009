//! Deployments, ReplicaSets and pods, as far as readiness goes: of ten thousand pods the rest would
//! fill memory.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::Resource;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Counts a Deployment's versions, at it and at its ReplicaSets.
const REVISION: &str = "deployment.kubernetes.io/revision";

macro_rules! watched {
    ($name:ident, $group:literal, $plural:literal) => {
        impl Resource for $name {
            type DynamicType = ();
            type Scope = NamespaceResourceScope;

            fn kind((): &()) -> Cow<'_, str> {
                stringify!($name).into()
            }

            fn group((): &()) -> Cow<'_, str> {
                $group.into()
            }

            fn version((): &()) -> Cow<'_, str> {
                "v1".into()
            }

            fn plural((): &()) -> Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Deployment {
    #[serde(deserialize_with = "slim")]
    pub(crate) metadata: ObjectMeta,
    pub(crate) spec: DeploymentSpec,
    pub(crate) status: DeploymentStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct DeploymentSpec {
    pub(crate) replicas: Option<i64>,
    pub(crate) min_ready_seconds: i64,
    pub(crate) template: Template,
}

/// What pods are made from, as far as it takes to tell whether two are the same. The label by which
/// the controller tells its ReplicaSets apart does not count: only their side has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Template(Option<u64>);

impl Template {
    pub(crate) fn is_same(self, other: Self) -> bool {
        self.0.is_some() && self == other
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut template = Value::deserialize(deserializer)?;
        if let Some(labels) = template.pointer_mut("/metadata/labels")
            && let Some(labels) = labels.as_object_mut()
        {
            labels.remove("pod-template-hash");
        }
        let mut hasher = DefaultHasher::new();
        // Members are in order of their names.
        template.to_string().hash(&mut hasher);
        Ok(Self(Some(hasher.finish())))
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct DeploymentStatus {
    pub(crate) observed_generation: i64,
    pub(crate) replicas: i64,
    pub(crate) updated_replicas: i64,
    pub(crate) available_replicas: i64,
    pub(crate) conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Condition {
    pub(crate) r#type: String,
    pub(crate) status: String,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) last_transition_time: Option<Timestamp>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ReplicaSet {
    #[serde(deserialize_with = "slim")]
    pub(crate) metadata: ObjectMeta,
    pub(crate) spec: ReplicaSetSpec,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ReplicaSetSpec {
    pub(crate) template: Template,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Pod {
    #[serde(deserialize_with = "slim")]
    pub(crate) metadata: ObjectMeta,
    pub(crate) status: PodStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PodStatus {
    pub(crate) phase: String,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) container_statuses: Vec<ContainerStatus>,
    pub(crate) init_container_statuses: Vec<ContainerStatus>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ContainerStatus {
    pub(crate) name: String,
    pub(crate) restart_count: i64,
    pub(crate) ready: bool,
    pub(crate) state: ContainerState,
    pub(crate) last_state: ContainerState,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ContainerState {
    pub(crate) waiting: Option<Waiting>,
    pub(crate) terminated: Option<Terminated>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Waiting {
    pub(crate) reason: String,
    pub(crate) message: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Terminated {
    pub(crate) exit_code: i64,
    pub(crate) reason: String,
    pub(crate) message: String,
}

impl Terminated {
    pub(crate) fn words(&self) -> String {
        let (code, reason) = (self.exit_code, &self.reason);
        // Where it leaves no message, that is the end of what it has written; the last line says why.
        let lines = self.message.lines().map(str::trim);
        let last = lines.rev().find(|line| !line.is_empty()).unwrap_or("");
        format!("it ends with code {code} ({reason}) {last}")
    }
}

impl Pod {
    /// It lives and says that it is ready.
    pub(crate) fn is_ready(&self) -> bool {
        let says =
            |condition: &Condition| condition.r#type == "Ready" && condition.status == "True";
        self.metadata.deletion_timestamp.is_none() && self.status.conditions.iter().any(says)
    }

    /// It runs no more, or never will.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.status.phase.as_str(), "Succeeded" | "Failed")
    }
}

watched!(Deployment, "apps", "deployments");
watched!(ReplicaSet, "apps", "replicasets");
watched!(Pod, "", "pods");

impl ReplicaSet {
    /// It is the one that the Deployment's newest version is made of.
    pub(crate) fn is_newest(&self, deployment: &Deployment) -> bool {
        let owners = self.metadata.owner_references.iter().flatten();
        let mut owners = owners.map(|owner| Some(owner.uid.as_str()));
        let revision = |meta: &ObjectMeta| meta.annotations.as_ref()?.get(REVISION).cloned();
        let (own, newest) = (revision(&self.metadata), revision(&deployment.metadata));
        own.is_some()
            && own == newest
            && owners.any(|uid| uid == deployment.metadata.uid.as_deref())
    }
}

/// Reads of an object's metadata only what readiness needs: who has said which field is most of it.
fn slim<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Slim {
        name: Option<String>,
        uid: Option<String>,
        resource_version: Option<String>,
        generation: Option<i64>,
        deletion_timestamp: Option<Time>,
        owner_references: Option<Vec<OwnerReference>>,
        annotations: Annotations,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Annotations {
        #[serde(rename = "deployment.kubernetes.io/revision")]
        revision: Option<String>,
    }
    let slim = Slim::deserialize(deserializer)?;
    let revision = slim.annotations.revision;
    Ok(ObjectMeta {
        name: slim.name,
        uid: slim.uid,
        resource_version: slim.resource_version,
        generation: slim.generation,
        deletion_timestamp: slim.deletion_timestamp,
        owner_references: slim.owner_references,
        annotations: revision.map(|revision| BTreeMap::from([(REVISION.to_owned(), revision)])),
        ..ObjectMeta::default()
    })
}
