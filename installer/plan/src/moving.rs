//! A site that moves between two targets of one machine: its footage, catalogue and secrets stay in
//! the data directory and change hands.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use installer_render::{Layout, SecretName, login_key};

use crate::docker::{self, DockerAction, DockerFacts};
use crate::facts::{Facts, SecretFact, ServiceManager, Writable};
use crate::host::{Level, plan_uninstall, user_name};
use crate::plan::{Action, Change, HostAction, Plan, Step};

/// What steps call the target that the site leaves.
const HOST: &str = "this machine";
const ENGINE: &str = "the engine";

/// The way from services of the machine to containers of its engine: `plan` is that of the engine,
/// which `to` describes.
pub fn from_host(mut plan: Plan, site: &str, from: &Facts, to: &DockerFacts) -> Plan {
    let layout = Layout::new(from.data.path.clone());
    let (stop, mut leave): (Vec<_>, Vec<_>) = plan_uninstall(site, Level::Config, from)
        .steps
        .into_iter()
        .partition(|step| {
            matches!(
                step.action,
                Action::Host(
                    HostAction::DisableService { .. }
                        | HostAction::StopService { .. }
                        | HostAction::StopSupervisor
                )
            )
        });
    let made_user = from.receipt.as_ref().and_then(|r| r.owned.user.clone());
    if let Some(name) = made_user.filter(|_| from.machine.service_user) {
        let action = HostAction::RemoveUser { name: name.clone() };
        leave.push(step(
            Change::Remove,
            format!("user {name}"),
            Action::Host(action),
        ));
    }
    // With it the site no longer lies there.
    let path = layout.receipt();
    leave.push(step(
        Change::Remove,
        "receipt".to_owned(),
        Action::Host(HostAction::RemoveFile { path }),
    ));
    let owner = plan.owned.uid.unwrap_or_default();
    let at_engine = Layout::with_control("");
    let hand_over = footage(&at_engine, |path| {
        from.paths.contains_key(&from.data.path.join(path))
    })
    .map(|path| own(path, owner));
    // A move the other way that was cut short.
    let begun = to.paths.contains_key(&at_engine.secrets());
    let back = begun.then(|| {
        [
            own_folder(at_engine.control().to_owned(), 0o711, 0),
            own(at_engine.secrets(), owner),
        ]
    });
    // Recording stops for as short a time as the hand-over takes: all else is made ready before.
    let Start { prepare, start } = Start::of(plan.steps);
    let in_use = |step: &Step| match &step.action {
        Action::Docker(DockerAction::MakeDirectory { path, .. }) => all_footage(&at_engine)
            .iter()
            .any(|folder| path.starts_with(folder)),
        _ => false,
    };
    let (folders, prepare): (Vec<_>, Vec<_>) = prepare.into_iter().partition(in_use);
    plan.steps = prepare;
    plan.steps.extend(named(stop, HOST));
    plan.steps.extend(hand_over);
    plan.steps.extend(back.into_iter().flatten());
    plan.steps.extend(folders);
    plan.steps.extend(start);
    plan.steps.extend(named(leave, HOST));
    plan
}

/// The way from containers of the machine's engine to its services: `plan` is that of the machine,
/// which `to` describes.
pub fn from_engine(mut plan: Plan, site: &str, from: &DockerFacts, to: &Facts) -> Plan {
    let files = docker::object_name(site, docker::FILES);
    let layout = Layout::with_control(to.data.path.clone());
    let (stop, mut leave): (Vec<_>, Vec<_>) = docker::plan_uninstall(site, Level::Config, from)
        .steps
        .into_iter()
        .partition(|step| {
            matches!(
                step.action,
                Action::Docker(DockerAction::RemoveContainer { .. })
            )
        });
    // Who installs may be none that can read what containers wrote.
    let owner = to.machine.uid;
    let mut hand_over = vec![own_folder(Utf8PathBuf::new(), 0o755, owner)];
    let in_data = Layout::with_control("");
    let there = footage(&in_data, |path| {
        to.paths.contains_key(&to.data.path.join(path))
    });
    let secrets = (!from.secrets.is_empty()).then(|| in_data.secrets());
    hand_over.extend(there.chain(secrets).map(|path| own(path, owner)));
    let user = (to.machine.manager == ServiceManager::Systemd).then(|| user_name(site));
    let there = footage(&layout, |path| to.paths.contains_key(path));
    let given = there.filter_map(|path| {
        let owner = user.clone()?;
        let id = format!("folder {path} and everything in it (given to {owner})");
        let owner = Some(owner);
        let action = Action::Host(HostAction::Own { path, owner });
        Some(step(Change::Change, id, action))
    });
    // The receipt is the last thing there, and taken away by whoever can after the engine is left.
    leave.push(own_folder(in_data.control().to_owned(), 0o711, owner));
    let action = DockerAction::RemoveContainer {
        name: files.clone(),
    };
    let id = format!("container {files}");
    leave.push(step(Change::Remove, id, Action::Docker(action)));
    let action = HostAction::RemoveDirectory {
        path: layout.control().to_owned(),
        recursive: true,
    };
    let id = "folder control and everything in it".to_owned();
    leave.push(step(Change::Remove, id, Action::Host(action)));
    let Start { prepare, start } = Start::of(plan.steps);
    plan.steps = named(stop, ENGINE).collect();
    plan.steps.extend(hand_over);
    plan.steps.extend(prepare);
    plan.steps.extend(given);
    plan.steps.extend(start);
    plan.steps.extend(named(leave, ENGINE));
    plan
}

/// Whether a step with this id is one at the target that the site leaves.
pub fn is_of_old_home(id: &str) -> bool {
    id.ends_with(&of(HOST)) || id.ends_with(&of(ENGINE))
}

fn of(old: &str) -> String {
    format!(" (of {old})")
}

/// A plan's steps before anything runs, and from there on.
struct Start {
    prepare: Vec<Step>,
    start: Vec<Step>,
}

impl Start {
    fn of(mut steps: Vec<Step>) -> Self {
        let begins = steps.iter().position(|step| starts(&step.action));
        let start = steps.split_off(begins.unwrap_or(steps.len()));
        Self {
            prepare: steps,
            start,
        }
    }
}

/// Both homes have a service `vault`: steps of the old one say which they mean.
fn named(steps: Vec<Step>, old: &str) -> impl Iterator<Item = Step> {
    steps.into_iter().map(move |mut step| {
        step.id.push_str(&of(old));
        step
    })
}

fn starts(action: &Action) -> bool {
    matches!(
        action,
        Action::Docker(
            DockerAction::CreateContainer(_)
                | DockerAction::StartContainer { .. }
                | DockerAction::RemoveContainer { .. }
                | DockerAction::SwapContainers { .. }
        ) | Action::Host(
            HostAction::ReloadServices
                | HostAction::StartSupervisor { .. }
                | HostAction::EnableService { .. }
                | HostAction::StartService { .. }
                | HostAction::StopService { .. }
        )
    )
}

fn own(path: Utf8PathBuf, owner: u32) -> Step {
    let id = format!("folder {path} and everything in it (given to user number {owner})");
    let action = DockerAction::Own { path, owner };
    step(Change::Change, id, Action::Docker(action))
}

/// The folder alone.
fn own_folder(path: Utf8PathBuf, mode: u32, owner: u32) -> Step {
    let name = if path == "" {
        "of the data"
    } else {
        path.as_str()
    };
    let id = format!("folder {name} (given to user number {owner})");
    let action = DockerAction::MakeDirectory { path, mode, owner };
    step(Change::Change, id, Action::Docker(action))
}

fn step(change: Change, id: String, action: Action) -> Step {
    Step {
        id,
        change,
        detail: Vec::new(),
        action,
        settle: None,
    }
}

fn footage(
    layout: &Layout,
    is_there: impl Fn(&Utf8Path) -> bool,
) -> impl Iterator<Item = Utf8PathBuf> {
    all_footage(layout)
        .into_iter()
        .filter(move |path| is_there(path))
}

fn all_footage(layout: &Layout) -> [Utf8PathBuf; 3] {
    [layout.agents(), layout.vault(), layout.recordings()]
}

impl Facts {
    /// The secrets of the same site at its engine are taken along.
    pub fn carry(&mut self, from: &DockerFacts) {
        let layout = Layout::with_control(self.data.path.clone());
        self.carried = carried(&from.secrets, &layout);
        self.missing_logins.retain(missing(&self.carried));
        if from.access.address.is_none() {
            self.access.address = None;
        }
        // The engine gives the folder away.
        self.data.writable = Writable::Yes;
    }
}

impl DockerFacts {
    /// The secrets of the same site at its machine are taken along.
    pub fn carry(&mut self, from: &Facts) {
        self.carried = carried(&from.secrets, &Layout::new(""));
        // What has it now lets go of it.
        if from.access.address.is_none() {
            self.access.address = None;
        }
        self.missing_logins.retain(missing(&self.carried));
    }
}

fn carried(
    secrets: &BTreeMap<String, SecretFact>,
    layout: &Layout,
) -> BTreeMap<String, Utf8PathBuf> {
    let kept = |(purpose, fact): (&String, &SecretFact)| {
        let name = SecretName {
            purpose: purpose.clone(),
            version: fact.current?,
        };
        Some((purpose.clone(), layout.secret(&name)))
    };
    secrets.iter().filter_map(kept).collect()
}

fn missing(carried: &BTreeMap<String, Utf8PathBuf>) -> impl Fn(&String, &mut String) -> bool {
    let keys: Vec<_> = carried.keys().filter_map(|p| login_key(p)).collect();
    move |key, _| !keys.contains(key)
}
