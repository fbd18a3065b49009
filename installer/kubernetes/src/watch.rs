//! What a site's Deployments and pods do, as the server tells it: one watch of each kind.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use installer_engine::Probe;
use installer_render::kubernetes::Kind;
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch};
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use crate::connect::Connection;
use crate::readiness::{Deployment, Picture, Pod, ReplicaSet, Whose, judge};
use crate::request::{Applied, Asked, asked};

/// After this long a watch that broke is begun again: a person waits, and there are three.
const PAUSE: Duration = Duration::from_secs(1);

/// A page of a list is in memory several times over while it is read.
const PAGE: u32 = 250;

/// Ends with its last use.
#[derive(Debug)]
pub(crate) struct Watches {
    seen: Arc<Mutex<Seen>>,
    _tasks: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Seen {
    picture: Picture,
    /// Kinds that have been listed since.
    listed: BTreeSet<&'static str>,
    /// Why a kind cannot be watched at the moment.
    trouble: BTreeMap<&'static str, Trouble>,
}

#[derive(Debug)]
struct Trouble {
    forbidden: bool,
    message: String,
}

impl Trouble {
    fn told(&self, asked: &Asked) -> Probe {
        let message = &self.message;
        if self.forbidden {
            Probe::Forbidden(format!("the right to {asked} is missing: {message}"))
        } else {
            Probe::Waiting(format!("the cluster does not let us {asked}: {message}"))
        }
    }
}

/// Where the picture keeps a kind.
trait Watched: Resource<DynamicType = (), Scope = NamespaceResourceScope> {
    const PLURAL: &'static str;
    fn store(picture: &mut Picture) -> &mut BTreeMap<String, Self>
    where
        Self: Sized;
}

impl Watched for Deployment {
    const PLURAL: &'static str = "deployments";
    fn store(picture: &mut Picture) -> &mut BTreeMap<String, Self> {
        &mut picture.deployments
    }
}

impl Watched for ReplicaSet {
    const PLURAL: &'static str = "replicasets";
    fn store(picture: &mut Picture) -> &mut BTreeMap<String, Self> {
        &mut picture.sets
    }
}

impl Watched for Pod {
    const PLURAL: &'static str = "pods";
    fn store(picture: &mut Picture) -> &mut BTreeMap<String, Self> {
        &mut picture.pods
    }
}

impl Watches {
    pub(crate) fn start(connection: &Connection, namespace: &str, selector: &str) -> Self {
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(follow::<Deployment>(connection, namespace, selector, &seen));
        tasks.spawn(follow::<ReplicaSet>(connection, namespace, selector, &seen));
        tasks.spawn(follow::<Pod>(connection, namespace, selector, &seen));
        Self {
            seen,
            _tasks: tasks,
        }
    }

    /// Whether these Deployments run what was last said of them.
    pub(crate) fn probe(
        &self,
        names: &BTreeSet<String>,
        applied: &HashMap<String, Applied>,
    ) -> Probe {
        let seen = lock(&self.seen);
        if let Some(trouble) = seen.trouble.get(Deployment::PLURAL) {
            return trouble.told(&asked("watch", Kind::Deployment, ""));
        }
        // Pods only say more of what the Deployments say.
        if !seen.listed.contains(Deployment::PLURAL) {
            return Probe::Waiting("the cluster is asked".to_owned());
        }
        judge(&seen.picture, names, applied, Whose::Ours, Timestamp::now())
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A watch that breaks is begun again; where it cannot go on from, everything is listed again.
fn follow<K>(
    connection: &Connection,
    namespace: &str,
    selector: &str,
    seen: &Arc<Mutex<Seen>>,
) -> impl Future<Output = ()> + use<K>
where
    K: Watched + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let api: Api<K> = Api::namespaced(connection.client.clone(), namespace);
    let config = watcher::Config::default().labels(selector).page_size(PAGE);
    let seen = Arc::clone(seen);
    async move {
        let mut events = std::pin::pin!(watch(api, config).backoff(Steady));
        let mut found = BTreeMap::new();
        while let Some(event) = events.next().await {
            let mut seen = lock(&seen);
            match event {
                Ok(Event::Init) => found.clear(),
                Ok(Event::InitApply(object)) => {
                    found.insert(object.name_any(), object);
                }
                Ok(Event::InitDone) => {
                    *K::store(&mut seen.picture) = std::mem::take(&mut found);
                    seen.listed.insert(K::PLURAL);
                    seen.trouble.remove(K::PLURAL);
                }
                Ok(Event::Apply(object)) => {
                    K::store(&mut seen.picture).insert(object.name_any(), object);
                    seen.trouble.remove(K::PLURAL);
                }
                Ok(Event::Delete(object)) => {
                    K::store(&mut seen.picture).remove(&object.name_any());
                }
                Err(error) => {
                    tracing::debug!("watch of {}: {error}", K::PLURAL);
                    let trouble = trouble(&error);
                    // What is only broken is begun again, and what was seen still holds.
                    if trouble.forbidden || !seen.listed.contains(K::PLURAL) {
                        seen.trouble.insert(K::PLURAL, trouble);
                    }
                }
            }
        }
    }
}

fn trouble(error: &watcher::Error) -> Trouble {
    let refused = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status),
        _ => None,
    };
    match refused {
        Some(status) => Trouble {
            forbidden: status.code == 403,
            message: status.message.clone(),
        },
        None => Trouble {
            forbidden: false,
            message: "the API server does not answer".to_owned(),
        },
    }
}

/// The same pause every time.
struct Steady;

impl Iterator for Steady {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(PAUSE)
    }
}

impl Backoff for Steady {
    fn reset(&mut self) {}
}
