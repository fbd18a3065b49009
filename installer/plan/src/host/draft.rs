//! A plan in the making: users, folders, programs, secrets and files.

use std::collections::{BTreeMap, BTreeSet};

use camino::{Utf8Path, Utf8PathBuf};
use installer_render::host::{Program, Service};
use installer_render::{
    ACCESS, Layout, Role, SecretName, SecretOrigin, UnitContext, render_unit, service_names,
};
use installer_spec::{Keeper, Profile, Provider};
use serde::Serialize;

use super::{PlanError, unit_name, unit_path, user_name};
use crate::certificate::is_of_acme;
use crate::digest::{Digest, digest_of};
use crate::facts::{Facts, PathFact, ServiceManager};
use crate::kubernetes::Conflicts;
use crate::plan::{Action, Change, HostAction, Operation, Plan, Step};
use crate::receipt::Owned;
use crate::secret::NewSecret;
use crate::text::{difference, text_digest};

/// A service with everything that starting it depends on.
pub(super) struct Launch {
    pub(super) service: Service,
    pub(super) digest: Digest,
    pub(super) unit: Option<UnitContext>,
}

/// One entry of `services.json`, which the supervisor reads.
#[derive(Debug, Serialize)]
struct SupervisedService<'a> {
    name: &'a str,
    command: Vec<String>,
    digest: &'a str,
}

/// A plan in the making: each method adds the steps of one kind of thing.
pub(super) struct Draft<'a> {
    pub(super) profile: &'a Profile,
    pub(super) facts: &'a Facts,
    pub(super) layout: &'a Layout,
    pub(super) owner: Option<String>,
    pub(super) steps: Vec<Step>,
    pub(super) unchanged: usize,
    pub(super) owned: Owned,
    pub(super) wanted_files: BTreeSet<Utf8PathBuf>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(profile: &'a Profile, facts: &'a Facts, layout: &'a Layout) -> Self {
        let systemd = facts.machine.manager == ServiceManager::Systemd;
        Self {
            profile,
            facts,
            layout,
            owner: systemd.then(|| user_name(&profile.site)),
            steps: Vec::new(),
            unchanged: 0,
            owned: Owned::default(),
            wanted_files: BTreeSet::new(),
        }
    }

    pub(super) fn systemd(&self) -> bool {
        self.facts.machine.manager == ServiceManager::Systemd
    }

    pub(super) fn push(&mut self, change: Change, id: String, action: HostAction) -> &mut Step {
        let action = Action::Host(action);
        self.steps.push(Step {
            id,
            change,
            detail: Vec::new(),
            action,
            settle: None,
        });
        self.steps.last_mut().expect("invariant: just pushed")
    }

    /// A path as the plan shows it: below the data directory it is relative.
    pub(super) fn short(&self, path: &Utf8Path) -> String {
        path.strip_prefix(self.layout.data())
            .unwrap_or(path)
            .to_string()
    }

    /// Binds each service to the digest of all that it runs with.
    pub(super) fn launches(&self, services: Vec<Service>) -> Result<Vec<Launch>, PlanError> {
        let site = &self.profile.site;
        let vault = services.iter().any(|service| service.role == Role::Vault);
        let home = ["/home", "/root", "/run/user"];
        let protect_home = !home.iter().any(|home| self.layout.data().starts_with(home));
        let launch = |service: Service| {
            let mut after = Vec::new();
            if service.role == Role::Agent && vault {
                after.push(unit_name(site, "vault"));
            }
            let context = UnitContext {
                site: site.clone(),
                service: service.name.clone(),
                description: service.description.clone(),
                command: self.command(&service),
                user: user_name(site),
                digest: String::new(),
                writable: service.writable.iter().map(ToString::to_string).collect(),
                after,
                memory_max_mib: service.memory_max_mib,
                protect_home,
                loopback_only: service.role == Role::TestCamera
                    || (service.role == Role::Vault
                        && self.profile.events.is_empty()
                        && self.profile.access.is_none()
                        && !matches!(self.profile.storage.provider, Provider::S3(_))),
            };
            let program = self
                .facts
                .programs
                .get(&service.program)
                .map(|(_, digest)| digest);
            let unit = self.systemd().then_some(&context);
            let config = service.config.as_ref().map(|file| &file.contents);
            let digest = digest_of(&(program, self.command(&service), config, unit));
            // Half of SHA-256 is plenty to tell two versions apart, and can be read aloud.
            let digest: Digest = digest.chars().take(32).collect();
            let unit = self.systemd().then(|| UnitContext {
                digest: digest.clone(),
                ..context
            });
            Launch {
                service,
                digest,
                unit,
            }
        };
        let launches: Vec<_> = services.into_iter().map(launch).collect();
        for context in launches.iter().filter_map(|launch| launch.unit.as_ref()) {
            render_unit(context).map_err(|error| PlanError::Unit {
                site: site.clone(),
                reason: error.to_string(),
            })?;
        }
        Ok(launches)
    }

    pub(super) fn command(&self, service: &Service) -> Vec<String> {
        let program = self.layout.programs().join(service.program.file_name());
        let mut command = vec![program.into_string()];
        command.extend(service.arguments.iter().cloned());
        command
    }

    pub(super) fn user(&mut self) {
        let Some(name) = self.owner.clone() else {
            return;
        };
        if self.facts.machine.service_user {
            self.unchanged += 1;
            self.owned.user = self.facts.receipt.as_ref().and_then(|receipt| {
                let pending = receipt.pending.as_ref().and_then(|p| p.owned.user.clone());
                receipt.owned.user.clone().or(pending)
            });
        } else {
            self.owned.user = Some(name.clone());
            self.push(
                Change::Add,
                format!("user {name}"),
                HostAction::CreateUser { name },
            );
        }
    }

    pub(super) fn directories(&mut self) {
        let layout = self.layout;
        let service = self.owner.clone();
        let mut wanted = vec![
            (layout.programs(), 0o755, None),
            (layout.config(), 0o750, service.clone()),
            (layout.secrets(), 0o700, service.clone()),
            (layout.agents(), 0o750, service.clone()),
            (layout.logs(), 0o750, service.clone()),
        ];
        if !self.systemd() {
            wanted.push((layout.run(), 0o750, None));
        }
        if self.profile.storage.keeper == Keeper::Vault {
            wanted.push((layout.vault(), 0o750, service.clone()));
            if self.profile.storage.provider == Provider::Filesystem {
                wanted.push((layout.recordings(), 0o750, service.clone()));
            }
        }
        for (name, role) in service_names(self.profile) {
            if role == Role::Agent {
                wanted.push((layout.agent_data(&name), 0o750, service.clone()));
            }
        }
        wanted.extend(self.certificate_folders());
        for (path, mode, owner) in wanted {
            self.owned.directories.insert(path.clone());
            let change = match self.facts.paths.get(&path) {
                Some(PathFact::Directory { mode: found }) if *found == mode => {
                    self.unchanged += 1;
                    continue;
                }
                Some(_) => Change::Change,
                None => Change::Add,
            };
            let id = format!("folder {}", self.short(&path));
            self.push(change, id, HostAction::MakeDirectory { path, mode, owner });
        }
    }

    pub(super) fn programs(&mut self, programs: &[Program]) {
        for program in programs {
            // A missing one is an error finding, and nothing is done.
            let Some((from, digest)) = self.facts.programs.get(program).cloned() else {
                continue;
            };
            let to = self.layout.programs().join(program.file_name());
            let Some(change) = self.compare(&to, &digest, 0o755) else {
                continue;
            };
            let id = format!("program {}", self.short(&to));
            let action = HostAction::InstallProgram {
                program: *program,
                from,
                to,
                digest,
            };
            self.push(change, id, action);
        }
    }

    pub(super) fn secrets(&mut self, secrets: &BTreeMap<String, (u32, Option<SecretOrigin>)>) {
        for (purpose, (version, origin)) in secrets {
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
            let owner = self.owner.clone();
            self.push(
                new.change,
                new.id,
                HostAction::MakeSecret {
                    name,
                    path,
                    origin,
                    login: new.login,
                    carried: new.carried,
                    owner,
                },
            );
        }
    }

    pub(super) fn files(&mut self, launches: &[Launch]) {
        for launch in launches {
            if let Some(file) = &launch.service.config {
                let owner = self.owner.clone();
                self.file(file.path.clone(), 0o600, file.contents.clone(), owner);
            }
        }
        if !self.systemd() {
            let services: Vec<_> = launches
                .iter()
                .map(|launch| SupervisedService {
                    name: &launch.service.name,
                    command: self.command(&launch.service),
                    digest: &launch.digest,
                })
                .collect();
            let mut text =
                serde_json::to_string_pretty(&services).expect("invariant: plain data serialises");
            text.push('\n');
            self.file(self.layout.services(), 0o600, text, None);
        }
        for launch in launches {
            if let Some(context) = &launch.unit {
                let unit = render_unit(context).expect("invariant: rendered once before");
                let path = unit_path(&self.profile.site, &launch.service.name);
                self.file(path, 0o644, unit, None);
            }
        }
    }

    pub(super) fn file(
        &mut self,
        path: Utf8PathBuf,
        mode: u32,
        contents: String,
        owner: Option<String>,
    ) {
        let digest = text_digest(&contents);
        let Some(change) = self.compare(&path, &digest, mode) else {
            return;
        };
        let detail = match self.facts.paths.get(&path) {
            Some(PathFact::File {
                text: Some(old), ..
            }) => difference(old, &contents),
            _ => Vec::new(),
        };
        let id = format!("file {}", self.short(&path));
        let action = HostAction::WriteFile {
            path,
            mode,
            contents,
            owner,
        };
        self.push(change, id, action).detail = detail;
    }

    /// Notes that the file is wanted; returns how it has to change, if at all.
    pub(super) fn compare(
        &mut self,
        path: &Utf8Path,
        digest: &Digest,
        mode: u32,
    ) -> Option<Change> {
        self.wanted_files.insert(path.to_owned());
        self.owned.files.insert(path.to_owned(), digest.clone());
        match self.facts.paths.get(path) {
            Some(PathFact::File {
                digest: found,
                mode: bits,
                ..
            }) if found == digest && *bits == mode => {
                self.unchanged += 1;
                None
            }
            Some(_) => Some(Change::Change),
            None => Some(Change::Add),
        }
    }

    /// Files in our folders that nothing wants any more, and folders of cameras that went. A
    /// folder with footage in it stays.
    pub(super) fn prune(&mut self) {
        let mut reload = false;
        let access = self.layout.certificate(ACCESS);
        for (path, fact) in &self.facts.paths {
            let of_vault = path.parent() == Some(&access)
                && is_of_acme(self.profile, path.file_name().unwrap_or_default());
            if matches!(fact, PathFact::File { .. })
                && !self.wanted_files.contains(path)
                && !of_vault
            {
                reload |= path.starts_with(super::UNIT_FOLDER);
                let id = format!("file {}", self.short(path));
                self.push(
                    Change::Remove,
                    id,
                    HostAction::RemoveFile { path: path.clone() },
                );
            }
        }
        if reload {
            self.push(
                Change::Change,
                "systemd's units".to_owned(),
                HostAction::ReloadServices,
            );
        }
        let owned = self
            .facts
            .receipt
            .as_ref()
            .map(|receipt| &receipt.owned.directories);
        let gone: Vec<_> = owned
            .into_iter()
            .flatten()
            .filter(|path| !self.owned.directories.contains(*path))
            .filter(|path| self.facts.paths.contains_key(*path))
            .cloned()
            .collect();
        for path in gone.into_iter().rev() {
            let id = format!(
                "folder {} (kept if there is footage in it)",
                self.short(&path)
            );
            let action = HostAction::RemoveDirectory {
                path,
                recursive: false,
            };
            self.push(Change::Remove, id, action);
        }
    }

    pub(super) fn finish(
        self,
        findings: Vec<crate::check::Finding>,
        storage: Option<crate::storage::StorageEstimate>,
    ) -> Plan {
        Plan {
            format: 1,
            operation: Operation::Install,
            site: self.profile.site.clone(),
            target: "host".to_owned(),
            machine: self.facts.machine.id.clone(),
            data: self.layout.data().to_owned(),
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
