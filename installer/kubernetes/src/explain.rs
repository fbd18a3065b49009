//! Why a service is not well: its Deployment, the pod of its newest version, what its container last
//! said, and what the cluster last noted.

use installer_plan::docker::label;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::{ListParams, LogParams};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::connect::Connection;
use crate::readiness::{Deployment, Pod, ReplicaSet, State, Whose, rollout, trouble};

/// Enough to see what happened, and little enough to read.
const LINES: i64 = 5;

/// One service's causes, from the outside in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// `ready`, `starting`, `ProgressDeadlineExceeded: …`
    pub state: String,
    /// The pod of the newest version, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodExplanation>,
    /// What the cluster last warned of at the pod, else of what makes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PodExplanation {
    pub name: String,
    /// `Running`, `CrashLoopBackOff: it ends with code 1 (Error)`
    pub state: String,
    pub restarts: i64,
    /// The last lines of the log, without secrets; of the run before where this one has none.
    pub log: Vec<String>,
}

/// Asks the cluster about a service; nothing where it is not there.
pub async fn explain(
    connection: &Connection,
    namespace: &str,
    service: &str,
) -> Option<Explanation> {
    let deployments: Api<Deployment> = Api::namespaced(connection.client.clone(), namespace);
    let deployment = deployments.get_opt(service).await.ok()??;
    let state = words(&rollout(&deployment, None));
    let sets: Vec<ReplicaSet> = all(connection, namespace, service).await;
    let set = sets.into_iter().find(|set| set.is_newest(&deployment));
    let set_uid = set.as_ref().and_then(|set| set.metadata.uid.clone());
    let pods: Vec<Pod> = all(connection, namespace, service).await;
    let of_set = |pod: &Pod| {
        let owners = pod.metadata.owner_references.iter().flatten();
        owners
            .into_iter()
            .any(|owner| Some(&owner.uid) == set_uid.as_ref())
    };
    let pod = worst(pods.into_iter().filter(of_set).collect());
    let mut uids = Vec::new();
    uids.extend(pod.as_ref().and_then(|pod| pod.metadata.uid.clone()));
    uids.extend(set_uid);
    uids.extend(deployment.metadata.uid.clone());
    let event = last_event(connection, namespace, &uids).await;
    let pod = match pod {
        Some(pod) => Some(look_at(connection, namespace, &pod).await),
        None => None,
    };
    Some(Explanation { state, pod, event })
}

fn words(state: &State) -> String {
    match state {
        State::Ready => "ready".to_owned(),
        State::Waiting(reason) | State::Failed(reason) if reason.message.is_empty() => {
            reason.short.clone()
        }
        State::Waiting(reason) | State::Failed(reason) => {
            format!("{}: {}", reason.short, reason.message)
        }
    }
}

/// A service's objects; none where we may not read them.
async fn all<K>(connection: &Connection, namespace: &str, service: &str) -> Vec<K>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(connection.client.clone(), namespace);
    let named = ListParams::default().labels(&format!("{}={service}", label::SERVICE));
    let found = api.list(&named).await;
    found.map(|list| list.items).unwrap_or_default()
}

/// The pod with the most to tell: one in trouble, else the one that is not ready.
fn worst(pods: Vec<Pod>) -> Option<Pod> {
    let now = Timestamp::now();
    pods.into_iter().min_by_key(|pod| {
        let ready = pod.status.container_statuses.iter().all(|one| one.ready);
        (trouble(pod, Whose::Ours, now).is_none(), ready)
    })
}

async fn look_at(connection: &Connection, namespace: &str, pod: &Pod) -> PodExplanation {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let state = match trouble(pod, Whose::Ours, Timestamp::now()) {
        Some(state) => words(&state),
        None if pod.status.reason.is_empty() => pod.status.phase.clone(),
        None => format!("{}: {}", pod.status.reason, pod.status.message),
    };
    let containers = || {
        let before = pod.status.init_container_statuses.iter();
        before.chain(&pod.status.container_statuses)
    };
    let restarts = containers().map(|one| one.restart_count).sum();
    // The one that waits, or ended.
    let unwell = containers().find(|one| one.state.waiting.is_some() || !one.ready);
    let container = unwell.or_else(|| containers().last());
    let log = match container {
        Some(one) => {
            let ended = one.last_state.terminated.is_some() && one.state.waiting.is_some();
            last_lines(connection, namespace, (&name, &one.name), ended, LINES).await
        }
        None => Vec::new(),
    };
    PodExplanation {
        name,
        state,
        restarts,
        log,
    }
}

/// The last lines that a service has said, without secrets: of the pod that has the most to tell.
pub async fn read_log(
    connection: &Connection,
    namespace: &str,
    service: &str,
    count: u32,
) -> Vec<String> {
    let Some(pod) = worst(all(connection, namespace, service).await) else {
        return Vec::new();
    };
    let name = pod.metadata.name.clone().unwrap_or_default();
    let Some(container) = pod.status.container_statuses.first() else {
        return Vec::new();
    };
    let place = (name.as_str(), container.name.as_str());
    last_lines(connection, namespace, place, false, count.into()).await
}

/// The last lines of a container's log, without secrets.
async fn last_lines(
    connection: &Connection,
    namespace: &str,
    (pod, container): (&str, &str),
    previous: bool,
    count: i64,
) -> Vec<String> {
    let pods: Api<k8s_openapi::api::core::v1::Pod> =
        Api::namespaced(connection.client.clone(), namespace);
    let params = LogParams {
        container: Some(container.to_owned()),
        previous,
        tail_lines: Some(count),
        ..LogParams::default()
    };
    let text = pods.logs(pod, &params).await.unwrap_or_default();
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(installer_spec::mask)
        .collect()
}

/// The newest warning about the first of these that has any.
async fn last_event(connection: &Connection, namespace: &str, uids: &[String]) -> Option<String> {
    let events: Api<Event> = Api::namespaced(connection.client.clone(), namespace);
    for uid in uids {
        let of = ListParams::default().fields(&format!("involvedObject.uid={uid},type=Warning"));
        let found = events.list(&of).await.ok()?;
        let newest = found.items.into_iter().max_by_key(|event| {
            let noted = event.last_timestamp.as_ref().map(|time| time.0);
            noted.or(event.event_time.as_ref().map(|time| time.0))
        });
        if let Some(event) = newest {
            let reason = event.reason.unwrap_or_default();
            let message = event.message.unwrap_or_default();
            return Some(installer_spec::mask(&format!("{reason}: {message}")));
        }
    }
    None
}
