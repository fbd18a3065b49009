//! What must hold before the first effect on a host.

use installer_render::host::Program;
use installer_render::{Layout, stores};
use installer_spec::{Keeper, Profile};

use crate::access;
use crate::check::{
    Finding, Severity, charts_elsewhere, login_missing, replicas_elsewhere, storage_moved,
};
use crate::facts::{Facts, PathFact, ServiceManager, Writable};
use crate::show::human_bytes;
use crate::storage::{Promise, StorageEstimate, retention_finding, room_finding};

/// Programs, configuration and one minute of a busy camera fit in less.
const MINIMUM_FREE: u64 = 256 << 20;

/// Ports below need a privilege that services do not get.
const LOW_PORTS: u16 = 1024;

pub(super) fn findings(
    profile: &Profile,
    facts: &Facts,
    programs: &[Program],
    storage: Option<&StorageEstimate>,
    promise: Promise,
) -> Vec<Finding> {
    let mut found: Vec<_> = charts_elsewhere(profile).into_iter().collect();
    found.extend(replicas_elsewhere(profile));
    let mut error = |id: &str, message: String, help: &str| {
        found.push(Finding::new(Severity::Error, id, message, help));
    };
    let data = &facts.data;
    match &data.writable {
        Writable::Yes => {}
        Writable::ReadOnly => error(
            "disk-read-only",
            format!("the file system of `{}` is mounted read-only", data.path),
            "remount it writable, or set `storage.path` to another disk",
        ),
        Writable::Denied(folder) => error(
            "permission-denied",
            format!("user {} may not write in `{folder}`", facts.machine.uid),
            "run as a user that may (sudo), or set `storage.path` to a folder of your own",
        ),
        Writable::NotADirectory(path) => error(
            "not-a-directory",
            format!(
                "`{path}` is not a folder, so `{}` cannot be made",
                data.path
            ),
            "move it away, or set `storage.path` to another place",
        ),
    }
    if facts.data.disk.free_bytes < MINIMUM_FREE && facts.receipt.is_none() {
        let free = human_bytes(data.disk.free_bytes);
        error(
            "disk-full",
            format!("the disk of `{}` has only {free} left", data.path),
            "free at least 256 MiB, or set `storage.path` to another disk",
        );
    }
    if let Some(receipt) = &facts.receipt
        && receipt.site != profile.site
    {
        error(
            "other-site",
            format!(
                "`{}` belongs to site `{}`, not `{}`",
                data.path, receipt.site, profile.site
            ),
            "set `storage.path` to a folder of this site's own, or uninstall the other site",
        );
    }
    for program in programs {
        if !facts.programs.contains_key(program) {
            let name = program.file_name();
            error(
                "program-missing",
                format!("the program `{name}` is not beside `stakeout`"),
                "build all three with `cargo build --release`, or unpack the whole release",
            );
        }
    }
    for (path, fact) in &facts.paths {
        if let PathFact::File { mode, .. } = fact
            && path.starts_with(data.path.join("secrets"))
            && mode & 0o077 != 0
        {
            error(
                "secret-readable",
                format!("the secret `{path}` can be read by others (mode {mode:o})"),
                &format!("run `chmod 600 {path}`, and think about who has read it"),
            );
        }
    }
    for port in &facts.ports.taken {
        error(
            "port-taken",
            format!("port {port} of this site is held by another program"),
            "stop that program (`ss -ltnp` names it), or `stakeout uninstall` and install anew",
        );
    }
    for (camera, reason) in &facts.missing_logins {
        found.push(login_missing(camera, reason));
    }
    let layout = Layout::new(data.path.clone());
    found.extend(storage_moved(profile, facts.receipt.as_ref(), &layout));
    for store in stores(profile) {
        let name = store.name();
        found.push(Finding::new(
            Severity::Error,
            "target-cannot-deploy",
            format!("the host target cannot deploy `{name}`"),
            "set `target: docker`, or name one that runs",
        ));
    }
    found.extend(access::findings(profile, &facts.access));
    if let Some(address) = profile.access.as_ref().and_then(|access| access.address)
        && address.port() < LOW_PORTS
        && (facts.machine.manager == ServiceManager::Systemd || facts.machine.uid != 0)
    {
        let port = address.port();
        found.push(Finding::new(
            Severity::Error,
            "port-low",
            format!("`access.address`: services here have no right to port {port}"),
            "write one above 1023 and have router or firewall lead to it, or set `target: docker`",
        ));
    }
    found.extend(storage.and_then(|storage| retention_finding(storage, promise)));
    let receipt = facts.receipt.as_ref();
    found.extend(storage.and_then(|s| room_finding(s, &facts.data.path, receipt)));
    found.extend(warnings(profile, facts));
    found
}

fn warnings(profile: &Profile, facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    if facts.machine.manager == ServiceManager::Supervisor {
        found.push(Finding::new(
            Severity::Info,
            "no-boot-start",
            "systemd is not in charge here: the site does not come back by itself after a reboot",
            "run `stakeout install` at boot, for example from cron's @reboot",
        ));
        if facts.machine.uid == 0 {
            found.push(Finding::new(
                Severity::Info,
                "runs-as-root",
                "without systemd the services run as the installing user, root",
                "install as an ordinary user",
            ));
        }
    }
    if profile.storage.keeper == Keeper::Agent && profile.cameras.len() > 1 {
        found.push(Finding::new(
            Severity::Info,
            "quota-split",
            "without a vault each agent gets an equal share of the quota",
            "set `storage.keeper: vault` for one quota over all cameras",
        ));
    }
    found
}
