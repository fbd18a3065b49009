//! Facts in, the way back out. Footage is touched at the last level only.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8PathBuf;
use installer_render::{Layout, Store};

use super::{DockerAction, DockerFacts, FILES, Ownership, object_name};
use crate::host::Level;
use crate::kubernetes::Conflicts;
use crate::plan::{Action, Change, Operation, Plan, Step};
use crate::receipt::Owned;

/// Returns the steps that take a site away, as far as `level` goes.
pub fn plan_uninstall(site: &str, level: Level, facts: &DockerFacts) -> Plan {
    let layout = Layout::with_control("");
    let mut steps = Vec::new();
    let mut push = |id: String, action| {
        steps.push(Step {
            id,
            change: Change::Remove,
            detail: Vec::new(),
            action: Action::Docker(action),
            settle: None,
        });
    };
    // Agents first: what they finish now, the vault still takes. The container through which files
    // are reached goes last, with the receipt.
    let files = object_name(site, FILES);
    let vault = object_name(site, "vault");
    let mut names: Vec<_> = facts
        .containers
        .iter()
        .filter(|(name, fact)| fact.ownership == Ownership::Ours && **name != files)
        .map(|(name, _)| name)
        .collect();
    // What the vault writes to outlives it.
    let store = |name: &str| {
        Store::ALL
            .iter()
            .any(|s| name.starts_with(&object_name(site, s.name())))
    };
    names.sort_by_key(|name| {
        let camera = name.contains(".camera-");
        (store(name), name.starts_with(&vault), camera)
    });
    for name in names {
        let action = DockerAction::RemoveContainer { name: name.clone() };
        push(format!("container {name}"), action);
    }
    for (name, fact) in &facts.networks {
        if fact.ownership == Ownership::Ours {
            let action = DockerAction::RemoveNetwork { name: name.clone() };
            push(format!("network {name}"), action);
        }
    }
    let mut gone: Vec<Utf8PathBuf> = Vec::new();
    if level >= Level::Config {
        gone.extend([layout.config(), layout.secrets(), layout.tls()]);
    }
    if level >= Level::Data {
        gone.extend([layout.agents(), layout.vault(), layout.recordings()]);
        gone.extend(Store::ALL.map(|store| layout.store(store.name())));
    }
    // A run that did not end may have left any of what it was about to own, or to remove.
    let known = |path: &&Utf8PathBuf| {
        let receipt = facts.receipt.as_ref();
        let owned = receipt.into_iter().flat_map(|receipt| {
            let pending = receipt.pending.iter().map(|pending| &pending.owned);
            pending.chain([&receipt.owned])
        });
        facts.paths.contains_key(*path)
            || owned
                .into_iter()
                .any(|owned| owned.directories.contains(*path))
    };
    for path in gone.iter().filter(known) {
        let action = DockerAction::RemoveDirectory {
            path: path.clone(),
            recursive: true,
        };
        push(format!("folder {path} and everything in it"), action);
    }
    let before = facts.receipt.as_ref();
    let mut owned = before.map(|r| r.owned.clone()).unwrap_or_default();
    owned.containers.clear();
    owned.networks.clear();
    let keep = |path: &Utf8PathBuf| !gone.iter().any(|gone| path.starts_with(gone));
    owned.files.retain(|path, _| keep(path));
    owned.directories.retain(keep);
    if level >= Level::Config {
        owned.secrets = BTreeSet::new();
    }
    if level >= Level::Data {
        owned = Owned::default();
    }
    Plan {
        format: 1,
        operation: Operation::Uninstall,
        site: site.to_owned(),
        target: "docker".to_owned(),
        machine: facts.engine.id.clone(),
        data: facts.data.clone(),
        unchanged: 0,
        owned,
        findings: Vec::new(),
        storage: None,
        seen: BTreeMap::new(),
        conflicts: Conflicts::default(),
        rates: BTreeMap::new(),
        steps,
    }
}
