//! Facts of a site in a cluster, read and never written.
//!
//! One list of each kind brings all of it; what else a first installation has to know is asked for
//! only then.

mod settled;

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use camino::Utf8Path;
use futures::future::{join, join_all};
use installer_engine::{Logins, certificate, read_access, secret};
use installer_pki::Pair;
use installer_plan::Receipt;
use installer_plan::docker::{ImageFact, Ownership, label};
use installer_plan::kubernetes::{
    AUTHORITY, AddonFacts, Cluster, FIELD_MANAGER, KubernetesFacts, ObjectFact, RECEIPT, TRUST,
    applied_digest, certificate_secret, further_names, units,
};
use installer_render::docker::{Component, reads_once};
use installer_render::kubernetes::{Kind, ObjectId};
use installer_render::{Layout, SecretName};
use installer_spec::Profile;
use serde::Deserialize as _;
use serde_json::Value;

use crate::addon::read_addons;
use crate::cluster::read_cluster;
use crate::connect::Connection;
use crate::error::KubernetesError;
use crate::list::{Labelled, each_item};
use crate::managed::{applied, changed, has_applied, shared};
use crate::readiness::{Deployment, State, rollout};
use crate::receipt;
use crate::release;
use crate::request::{Extent, RequestError, asked};

/// Up to this many objects of a kind are looked up by name; of more a list is cheaper.
const FEW: usize = 3;

/// What the caller knows before anything is read.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub site: &'a str,
    /// Absent, only what is there is read, which is enough to take it away.
    pub profile: Option<&'a Profile>,
    /// The profile's: relative paths start there.
    pub folder: &'a Utf8Path,
    pub logins: &'a Logins,
    pub namespace: &'a str,
    /// Objects that the caller will want, so that foreign ones of the same name are seen.
    pub names: &'a BTreeSet<ObjectId>,
    pub images: &'a BTreeMap<Component, ImageFact>,
}

/// Facts for planning, and what only those who log in need.
#[derive(Clone)]
pub struct KubernetesObserved {
    pub facts: KubernetesFacts,
    /// Newest value of each secret; never shown.
    secrets: BTreeMap<String, String>,
    /// The owner's certificate and key, as they lie beside the profile.
    pub own: Option<Pair>,
    /// What the site's parts trust.
    pub trust: Option<String>,
}

impl std::fmt::Debug for KubernetesObserved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KubernetesObserved")
            .field("facts", &self.facts)
            .finish_non_exhaustive()
    }
}

impl KubernetesObserved {
    /// A secret of the site, without its last line break.
    pub fn secret(&self, purpose: &str) -> Option<&str> {
        self.secrets.get(purpose).map(|text| text.trim_end())
    }
}

/// Reads everything that planning may know.
pub async fn observe(
    connection: &Connection,
    wanted: Wanted<'_>,
) -> Result<KubernetesObserved, KubernetesError> {
    let mut first_look = look(connection, wanted).await?;
    if first_look.is_torn {
        first_look = look(connection, wanted).await?;
    }
    let Look {
        mut site,
        cluster,
        installation,
        unserved,
        ..
    } = first_look;
    let profile = wanted.profile.map(|profile| (profile, wanted.folder));
    let receipt = site.receipt.as_ref();
    let charts = release::observe(
        connection,
        profile,
        wanted.namespace,
        &installation,
        receipt,
    )
    .await?;

    let kept: Vec<_> = site.values.keys().cloned().collect();
    let read = |name: &SecretName| site.values.get(name).cloned();
    let (secrets, missing_logins) = match wanted.profile {
        Some(profile) => secret::judge(profile, wanted.logins, kept.iter().cloned(), read),
        None => Default::default(),
    };
    // Names are in order, so the newest comes last.
    let values = kept.iter().filter_map(|name| {
        let text = site.values.get(name)?.clone();
        Some((name.purpose.clone(), text))
    });
    let values = values.collect();
    let layout = Layout::new("");
    let (access, own) = match wanted.profile {
        Some(profile) => {
            let kept = certificate::shown_to_others(&site.texts, &layout);
            read_access(profile, wanted.folder, kept.as_ref())
        }
        None => Default::default(),
    };
    let cluster = cluster?;
    let addons = match wanted.profile {
        Some(profile) => read_addons(connection, profile, &cluster).await?,
        None => AddonFacts::default(),
    };
    let mut facts = KubernetesFacts {
        cluster,
        addons,
        unserved,
        access,
        given: std::mem::take(&mut site.given),
        namespace: wanted.namespace.to_owned(),
        installation,
        certificates: certificate::facts(&site.texts, &layout),
        objects: std::mem::take(&mut site.objects),
        secrets,
        missing_logins,
        images: wanted.images.clone(),
        image_way: None,
        cameras: site
            .receipt
            .as_ref()
            .map(|receipt| receipt.rates.clone())
            .unwrap_or_default(),
        receipt: site.receipt.take(),
        rotate: BTreeSet::new(),
        charts: charts.charts,
        releases: charts.releases,
    };
    if let Some(profile) = wanted.profile {
        look_further(connection, profile, &site, &mut facts).await?;
    }
    Ok(KubernetesObserved {
        facts,
        secrets: values,
        own,
        trust: site.texts.remove(&layout.trust().join("ca.crt")),
    })
}

/// The site as one look at every kind has it.
struct Look<'a> {
    site: Site<'a>,
    cluster: Result<Cluster, KubernetesError>,
    installation: String,
    /// Kinds that the cluster does not know.
    unserved: BTreeSet<Kind>,
    /// Another run has begun to install the site between one kind and the next.
    is_torn: bool,
}

async fn look<'a>(
    connection: &Connection,
    wanted: Wanted<'a>,
) -> Result<Look<'a>, KubernetesError> {
    let lists = join_all(Kind::ALL.map(|kind| read_kind(connection, kind, wanted)));
    let (cluster, lists) = join(Box::pin(read_cluster(connection, Some(wanted.site))), lists).await;
    let mut site = Site::new(wanted.site);
    let mut lists: Vec<_> = lists.into_iter().collect::<Result<_, _>>()?;
    // Whose the others are is known once receipt and namespace are.
    lists.sort_by_key(|(kind, _)| (*kind != Kind::Secret, *kind != Kind::Namespace));
    let mut rest = Vec::new();
    let mut unserved = BTreeSet::new();
    for (kind, mut answer) in lists {
        if let Answer::Refused(error) = answer {
            let ours = site.receipt.iter().flat_map(owned);
            if kind.is_extension() && !ours.into_iter().any(|id| id.kind == kind) {
                unserved.insert(kind);
                continue;
            }
            answer = read_named(connection, kind, wanted, site.receipt.as_ref(), error).await?;
        }
        if matches!(kind, Kind::Secret | Kind::Namespace) {
            site.find_installation(connection, kind, &answer, wanted.namespace)?;
        }
        rest.push((kind, answer));
    }
    let known = site.installation.clone();
    let is_first = known.is_none();
    let installation = match known {
        Some(installation) => installation,
        None => new_installation()?,
    };
    site.installation = Some(installation.clone());
    for (kind, answer) in rest {
        site.read_items(connection, kind, &answer)?;
    }
    look_up(connection, wanted, &unserved, &mut site).await?;
    let unsettled = std::mem::take(&mut site.unsettled);
    let (namespace, objects) = (wanted.namespace, &mut site.objects);
    settled::look_closer(connection, namespace, wanted.site, unsettled, objects).await;
    let home = ObjectId::new(Kind::Namespace, wanted.namespace);
    let home = site.objects.get(&home);
    Ok(Look {
        is_torn: is_first && home.is_some_and(|fact| fact.applied.is_some()),
        site,
        cluster,
        installation,
        unserved,
    })
}

fn new_installation() -> Result<String, KubernetesError> {
    let random = secret::random_hex().map_err(|source| KubernetesError::Read {
        what: "randomness".to_owned(),
        source: source.into(),
    })?;
    Ok(random.chars().take(16).collect())
}

/// What one kind's list answered.
enum Answer {
    List(Bytes),
    /// Of the cluster's kinds a role may let us see only what has certain names.
    Refused(RequestError),
    Named(Vec<Value>),
}

/// The labelled objects of a kind.
async fn read_kind(
    connection: &Connection,
    kind: Kind,
    wanted: Wanted<'_>,
) -> Result<(Kind, Answer), KubernetesError> {
    let selector = format!("{}={}", label::SITE, wanted.site);
    let listed = connection
        .list(wanted.namespace, kind, &selector, Extent::Whole)
        .await;
    let error = match listed {
        Ok(bytes) => return Ok((kind, Answer::List(bytes))),
        Err(error) => error,
    };
    // A role may know nothing of what somebody taught the cluster.
    let unknown = kind.is_extension() && matches!(error.code(), Some(403 | 404));
    if unknown || (!kind.is_namespaced() && error.code() == Some(403)) {
        return Ok((kind, Answer::Refused(error)));
    }
    let asked = asked("list", kind, "");
    Err(KubernetesError::of(&connection.origin.server, asked, error))
}

/// Those of a kind that the caller wants, or that the receipt says are there.
async fn read_named(
    connection: &Connection,
    kind: Kind,
    wanted: Wanted<'_>,
    receipt: Option<&Receipt>,
    refused: RequestError,
) -> Result<Answer, KubernetesError> {
    let own = ObjectId::new(Kind::Namespace, wanted.namespace);
    let names: BTreeSet<_> = wanted
        .names
        .iter()
        .chain(receipt.into_iter().flat_map(owned))
        .chain([&own])
        .filter(|id| id.kind == kind)
        .collect();
    let gets = names
        .iter()
        .map(|id| connection.get(wanted.namespace, id, Extent::Whole));
    let found: Result<Vec<_>, _> = join_all(gets).await.into_iter().collect();
    let Ok(found) = found else {
        let asked = asked("list", kind, "");
        return Err(KubernetesError::of(
            &connection.origin.server,
            asked,
            refused,
        ));
    };
    let labelled = found.into_iter().flatten().filter(|object| {
        let label = labels(object).and_then(|labels| labels.get(label::SITE));
        label.and_then(Value::as_str) == Some(wanted.site)
    });
    Ok(Answer::Named(labelled.collect()))
}

/// What completed runs left, and what one that did not end has made.
fn owned(receipt: &Receipt) -> impl Iterator<Item = &ObjectId> {
    let pending = receipt.pending.iter().flat_map(|p| &p.owned.objects);
    receipt.owned.objects.iter().chain(pending)
}

fn labels(object: &Value) -> Option<&serde_json::Map<String, Value>> {
    object.pointer("/metadata/labels")?.as_object()
}

/// What is read, item by item.
struct Site<'a> {
    name: &'a str,
    installation: Option<String>,
    receipt: Option<Receipt>,
    objects: BTreeMap<ObjectId, ObjectFact>,
    /// Of this installation's Secrets.
    values: BTreeMap<SecretName, String>,
    /// Certificates and keys, as if they lay in a data directory.
    texts: certificate::Texts,
    /// Addresses and names of load balancers.
    given: BTreeSet<String>,
    /// Deployments that do not say that they are ready.
    unsettled: BTreeMap<String, Deployment>,
}

impl<'a> Site<'a> {
    fn new(name: &'a str) -> Self {
        Self {
            name,
            installation: None,
            receipt: None,
            objects: BTreeMap::new(),
            values: BTreeMap::new(),
            texts: BTreeMap::new(),
            given: BTreeSet::new(),
            unsettled: BTreeMap::new(),
        }
    }

    /// The receipt says which installation this is; before there is one, the namespace does.
    fn find_installation(
        &mut self,
        connection: &Connection,
        kind: Kind,
        answer: &Answer,
        namespace: &str,
    ) -> Result<(), KubernetesError> {
        let wanted = if kind == Kind::Secret {
            RECEIPT
        } else {
            namespace
        };
        let mut found = None;
        each(connection, kind, answer, |object| {
            let name = object.pointer("/metadata/name").and_then(Value::as_str);
            if name == Some(wanted) && has_applied(&object, FIELD_MANAGER) {
                found = Some(object);
            }
        })?;
        let Some(object) = found else {
            return Ok(());
        };
        let label = labels(&object).and_then(|labels| labels.get(label::INSTALLATION));
        let label = label.and_then(Value::as_str).map(str::to_owned);
        self.installation = self.installation.take().or(label);
        if kind == Kind::Secret {
            let receipt = receipt::unpack(&object).map_err(|source| KubernetesError::Read {
                what: format!("the receipt in Secret `{RECEIPT}` of namespace `{namespace}`"),
                source,
            })?;
            self.receipt = Some(receipt);
        }
        Ok(())
    }

    fn read_items(
        &mut self,
        connection: &Connection,
        kind: Kind,
        answer: &Answer,
    ) -> Result<(), KubernetesError> {
        each(connection, kind, answer, |object| {
            self.read_item(kind, &object);
        })
    }

    fn read_item(&mut self, kind: Kind, object: &Value) {
        let Some(fact) = self.fact(kind, object) else {
            return;
        };
        let name = object.pointer("/metadata/name").and_then(Value::as_str);
        let id = ObjectId::new(kind, name.unwrap_or_default());
        if id == receipt::id() {
            return;
        }
        if fact.ownership == Ownership::Ours {
            self.keep(&id, object);
            if kind == Kind::Deployment
                && !fact.ready
                && let Ok(deployment) = Deployment::deserialize(object)
            {
                self.unsettled.insert(id.name.clone(), deployment);
            }
        }
        self.objects.insert(id, fact);
    }

    fn fact(&self, kind: Kind, object: &Value) -> Option<ObjectFact> {
        let labelled = Labelled::deserialize(object).ok()?;
        let has = |name: &str, value: &str| {
            let found = labelled.metadata.labels.get(name);
            found.is_some_and(|found| found == value)
        };
        let installation = self.installation.as_deref().unwrap_or_default();
        let ownership = if !has(label::SITE, self.name) {
            Ownership::Foreign("it has no label of ours".to_owned())
        } else if !has(label::INSTALLATION, installation) {
            Ownership::Foreign("it belongs to another installation".to_owned())
        } else if !has_applied(object, FIELD_MANAGER) {
            Ownership::Foreign(format!("it has our labels, but not from `{FIELD_MANAGER}`"))
        } else {
            Ownership::Ours
        };
        let offered = has(label::SITE, self.name)
            && !labelled.metadata.labels.contains_key(label::INSTALLATION);
        let said = applied(object, FIELD_MANAGER);
        let ready = kind == Kind::Deployment
            && Deployment::deserialize(object)
                .is_ok_and(|deployment| rollout(&deployment, None) == State::Ready);
        Some(ObjectFact {
            offered: offered && ownership != Ownership::Ours,
            ownership,
            applied: said.map(|said| applied_digest(kind, &said)),
            shared: shared(object, FIELD_MANAGER),
            generation: object
                .pointer("/metadata/generation")
                .and_then(Value::as_i64)
                .unwrap_or_default(),
            ending: labelled.metadata.deletion_timestamp.is_some(),
            changed: changed_at(kind, &labelled.metadata.name, object).map(str::to_owned),
            uid: labelled.metadata.uid,
            storage_bytes: object
                .pointer("/spec/resources/requests/storage")
                .and_then(|amount| units(amount.as_str()?)),
            ready,
            image: object
                .pointer("/spec/template/spec/containers/0/image")
                .and_then(Value::as_str)
                .map(str::to_owned),
        })
    }

    /// Values of secrets and certificates, and what a load balancer says of an object.
    fn keep(&mut self, id: &ObjectId, object: &Value) {
        let given = object.pointer("/status/loadBalancer/ingress");
        for one in given.and_then(Value::as_array).into_iter().flatten() {
            let at = one.get("ip").or_else(|| one.get("hostname"));
            self.given
                .extend(at.and_then(Value::as_str).map(str::to_owned));
        }
        let data = object.get("data").and_then(Value::as_object);
        let layout = Layout::new("");
        for (key, value) in data.into_iter().flatten() {
            let text = value.as_str().unwrap_or_default();
            match id.kind {
                Kind::ConfigMap if id.name == TRUST => {
                    self.texts.insert(layout.trust().join(key), text.to_owned());
                }
                Kind::Secret => {
                    let Some(text) = decode(text) else {
                        continue;
                    };
                    if let Some(name) = SecretName::parse(key) {
                        self.values.insert(name, text);
                    } else if id.name == AUTHORITY {
                        self.texts.insert(layout.authority().join(key), text);
                    } else if let Some(service) = service_of(&id.name) {
                        self.texts
                            .insert(layout.certificate(service).join(key), text);
                    }
                }
                _ => {}
            }
        }
    }
}

/// When a certificate was written, or what the pods of who reads one once are made from.
fn changed_at<'a>(kind: Kind, name: &str, object: &'a Value) -> Option<&'a str> {
    match kind {
        Kind::Secret if service_of(name).is_some() => changed(object, &["data"]),
        Kind::Deployment if !reads_once(name).is_empty() => changed(object, &["spec", "template"]),
        _ => None,
    }
}

/// Whose certificate a Secret holds.
fn service_of(secret: &str) -> Option<&str> {
    let service = secret.strip_suffix(&certificate_secret(""))?;
    (!service.is_empty()).then_some(service)
}

/// The text of a value of a Secret.
pub(crate) fn decode(value: &str) -> Option<String> {
    String::from_utf8(STANDARD.decode(value).ok()?).ok()
}

fn each(
    connection: &Connection,
    kind: Kind,
    answer: &Answer,
    mut item: impl FnMut(Value),
) -> Result<(), KubernetesError> {
    match answer {
        Answer::List(bytes) => each_item(bytes, item).map_err(|error| {
            let asked = asked("list", kind, "");
            let error = RequestError::Answer(error);
            KubernetesError::of(&connection.origin.server, asked, error)
        }),
        Answer::Named(objects) => {
            objects.iter().cloned().for_each(&mut item);
            Ok(())
        }
        Answer::Refused(_) => Ok(()),
    }
}

/// Looks for objects that have a name of ours and not our label.
async fn look_up(
    connection: &Connection,
    wanted: Wanted<'_>,
    unserved: &BTreeSet<Kind>,
    site: &mut Site<'_>,
) -> Result<(), KubernetesError> {
    let mut known: BTreeSet<_> = site.objects.keys().collect();
    known.extend(site.receipt.iter().flat_map(owned));
    let mut missing: BTreeMap<Kind, BTreeSet<&ObjectId>> = BTreeMap::new();
    let unknown = |id: &&ObjectId| !known.contains(id) && !unserved.contains(&id.kind);
    for id in wanted.names.iter().filter(unknown) {
        missing.entry(id.kind).or_default().insert(id);
    }
    let own = ObjectId::new(Kind::Namespace, wanted.namespace);
    if missing.is_empty() && known.contains(&own) {
        return Ok(());
    }
    let mut found = Vec::new();
    if !site.objects.contains_key(&own) {
        missing.remove(&Kind::Namespace);
        let named = find(connection, wanted.namespace, &BTreeSet::from([&own])).await?;
        if named.is_empty() {
            // Nothing can be in a namespace that is not there.
            missing.retain(|kind, _| !kind.is_namespaced());
        }
        found.extend(named);
    }
    let lookups = missing
        .values()
        .map(|ids| find(connection, wanted.namespace, ids));
    for named in join_all(lookups).await {
        found.extend(named?);
    }
    for (kind, object) in found {
        site.read_item(kind, &object);
    }
    Ok(())
}

/// Looks for objects with the names of what follows from the rest: what leads in from outside, and what
/// others read the site's numbers by.
async fn look_further(
    connection: &Connection,
    profile: &Profile,
    site: &Site<'_>,
    facts: &mut KubernetesFacts,
) -> Result<(), KubernetesError> {
    let home = ObjectId::new(Kind::Namespace, &*facts.namespace);
    if !facts.objects.contains_key(&home) {
        return Ok(());
    }
    let mut known: BTreeSet<_> = facts.objects.keys().cloned().collect();
    known.extend(facts.receipt.iter().flat_map(owned).cloned());
    let names = further_names(profile, facts);
    let mut missing: BTreeMap<Kind, BTreeSet<&ObjectId>> = BTreeMap::new();
    for id in names.difference(&known) {
        if !facts.unserved.contains(&id.kind) {
            missing.entry(id.kind).or_default().insert(id);
        }
    }
    let lookups = missing
        .values()
        .map(|ids| find(connection, &facts.namespace, ids));
    for named in join_all(lookups).await {
        for (kind, object) in named? {
            let name = object.pointer("/metadata/name").and_then(Value::as_str);
            let id = ObjectId::new(kind, name.unwrap_or_default());
            facts
                .objects
                .extend(site.fact(kind, &object).map(|fact| (id, fact)));
        }
    }
    Ok(())
}

/// Those of the objects that are there, without more than metadata. All are of one kind.
async fn find(
    connection: &Connection,
    namespace: &str,
    ids: &BTreeSet<&ObjectId>,
) -> Result<Vec<(Kind, Value)>, KubernetesError> {
    let Some(kind) = ids.first().map(|id| id.kind) else {
        return Ok(Vec::new());
    };
    let server = &connection.origin.server;
    if ids.len() <= FEW {
        let gets = ids.iter().map(|id| async {
            let found = connection.get(namespace, id, Extent::Metadata).await;
            found.map_err(|error| KubernetesError::of(server, asked("get", kind, &id.name), error))
        });
        let found: Result<Vec<_>, _> = join_all(gets).await.into_iter().collect();
        return Ok(found?
            .into_iter()
            .flatten()
            .map(|object| (kind, object))
            .collect());
    }
    let failed = |error| KubernetesError::of(server, asked("list", kind, ""), error);
    let bytes = connection
        .list(namespace, kind, "", Extent::Metadata)
        .await
        .map_err(failed)?;
    let names: BTreeSet<&str> = ids.iter().map(|id| id.name.as_str()).collect();
    let mut found = Vec::new();
    each_item(&bytes, |object| {
        let name = object.pointer("/metadata/name").and_then(Value::as_str);
        if name.is_some_and(|name| names.contains(name)) {
            found.push((kind, object));
        }
    })
    .map_err(|error| failed(RequestError::Answer(error)))?;
    Ok(found)
}

#[cfg(test)]
mod tests;
