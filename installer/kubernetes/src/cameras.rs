//! What agents' cameras do while the agents are replaced.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use futures::StreamExt as _;
use futures::stream;
use installer_engine::{Footage, Probe, read_cameras};
use installer_plan::kubernetes::Watched;
use installer_render::SecretName;
use installer_render::docker::AGENT_PORT;
use installer_render::kubernetes::{Kind, ObjectId};
use serde_json::Value;
use url::Url;

use crate::effects::Site;
use crate::forward::forward;
use crate::observe::decode;

/// Each is a connection of its own through the API server.
const AT_ONCE: usize = 16;

/// This many agents that are waited for are named.
const NAMED: usize = 3;

/// What one agent has to do again.
#[derive(Debug)]
struct Expected {
    before: Footage,
    read: Instant,
    continuous: BTreeSet<String>,
}

#[derive(Debug, Default)]
pub(crate) struct Cameras {
    expected: BTreeMap<String, Expected>,
    /// Agents that do so.
    met: Mutex<BTreeSet<String>>,
}

impl Cameras {
    /// What they do now is what they have to do again.
    pub(crate) async fn note(&mut self, site: &Site, agents: &BTreeMap<String, Watched>) {
        self.expected = read(site, agents).await;
    }

    /// What was noted of `agents` was written until now, at the latest.
    pub(crate) async fn expect(
        &mut self,
        site: &Site,
        agents: &BTreeSet<String>,
        unproven: &BTreeMap<String, Watched>,
    ) {
        for service in agents {
            if let Some(expected) = self.expected.get_mut(service) {
                let since = expected.read.elapsed();
                expected.before.was_written_for(since);
            }
        }
        let mut others = read(site, unproven).await;
        for (service, watched) in unproven {
            if let Some(expected) = others.get_mut(service) {
                expected
                    .before
                    .add_all(&watched.cameras, &watched.continuous);
            }
        }
        self.expected.extend(others);
    }

    pub(crate) async fn probe(&self, site: &Site, agents: &BTreeSet<String>) -> Probe {
        let met = || self.met.lock().unwrap_or_else(PoisonError::into_inner);
        let open: Vec<_> = {
            let met = met();
            let open = agents.iter().filter(|agent| !met.contains(*agent));
            open.cloned().collect()
        };
        let mut waits: BTreeMap<_, _> = stream::iter(open)
            .map(|service| async move {
                let said = self.probe_one(site, &service).await;
                (service, said)
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        waits.retain(|service, said| {
            if said.is_none() {
                met().insert(service.clone());
            }
            said.is_some()
        });
        if waits.is_empty() {
            return Probe::Met;
        }
        let more = match waits.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!("; and {more} more agents"),
        };
        let named = waits.into_iter().take(NAMED);
        let named: Vec<_> = named
            .map(|(service, said)| format!("{service}: {}", said.unwrap_or_default()))
            .collect();
        Probe::Waiting(format!("{}{more}", named.join("; ")))
    }

    /// What is missing, if anything is.
    async fn probe_one(&self, site: &Site, service: &str) -> Option<String> {
        let expected = self.expected.get(service)?;
        if expected.before == Footage::default() {
            return None;
        }
        let Some(now) = look(site, service, &expected.continuous).await else {
            return Some("it does not answer".to_owned());
        };
        let probes = [
            expected.before.is_given_by(&now),
            expected.before.is_outlived_by(&now),
        ];
        probes.into_iter().find_map(|probe| match probe {
            Probe::Met => None,
            Probe::Waiting(reason) | Probe::Failed(reason) | Probe::Forbidden(reason) => {
                Some(reason)
            }
        })
    }
}

/// One that does not answer has to do all that it should.
async fn read(site: &Site, agents: &BTreeMap<String, Watched>) -> BTreeMap<String, Expected> {
    stream::iter(agents)
        .map(|(service, watched)| async move {
            let read = Instant::now();
            let found = look(site, service, &watched.continuous).await;
            let before = found.unwrap_or_else(|| {
                let mut all = Footage::default();
                all.add_all(&watched.cameras, &watched.continuous);
                all
            });
            let expected = Expected {
                before,
                read,
                continuous: watched.continuous.clone(),
            };
            (service.clone(), expected)
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

/// What an agent's cameras do now; nothing where it does not say.
async fn look(site: &Site, service: &str, continuous: &BTreeSet<String>) -> Option<Footage> {
    let secret = site
        .read(&ObjectId::new(Kind::Secret, service))
        .await
        .ok()??;
    let purpose = format!("{service}-token");
    let data = secret.get("data").and_then(Value::as_object)?;
    let newest = data
        .iter()
        .filter_map(|(key, value)| {
            let name = SecretName::parse(key).filter(|name| name.purpose == purpose)?;
            Some((name.version, decode(value.as_str()?)?))
        })
        .max_by_key(|(version, _)| *version);
    let (_, token) = newest?;
    let way = forward(&site.connection, &site.namespace, service, AGENT_PORT).await;
    let way = way.ok()?;
    let url = Url::parse(&format!("http://{}/", way.address())).expect("invariant: a literal URL");
    let cameras = read_cameras(&url, token.trim_end()).await.ok()?;
    Some(Footage::of(&cameras, continuous))
}
