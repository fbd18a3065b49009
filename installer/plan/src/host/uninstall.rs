//! Facts in, the way back out. Footage is touched at the last level only.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8PathBuf;
use installer_render::Layout;

use super::unit_name;
use crate::facts::{Facts, PathFact, ServiceManager};
use crate::kubernetes::Conflicts;
use crate::plan::{Action, Change, Condition, HostAction, Operation, Plan, Step};
use crate::receipt::Owned;

/// Agents finish their files within 2 s, the vault its requests within 5 s.
const STOP_SECONDS: u64 = 20;

/// How much goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Services and programs.
    Services,
    /// Configuration, secrets and logs, too.
    Config,
    /// Everything, footage included.
    Data,
}

/// Returns the steps that take a site away, as far as `level` goes.
pub fn plan_uninstall(site: &str, level: Level, facts: &Facts) -> Plan {
    let layout = Layout::new(facts.data.path.clone());
    let mut draft = Draft {
        site,
        facts,
        layout: &layout,
        steps: Vec::new(),
    };
    draft.services();
    let mut gone: Vec<Utf8PathBuf> = vec![layout.programs(), layout.run()];
    if level >= Level::Config {
        gone.extend([
            layout.config(),
            layout.secrets(),
            layout.tls(),
            layout.logs(),
        ]);
    }
    if level >= Level::Data {
        gone.extend([layout.agents(), layout.vault(), layout.recordings()]);
    }
    draft.files(&gone);
    draft.folders(&gone);
    let owned = draft.remaining(&gone, level);
    if level >= Level::Data
        && let Some(receipt) = &facts.receipt
        && facts.machine.service_user
        && let Some(name) = receipt.owned.user.clone().or_else(|| {
            receipt
                .pending
                .as_ref()
                .and_then(|pending| pending.owned.user.clone())
        })
    {
        draft.push(
            Change::Remove,
            format!("user {name}"),
            HostAction::RemoveUser { name },
        );
    }
    Plan {
        format: 1,
        operation: Operation::Uninstall,
        site: site.to_owned(),
        target: "host".to_owned(),
        machine: facts.machine.id.clone(),
        data: facts.data.path.clone(),
        unchanged: 0,
        owned,
        findings: Vec::new(),
        storage: None,
        seen: BTreeMap::new(),
        conflicts: Conflicts::default(),
        rates: BTreeMap::new(),
        steps: draft.steps,
    }
}

struct Draft<'a> {
    site: &'a str,
    facts: &'a Facts,
    layout: &'a Layout,
    steps: Vec<Step>,
}

impl Draft<'_> {
    fn push(&mut self, change: Change, id: String, action: HostAction) -> &mut Step {
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

    fn services(&mut self) {
        let systemd = self.facts.machine.manager == ServiceManager::Systemd;
        // Agents first: what they finish now, the vault still takes.
        let mut names: Vec<_> = self.facts.services.iter().collect();
        names.sort_by_key(|(name, _)| (name.as_str() == "vault", name.starts_with("camera-")));
        if systemd {
            for (name, fact) in names {
                let unit = unit_name(self.site, name);
                if fact.enabled {
                    let id = format!("boot start of {name}");
                    let action = HostAction::DisableService { unit: unit.clone() };
                    self.push(Change::Remove, id, action);
                }
                if fact.running {
                    let action = HostAction::StopService {
                        name: name.clone(),
                        unit,
                    };
                    let condition = Condition::Stopped {
                        service: name.clone(),
                        deadline_seconds: STOP_SECONDS,
                    };
                    self.push(Change::Remove, format!("service {name}"), action)
                        .settle = Some(condition);
                }
            }
        } else if self.facts.supervisor {
            let names: Vec<_> = names.iter().map(|(name, _)| name.as_str()).collect();
            let step = self.push(
                Change::Remove,
                "supervisor and its services".to_owned(),
                HostAction::StopSupervisor,
            );
            step.detail = names.iter().map(|name| format!("- {name}")).collect();
            step.settle = Some(Condition::SupervisorGone {
                deadline_seconds: STOP_SECONDS,
            });
        }
    }

    fn files(&mut self, gone: &[Utf8PathBuf]) {
        let mut reload = false;
        for (path, fact) in &self.facts.paths {
            let unit = path.starts_with(super::UNIT_FOLDER);
            let below = gone.iter().any(|folder| path.starts_with(folder));
            if matches!(fact, PathFact::File { .. }) && (unit || below) {
                reload |= unit;
                let short = path.strip_prefix(self.layout.data()).unwrap_or(path);
                let action = HostAction::RemoveFile { path: path.clone() };
                self.push(Change::Remove, format!("file {short}"), action);
            }
        }
        if reload {
            self.push(
                Change::Change,
                "systemd's units".to_owned(),
                HostAction::ReloadServices,
            );
        }
    }

    fn folders(&mut self, gone: &[Utf8PathBuf]) {
        for path in gone
            .iter()
            .filter(|path| self.facts.paths.contains_key(*path))
        {
            let short = path.strip_prefix(self.layout.data()).unwrap_or(path);
            let action = HostAction::RemoveDirectory {
                path: path.clone(),
                recursive: true,
            };
            self.push(
                Change::Remove,
                format!("folder {short} and everything in it"),
                action,
            );
        }
    }

    /// What the receipt goes on to own.
    fn remaining(&self, gone: &[Utf8PathBuf], level: Level) -> Owned {
        let mut owned = self
            .facts
            .receipt
            .as_ref()
            .map(|receipt| receipt.owned.clone())
            .unwrap_or_default();
        let keep = |path: &Utf8PathBuf| {
            !path.starts_with(super::UNIT_FOLDER) && !gone.iter().any(|g| path.starts_with(g))
        };
        owned.files.retain(|path, _| keep(path));
        owned.directories.retain(keep);
        if level >= Level::Config {
            owned.secrets = BTreeSet::new();
            owned.ports.clear();
        }
        if level >= Level::Data {
            owned.user = None;
        }
        owned
    }
}
