//! Whether Deployments run what was last said of them, and why not: plain functions of what was
//! seen.
//!
//! Pods are counted here: the controller of Deployments counts them, too, but of a thousand that
//! start together it needs seconds to write down what it knows. Which pods are of the newest version
//! is told as that controller tells it, by a ReplicaSet that has the Deployment's own template. Where
//! pods do not suffice, a Deployment's own numbers are believed once it has noticed its newest
//! version, else the version before would count as rolled out.

mod object;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use installer_engine::Probe;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use object::{Condition, ContainerStatus, Terminated};
pub(crate) use object::{Deployment, Pod, ReplicaSet};

use crate::request::Applied;

/// A scheduler that has no place for so long has none; before, nodes may still be looked at.
const UNSCHEDULABLE: Duration = Duration::from_secs(15);

/// Whoever makes pods tries again ever more seldom, up to a quarter of an hour: what keeps them from
/// being made for so long, such as a quota or a webhook, has to be looked at by a person.
const REFUSED: Duration = Duration::from_secs(30);

/// The kubelet pauses for 0, 10, 20, 40 … seconds between ends: whoever ends for the fourth time has
/// had half a minute for what it needs to come up.
const RESTARTS_MAX: i64 = 3;

/// Charts of others let their parts end until what they need is there; after so many, pauses are
/// minutes.
const RESTARTS_MAX_OF_OTHERS: i64 = 5;

/// Names of each group that are shown.
const NAMED: usize = 3;

/// Of a long message, this many characters from its beginning and its end.
const HEAD: usize = 60;
const TAIL: usize = 140;

/// Everything of a site that bears on readiness, by name.
#[derive(Debug, Default)]
pub(crate) struct Picture {
    pub(crate) deployments: BTreeMap<String, Deployment>,
    pub(crate) sets: BTreeMap<String, ReplicaSet>,
    pub(crate) pods: BTreeMap<String, Pod>,
}

/// Who has made what is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    Ours,
    Others,
}

impl Whose {
    fn restarts_max(self) -> i64 {
        match self {
            Self::Ours => RESTARTS_MAX,
            Self::Others => RESTARTS_MAX_OF_OTHERS,
        }
    }
}

/// How far one Deployment is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    /// Waiting cannot help.
    Failed(Reason),
    Waiting(Reason),
    Ready,
}

/// What many may have in common, and the words for one of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reason {
    pub(crate) short: String,
    pub(crate) message: String,
}

impl Reason {
    fn new(short: &str, message: &str) -> Self {
        Self {
            short: short.to_owned(),
            message: shorten(message),
        }
    }
}

fn waiting(short: &str) -> State {
    State::Waiting(Reason::new(short, ""))
}

fn shorten(message: &str) -> String {
    let line = message.trim().lines().next().unwrap_or_default();
    let masked: Vec<char> = installer_spec::mask(line).chars().collect();
    // What was tried comes first, and why it failed last.
    let (head, tail) = (masked.get(..HEAD), masked.len().checked_sub(TAIL));
    match (head, tail.and_then(|from| masked.get(from.max(HEAD)..))) {
        (Some(head), Some(tail)) if masked.len() > HEAD + TAIL => {
            head.iter().chain(&['…']).chain(tail).collect()
        }
        _ => masked.into_iter().collect(),
    }
}

/// What keeps anything that is seen from being of what was last said. `applied` is what the server
/// answered then.
fn unseen(deployment: &Deployment, applied: Option<&Applied>) -> Option<State> {
    let meta = &deployment.metadata;
    if meta.deletion_timestamp.is_some() {
        return Some(waiting("being removed"));
    }
    let applied = applied?;
    let seen = meta.uid.as_deref() == Some(&applied.uid)
        && meta.generation.unwrap_or(0) >= applied.generation;
    (!seen).then(|| waiting("not seen yet"))
}

/// By the Deployment's own word.
pub(crate) fn rollout(deployment: &Deployment, applied: Option<&Applied>) -> State {
    if let Some(state) = unseen(deployment, applied) {
        return state;
    }
    let status = &deployment.status;
    if status.observed_generation < deployment.metadata.generation.unwrap_or(0) {
        return waiting("not noticed by the cluster yet");
    }
    let failed = status.conditions.iter().find(|condition| {
        condition.r#type == "Progressing" && condition.reason == "ProgressDeadlineExceeded"
    });
    let wanted = deployment.spec.replicas.unwrap_or(1);
    if status.updated_replicas < wanted || status.available_replicas < wanted {
        if let Some(condition) = failed {
            return State::Failed(Reason::new(&condition.reason, &condition.message));
        }
        return match replica_failure(deployment) {
            Some(condition) => State::Waiting(Reason::new(&condition.reason, &condition.message)),
            None => waiting("starting"),
        };
    }
    if status.replicas > status.updated_replicas {
        return waiting("ending what ran before");
    }
    State::Ready
}

/// Why none of its pods is made.
fn replica_failure(deployment: &Deployment) -> Option<&Condition> {
    let mut conditions = deployment.status.conditions.iter();
    conditions.find(|condition| condition.r#type == "ReplicaFailure" && condition.status == "True")
}

/// Whether its pods have been kept from being made for too long.
fn refused(deployment: &Deployment, now: Timestamp) -> Option<State> {
    let failure = replica_failure(deployment)?;
    let since = failure.last_transition_time?;
    let long = now.duration_since(since).unsigned_abs() > REFUSED;
    long.then(|| State::Failed(Reason::new(&failure.reason, &failure.message)))
}

/// What a pod of the newest version says of itself, where it is not well.
pub(crate) fn trouble(pod: &Pod, whose: Whose, now: Timestamp) -> Option<State> {
    if pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let unplaced = pod.status.conditions.iter().find(|condition| {
        let since = condition.last_transition_time.unwrap_or(now);
        condition.r#type == "PodScheduled"
            && condition.reason == "Unschedulable"
            && now.duration_since(since).unsigned_abs() > UNSCHEDULABLE
    });
    if let Some(condition) = unplaced {
        let reason = Reason::new(&condition.reason, &condition.message);
        return Some(State::Waiting(reason));
    }
    let status = &pod.status;
    let containers = status
        .init_container_statuses
        .iter()
        .chain(&status.container_statuses);
    let mut worst = None;
    for container in containers {
        let Some(state) = unwell(container, whose) else {
            continue;
        };
        worst = match worst {
            Some(known) if known <= state => Some(known),
            _ => Some(state),
        };
    }
    worst
}

/// What is wrong with one container.
fn unwell(container: &ContainerStatus, whose: Whose) -> Option<State> {
    const LOOP: &str = "CrashLoopBackOff";
    let (now, before) = (&container.state, &container.last_state);
    let failed = |ended: &&Terminated| ended.exit_code != 0;
    let Some(waiting) = &now.waiting else {
        // Between two of its pauses it runs for a moment, or has just ended.
        let just = now.terminated.as_ref().filter(failed);
        let ended = just.or(before.terminated.as_ref().filter(failed))?;
        let reason = Reason::new(LOOP, &ended.words());
        let hopeless = just.is_some() && container.restart_count >= whose.restarts_max();
        return match (container.ready, hopeless) {
            (true, _) => None,
            (false, true) => Some(State::Failed(reason)),
            (false, false) => Some(State::Waiting(reason)),
        };
    };
    let reason = Reason::new(&waiting.reason, &waiting.message);
    match waiting.reason.as_str() {
        "" | "ContainerCreating" | "PodInitializing" => None,
        LOOP => {
            let ended = before.terminated.as_ref().map(Terminated::words);
            let reason = Reason::new(LOOP, &ended.unwrap_or_default());
            Some(if container.restart_count >= whose.restarts_max() {
                State::Failed(reason)
            } else {
                State::Waiting(reason)
            })
        }
        "InvalidImageName" => Some(State::Failed(reason)),
        // Tries and pauses take turns, and are the same to whoever waits.
        "ErrImagePull" => {
            let reason = Reason::new("ImagePullBackOff", &waiting.message);
            Some(State::Waiting(reason))
        }
        _ => Some(State::Waiting(reason)),
    }
}

/// Objects by the UID of who made them.
struct Owned<'a> {
    sets: HashMap<&'a str, Vec<&'a ReplicaSet>>,
    pods: HashMap<&'a str, Vec<&'a Pod>>,
}

impl<'a> Owned<'a> {
    fn new(picture: &'a Picture) -> Self {
        let sets = picture.sets.values().map(|set| (&set.metadata, set));
        let pods = picture.pods.values().map(|pod| (&pod.metadata, pod));
        Self {
            sets: by_owner(sets),
            pods: by_owner(pods),
        }
    }

    fn sets_of(&self, owner: &ObjectMeta) -> &[&'a ReplicaSet] {
        of(&self.sets, owner)
    }

    fn pods_of(&self, owner: &ObjectMeta) -> &[&'a Pod] {
        of(&self.pods, owner)
    }

    /// As many as are wanted are ready, and nothing of another version runs.
    fn is_ready(&self, deployment: &Deployment) -> bool {
        let spec = &deployment.spec;
        let mut ready = 0;
        for set in self.sets_of(&deployment.metadata) {
            let pods = self.pods_of(&set.metadata);
            if set.spec.template.is_same(spec.template) {
                ready += pods.iter().filter(|pod| pod.is_ready()).count();
            } else if pods.iter().any(|pod| !pod.has_ended()) {
                return false;
            }
        }
        // Who asks for more than a moment of readiness gets the controller's word for it.
        let wanted = usize::try_from(spec.replicas.unwrap_or(1));
        spec.min_ready_seconds == 0 && wanted.is_ok_and(|wanted| wanted > 0 && ready >= wanted)
    }
}

fn by_owner<'a, T: 'a>(
    objects: impl Iterator<Item = (&'a ObjectMeta, &'a T)>,
) -> HashMap<&'a str, Vec<&'a T>> {
    let mut owned: HashMap<&str, Vec<&T>> = HashMap::new();
    for (meta, object) in objects {
        for owner in meta.owner_references.iter().flatten() {
            owned.entry(&owner.uid).or_default().push(object);
        }
    }
    owned
}

fn of<'m, T>(owned: &'m HashMap<&str, Vec<T>>, owner: &ObjectMeta) -> &'m [T] {
    let uid = owner.uid.as_deref();
    uid.and_then(|uid| owned.get(uid))
        .map_or(&[], Vec::as_slice)
}

/// The state of one, with its pods' words where they say more than the Deployment's.
fn state_of(
    picture: &Picture,
    owned: &Owned<'_>,
    name: &str,
    applied: Option<&Applied>,
    whose: Whose,
    now: Timestamp,
) -> State {
    let Some(deployment) = picture.deployments.get(name) else {
        return waiting("not there");
    };
    if let Some(state) = unseen(deployment, applied) {
        return state;
    }
    if owned.is_ready(deployment) {
        return State::Ready;
    }
    let state = rollout(deployment, applied);
    let State::Waiting(reason) = &state else {
        return state;
    };
    if reason.short != "starting" {
        return refused(deployment, now).unwrap_or(state);
    }
    let mut sets = owned.sets_of(&deployment.metadata).iter();
    let newest = sets.find(|set| set.is_newest(deployment));
    // Other workloads than Deployments own their pods themselves.
    let owner = newest.map_or(&deployment.metadata, |set| &set.metadata);
    let pods = owned.pods_of(owner).iter();
    pods.filter_map(|pod| trouble(pod, whose, now))
        .min()
        .unwrap_or(state)
}

/// Those whose pods run what was last said of them.
pub(crate) fn running(picture: &Picture) -> BTreeSet<&str> {
    let owned = Owned::new(picture);
    let deployments = picture.deployments.iter();
    let running = deployments
        .filter(|(_, deployment)| unseen(deployment, None).is_none() && owned.is_ready(deployment));
    running.map(|(name, _)| name.as_str()).collect()
}

/// Whether all of these are ready; else what they lack, those with the same lack together.
pub(crate) fn judge(
    picture: &Picture,
    names: &BTreeSet<String>,
    applied: &HashMap<String, Applied>,
    whose: Whose,
    now: Timestamp,
) -> Probe {
    let owned = Owned::new(picture);
    let mut ready = 0_usize;
    let mut failed = false;
    // By how bad it is, then by what it is.
    let mut groups: BTreeMap<(bool, String), (String, Vec<&str>)> = BTreeMap::new();
    for name in names {
        let state = state_of(picture, &owned, name, applied.get(name), whose, now);
        let (helps, reason) = match state {
            State::Ready => {
                ready += 1;
                continue;
            }
            State::Waiting(reason) => (true, reason),
            State::Failed(reason) => {
                failed = true;
                (false, reason)
            }
        };
        let group = groups.entry((helps, reason.short)).or_default();
        if group.0.is_empty() {
            group.0 = reason.message;
        }
        group.1.push(name);
    }
    if groups.is_empty() {
        return Probe::Met;
    }
    let mut told = vec![format!("{ready} of {} ready", names.len())];
    for ((_, short), (message, names)) in &groups {
        let shown: Vec<_> = names.iter().take(NAMED).copied().collect();
        let more = match names.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let (count, shown) = (names.len(), shown.join(", "));
        let why = if message.is_empty() { "" } else { ": " };
        told.push(format!("{count} {short} ({shown}{more}){why}{message}"));
    }
    let line = told.join("; ");
    if failed {
        Probe::Failed(line)
    } else {
        Probe::Waiting(line)
    }
}

#[cfg(test)]
mod tests;
