//! Facts of a host, read and never written.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use camino::{Utf8Path, Utf8PathBuf};
use installer_engine::{Logins, certificate, look_at_address, read_access, secret};
use installer_pki::Pair;
use installer_plan::{
    CameraFact, DataDirectory, Disk, Facts, Machine, PathFact, PortFact, Receipt, ServiceManager,
    Writable, host,
};
use installer_render::host::Program;
use installer_render::{Layout, Role, SecretName, service_names};
use installer_spec::Profile;
use rustix::fs::{Access, StatVfsMountFlags, access, statvfs};

use crate::files::{is_absent, mode, nearest_existing, read_digest, read_folder};
use crate::services::{
    RunningService, has_untold_process, read_manager, read_services, read_supervisor,
};

/// Services listen below the ports that the kernel gives to clients (32768 and up).
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Counting more files than this would take longer than an answer may.
const FOOTAGE_FILES_MAX: usize = 100_000;

#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    #[error("cannot read `{path}`")]
    Read {
        path: Utf8PathBuf,
        source: io::Error,
    },
    #[error("the receipt `{path}` is not one that this version reads")]
    Receipt {
        path: Utf8PathBuf,
        source: serde_json::Error,
    },
}

/// Facts for planning, and what only a report needs.
#[derive(Debug, Clone)]
pub struct Observed {
    pub facts: Facts,
    pub services: BTreeMap<String, RunningService>,
    /// The owner's certificate and key, as they lie beside the profile.
    pub own: Option<Pair>,
}

/// Reads everything that planning `profile` at `data` may know. Without a profile only what is
/// there is read, which is enough to take it away. `folder` is the profile's: relative paths in it
/// start there.
pub fn observe(
    site: &str,
    profile: Option<&Profile>,
    folder: &Utf8Path,
    logins: &Logins,
    data: &Utf8Path,
    programs: &Utf8Path,
) -> Result<Observed, ObserveError> {
    let layout = Layout::new(data);
    let manager = read_manager();
    let receipt = read_receipt(&layout.receipt())?;
    let services = read_services(manager, site, &layout);
    let footage = read_footage(&layout);
    let paths = read_paths(site, manager, &layout)?;
    let (secrets, missing_logins) = match profile {
        Some(profile) => read_secrets(profile, logins, &layout)?,
        None => Default::default(),
    };
    let wanted = profile.map(service_names).unwrap_or_default();
    let mut cameras = receipt
        .as_ref()
        .map(|receipt| receipt.rates.clone())
        .unwrap_or_default();
    cameras.extend(footage.cameras);
    let certificates = read_certificates(&layout)?;
    let (mut access, own) = match profile {
        Some(profile) => {
            let kept = certificate::shown_to_others(&certificates, &layout);
            read_access(profile, folder, kept.as_ref())
        }
        None => Default::default(),
    };
    let address = profile.and_then(|profile| profile.access.as_ref()?.address);
    let listens = services
        .get("vault")
        .is_some_and(|vault| vault.pid.is_some());
    access.address = address
        .filter(|address| !(listens && published(&layout) == Some(*address)))
        .and_then(look_at_address);
    let facts = Facts {
        machine: read_machine(site, manager),
        data: read_data(data, &paths, footage.bytes)?,
        programs: if profile.is_some() {
            read_programs(programs)?
        } else {
            BTreeMap::new()
        },
        paths,
        secrets,
        missing_logins,
        certificates: certificate::facts(&certificates, &layout),
        access,
        services: services
            .iter()
            .map(|(name, s)| (name.clone(), s.fact.clone()))
            .collect(),
        supervisor: read_supervisor(&layout).is_some(),
        ports: read_ports(site, data, receipt.as_ref(), &services, &wanted),
        receipt,
        carried: BTreeMap::new(),
        rotate: BTreeSet::new(),
        cameras,
    };
    Ok(Observed {
        facts,
        services,
        own,
    })
}

/// Where the vault was last told to listen for others.
fn published(layout: &Layout) -> Option<SocketAddr> {
    let config = vault_api::read_config(&layout.service_config("vault")).ok()?;
    Some(config.public?.listen)
}

/// Texts of the site's certificates and keys.
pub(crate) fn read_certificates(layout: &Layout) -> Result<certificate::Texts, ObserveError> {
    let mut texts = BTreeMap::new();
    for folder in read_folders(&layout.tls())? {
        for (path, metadata) in read_files(&folder)? {
            if metadata.is_file()
                && let Ok(text) = fs::read_to_string(&path)
            {
                texts.insert(path, text);
            }
        }
    }
    Ok(texts)
}

fn read_files(folder: &Utf8Path) -> Result<Vec<(Utf8PathBuf, fs::Metadata)>, ObserveError> {
    read_folder(folder).map_err(|source| ObserveError::Read {
        path: folder.to_owned(),
        source,
    })
}

/// Folders in a folder.
fn read_folders(folder: &Utf8Path) -> Result<Vec<Utf8PathBuf>, ObserveError> {
    let mut found = read_files(folder)?;
    found.retain(|(_, metadata)| metadata.is_dir());
    Ok(found.into_iter().map(|(path, _)| path).collect())
}

/// The receipt at `path`, if there is one.
pub fn read_receipt(path: &Utf8Path) -> Result<Option<Receipt>, ObserveError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(source) => {
            return Err(ObserveError::Read {
                path: path.to_owned(),
                source,
            });
        }
    };
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|source| ObserveError::Receipt {
            path: path.to_owned(),
            source,
        })
}

fn read_machine(site: &str, manager: ServiceManager) -> Machine {
    let first_line = |path: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().next().unwrap_or_default().trim().to_owned()
    };
    let id = ["/etc/machine-id", "/proc/sys/kernel/random/boot_id"].map(first_line);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory
        .lines()
        .find_map(|line| {
            line.strip_prefix("MemTotal:")?
                .trim()
                .strip_suffix(" kB")?
                .parse()
                .ok()
        })
        .unwrap_or(0u64);
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    Machine {
        hostname: first_line("/proc/sys/kernel/hostname"),
        id: id.into_iter().find(|id| !id.is_empty()).unwrap_or_default(),
        arch: std::env::consts::ARCH.to_owned(),
        cpus: u32::try_from(cpus).unwrap_or(u32::MAX),
        memory_bytes: memory * 1024,
        uid: rustix::process::geteuid().as_raw(),
        manager,
        service_user: read_user(&host::user_name(site)).is_some(),
    }
}

/// The number of a user in `/etc/passwd`.
pub(crate) fn read_user(name: &str) -> Option<u32> {
    let text = fs::read_to_string("/etc/passwd").ok()?;
    let mut fields = text.lines().map(|line| line.split(':'));
    fields.find_map(|mut fields| {
        (fields.next() == Some(name))
            .then(|| fields.nth(1)?.parse().ok())
            .flatten()
    })
}

fn read_data(
    data: &Utf8Path,
    paths: &BTreeMap<Utf8PathBuf, PathFact>,
    footage_bytes: u64,
) -> Result<DataDirectory, ObserveError> {
    let nearest = nearest_existing(data);
    let failed = |source: io::Error| ObserveError::Read {
        path: nearest.clone(),
        source,
    };
    let stat = statvfs(nearest.as_std_path()).map_err(|error| failed(error.into()))?;
    let managed = paths
        .iter()
        .filter(|(_, fact)| matches!(fact, PathFact::Directory { .. }));
    let denied = std::iter::once(&nearest)
        .chain(managed.map(|(path, _)| path))
        .find(|path| {
            path.is_dir() && access(path.as_std_path(), Access::WRITE_OK | Access::EXEC_OK).is_err()
        });
    let writable = if !nearest.is_dir() {
        Writable::NotADirectory(nearest.clone())
    } else if stat.f_flag.contains(StatVfsMountFlags::RDONLY) {
        Writable::ReadOnly
    } else if let Some(path) = denied {
        Writable::Denied(path.clone())
    } else {
        Writable::Yes
    };
    let disk = Disk {
        free_bytes: stat.f_bavail * stat.f_frsize,
        total_bytes: stat.f_blocks * stat.f_frsize,
        footage_bytes,
    };
    Ok(DataDirectory {
        path: data.to_owned(),
        writable,
        disk,
    })
}

fn read_programs(
    folder: &Utf8Path,
) -> Result<BTreeMap<Program, (Utf8PathBuf, String)>, ObserveError> {
    let mut found = BTreeMap::new();
    for program in Program::ALL {
        let path = folder.join(program.file_name());
        match read_digest(&path) {
            Ok(digest) => {
                found.insert(program, (path, digest));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(ObserveError::Read { path, source }),
        }
    }
    Ok(found)
}

fn read_paths(
    site: &str,
    manager: ServiceManager,
    layout: &Layout,
) -> Result<BTreeMap<Utf8PathBuf, PathFact>, ObserveError> {
    let mut found = BTreeMap::new();
    let failed = |path: &Utf8Path, source| ObserveError::Read {
        path: path.to_owned(),
        source,
    };
    for (path, metadata) in read_folder(layout.data()).map_err(|e| failed(layout.data(), e))? {
        if metadata.is_dir() {
            found.insert(
                path,
                PathFact::Directory {
                    mode: mode(&metadata),
                },
            );
        }
    }
    let agents = layout.agents();
    for (path, metadata) in read_folder(&agents).map_err(|e| failed(&agents, e))? {
        if metadata.is_dir() {
            found.insert(
                path,
                PathFact::Directory {
                    mode: mode(&metadata),
                },
            );
        }
    }
    for folder in read_folders(&layout.tls())? {
        for (path, metadata) in read_files(&folder)? {
            // A key's digest would be a secret.
            let digest = match path.extension() {
                Some("crt") => read_digest(&path).map_err(|e| failed(&path, e))?,
                _ => String::new(),
            };
            let (mode, text) = (mode(&metadata), None);
            found.insert(path, PathFact::File { digest, mode, text });
        }
        let mode = fs::metadata(&folder).map(|found| mode(&found));
        let mode = mode.map_err(|e| failed(&folder, e))?;
        found.insert(folder, PathFact::Directory { mode });
    }
    let folders = [layout.config(), layout.programs(), layout.secrets()];
    for folder in &folders {
        for (path, metadata) in read_folder(folder).map_err(|e| failed(folder, e))? {
            if !metadata.is_dir() {
                let digest = if *folder == layout.secrets() {
                    // A secret's digest would be a secret.
                    String::new()
                } else {
                    read_digest(&path).map_err(|e| failed(&path, e))?
                };
                let text = (*folder == layout.config())
                    .then(|| fs::read_to_string(&path).ok())
                    .flatten();
                found.insert(
                    path,
                    PathFact::File {
                        digest,
                        mode: mode(&metadata),
                        text,
                    },
                );
            }
        }
    }
    if manager == ServiceManager::Systemd {
        let folder = Utf8Path::new(host::UNIT_FOLDER);
        for (path, metadata) in read_folder(folder).map_err(|e| failed(folder, e))? {
            let name = path.file_name().unwrap_or_default();
            let name = name.strip_prefix('.').unwrap_or(name);
            let name = name.strip_suffix(".stakeout-new").unwrap_or(name);
            if host::service_of_unit(site, name).is_some() && metadata.is_file() {
                let digest = read_digest(&path).map_err(|e| failed(&path, e))?;
                let text = fs::read_to_string(&path).ok();
                found.insert(
                    path,
                    PathFact::File {
                        digest,
                        mode: mode(&metadata),
                        text,
                    },
                );
            }
        }
    }
    Ok(found)
}

fn read_secrets(
    profile: &Profile,
    logins: &Logins,
    layout: &Layout,
) -> Result<secret::Secrets, ObserveError> {
    let folder = layout.secrets();
    let entries = read_folder(&folder).map_err(|source| ObserveError::Read {
        path: folder.clone(),
        source,
    })?;
    let kept = entries
        .iter()
        .filter_map(|(path, _)| path.file_name().and_then(SecretName::parse));
    let read = |name: &SecretName| fs::read_to_string(layout.secret(name)).ok();
    Ok(secret::judge(profile, logins, kept, read))
}

/// Free loopback ports, and those of the receipt that a stranger holds.
fn read_ports(
    site: &str,
    data: &Utf8Path,
    receipt: Option<&Receipt>,
    services: &BTreeMap<String, RunningService>,
    wanted: &[(String, Role)],
) -> PortFact {
    let kept = receipt.map(Receipt::ports).unwrap_or_default();
    let bindable = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let taken = kept
        .iter()
        .filter(|(name, port)| {
            let ours = services
                .get(*name)
                .is_some_and(|service| service.pid.is_some());
            !ours && !bindable(**port) && !has_untold_process(data, services)
        })
        .map(|(_, port)| *port)
        .collect();
    // Sites start looking at different places, so that two that are installed at once rarely meet.
    let span = usize::from(PORTS.end - PORTS.start);
    let start = installer_plan::digest_of(&(site, data))
        .bytes()
        .fold(0usize, |sum, byte| (sum * 31 + usize::from(byte)) % span);
    let needed = wanted
        .iter()
        .filter(|(service, _)| !kept.contains_key(service))
        .count();
    let candidates = (0..span)
        .map(|offset| PORTS.start + u16::try_from((start + offset) % span).unwrap_or_default());
    let free = candidates
        .filter(|port| !kept.values().any(|kept| kept == port))
        .filter(|port| bindable(*port))
        .take(needed)
        .collect();
    PortFact { free, taken }
}

#[derive(Debug, Default)]
struct Footage {
    bytes: u64,
    cameras: BTreeMap<String, CameraFact>,
}

/// Sums footage up, and takes each camera's bit rate from files that tell their duration.
fn read_footage(layout: &Layout) -> Footage {
    let mut footage = Footage::default();
    let mut rates: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut folders = vec![layout.recordings(), layout.agents()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for (path, metadata) in read_folder(&folder).unwrap_or_default() {
            if metadata.is_dir() {
                folders.push(path);
                continue;
            }
            files += 1;
            footage.bytes += metadata.len();
            let name = path.file_name().unwrap_or_default();
            if let Some((camera, millis)) = read_name(name) {
                let rate = rates.entry(camera.to_owned()).or_default();
                rate.0 += metadata.len();
                rate.1 += millis;
            }
        }
        if files > FOOTAGE_FILES_MAX {
            break;
        }
    }
    for (camera, (bytes, millis)) in rates {
        // Less than half a minute says little.
        if millis >= 30_000 {
            let bits_per_second = bytes.saturating_mul(8_000) / millis;
            footage
                .cameras
                .insert(camera, CameraFact { bits_per_second });
        }
    }
    footage
}

/// Camera and duration in milliseconds of a finished recording's name
/// (`<s>_<n>-<ms>_<name>_<x>-<y>-<w>-<h>_<changes>_<duration>.mp4`).
pub(crate) fn read_name(name: &str) -> Option<(&str, u64)> {
    let fields: Vec<_> = name.strip_suffix(".mp4")?.split('_').collect();
    let [_, _, camera, _, _, millis] = fields.as_slice() else {
        return None;
    };
    Some((*camera, millis.parse().ok().filter(|millis| *millis > 0)?))
}
