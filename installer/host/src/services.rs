//! Which services of a site run, told by the kernel: nothing here trusts a receipt.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::process::{Command, Stdio};

use camino::Utf8Path;
use installer_plan::{ServiceFact, ServiceManager, host};
use installer_render::Layout;
use rustix::fs::{FlockOperation, flock};

use crate::supervisor::SupervisorStatus;

/// Set for every service; read back from the living process.
pub(crate) const DIGEST_VARIABLE: &str = "STAKEOUT_SERVICE_DIGEST";

/// A service that its manager knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningService {
    pub fact: ServiceFact,
    /// Process, where one runs.
    pub pid: Option<i32>,
    /// How often it was started again.
    pub restarts: u64,
    /// What its manager says of it.
    pub state: String,
}

/// What keeps processes running on this machine, as far as this user may use it.
pub(crate) fn read_manager() -> ServiceManager {
    let root = rustix::process::geteuid().is_root();
    let booted = Utf8Path::new("/run/systemd/system").is_dir();
    let init = fs::read_to_string("/proc/1/comm").unwrap_or_default();
    if root && booted && init.trim() == "systemd" {
        ServiceManager::Systemd
    } else {
        ServiceManager::Supervisor
    }
}

/// Process number of the supervisor that holds the site, if one lives.
pub(crate) fn read_supervisor(layout: &Layout) -> Option<i32> {
    let mut file = File::open(layout.supervisor_lock()).ok()?;
    if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        return None;
    }
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// What the living supervisor last said; `None` before it has read its services.
pub(crate) fn read_supervisor_status(layout: &Layout) -> Option<SupervisorStatus> {
    let pid = read_supervisor(layout)?;
    let text = fs::read_to_string(layout.supervisor_status()).ok()?;
    serde_json::from_str::<SupervisorStatus>(&text)
        .ok()
        .filter(|status| status.pid == pid)
}

/// Services of the site by name.
pub(crate) fn read_services(
    manager: ServiceManager,
    site: &str,
    layout: &Layout,
) -> BTreeMap<String, RunningService> {
    match manager {
        ServiceManager::Systemd => read_units(site),
        ServiceManager::Supervisor => read_supervised(layout),
    }
}

fn read_supervised(layout: &Layout) -> BTreeMap<String, RunningService> {
    let services = read_supervisor_status(layout)
        .map(|status| status.services)
        .unwrap_or_default();
    let service = |service: crate::supervisor::ServiceStatus| {
        let digest = service.pid.and_then(read_process_digest);
        let running = digest.is_some();
        let found = RunningService {
            fact: ServiceFact {
                running,
                digest,
                enabled: true,
            },
            pid: service.pid.filter(|_| running),
            restarts: service.restarts,
            state: service.state,
        };
        (service.name, found)
    };
    services.into_iter().map(service).collect()
}

/// Whether a service of the site lives that nobody has told of: one that was started or stopped a
/// moment ago, which may hold the port that it is known by.
pub(crate) fn has_untold_process(data: &Utf8Path, told: &BTreeMap<String, RunningService>) -> bool {
    let Ok(processes) = fs::read_dir("/proc") else {
        return false;
    };
    let folder = format!("{data}/");
    let mut ids = processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|id| told.values().all(|service| service.pid != Some(*id)));
    ids.any(|id| {
        let words = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&words).contains(&folder) && read_process_digest(id).is_some()
    })
}

/// The digest that a living process was started with.
fn read_process_digest(pid: i32) -> Option<String> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    environment.split(|byte| *byte == 0).find_map(|entry| {
        let entry = std::str::from_utf8(entry).ok()?;
        let (name, value) = entry.split_once('=')?;
        (name == DIGEST_VARIABLE).then(|| value.to_owned())
    })
}

fn read_units(site: &str) -> BTreeMap<String, RunningService> {
    let pattern = host::unit_name(site, "*");
    let list = systemctl(&[
        "list-units",
        "--all",
        "--plain",
        "--no-legend",
        "--no-pager",
        &pattern,
    ]);
    let files = systemctl(&[
        "list-unit-files",
        "--plain",
        "--no-legend",
        "--no-pager",
        &pattern,
    ]);
    let mut names: Vec<String> = [list, files]
        .iter()
        .flat_map(|text| text.lines())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|unit| host::service_of_unit(site, unit).is_some())
        .map(str::to_owned)
        .collect();
    names.sort();
    names.dedup();
    if names.is_empty() {
        return BTreeMap::new();
    }
    let properties = "--property=Id,ActiveState,SubState,UnitFileState,MainPID,NRestarts,LoadState";
    let mut arguments = vec!["show", "--no-pager", properties];
    arguments.extend(names.iter().map(String::as_str));
    let text = systemctl(&arguments);
    text.split("\n\n")
        .filter_map(|block| parse_unit(site, block))
        .collect()
}

fn systemctl(arguments: &[&str]) -> String {
    let output = Command::new("systemctl")
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    output
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default()
}

/// One block of `systemctl show`: `Key=value` lines.
fn parse_unit(site: &str, block: &str) -> Option<(String, RunningService)> {
    let values: BTreeMap<_, _> = block
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect();
    let value = |key: &str| values.get(key).copied().unwrap_or_default();
    let service = host::service_of_unit(site, value("Id"))?.to_owned();
    let pid = value("MainPID").parse().ok().filter(|pid| *pid > 0);
    let active = value("ActiveState");
    let enabled = value("UnitFileState") == "enabled";
    let busy = matches!(
        active,
        "active" | "activating" | "deactivating" | "reloading"
    );
    // A unit that is gone and does nothing is a memory of systemd's, not a service.
    if value("LoadState") == "not-found" && !busy {
        return None;
    }
    let digest = pid.and_then(read_process_digest);
    let found = RunningService {
        fact: ServiceFact {
            running: busy,
            digest,
            enabled,
        },
        pid,
        restarts: value("NRestarts").parse().unwrap_or(0),
        state: format!("{active} ({})", value("SubState")),
    };
    Some((service, found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_unit_is_known_and_does_not_run() {
        let block = "Id=stakeout.shop.agent-gate.service\nActiveState=failed\nSubState=failed\n\
                     UnitFileState=enabled\nMainPID=0\nNRestarts=4\nLoadState=loaded";
        let (name, service) = parse_unit("shop", block).unwrap();
        assert_eq!(
            (name.as_str(), service.fact.running, service.restarts),
            ("agent-gate", false, 4)
        );
        assert!(service.fact.enabled);
        assert_eq!(parse_unit("sho", block), None);
    }
}
