//! A plan in the making: images, folders, secrets, files and networks.

use std::collections::{BTreeMap, BTreeSet};

use camino::{Utf8Path, Utf8PathBuf};
use installer_render::docker::{Component, ROOT, Reach, Site, certificate_files, certificates};
use installer_render::{
    ACCESS, ACME_ROOTS, Layout, Role, SecretName, SecretOrigin, Store, base_of, service_names,
    stores,
};
use installer_spec::{Keeper, Profile, Provider};

use super::{DockerAction, DockerFacts, NetworkSpec, Ownership, labels, object_name};
use crate::certificate::{What, brings_own, due, is_of_acme};
use crate::check::Finding;
use crate::digest::Digest;
use crate::facts::PathFact;
use crate::kubernetes::Conflicts;
use crate::plan::{Action, Change, Operation, Plan, Step};
use crate::receipt::Owned;
use crate::secret::NewSecret;
use crate::storage::StorageEstimate;
use crate::text::{difference, text_digest};

/// A plan in the making: each method adds the steps of one kind of thing.
pub(super) struct Draft<'a> {
    pub(super) profile: &'a Profile,
    pub(super) facts: &'a DockerFacts,
    /// Relative to the data directory.
    pub(super) layout: Layout,
    pub(super) steps: Vec<Step>,
    pub(super) unchanged: usize,
    pub(super) owned: Owned,
    wanted_files: BTreeSet<Utf8PathBuf>,
    /// Services that get a new certificate.
    pub(super) renewed: BTreeSet<String>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(profile: &'a Profile, facts: &'a DockerFacts) -> Self {
        Self {
            profile,
            facts,
            layout: Layout::with_control(""),
            steps: Vec::new(),
            unchanged: 0,
            owned: Owned {
                uid: Some(facts.owner),
                ..Owned::default()
            },
            wanted_files: BTreeSet::new(),
            renewed: BTreeSet::new(),
        }
    }

    pub(super) fn push(&mut self, change: Change, id: String, action: DockerAction) -> &mut Step {
        self.steps.push(Step {
            id,
            change,
            detail: Vec::new(),
            action: Action::Docker(action),
            settle: None,
        });
        self.steps.last_mut().expect("invariant: just pushed")
    }

    pub(super) fn object_name(&self, service: &str) -> String {
        object_name(&self.profile.site, service)
    }

    pub(super) fn labels(&self, service: &str) -> BTreeMap<String, String> {
        labels(&self.profile.site, &self.facts.installation, service)
    }

    pub(super) fn images(&mut self, site: &Site) {
        let wanted: BTreeSet<Component> = site.containers.iter().map(|c| c.image).collect();
        for component in wanted {
            let Some(image) = self.facts.images.get(&component) else {
                continue;
            };
            if image.is_there() {
                self.unchanged += 1;
                continue;
            }
            // Without a source it is an error finding, and nothing is done.
            let Some(from) = image.source.clone() else {
                continue;
            };
            let reference = image.reference.clone();
            let id = format!("image {reference}");
            let action = DockerAction::FetchImage {
                component,
                reference,
                from,
            };
            self.push(Change::Add, id, action);
        }
    }

    pub(super) fn directories(&mut self) {
        let owner = self.facts.owner;
        let mut wanted = vec![
            // Containers see single files of it; only they go in.
            (self.layout.control().to_owned(), 0o711, 0),
            (self.layout.config(), 0o711, 0),
            (self.layout.secrets(), 0o711, 0),
            (self.layout.agents(), 0o711, owner),
        ];
        for store in stores(self.profile) {
            wanted.push((self.layout.store(store.name()), 0o700, owner));
        }
        let certified = certificates(self.profile);
        if !certified.is_empty() {
            wanted.push((self.layout.tls(), 0o711, 0));
            wanted.push((self.layout.authority(), 0o700, 0));
            wanted.push((self.layout.trust(), 0o755, owner));
        }
        if self.profile.access.is_some() {
            // The vault writes to it where it asks an authority.
            wanted.push((self.layout.certificate(ACCESS), 0o700, owner));
        }
        for service in certified.keys().filter(|service| *service != ACCESS) {
            wanted.push((self.layout.certificate(service), 0o500, owner));
        }
        if self.profile.storage.keeper == Keeper::Vault {
            wanted.push((self.layout.vault(), 0o700, owner));
            if self.profile.storage.provider == Provider::Filesystem {
                wanted.push((self.layout.recordings(), 0o750, owner));
            }
        }
        for (name, role) in service_names(self.profile) {
            if role == Role::Agent {
                wanted.push((self.layout.agent_data(&name), 0o750, owner));
            }
        }
        for (path, mode, owner) in wanted {
            self.owned.directories.insert(path.clone());
            let change = match self.facts.paths.get(&path) {
                Some(PathFact::Directory { .. }) => {
                    self.unchanged += 1;
                    continue;
                }
                Some(_) => Change::Change,
                None => Change::Add,
            };
            let id = format!("folder {path}");
            self.push(
                change,
                id,
                DockerAction::MakeDirectory { path, mode, owner },
            );
        }
    }

    pub(super) fn secrets(&mut self, secrets: &BTreeMap<String, (u32, Option<SecretOrigin>)>) {
        let is_made = |purpose: &str| base_of(purpose).is_some();
        let (made, first): (Vec<_>, Vec<_>) = secrets.iter().partition(|(p, _)| is_made(p));
        for (purpose, (version, origin)) in first.into_iter().chain(made) {
            let name = SecretName {
                purpose: purpose.clone(),
                version: *version,
            };
            let path = self.layout.secret(&name);
            self.wanted_files.insert(path.clone());
            self.owned.secrets.insert(name.to_string());
            let Some(origin) = *origin else {
                self.unchanged += 1;
                continue;
            };
            let new = NewSecret::of(&name, origin, &self.facts.carried);
            let base = base_of(purpose).and_then(|base| {
                let (version, _) = secrets.get(base)?;
                Some(self.layout.secret(&SecretName {
                    purpose: base.to_owned(),
                    version: *version,
                }))
            });
            let action = DockerAction::MakeSecret {
                name,
                path,
                origin,
                login: new.login,
                carried: new.carried,
                base,
                owner: self.facts.owner,
            };
            self.push(new.change, new.id, action);
        }
    }

    /// An authority, what it issued, and what is near its end; and what others are shown.
    pub(super) fn certificates(&mut self) {
        let wanted = certificates(self.profile);
        let (authority, trust) = (self.layout.authority(), self.layout.trust());
        if !wanted.is_empty() {
            let files = [authority.join("ca.crt"), authority.join("ca.key")];
            self.wanted_files.extend(files);
            self.wanted_files.insert(trust.join("ca.crt"));
        }
        let own = brings_own(self.profile).then_some(ACCESS);
        for service in wanted.keys().map(String::as_str).chain(own) {
            let (folder, files) = (self.layout.certificate(service), certificate_files(service));
            let files = [files.certificate, files.key].map(|name| folder.join(name));
            self.wanted_files.extend(files);
        }
        let facts = self.facts;
        let (due, unchanged) = due(wanted, self.profile, &facts.certificates, &facts.access);
        self.unchanged += unchanged;
        for due in due {
            let owner = facts.owner;
            let action = match due.what {
                What::Authority => DockerAction::MakeAuthority {
                    folder: authority.clone(),
                    trust: trust.clone(),
                    owner,
                },
                What::Issued { service, names } => {
                    self.renewed.insert(service.clone());
                    let files = certificate_files(&service);
                    DockerAction::IssueCertificate {
                        certificate: files.certificate.to_owned(),
                        key: files.key.to_owned(),
                        names,
                        authority: authority.clone(),
                        folder: self.layout.certificate(&service),
                        owner,
                        service,
                    }
                }
                What::Own { fingerprint } => {
                    let files = certificate_files(ACCESS);
                    DockerAction::InstallCertificate {
                        fingerprint,
                        certificate: files.certificate.to_owned(),
                        key: files.key.to_owned(),
                        folder: self.layout.certificate(ACCESS),
                        owner,
                    }
                }
            };
            self.push(due.change, due.id, action).detail = due.detail;
        }
        if let Some(Ok(roots)) = facts.access.roots.clone() {
            let path = self.layout.certificate(ACCESS).join(ACME_ROOTS);
            self.file(path, 0o444, roots);
        }
    }

    pub(super) fn files(&mut self, site: &Site) {
        for file in site.containers.iter().filter_map(|c| c.config.as_ref()) {
            let path = file
                .path
                .strip_prefix(ROOT)
                .expect("invariant: it was made below the root");
            self.file(path.to_owned(), 0o400, file.contents.clone());
        }
    }

    fn file(&mut self, path: Utf8PathBuf, mode: u32, contents: String) {
        let digest = text_digest(&contents);
        let Some(change) = self.compare(&path, &digest) else {
            return;
        };
        let detail = match self.facts.paths.get(&path) {
            Some(PathFact::File {
                text: Some(old), ..
            }) => difference(old, &contents),
            _ => Vec::new(),
        };
        let id = format!("file {path}");
        let action = DockerAction::WriteFile {
            path,
            mode,
            contents,
            owner: self.facts.owner,
        };
        self.push(change, id, action).detail = detail;
    }

    /// Notes that the file is wanted; returns how it has to change, if at all.
    fn compare(&mut self, path: &Utf8Path, digest: &Digest) -> Option<Change> {
        self.wanted_files.insert(path.to_owned());
        self.owned.files.insert(path.to_owned(), digest.clone());
        match self.facts.paths.get(path) {
            Some(PathFact::File { digest: found, .. }) if found == digest => {
                self.unchanged += 1;
                None
            }
            Some(_) => Some(Change::Change),
            None => Some(Change::Add),
        }
    }

    pub(super) fn networks(&mut self, site: &Site) {
        for network in &site.networks {
            let name = self.object_name(&network.name);
            self.owned.networks.insert(name.clone());
            let internal = network.reach == Reach::Internal;
            match self.facts.networks.get(&name) {
                Some(fact) if fact.ownership != Ownership::Ours => continue,
                Some(fact) if fact.internal == internal => {
                    self.unchanged += 1;
                    continue;
                }
                Some(_) => {
                    let id = format!("network {name} (its reach changed)");
                    let action = DockerAction::RemoveNetwork { name: name.clone() };
                    self.push(Change::Remove, id, action);
                }
                None => {}
            }
            let spec = NetworkSpec {
                labels: self.labels(&network.name),
                reach: network.reach,
                name: name.clone(),
            };
            let id = format!("network {name}");
            self.push(Change::Add, id, DockerAction::CreateNetwork(spec));
        }
    }

    /// Networks and files that nothing wants any more. A folder with footage in it stays.
    pub(super) fn prune(&mut self, site: &Site) {
        let wanted: BTreeSet<_> = site
            .networks
            .iter()
            .map(|network| self.object_name(&network.name))
            .collect();
        for (name, fact) in &self.facts.networks {
            if fact.ownership == Ownership::Ours && !wanted.contains(name) {
                let id = format!("network {name}");
                let action = DockerAction::RemoveNetwork { name: name.clone() };
                self.push(Change::Remove, id, action);
            }
        }
        let receipt = self.layout.receipt();
        let access = self.layout.certificate(ACCESS);
        for (path, fact) in &self.facts.paths {
            let name = path.file_name().unwrap_or_default();
            let of_vault = path.parent() == Some(&access) && is_of_acme(self.profile, name);
            let managed = path.starts_with(self.layout.control()) && *path != receipt && !of_vault;
            if managed && matches!(fact, PathFact::File { .. }) && !self.wanted_files.contains(path)
            {
                let id = format!("file {path}");
                self.push(
                    Change::Remove,
                    id,
                    DockerAction::RemoveFile { path: path.clone() },
                );
            }
        }
        let before = self.facts.receipt.as_ref();
        // What was stored stays, and is known to be ours, until the site's data goes.
        let mut kept = Store::ALL
            .map(|store| self.layout.store(store.name()))
            .to_vec();
        kept.push(self.layout.recordings());
        let kept: Vec<_> = before
            .into_iter()
            .flat_map(|receipt| &receipt.owned.directories)
            .filter(|path| kept.contains(path))
            .cloned()
            .collect();
        self.owned.directories.extend(kept);
        let gone: Vec<_> = before
            .into_iter()
            .flat_map(|receipt| &receipt.owned.directories)
            .filter(|path| !self.owned.directories.contains(*path))
            .cloned()
            .collect();
        for path in gone.into_iter().rev() {
            let id = format!("folder {path} (kept if there is footage in it)");
            let action = DockerAction::RemoveDirectory {
                path,
                recursive: false,
            };
            self.push(Change::Remove, id, action);
        }
    }

    pub(super) fn finish(self, findings: Vec<Finding>, storage: Option<StorageEstimate>) -> Plan {
        Plan {
            format: 1,
            operation: Operation::Install,
            site: self.profile.site.clone(),
            target: "docker".to_owned(),
            machine: self.facts.engine.id.clone(),
            data: self.facts.data.clone(),
            steps: self.steps,
            unchanged: self.unchanged,
            owned: self.owned,
            findings,
            storage,
            seen: BTreeMap::new(),
            conflicts: Conflicts::default(),
            rates: self.facts.cameras.clone(),
        }
    }
}
