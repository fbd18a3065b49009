//! The truth about a site on an engine or in a cluster: what runs, and what the programs in it say.

use std::fmt::Write as _;

use agent_api::{CameraState, CameraStatus};
use camino::Utf8PathBuf;
use installer_docker::Explanation;
use installer_engine::{read_cameras, read_usage};
use installer_plan::docker::{ContainerState, FILES, Ownership, object_name};
use installer_plan::{CertificateFact, human_bytes};
use installer_render::kubernetes::Kind;
use serde::Serialize;

use crate::access::{self, AccessReport};
use crate::error::CommandError;
use crate::peers::{self, Peers};
use crate::site::Site;
use crate::target::{OnCluster, OnEngine};

#[derive(Debug, Serialize)]
pub(crate) struct SiteReport {
    pub(crate) site: String,
    pub(crate) data: Utf8PathBuf,
    /// The engine or the cluster.
    pub(crate) place: String,
    pub(crate) installed: bool,
    /// An install or uninstall that began and did not end.
    pub(crate) unfinished: bool,
    pub(crate) services: Vec<ServiceReport>,
    pub(crate) cameras: Vec<CameraReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) vault: Option<VaultReport>,
    /// Where the footage lies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) disk: Option<DiskReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) access: Option<AccessReport>,
}

/// A disk with less than this much is full: agents delete what waits for the vault to go on, and
/// theirs is the same rule (`agent/store`, `default_reserve`).
const FULL_PERCENT: u64 = 2;
const FULL_AT_MOST: u64 = 4 << 30;

#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct DiskReport {
    pub(crate) free_bytes: u64,
    pub(crate) total_bytes: u64,
}

impl DiskReport {
    pub(crate) fn is_full(&self) -> bool {
        self.free_bytes < (self.total_bytes / 100 * FULL_PERCENT).min(FULL_AT_MOST)
    }

    pub(crate) fn text(&self) -> String {
        let (free, total) = (human_bytes(self.free_bytes), human_bytes(self.total_bytes));
        let full = if self.is_full() { " is full:" } else { ":" };
        format!("disk{full} {free} of {total} free")
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct ServiceReport {
    pub(crate) name: String,
    pub(crate) well: bool,
    /// In the words of whoever runs it.
    pub(crate) state: String,
    /// Where it is not well: why, from the outside in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) causes: Vec<String>,
    /// Where there is more to read.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) help: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct CameraReport {
    pub(crate) name: String,
    pub(crate) receiving: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) picture: Option<String>,
    /// Milliseconds since the last frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_frame_ms: Option<u64>,
    pub(crate) pending_uploads: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct VaultReport {
    pub(crate) recordings: u64,
    pub(crate) bytes: u64,
    pub(crate) undelivered: u64,
    /// SHA-256 of its certificate, to compare with what a browser shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fingerprint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) certificate_until: Option<String>,
}

impl SiteReport {
    /// Every service is well and every camera gives frames.
    pub(crate) fn healthy(&self) -> bool {
        self.installed
            && !self.services.is_empty()
            && self.services.iter().all(|service| service.well)
            && self.cameras.iter().all(|camera| camera.receiving)
            && !self.disk.is_some_and(|disk| disk.is_full())
            && self.access.as_ref().is_none_or(|access| access.published)
    }
}

/// What agents and vault say.
#[derive(Default)]
struct Said {
    cameras: Vec<CameraReport>,
    vault: Option<VaultReport>,
    /// The vault's own disk.
    disk: Option<DiskReport>,
}

async fn ask(peers: &Peers, certificate: Option<&CertificateFact>) -> Said {
    let mut said = Said::default();
    for access in &peers.cameras {
        let answer = read_cameras(&access.agent, &access.token).await;
        let found = answer.map(|all| all.into_iter().find(|one| one.name == access.camera));
        said.cameras.push(match found {
            Ok(Some(status)) => CameraReport {
                name: access.camera.clone(),
                receiving: status.state == CameraState::Receiving,
                error: status.error.clone(),
                picture: picture(&status),
                last_frame_ms: status.last_frame_ms,
                pending_uploads: status.pending_uploads,
            },
            Ok(None) => silent(&access.camera, "its agent does not know it".to_owned()),
            Err(error) => silent(&access.camera, error.to_string()),
        });
    }
    if let Some(access) = peers.cameras.first()
        && let Ok(Some(usage)) = read_usage(access).await
    {
        said.disk = usage
            .disk_free
            .zip(usage.disk_total)
            .map(|(free_bytes, total_bytes)| DiskReport {
                free_bytes,
                total_bytes,
            });
        said.vault = Some(VaultReport {
            recordings: usage.recordings,
            bytes: usage.bytes,
            undelivered: usage.undelivered,
            fingerprint: certificate.map(|fact| fact.fingerprint.clone()),
            certificate_until: certificate.map(|fact| fact.not_after.clone()),
        });
    }
    said
}

pub(crate) async fn on_engine(site: &Site, seen: &OnEngine) -> Result<SiteReport, CommandError> {
    let facts = &seen.observed.facts;
    let name = &site.profile.site;
    let files = object_name(name, FILES);
    let mut services = Vec::new();
    for (container, fact) in &facts.containers {
        if fact.ownership != Ownership::Ours || *container == files {
            continue;
        }
        let well = fact.state == ContainerState::Running;
        let explanation = if well {
            None
        } else {
            installer_docker::explain(&seen.connection, container).await
        };
        let state = seen.observed.states.get(container);
        services.push(ServiceReport {
            name: container
                .strip_prefix(&object_name(name, ""))
                .unwrap_or(container)
                .to_owned(),
            well,
            state: state.cloned().unwrap_or_default(),
            causes: explanation.as_ref().map(causes).unwrap_or_default(),
            help: format!("`docker logs {container}` has more; `stakeout install` starts it again"),
        });
    }
    let receipt = facts.receipt.as_ref();
    let installed = receipt.is_some_and(|receipt| !receipt.owned.containers.is_empty());
    let mut said = Said::default();
    if installed && let Ok(peers) = peers::on_engine(site, seen).await {
        said = ask(&peers, facts.certificates.services.get("vault")).await;
    }
    let disk = facts.disk.map(|disk| DiskReport {
        free_bytes: disk.free_bytes,
        total_bytes: disk.total_bytes,
    });
    // Of an engine elsewhere the vault alone sees the disk.
    let disk = disk.or(said.disk);
    for service in services.iter_mut().filter(|service| !service.well) {
        let full = disk.filter(DiskReport::is_full).map(|disk| disk.text());
        service.causes.extend(full);
    }
    Ok(SiteReport {
        site: name.clone(),
        data: site.data.clone(),
        place: format!("engine {} {}", facts.engine.name, facts.engine.version),
        installed,
        unfinished: receipt.is_some_and(|receipt| receipt.pending.is_some()),
        services,
        cameras: said.cameras,
        vault: said.vault,
        disk,
        access: access::on_engine(site, seen),
    })
}

pub(crate) async fn in_cluster(site: &Site, seen: &OnCluster) -> Result<SiteReport, CommandError> {
    let facts = &seen.observed.facts;
    let namespace = &facts.namespace;
    let mut services = Vec::new();
    for (id, fact) in &facts.objects {
        if fact.ownership != Ownership::Ours || id.kind != Kind::Deployment {
            continue;
        }
        let name = &id.name;
        let mut causes = Vec::new();
        if !fact.ready {
            let found = installer_kubernetes::explain(&seen.connection, namespace, name).await;
            causes = found.as_ref().map(pod_causes).unwrap_or_default();
        }
        services.push(ServiceReport {
            name: name.clone(),
            well: fact.ready,
            state: if fact.ready { "ready" } else { "not ready" }.to_owned(),
            causes,
            help: format!("`kubectl -n {namespace} describe deployment {name}` has more"),
        });
    }
    let receipt = facts.receipt.as_ref();
    let installed = !services.is_empty() && receipt.is_some();
    let mut said = Said::default();
    if installed && let Ok(peers) = peers::in_cluster(site, seen).await {
        said = ask(&peers, facts.certificates.services.get("vault")).await;
    }
    Ok(SiteReport {
        site: site.profile.site.clone(),
        data: site.data.clone(),
        place: format!(
            "cluster {} {}",
            facts.cluster.signs.context, facts.cluster.signs.version
        ),
        installed,
        unfinished: receipt.is_some_and(|receipt| receipt.pending.is_some()),
        services,
        cameras: said.cameras,
        vault: said.vault,
        disk: said.disk,
        access: access::in_cluster(site, seen),
    })
}

/// Codec and size, once they are known.
pub(crate) fn picture(status: &CameraStatus) -> Option<String> {
    let size = status
        .width
        .zip(status.height)
        .map(|(w, h)| format!(" {w}x{h}"));
    let codec = status.codec.as_ref()?;
    Some(format!("{codec}{}", size.unwrap_or_default()))
}

fn silent(camera: &str, error: String) -> CameraReport {
    CameraReport {
        name: camera.to_owned(),
        receiving: false,
        error: Some(error),
        picture: None,
        last_frame_ms: None,
        pending_uploads: 0,
    }
}

pub(crate) fn text(status: &SiteReport) -> String {
    let mut text = format!(
        "Site {} on {}, data in {}\n",
        status.site, status.place, status.data
    );
    if !status.installed {
        text.push_str("Not installed: `stakeout install` does it.\n");
    }
    if status.unfinished {
        text.push_str("A run did not end: run `stakeout install` again.\n");
    }
    let mut line = |words: std::fmt::Arguments<'_>| {
        writeln!(text, "{words}").expect("invariant: a String takes any text");
    };
    for service in &status.services {
        let mark = if service.well { "ok  " } else { "FAIL" };
        line(format_args!(
            "  {mark}  {}: {}",
            service.name, service.state
        ));
        for cause in &service.causes {
            line(format_args!("        {cause}"));
        }
    }
    for camera in &status.cameras {
        let mark = if camera.receiving { "ok  " } else { "FAIL" };
        let what = match (&camera.error, &camera.picture) {
            (Some(error), _) if !camera.receiving => error.clone(),
            (_, Some(picture)) => picture.clone(),
            _ => "no picture yet".to_owned(),
        };
        let waits = match camera.pending_uploads {
            0 => String::new(),
            n => format!(", {n} recordings wait for the vault"),
        };
        line(format_args!(
            "  {mark}  camera {}: {what}{waits}",
            camera.name
        ));
    }
    if let Some(disk) = &status.disk {
        let mark = if disk.is_full() { "FAIL" } else { "ok  " };
        line(format_args!("  {mark}  {}", disk.text()));
    }
    if let Some(vault) = &status.vault {
        line(format_args!(
            "  vault holds {} recordings, {}",
            vault.recordings,
            human_bytes(vault.bytes)
        ));
        // Where there is `access`, nobody's browser comes to see this one.
        if let Some(fingerprint) = &vault.fingerprint
            && status.access.is_none()
        {
            line(format_args!("  its certificate: SHA-256 {fingerprint}"));
        }
    }
    if let Some(access) = &status.access {
        line(format_args!("{access}"));
    }
    text
}

/// The chain of causes of a container that is not well, from the outside in.
fn causes(explanation: &Explanation) -> Vec<String> {
    let mut causes = vec![format!("container: {}", explanation.state)];
    if explanation.restarts > 0 {
        causes.push(format!("restarted {} times", explanation.restarts));
    }
    if let Some(health) = &explanation.health {
        causes.push(format!("health: {health}"));
    }
    causes.extend(explanation.log.iter().map(|line| format!("log: {line}")));
    causes
}

/// The chain of causes of a Deployment that is not ready, from the outside in.
fn pod_causes(explanation: &installer_kubernetes::Explanation) -> Vec<String> {
    let mut causes = vec![format!("deployment: {}", explanation.state)];
    if let Some(pod) = &explanation.pod {
        causes.push(format!("pod {}: {}", pod.name, pod.state));
        if pod.restarts > 0 {
            causes.push(format!("restarted {} times", pod.restarts));
        }
        causes.extend(pod.log.iter().map(|line| format!("log: {line}")));
    }
    causes.extend(
        explanation
            .event
            .iter()
            .map(|event| format!("event: {event}")),
    );
    causes
}
