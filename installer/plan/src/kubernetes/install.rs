//! Profile and facts in, steps out.

use std::collections::{BTreeMap, BTreeSet};

use camino::{Utf8Path, Utf8PathBuf};
use installer_render::docker::{Component, certificate_files, certificates, reads_once};
use installer_render::kubernetes::{
    ENTRANCE, Inputs, Kind, Object, ObjectId, Release, Rendered, Scraping, Site, Workload,
    chart_namespace, chart_trust, claims, labels, render, vault_host,
};
use installer_render::{ACCESS, Role, SecretName, SecretOrigin, base_of, secret_purposes};
use installer_spec::{Monitoring, Profile, TargetChoice};

use super::entrance::{Choice, choose};
use super::seen::seen_of;
use super::{
    AUTHORITY, Conflicts, KubernetesAction, KubernetesFacts, SecretSource, TRUST, addon,
    applied_digest, capacity, certificate_secret, checks, import, namespace, release, volume,
};
use crate::certificate::{What, brings_own, due};
use crate::check::Finding;
use crate::docker::Ownership;
use crate::host::PlanError;
use crate::plan::{Action, Change, Condition, Operation, Plan, Step};
use crate::receipt::Owned;
use crate::secret::{NewSecret, choose_secrets};
use crate::storage::{Promise, StorageEstimate};

/// A pod that has to be pulled over a slow line, and a vault that repairs a big catalogue, are up by
/// then.
const READY_SECONDS: u64 = 600;

/// Version of each secret, and how it comes to be where it is not there yet.
type Secrets = BTreeMap<String, (u32, Option<SecretOrigin>)>;

/// Returns the steps that bring a cluster to the profile, in the order in which they are done.
///
/// `folder` is the profile's: relative paths in it start there.
pub fn plan(
    profile: &Profile,
    folder: &Utf8Path,
    facts: &KubernetesFacts,
    promise: Promise,
) -> Result<Plan, PlanError> {
    match profile.target {
        TargetChoice::Host => return Err(PlanError::Target { asked: "host" }),
        TargetChoice::Docker => return Err(PlanError::Target { asked: "docker" }),
        TargetChoice::Auto | TargetChoice::Kubernetes => {}
    }
    let addons = addon::missing(profile, facts);
    let facts = &addon::enabled(facts, &addons);
    let secrets = choose_secrets(profile, &facts.secrets, &facts.rotate);
    let entrance = choose(profile, facts);
    let (site, storage) = rendered(profile, folder, facts, &secrets, entrance.as_ref());
    let mut findings = checks::findings(profile, facts, &site, storage.as_ref(), promise);
    findings.extend(capacity::findings(profile, facts, &site));
    findings.extend(release::findings(facts, &site.releases));
    findings.extend(addon::findings(facts, &addons));
    findings.extend(import::findings(facts, &site.workloads));

    let mut draft = Draft {
        profile,
        facts,
        secrets: &secrets,
        steps: Vec::new(),
        unchanged: 0,
        owned: Owned::default(),
        entrance,
        renewed: BTreeSet::new(),
    };
    draft.addons(addons);
    draft.imports(&site.workloads);
    for rendered in site.objects {
        draft.object(rendered);
    }
    draft.certificates();
    draft.workloads(site.workloads);
    draft.releases(site.releases);
    draft.prune();
    Ok(draft.finish(findings, storage))
}

/// Every object that the site has, as a cluster would be told of it.
pub fn objects(profile: &Profile, folder: &Utf8Path, facts: &KubernetesFacts) -> Site {
    let facts = &addon::enabled(facts, &addon::missing(profile, facts));
    let secrets = choose_secrets(profile, &facts.secrets, &facts.rotate);
    let entrance = choose(profile, facts);
    rendered(profile, folder, facts, &secrets, entrance.as_ref()).0
}

/// The names of all objects that a plan for this profile may be about.
pub fn names(profile: &Profile) -> BTreeSet<ObjectId> {
    let site = unseen(profile, Utf8Path::new(""));
    let rendered = site.objects.into_iter().map(|one| one.object.id);
    let workloads = site.workloads.into_iter().map(|one| one.object.id);
    rendered
        .chain(workloads)
        .chain(own_objects(profile))
        .collect()
}

/// The charts of a profile as Helm is told of them, with first versions of their logins.
pub fn releases(profile: &Profile, folder: &Utf8Path) -> Vec<Release> {
    unseen(profile, folder).releases
}

/// The site in a cluster of which nothing is known.
fn unseen(profile: &Profile, folder: &Utf8Path) -> Site {
    let versions = secret_purposes(profile)
        .into_keys()
        .map(|purpose| (purpose, 1));
    let images = Component::ALL.map(|component| (component, String::new()));
    render(&Inputs {
        profile,
        folder,
        namespace: &namespace(&profile.site),
        installation: "",
        secrets: &versions.collect(),
        images: &images.into(),
        volumes: &BTreeMap::new(),
        // What leads in from outside follows from facts.
        entrance: None,
        scraping: Scraping::Nobody,
    })
}

/// The names of what follows from the cluster: what leads in from outside, and what others read the
/// site's numbers by.
pub fn further_names(profile: &Profile, facts: &KubernetesFacts) -> BTreeSet<ObjectId> {
    let (entrance, scraping) = (choose(profile, facts), scraping(profile, facts));
    if entrance.is_none() && scraping == Scraping::Nobody {
        return BTreeSet::new();
    }
    // One camera more makes no other name of this sort.
    let mut few = profile.clone();
    few.cameras.truncate(1);
    let versions = secret_purposes(&few).into_keys();
    let site = render(&Inputs {
        profile: &few,
        folder: Utf8Path::new(""),
        namespace: &facts.namespace,
        installation: "",
        secrets: &versions.map(|purpose| (purpose, 1)).collect(),
        images: &Component::ALL.map(|one| (one, String::new())).into(),
        volumes: &BTreeMap::new(),
        entrance: entrance.as_ref().map(|choice| &choice.entrance),
        scraping,
    });
    let objects = site.objects.into_iter();
    objects.map(|rendered| rendered.object.id).collect()
}

/// Objects that are made where they lie, and are not compared.
pub(super) fn own_objects(profile: &Profile) -> BTreeSet<ObjectId> {
    let certified = certificates(profile);
    let mut all: BTreeSet<_> = certified
        .keys()
        .map(|service| ObjectId::new(Kind::Secret, certificate_secret(service)))
        .collect();
    if brings_own(profile) {
        all.insert(ObjectId::new(Kind::Secret, certificate_secret(ACCESS)));
    }
    if !certified.is_empty() {
        all.insert(ObjectId::new(Kind::Secret, AUTHORITY));
        all.insert(ObjectId::new(Kind::ConfigMap, TRUST));
    }
    all
}

/// Whether the cluster's Prometheus is told of the site.
fn scraping(profile: &Profile, facts: &KubernetesFacts) -> Scraping {
    let known = |kind| !facts.unserved.contains(&kind);
    let operated = known(Kind::PodMonitor) && known(Kind::PrometheusRule);
    match profile.monitoring {
        Monitoring::Off => Scraping::Nobody,
        Monitoring::Auto | Monitoring::On if operated => Scraping::Prometheus,
        Monitoring::Auto | Monitoring::On => Scraping::Nobody,
    }
}

fn rendered(
    profile: &Profile,
    folder: &Utf8Path,
    facts: &KubernetesFacts,
    secrets: &Secrets,
    entrance: Option<&Choice>,
) -> (Site, Option<StorageEstimate>) {
    let versions: BTreeMap<_, _> = secrets
        .iter()
        .map(|(purpose, (version, _))| (purpose.clone(), *version))
        .collect();
    let images: BTreeMap<Component, String> = facts
        .images
        .iter()
        .map(|(component, image)| (*component, image.reference.clone()))
        .collect();
    let volumes: BTreeMap<String, u64> = claims(profile)
        .into_iter()
        .map(|claim| {
            let bytes = volume::bytes(profile, facts, &claim);
            (claim, bytes)
        })
        .collect();
    let site = render(&Inputs {
        profile,
        folder,
        namespace: &facts.namespace,
        installation: &facts.installation,
        secrets: &versions,
        images: &images,
        volumes: &volumes,
        entrance: entrance.map(|choice| &choice.entrance),
        scraping: scraping(profile, facts),
    });
    (site, volume::estimate(profile, facts, &volumes))
}

/// A plan in the making.
pub(super) struct Draft<'a> {
    pub(super) profile: &'a Profile,
    pub(super) facts: &'a KubernetesFacts,
    secrets: &'a Secrets,
    steps: Vec<Step>,
    pub(super) unchanged: usize,
    pub(super) owned: Owned,
    entrance: Option<Choice>,
    /// Certificates that are made anew.
    renewed: BTreeSet<String>,
}

impl Draft<'_> {
    pub(super) fn push(
        &mut self,
        change: Change,
        id: String,
        action: KubernetesAction,
    ) -> &mut Step {
        self.steps.push(Step {
            id,
            change,
            detail: Vec::new(),
            action: Action::Kubernetes(action),
            settle: None,
        });
        self.steps.last_mut().expect("invariant: just pushed")
    }

    /// How an object has to change, if at all. One that is not ours is an error finding.
    fn compare(&mut self, object: &Object) -> Option<Change> {
        self.owned.objects.insert(object.id.clone());
        let Some(fact) = self.facts.objects.get(&object.id) else {
            return Some(Change::Add);
        };
        let wanted = applied_digest(object.id.kind, &object.value());
        if fact.offered {
            Some(Change::Change)
        } else if matches!(fact.ownership, Ownership::Foreign(_)) {
            None
        } else if fact.applied.as_ref() == Some(&wanted) && !fact.ending {
            self.unchanged += 1;
            None
        } else {
            Some(Change::Change)
        }
    }

    fn object(&mut self, rendered: Rendered) {
        for name in rendered.secrets.values() {
            self.owned.secrets.insert(name.to_string());
        }
        let Some(change) = self.compare(&rendered.object) else {
            return;
        };
        let mut detail = self.said_of(&rendered.object);
        let mut sources = BTreeMap::new();
        for (key, name) in &rendered.secrets {
            let origin = self
                .secrets
                .get(&name.purpose)
                .and_then(|(_, origin)| *origin);
            if let Some(origin) = origin {
                let new = NewSecret::of(name, origin, &BTreeMap::new());
                detail.push(new.id);
                let base = base_of(&name.purpose).and_then(|base| self.version_of(base));
                let source = SecretSource {
                    name: name.clone(),
                    origin,
                    login: new.login,
                    base,
                };
                sources.insert(key.clone(), source);
            }
        }
        let id = rendered.object.id.to_string();
        let action = KubernetesAction::Apply {
            adopts: self.adopts(&rendered.object),
            object: rendered.object,
            secrets: sources,
        };
        self.push(change, id, action).detail = detail;
    }

    /// The UID of one that others have made for this site.
    fn adopts(&self, object: &Object) -> Option<String> {
        let fact = self.facts.objects.get(&object.id)?;
        fact.offered.then(|| fact.uid.clone())
    }

    /// What follows from the cluster: where the vault is reached, and whose disk a claim gets.
    fn said_of(&self, object: &Object) -> Vec<String> {
        if self.adopts(object).is_some() {
            let line = "made for this site by others, and adopted as it is: what they have said of it \
                        and the profile does not say goes";
            return vec![line.to_owned()];
        }
        match object.id.kind {
            Kind::Service if object.id.name == ENTRANCE => {
                let choice = self.entrance.as_ref().zip(self.profile.access.as_ref());
                choice.map_or_else(Vec::new, |(choice, access)| choice.detail(access))
            }
            Kind::PersistentVolumeClaim => self.disk_of(object).into_iter().collect(),
            _ => Vec::new(),
        }
    }

    fn disk_of(&self, claim: &Object) -> Option<String> {
        let mut classes = self.facts.cluster.storage_classes.iter();
        let (class, fact) = classes.find(|(_, class)| class.default)?;
        let manifest = claim.value();
        let size = manifest["spec"]["resources"]["requests"]["storage"].as_str()?;
        Some(format!(
            "{size} of storage class `{class}` ({})",
            fact.provisioner
        ))
    }

    /// The key of the version of a secret that is in force.
    fn version_of(&self, purpose: &str) -> Option<String> {
        let (version, _) = self.secrets.get(purpose)?;
        let name = SecretName {
            purpose: purpose.to_owned(),
            version: *version,
        };
        Some(name.to_string())
    }

    fn labels(&self, service: &str) -> BTreeMap<String, String> {
        labels(&self.profile.site, &self.facts.installation, service)
    }

    fn certificates(&mut self) {
        self.owned.objects.extend(own_objects(self.profile));
        let facts = self.facts;
        let mut wanted = certificates(self.profile);
        let copies = self.trusting_charts();
        if let Some(names) = wanted.get_mut("vault").filter(|_| !copies.is_empty()) {
            names.insert(vault_host(&facts.namespace));
        }
        let (due, unchanged) = due(wanted, self.profile, &facts.certificates, &facts.access);
        self.unchanged += unchanged;
        for due in due {
            let action = match due.what {
                What::Authority => KubernetesAction::MakeAuthority {
                    secret: AUTHORITY.to_owned(),
                    trust: TRUST.to_owned(),
                    labels: self.labels("site"),
                    copies: copies.clone(),
                },
                What::Issued { service, names } => {
                    self.renewed.insert(service.clone());
                    let files = certificate_files(&service);
                    KubernetesAction::IssueCertificate {
                        names,
                        authority: AUTHORITY.to_owned(),
                        secret: certificate_secret(&service),
                        certificate: files.certificate.to_owned(),
                        key: files.key.to_owned(),
                        labels: self.labels(&service),
                        service,
                    }
                }
                What::Own { fingerprint } => {
                    let files = certificate_files(ACCESS);
                    KubernetesAction::InstallCertificate {
                        fingerprint,
                        secret: certificate_secret(ACCESS),
                        certificate: files.certificate.to_owned(),
                        key: files.key.to_owned(),
                        labels: self.labels(ACCESS),
                    }
                }
            };
            self.push(due.change, due.id, action).detail = due.detail;
        }
    }

    /// Where charts have the site's trust, by namespace.
    fn trusting_charts(&self) -> BTreeMap<String, String> {
        let charts = self.profile.charts.iter();
        let trusting = charts.filter_map(|chart| {
            let namespace = chart_namespace(&self.facts.namespace, &chart.name);
            Some((namespace, chart_trust(chart)?))
        });
        trusting.collect()
    }

    /// Stores have to answer before the vault starts; all others come up in any order, except that
    /// new images reach agents in waves.
    fn workloads(&mut self, workloads: Vec<Workload>) {
        for workload in &workloads {
            if let Some(image) = self.facts.images.get(&workload.image) {
                let component = workload.image.name().to_owned();
                self.owned.images.insert(component, image.reference.clone());
            }
        }
        let (stores, others): (Vec<_>, Vec<_>) = workloads
            .into_iter()
            .partition(|one| one.role == Role::Store);
        let is_there = |one: &Workload| {
            one.role == Role::Agent && self.facts.objects.contains_key(&one.object.id)
        };
        let known: Vec<_> = others.iter().filter(|one| is_there(one)).collect();
        let in_waves = self.replaces_agents(&known);
        let (agents, others): (Vec<_>, Vec<_>) = others
            .into_iter()
            .partition(|one| in_waves && is_there(one));
        let turns: BTreeSet<_> = agents.iter().map(|agent| agent.service.as_str()).collect();
        let agent_of = self.agents_of_test_cameras();
        let has_turn = |one: &Workload| {
            let agent = agent_of.get(&one.service);
            agent.is_some_and(|agent| turns.contains(agent.as_str()))
        };
        let (cameras, others): (Vec<_>, Vec<_>) = others.into_iter().partition(has_turn);
        self.note_cameras(&agents);
        self.together(stores);
        self.together(others);
        self.waves(agents, cameras);
    }

    /// These, and then a wait until all of them are ready.
    pub(super) fn together(&mut self, workloads: Vec<Workload>) {
        let mut awaited = BTreeSet::new();
        for workload in workloads {
            let service = workload.service.clone();
            if self.workload(workload) {
                awaited.insert(service);
            }
        }
        if !awaited.is_empty()
            && let Some(last) = self.steps.last_mut()
        {
            last.settle = Some(Condition::RolledOut {
                names: awaited,
                deadline_seconds: READY_SECONDS,
            });
        }
    }

    pub(super) fn is_as_wanted(&self, object: &Object) -> bool {
        let wanted = applied_digest(object.id.kind, &object.value());
        let fact = self.facts.objects.get(&object.id);
        fact.is_some_and(|fact| fact.applied.as_ref() == Some(&wanted) && !fact.ending)
    }

    /// Whether its pods have read a certificate that is no longer in force: this run makes another one,
    /// or one that ended early did.
    fn has_read_another(&self, workload: &Workload) -> bool {
        let changed = |id: &ObjectId| self.facts.objects.get(id)?.changed.as_ref();
        reads_once(&workload.service).iter().any(|service| {
            let secret = ObjectId::new(Kind::Secret, certificate_secret(service));
            let times = changed(&secret).zip(changed(&workload.object.id));
            self.renewed.contains(*service) || times.is_some_and(|(made, read)| made > read)
        })
    }

    /// Returns whether there is something to wait for.
    fn workload(&mut self, workload: Workload) -> bool {
        let before = self.unchanged;
        let change = self.compare(&workload.object);
        let fact = self.facts.objects.get(&workload.object.id);
        let stale = self.has_read_another(&workload);
        let id = workload.object.id.to_string();
        let (change, id) = match change {
            Some(change) => (change, id),
            None if self.unchanged > before && stale => {
                self.unchanged = before;
                let action = KubernetesAction::Restart {
                    id: workload.object.id,
                };
                let id = format!("{id} (reads its new certificate)");
                self.push(Change::Change, id, action);
                return true;
            }
            // It was applied and is not well yet: a run that ended early, or one to be waited for.
            None if self.unchanged > before && fact.is_some_and(|fact| !fact.ready) => {
                self.unchanged = before;
                (Change::Change, format!("{id} (not ready yet)"))
            }
            None => return false,
        };
        let action = KubernetesAction::Apply {
            adopts: self.adopts(&workload.object),
            object: workload.object,
            secrets: BTreeMap::new(),
        };
        let detail = match &action {
            KubernetesAction::Apply { object, .. } => self.said_of(object),
            _ => Vec::new(),
        };
        self.push(change, id, action).detail = detail;
        true
    }

    /// What nothing wants any more, dependents first. Claims stay: there may be footage in them.
    fn prune(&mut self) {
        let kept: Vec<_> = self
            .facts
            .objects
            .iter()
            .filter(|(id, fact)| {
                id.kind == Kind::PersistentVolumeClaim && fact.ownership == Ownership::Ours
            })
            .map(|(id, _)| id.clone())
            .collect();
        self.owned.objects.extend(kept);
        let unwanted: Vec<_> = self
            .facts
            .objects
            .iter()
            .filter(|(id, fact)| {
                fact.ownership == Ownership::Ours && !self.owned.objects.contains(id)
            })
            .map(|(id, fact)| (id.clone(), fact.uid.clone()))
            .collect();
        for (id, uid) in unwanted.into_iter().rev() {
            let name = id.to_string();
            self.push(Change::Remove, name, KubernetesAction::Delete { id, uid });
        }
    }

    fn finish(self, findings: Vec<Finding>, storage: Option<StorageEstimate>) -> Plan {
        Plan {
            format: 1,
            operation: Operation::Install,
            site: self.profile.site.clone(),
            target: "kubernetes".to_owned(),
            machine: self.facts.cluster.id.clone(),
            data: Utf8PathBuf::from(&self.facts.namespace),
            seen: seen_of(&self.steps, self.facts),
            steps: self.steps,
            unchanged: self.unchanged,
            owned: self.owned,
            findings,
            storage,
            conflicts: Conflicts::default(),
            rates: self.facts.cameras.clone(),
        }
    }
}
