//! A plan in the making: what stops and what starts.

use std::collections::BTreeSet;

use installer_render::Role;
use installer_render::host::Program;

use super::draft::{Draft, Launch};
use super::unit_name;
use crate::plan::{Change, Condition, HostAction};

/// A vault that repairs a big catalogue, on a slow card, is up by then.
const READY_SECONDS: u64 = 60;
/// Agents finish their files within 2 s, the vault its requests within 5 s.
const STOP_SECONDS: u64 = 20;

impl Draft<'_> {
    pub(super) fn stop_unwanted(&mut self, launches: &[Launch]) {
        let wanted: BTreeSet<_> = launches.iter().map(|l| l.service.name.as_str()).collect();
        for name in self
            .facts
            .services
            .keys()
            .filter(|name| !wanted.contains(name.as_str()))
        {
            let unit = unit_name(&self.profile.site, name);
            let condition = Condition::Stopped {
                service: name.clone(),
                deadline_seconds: STOP_SECONDS,
            };
            if self
                .facts
                .services
                .get(name)
                .is_some_and(|fact| fact.enabled)
                && self.systemd()
            {
                let id = format!("boot start of {name}");
                self.push(
                    Change::Remove,
                    id,
                    HostAction::DisableService { unit: unit.clone() },
                );
            }
            let action = HostAction::StopService {
                name: name.clone(),
                unit,
            };
            self.push(Change::Remove, format!("service {name}"), action)
                .settle = Some(condition);
        }
    }

    pub(super) fn start(&mut self, launches: &[Launch]) {
        if !self.systemd() {
            if self.facts.supervisor {
                self.unchanged += 1;
            } else {
                let program = self.layout.programs().join(Program::Stakeout.file_name());
                let action = HostAction::StartSupervisor { program };
                self.push(Change::Add, "supervisor".to_owned(), action)
                    .settle = Some(Condition::SupervisorAnswers {
                    deadline_seconds: READY_SECONDS,
                });
            }
        }
        for launch in launches {
            let (name, port) = (launch.service.name.clone(), launch.service.port);
            let unit = unit_name(&self.profile.site, &name);
            let fact = self.facts.services.get(&name);
            if self.systemd() && !fact.is_some_and(|fact| fact.enabled) {
                let id = format!("boot start of {name}");
                self.push(
                    Change::Add,
                    id,
                    HostAction::EnableService { unit: unit.clone() },
                );
            }
            let change = match fact {
                Some(fact) if fact.running && fact.digest.as_ref() == Some(&launch.digest) => {
                    self.unchanged += 1;
                    continue;
                }
                Some(fact) if fact.running => Change::Change,
                _ => Change::Add,
            };
            let (service, digest) = (name.clone(), launch.digest.clone());
            let condition = match launch.service.role {
                Role::TestCamera => Condition::Listening {
                    service,
                    port,
                    digest,
                    deadline_seconds: READY_SECONDS,
                },
                Role::Vault | Role::Agent | Role::Store => Condition::Healthy {
                    service,
                    port,
                    digest,
                    deadline_seconds: READY_SECONDS,
                },
            };
            let id = format!("service {name} (port {port})");
            let detail = self.publishing(&name);
            let step = self.push(change, id, HostAction::StartService { name, unit });
            step.settle = Some(condition);
            step.detail = detail;
        }
    }
}
