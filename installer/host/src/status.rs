//! The truth about a site: processes, ports and newest footage, read from the system itself.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use camino::{Utf8Path, Utf8PathBuf};
use installer_plan::{Receipt, ServiceManager};
use installer_render::Layout;
use serde::Serialize;

use crate::files::read_folder;
use crate::observe::{ObserveError, read_name, read_receipt};
use crate::services::{read_manager, read_services, read_supervisor};

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SiteStatus {
    pub site: String,
    pub data: Utf8PathBuf,
    pub manager: ServiceManager,
    /// Process of our supervisor, where it is in charge and lives.
    pub supervisor: Option<i32>,
    pub installed: bool,
    /// An install or uninstall that began and did not end.
    pub unfinished: bool,
    pub services: Vec<ServiceReport>,
    pub cameras: Vec<CameraReport>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServiceReport {
    pub name: String,
    pub running: bool,
    pub pid: Option<i32>,
    pub state: String,
    pub restarts: u64,
    pub port: Option<u16>,
    /// Something takes connections at the port.
    pub answers: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CameraReport {
    pub name: String,
    /// File that footage last went to.
    pub newest: Option<Utf8PathBuf>,
    /// Seconds since footage was last written.
    pub age_seconds: Option<f64>,
    pub recordings: u64,
    pub bytes: u64,
}

impl SiteStatus {
    /// Every service runs and answers.
    pub fn healthy(&self) -> bool {
        self.installed
            && !self.services.is_empty()
            && self
                .services
                .iter()
                .all(|service| service.running && service.answers)
    }
}

/// Reads what is true now. `cameras` are the profile's names.
pub fn read_status(
    site: &str,
    data: &Utf8Path,
    cameras: &[String],
) -> Result<SiteStatus, ObserveError> {
    let layout = Layout::new(data);
    let manager = read_manager();
    let receipt = read_receipt(&layout.receipt())?;
    let ports = receipt.as_ref().map(Receipt::ports).unwrap_or_default();
    let mut running = read_services(manager, site, &layout);
    let mut names: Vec<_> = ports.keys().chain(running.keys()).cloned().collect();
    names.sort();
    names.dedup();
    let services = names.into_iter().map(|name| {
        let port = ports.get(&name).copied();
        let answers = port.is_some_and(|port| {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
        });
        let service = running.remove(&name);
        ServiceReport {
            running: service.as_ref().is_some_and(|service| service.fact.running),
            pid: service.as_ref().and_then(|service| service.pid),
            restarts: service.as_ref().map_or(0, |service| service.restarts),
            state: service.map_or_else(|| "not running".to_owned(), |service| service.state),
            name,
            port,
            answers,
        }
    });
    Ok(SiteStatus {
        site: site.to_owned(),
        data: data.to_owned(),
        manager,
        supervisor: read_supervisor(&layout),
        installed: receipt.is_some(),
        unfinished: receipt.is_some_and(|receipt| receipt.pending.is_some()),
        services: services.collect(),
        cameras: read_cameras(&layout, cameras),
    })
}

fn read_cameras(layout: &Layout, cameras: &[String]) -> Vec<CameraReport> {
    let mut found: BTreeMap<&str, CameraReport> = cameras
        .iter()
        .map(|name| {
            let report = CameraReport {
                name: name.clone(),
                newest: None,
                age_seconds: None,
                recordings: 0,
                bytes: 0,
            };
            (name.as_str(), report)
        })
        .collect();
    let now = SystemTime::now();
    let mut newest: BTreeMap<String, SystemTime> = BTreeMap::new();
    let mut folders = vec![layout.recordings(), layout.agents()];
    while let Some(folder) = folders.pop() {
        for (path, metadata) in read_folder(&folder).unwrap_or_default() {
            if metadata.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.file_name().unwrap_or_default();
            let Some(camera) = camera_of(name) else {
                continue;
            };
            let Some(report) = found.get_mut(camera) else {
                continue;
            };
            if read_name(name).is_some() {
                report.recordings += 1;
            }
            report.bytes += metadata.len();
            let written = metadata.modified().unwrap_or(UNIX_EPOCH);
            if newest.get(camera).is_none_or(|newest| *newest < written) {
                newest.insert(camera.to_owned(), written);
                report.age_seconds = Some(
                    now.duration_since(written)
                        .unwrap_or_default()
                        .as_secs_f64(),
                );
                report.newest = Some(path);
            }
        }
    }
    found.into_values().collect()
}

/// The camera in the name of a recording, finished or not.
fn camera_of(name: &str) -> Option<&str> {
    let name = name.strip_suffix(".part").unwrap_or(name);
    let mut fields = name.strip_suffix(".mp4")?.split('_');
    fields.nth(2)
}
