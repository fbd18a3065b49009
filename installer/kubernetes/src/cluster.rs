//! What a cluster is and has, whoever runs in it.

use std::collections::BTreeMap;

use futures::future::join;
use installer_plan::docker::label;
use installer_plan::kubernetes::{
    Cluster, NodeFact, Room, Signs, StorageClassFact, milli, telling_labels, units,
};
use installer_render::kubernetes::{Kind, ObjectId};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::connect::Connection;
use crate::error::KubernetesError;
use crate::request::{Asked, Extent, RequestError, asked, encode};
use crate::ways::read_ways;

/// Its UID is the cluster's identity: it is there before anything else and never goes.
const IDENTITY: &str = "kube-system";

/// Reads identity, nodes and storage classes. What we may not read is empty, the identity alone has
/// to be known. Pods of `site` do not count as taking room.
pub async fn read_cluster(
    connection: &Connection,
    site: Option<&str>,
) -> Result<Cluster, KubernetesError> {
    let identity = read_identity(connection);
    let classes = read_all::<StorageClass>(
        connection,
        "/apis/storage.k8s.io/v1/storageclasses",
        "storageclasses.storage.k8s.io",
    );
    let mut signs = Signs {
        server: connection.origin.server.clone(),
        context: connection.origin.context.clone(),
        version: connection.version.clone(),
        ..Signs::default()
    };
    let nodes = read_nodes(connection, site, &mut signs);
    let ((id, nodes), (classes, ways)) = join(
        join(identity, nodes),
        join(classes, Box::pin(read_ways(connection))),
    )
    .await;
    let storage_classes: BTreeMap<_, _> = classes?.into_iter().map(StorageClass::fact).collect();
    let provisioners = storage_classes.values();
    signs.provisioners = provisioners
        .map(|class| class.provisioner.clone())
        .collect();
    Ok(Cluster {
        id: id?,
        signs,
        nodes: nodes?,
        storage_classes,
        ways: ways?,
    })
}

async fn read_identity(connection: &Connection) -> Result<String, KubernetesError> {
    let id = ObjectId::new(Kind::Namespace, IDENTITY);
    let failed = |error| {
        let asked = asked("get", Kind::Namespace, IDENTITY);
        KubernetesError::of(&connection.origin.server, asked, error)
    };
    let found = connection
        .get("", &id, Extent::Metadata)
        .await
        .map_err(failed)?;
    let uid = found
        .as_ref()
        .and_then(|found| found.pointer("/metadata/uid"));
    uid.and_then(Value::as_str)
        .map(str::to_owned)
        .ok_or_else(|| KubernetesError::Read {
            what: format!("the UID of namespace `{IDENTITY}`"),
            source: "there is none".into(),
        })
}

/// All items of a list that is not a site's; none where we may not read them, or nobody serves them.
pub(crate) async fn read_all<T: DeserializeOwned>(
    connection: &Connection,
    path: &str,
    resource: &str,
) -> Result<Vec<T>, KubernetesError> {
    #[derive(Deserialize)]
    struct List<T> {
        items: Option<Vec<T>>,
    }
    let list: Option<List<T>> = read_list(connection, path, resource).await?;
    Ok(list.and_then(|list| list.items).unwrap_or_default())
}

/// An answer of which we may have no part.
pub(crate) async fn read_list<T: DeserializeOwned>(
    connection: &Connection,
    path: &str,
    resource: &str,
) -> Result<Option<T>, KubernetesError> {
    let asked = || Asked {
        verb: "list",
        resource: resource.to_owned(),
        name: String::new(),
    };
    let failed = |error| KubernetesError::of(&connection.origin.server, asked(), error);
    let bytes = match connection.get_path(path).await {
        Ok(bytes) => bytes,
        Err(error) if matches!(error.code(), Some(403 | 404)) => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    serde_json::from_slice(&bytes)
        .map_err(RequestError::Answer)
        .map_err(failed)
}

async fn read_nodes(
    connection: &Connection,
    site: Option<&str>,
    signs: &mut Signs,
) -> Result<BTreeMap<String, NodeFact>, KubernetesError> {
    let others = match site {
        Some(site) => format!(
            "&labelSelector={}",
            encode(&format!("{}!={site}", label::SITE))
        ),
        None => String::new(),
    };
    let running = encode("status.phase!=Succeeded,status.phase!=Failed");
    let path = format!("/api/v1/pods?fieldSelector={running}{others}");
    let (nodes, pods) = join(
        read_all::<Node>(connection, "/api/v1/nodes", "nodes"),
        read_all::<Pod>(connection, &path, "pods"),
    )
    .await;
    let (nodes, telling) = (nodes?, telling_labels());
    for node in &nodes {
        let labels = node.metadata.labels.iter();
        let telling = labels.filter(|(key, _)| telling.contains(key.as_str()));
        let words = telling.map(|(key, value)| format!("{key}={value}"));
        signs.labels.extend(words);
        let provider = node.spec.provider_id.split_once(':');
        signs
            .providers
            .extend(provider.map(|(name, _)| name.to_owned()));
    }
    let mut nodes: BTreeMap<_, _> = nodes.into_iter().map(Node::fact).collect();
    for pod in pods? {
        if let Some(node) = nodes.get_mut(&pod.spec.node_name) {
            add(&mut node.taken, pod.spec.asks());
        }
    }
    Ok(nodes)
}

fn add(sum: &mut Room, more: Room) {
    sum.pods = sum.pods.saturating_add(more.pods);
    sum.cpu_milli = sum.cpu_milli.saturating_add(more.cpu_milli);
    sum.memory_bytes = sum.memory_bytes.saturating_add(more.memory_bytes);
    sum.ephemeral_bytes = sum.ephemeral_bytes.saturating_add(more.ephemeral_bytes);
}

fn larger(a: Room, b: Room) -> Room {
    Room {
        pods: a.pods.max(b.pods),
        cpu_milli: a.cpu_milli.max(b.cpu_milli),
        memory_bytes: a.memory_bytes.max(b.memory_bytes),
        ephemeral_bytes: a.ephemeral_bytes.max(b.ephemeral_bytes),
    }
}

type Amounts = BTreeMap<String, String>;

fn room(amounts: &Amounts) -> Room {
    let amount = |name, read: fn(&str) -> Option<u64>| {
        let text: Option<&String> = amounts.get(name);
        text.and_then(|text| read(text)).unwrap_or(0)
    };
    Room {
        pods: amount("pods", units),
        cpu_milli: amount("cpu", milli),
        memory_bytes: amount("memory", units),
        ephemeral_bytes: amount("ephemeral-storage", units),
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    name: String,
    annotations: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Node {
    metadata: Metadata,
    spec: NodeSpec,
    status: NodeStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct NodeSpec {
    #[serde(rename = "providerID")]
    provider_id: String,
    unschedulable: bool,
    taints: Vec<Taint>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Taint {
    effect: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct NodeStatus {
    allocatable: Amounts,
    conditions: Vec<NodeCondition>,
    node_info: NodeInfo,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NodeCondition {
    r#type: String,
    status: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct NodeInfo {
    operating_system: String,
    architecture: String,
}

impl Node {
    fn fact(self) -> (String, NodeFact) {
        let info = &self.status.node_info;
        let mut conditions = self.status.conditions.iter();
        let ready = conditions.any(|c| c.r#type == "Ready" && c.status == "True");
        let mut taints = self.spec.taints.iter();
        let kept_off = taints.any(|taint| taint.effect != "PreferNoSchedule");
        let fact = NodeFact {
            platform: format!("{}/{}", info.operating_system, info.architecture),
            usable: ready && !self.spec.unschedulable && !kept_off,
            room: room(&self.status.allocatable),
            taken: Room::default(),
        };
        (self.metadata.name, fact)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Pod {
    spec: PodSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodSpec {
    node_name: String,
    containers: Vec<Container>,
    init_containers: Vec<Container>,
    overhead: Amounts,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Container {
    resources: Resources,
    restart_policy: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Resources {
    requests: Amounts,
}

impl PodSpec {
    /// As the scheduler counts: what runs side by side, or the largest of what runs before.
    fn asks(&self) -> Room {
        let mut together = Room::default();
        let mut before = Room::default();
        for container in &self.init_containers {
            let asks = room(&container.resources.requests);
            if container.restart_policy == "Always" {
                add(&mut together, asks);
                before = larger(before, together);
            } else {
                let mut with = together;
                add(&mut with, asks);
                before = larger(before, with);
            }
        }
        for container in &self.containers {
            add(&mut together, room(&container.resources.requests));
        }
        let mut asks = larger(together, before);
        add(&mut asks, room(&self.overhead));
        asks.pods = 1;
        asks
    }
}

#[derive(Debug, Deserialize)]
struct StorageClass {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    provisioner: String,
}

impl StorageClass {
    fn fact(self) -> (String, StorageClassFact) {
        const DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";
        let default = self.metadata.annotations.get(DEFAULT);
        let fact = StorageClassFact {
            default: default.is_some_and(|value| value == "true"),
            provisioner: self.provisioner,
        };
        (self.metadata.name, fact)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_asks_for_what_runs_at_the_same_time() {
        let container = |cpu: &str, restart: &str| json!({ "resources": { "requests": { "cpu": cpu } }, "restartPolicy": restart });
        let asks = |init: Value, containers: Value| {
            let spec = json!({ "initContainers": init, "containers": containers });
            serde_json::from_value::<PodSpec>(spec)
                .unwrap()
                .asks()
                .cpu_milli
        };
        let two = json!([container("100m", ""), container("200m", "")]);
        assert_eq!(asks(json!([]), two.clone()), 300);
        assert_eq!(asks(json!([container("1", "")]), two.clone()), 1_000);
        let sidecar = json!([container("50m", "Always"), container("1", "")]);
        assert_eq!(asks(sidecar, two), 1_050);
    }

    #[test]
    fn a_node_that_keeps_pods_off_is_not_usable() {
        let node = |spec: Value| {
            let node = json!({
                "metadata": { "name": "a" },
                "spec": spec,
                "status": {
                    "allocatable": { "cpu": "4", "memory": "8Gi", "pods": "110" },
                    "conditions": [{ "type": "Ready", "status": "True" }],
                    "nodeInfo": { "operatingSystem": "linux", "architecture": "arm64" },
                },
            });
            serde_json::from_value::<Node>(node).unwrap().fact().1
        };
        let fact = node(json!({}));
        assert!(fact.usable);
        assert_eq!(
            (fact.platform.as_str(), fact.room.pods),
            ("linux/arm64", 110)
        );
        assert!(!node(json!({ "unschedulable": true })).usable);
        assert!(!node(json!({ "taints": [{ "effect": "NoSchedule" }] })).usable);
        assert!(node(json!({ "taints": [{ "effect": "PreferNoSchedule" }] })).usable);
    }
}
