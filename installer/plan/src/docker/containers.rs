//! A plan in the making: what stops, what takes over and what starts.

use std::collections::BTreeSet;

use installer_render::Role;
use installer_render::docker::{Container, Site, reads_once};

use super::draft::Draft;
use super::{
    Bind, ContainerFact, ContainerSpec, ContainerState, DockerAction, FILES, Ownership, label,
    next_name,
};
use crate::access::published;
use crate::digest::{Digest, digest_of};
use crate::kubernetes::Watched;
use crate::plan::{Action, Change, Condition, Step};

/// A vault that repairs a big catalogue, on a slow card, is up by then.
const READY_SECONDS: u64 = 60;
/// RabbitMQ makes its database at the first start, and each look at it starts a virtual machine.
const STORE_READY_SECONDS: u64 = 180;
/// Agents finish their files within 2 s, the vault its requests within 5 s.
const STOP_SECONDS: u64 = 20;

impl Draft<'_> {
    pub(super) fn remove_unwanted(&mut self, site: &Site) {
        let mut wanted: BTreeSet<String> = site
            .containers
            .iter()
            .map(|container| self.object_name(&container.service))
            .collect();
        wanted.extend(wanted.clone().iter().map(|name| next_name(name)));
        wanted.insert(self.object_name(FILES));
        let unwanted =
            self.facts.containers.iter().filter(|(name, fact)| {
                fact.ownership == Ownership::Ours && !wanted.contains(*name)
            });
        for (name, _) in unwanted {
            let action = DockerAction::RemoveContainer { name: name.clone() };
            self.push(Change::Remove, format!("container {name}"), action);
        }
    }

    pub(super) fn containers(&mut self, site: &Site) {
        let (mut role, mut since) = (None, self.steps.len());
        for container in &site.containers {
            if role != Some(container.role) {
                self.settle_together(since);
                (role, since) = (Some(container.role), self.steps.len());
            }
            if let Some((spec, digest)) = self.spec(container) {
                self.owned
                    .containers
                    .insert(spec.name.clone(), spec.image.clone());
                let component = container.image.name().to_owned();
                self.owned.images.insert(component, spec.image.clone());
                self.container(container, spec, &digest);
            }
        }
        self.settle_together(since);
    }

    /// New containers of one role do not need each other: all are started at once, then waited for.
    fn settle_together(&mut self, since: usize) {
        let starts = |step: &Step| {
            let starts = matches!(
                step.action,
                Action::Docker(DockerAction::StartContainer { .. })
            );
            starts && step.change == Change::Add
        };
        let steps = self.steps.split_off(since);
        let (mut started, others): (Vec<_>, Vec<_>) = steps.into_iter().partition(starts);
        if started.len() > 1 {
            let all = started.iter_mut().filter_map(|step| step.settle.take());
            let of = all.collect();
            if let Some(last) = started.last_mut() {
                last.settle = Some(Condition::All { of });
            }
        }
        self.steps.extend(others);
        self.steps.extend(started);
    }

    /// The container's specification and its digest; nothing where its image cannot be had.
    fn spec(&self, container: &Container) -> Option<(ContainerSpec, Digest)> {
        let image = self.facts.images.get(&container.image)?;
        // What another's image has for an ID is known when it is there; its reference is known now.
        let image = if container.image.is_ours() {
            image.wanted.clone().or_else(|| image.present.clone())?
        } else {
            image.reference.clone()
        };
        let binds = container.mounts.iter().map(|mount| Bind {
            source: self.facts.data.join(&mount.source),
            target: mount.target.clone(),
            access: mount.access,
        });
        let mut spec = ContainerSpec {
            name: self.object_name(&container.service),
            service: container.service.clone(),
            image,
            command: container.command.clone(),
            environment: container.environment.clone(),
            scratch: container.scratch.clone(),
            user: self.facts.owner,
            network: container.networks.first().map(|n| self.object_name(n)),
            binds: binds.collect(),
            published: container.published,
            health: container.health.clone(),
            limits: container.limits,
            stop_seconds: STOP_SECONDS,
            labels: self.labels(&container.service),
        };
        let config = container.config.as_ref().map(|file| &file.contents);
        let digest = digest_of(&(&spec, config));
        // Half of SHA-256 is plenty to tell two versions apart, and can be read aloud.
        let digest: Digest = digest.chars().take(32).collect();
        spec.labels.insert(label::DIGEST.to_owned(), digest.clone());
        Some((spec, digest))
    }

    fn ours(&self, name: &str) -> Option<ContainerFact> {
        self.facts.containers.get(name).cloned()
    }

    fn container(&mut self, container: &Container, spec: ContainerSpec, digest: &Digest) {
        let name = spec.name.clone();
        let next = next_name(&name);
        let (main, other) = (self.ours(&name), self.ours(&next));
        if [&main, &other]
            .into_iter()
            .flatten()
            .any(|fact| fact.ownership != Ownership::Ours)
        {
            // An error finding says so, and nothing is done.
            return;
        }
        let right = |fact: &ContainerFact| fact.digest.as_ref() == Some(digest);
        let main_is_right = main.as_ref().is_some_and(right);
        let mut other = other;
        // A successor of an earlier run, which is not the one that is wanted now.
        if other.is_some() && (main_is_right || !other.as_ref().is_some_and(right)) {
            let action = DockerAction::RemoveContainer { name: next.clone() };
            self.push(Change::Remove, format!("container {next}"), action);
            other = None;
        }
        match (main, other) {
            (Some(fact), _) if main_is_right => {
                let joined = self.connect(container, &name, &fact.networks);
                let service = &container.service;
                let stale = reads_once(service)
                    .iter()
                    .any(|one| self.renewed.contains(*one));
                if fact.state == ContainerState::Running && stale {
                    let id = format!("service {service} (reads its new certificate)");
                    let action = DockerAction::RestartContainer { name: name.clone() };
                    self.push(Change::Change, id, action).settle =
                        Some(condition(container, &name, digest));
                } else if fact.state == ContainerState::Running {
                    self.unchanged += usize::from(!joined);
                } else {
                    self.start(container, &name, digest, Change::Change);
                }
            }
            (Some(fact), other) => {
                let joined = other.as_ref().map(|fact| fact.networks.clone());
                if other.is_none() {
                    let spec = ContainerSpec {
                        name: next.clone(),
                        ..spec.clone()
                    };
                    let id = format!("container {next}");
                    let detail = self.publishing(&spec, Some(&fact));
                    let action = DockerAction::CreateContainer(Box::new(spec));
                    self.push(Change::Add, id, action).detail = detail;
                }
                self.connect(container, &next, &joined.unwrap_or_else(|| first(&spec)));
                let running = other.is_some_and(|f| f.state == ContainerState::Running);
                if !running {
                    let action = DockerAction::SwapContainers {
                        service: container.service.clone(),
                        from: name.clone(),
                        to: next.clone(),
                        digest: digest.clone(),
                        deadline_seconds: ready_seconds(container.role),
                        records: container.role == Role::Agent,
                        continuous: Watched::of(self.profile, &container.service).continuous,
                    };
                    let id = format!("service {} (replaced)", container.service);
                    self.push(Change::Change, id, action);
                }
                let action = DockerAction::RemoveContainer { name: name.clone() };
                self.push(
                    Change::Remove,
                    format!("container {name} (the old one)"),
                    action,
                );
                self.rename(next, name);
            }
            (None, Some(fact)) => {
                self.connect(container, &next, &fact.networks);
                if fact.state != ContainerState::Running {
                    self.start(container, &next, digest, Change::Change);
                }
                self.rename(next, name);
            }
            (None, None) => {
                let joined = first(&spec);
                let detail = self.publishing(&spec, None);
                let action = DockerAction::CreateContainer(Box::new(spec));
                self.push(Change::Add, format!("container {name}"), action)
                    .detail = detail;
                self.connect(container, &name, &joined);
                self.start(container, &name, digest, Change::Add);
            }
        }
    }

    /// What is said beside a container about where it is reached.
    fn publishing(&self, spec: &ContainerSpec, before: Option<&ContainerFact>) -> Vec<String> {
        let now = spec.published.map(|published| published.address);
        let gone = before.into_iter().flat_map(|fact| &fact.published);
        let gone = gone.filter(|address| Some(**address) != now);
        let mut lines: Vec<_> = gone
            .map(|address| format!("no longer published at {address}"))
            .collect();
        if let (Some(_), Some(access)) = (now, &self.profile.access) {
            lines.push(published(access));
        }
        lines
    }

    fn rename(&mut self, from: String, to: String) {
        let id = format!("name {to}");
        self.push(
            Change::Change,
            id,
            DockerAction::RenameContainer { from, to },
        );
    }

    /// Joins the networks that it is not in; returns whether there were any.
    fn connect(&mut self, container: &Container, name: &str, joined: &BTreeSet<String>) -> bool {
        let missing: Vec<_> = container
            .networks
            .iter()
            .map(|network| self.object_name(network))
            .filter(|network| !joined.contains(network))
            .collect();
        for network in &missing {
            let id = format!("{} in network {network}", container.service);
            let action = DockerAction::Connect {
                container: name.to_owned(),
                network: network.clone(),
                alias: container.service.clone(),
            };
            self.push(Change::Add, id, action);
        }
        !missing.is_empty()
    }

    fn start(&mut self, container: &Container, name: &str, digest: &Digest, change: Change) {
        let service = container.service.clone();
        let condition = condition(container, name, digest);
        let action = DockerAction::StartContainer {
            name: name.to_owned(),
        };
        let kind = match container.role {
            Role::TestCamera => "test camera",
            Role::Vault | Role::Agent | Role::Store => "service",
        };
        self.push(change, format!("{kind} {service}"), action)
            .settle = Some(condition);
    }
}

fn condition(container: &Container, name: &str, digest: &Digest) -> Condition {
    Condition::Container {
        service: container.service.clone(),
        name: name.to_owned(),
        digest: digest.clone(),
        deadline_seconds: ready_seconds(container.role),
    }
}

fn ready_seconds(role: Role) -> u64 {
    match role {
        Role::Store => STORE_READY_SECONDS,
        Role::Vault | Role::TestCamera | Role::Agent => READY_SECONDS,
    }
}

fn first(spec: &ContainerSpec) -> BTreeSet<String> {
    spec.network.iter().cloned().collect()
}
