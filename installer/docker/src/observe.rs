//! Facts of an engine, read and never written.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum, ImageSummary, PortSummary};
use bollard::query_parameters::{ListContainersOptions, ListImagesOptions, ListNetworksOptions};
use camino::{Utf8Path, Utf8PathBuf};
use futures::future::join_all;
use installer_engine::{Logins, certificate, collide, look_at_address, read_access, secret};
use installer_image::build::CATALOGUE_LABEL;
use installer_pki::Pair;
use installer_plan::docker::{
    ContainerFact, ContainerState, DockerFacts, Engine, FILES, ImageFact, ImageObstacle,
    ImageSource, ImageStanding, NetworkFact, Ownership, is_of_site, label, object_name,
};
use installer_plan::{AddressFact, Disk, PathFact, Receipt};
use installer_render::docker::Component;
use installer_render::{Layout, SecretName, stores};
use installer_spec::Profile;
use rustix::fs::statvfs;

use crate::connect::Connection;
use crate::control::{Control, read_control};
use crate::error::DockerError;
use crate::image::refusal;

/// User number of containers where nothing says otherwise; the images have it, too.
const OWNER: u32 = 10_001;

/// What the caller knows before anything is read.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub site: &'a str,
    /// Absent, only what is there is read, which is enough to take it away.
    pub profile: Option<&'a Profile>,
    /// The profile's: relative paths in it start there.
    pub folder: &'a Utf8Path,
    pub logins: &'a Logins,
    pub data: &'a Utf8Path,
    /// Reference, ID and source of each image of this release.
    pub images: &'a BTreeMap<Component, WantedImage>,
}

/// An image as this release knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedImage {
    pub reference: String,
    pub id: Option<String>,
    pub source: Option<ImageSource>,
    pub standing: ImageStanding,
    /// What is known to stand in the way of having it.
    pub obstacle: Option<ImageObstacle>,
}

/// Facts for planning, and what only a report needs.
#[derive(Debug, Clone)]
pub struct DockerObserved {
    pub facts: DockerFacts,
    /// The engine's own word for each container's state: `Up 3 minutes (healthy)`.
    pub states: BTreeMap<String, String>,
    /// Newest value of each secret, for those who have to log in; never shown.
    pub(crate) secrets: BTreeMap<String, String>,
    /// What the site's parts trust.
    pub trust: Option<String>,
    /// The owner's certificate and key, as they lie beside the profile.
    pub own: Option<Pair>,
    /// All images that the engine has, by ID, each with the version of the catalogue's tables that
    /// a vault in it writes.
    images: BTreeMap<String, Option<u32>>,
}

/// Why there are no images of before to go back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoWayBack {
    #[error("no images of before are known")]
    Unknown,
    #[error(
        "the vault of before reads version {then} of the catalogue's tables, and they are at {now}"
    )]
    Catalogue { then: u32, now: u32 },
}

impl DockerObserved {
    /// Wants the images that were in force before those of now.
    pub fn choose_previous_images(&mut self) -> Result<(), NoWayBack> {
        let receipt = self.facts.receipt.as_ref();
        let Some(receipt) = receipt.filter(|receipt| !receipt.previous_images.is_empty()) else {
            return Err(NoWayBack::Unknown);
        };
        let tables = |images: &BTreeMap<String, String>| {
            let id = images.get(Component::Vault.name())?;
            self.images.get(id).copied().flatten()
        };
        check_tables(
            tables(&receipt.previous_images),
            tables(&receipt.owned.images),
        )?;
        for (component, fact) in &mut self.facts.images {
            if let Some(id) = receipt.previous_images.get(component.name()) {
                fact.present = self.images.contains_key(id).then(|| id.clone());
                fact.reference.clone_from(id);
                fact.wanted = Some(id.clone());
                fact.source = None;
            }
        }
        Ok(())
    }

    /// A secret of the site, without its last line break.
    pub fn secret(&self, purpose: &str) -> Option<&str> {
        self.secrets.get(purpose).map(|text| text.trim_end())
    }
}

/// Steps between versions of the tables go forward only. An image that does not tell is one of
/// before there were any steps.
pub fn check_tables(then: Option<u32>, now: Option<u32>) -> Result<(), NoWayBack> {
    match (then, now) {
        (then, Some(now)) if then.unwrap_or(1) < now => Err(NoWayBack::Catalogue {
            then: then.unwrap_or(1),
            now,
        }),
        _ => Ok(()),
    }
}

/// Reads everything that planning may know.
pub async fn observe(
    connection: &Connection,
    wanted: Wanted<'_>,
) -> Result<DockerObserved, DockerError> {
    let engine = read_engine(connection).await?;
    let summaries = read_containers(connection, wanted.site).await?;
    let files = object_name(wanted.site, FILES);
    let control = if summaries.contains_key(&files) {
        read_control(connection, &files).await?
    } else {
        Control::default()
    };
    let layout = Layout::with_control("");
    let receipt: Option<Receipt> = match control.texts.get(&layout.receipt()) {
        Some(text) => Some(
            serde_json::from_str(text).map_err(|source| DockerError::Read {
                what: format!("the receipt of `{}`", wanted.data),
                source: source.into(),
            })?,
        ),
        None => None,
    };
    let installation = installation(summaries.get(&files), wanted.site)?;
    let kept = control.paths.keys().filter_map(|path| {
        let name = path.strip_prefix(layout.secrets()).ok()?;
        SecretName::parse(name.as_str())
    });
    let read = |name: &SecretName| control.texts.get(&layout.secret(name)).cloned();
    let (secrets, missing_logins) = match wanted.profile {
        Some(profile) => secret::judge(profile, wanted.logins, kept.clone(), read),
        None => Default::default(),
    };
    let values = newest(kept).filter_map(|name| {
        let text = control.texts.get(&layout.secret(&name))?.clone();
        Some((name.purpose, text))
    });
    let values = values.collect();
    let states = summaries
        .iter()
        .map(|(name, summary)| (name.clone(), summary.status.clone().unwrap_or_default()))
        .collect();
    let found_images = connection
        .docker
        .list_images(Some(ListImagesOptions::default()))
        .await
        .map_err(|source| DockerError::engine("list its images", source))?;
    let (mut access, own) = match wanted.profile {
        Some(profile) => {
            let kept = certificate::shown_to_others(&control.texts, &layout);
            read_access(profile, wanted.folder, kept.as_ref())
        }
        None => Default::default(),
    };
    let containers: BTreeMap<_, _> = summaries
        .into_iter()
        .map(|(name, summary)| (name, container_fact(summary, wanted.site, &installation)))
        .collect();
    let published = |address: SocketAddr| {
        let mut all = containers.values().flat_map(|fact| &fact.published);
        all.any(|other| collide(*other, address))
    };
    let address = wanted
        .profile
        .and_then(|profile| profile.access.as_ref()?.address);
    if let Some(address) = address
        && !published(address)
    {
        access.address = address_fact(connection, address).await?;
    }
    let disk = connection
        .is_local()
        .then(|| read_disk(wanted.data))
        .flatten();
    let mut images = image_facts(&found_images, wanted.images);
    if let Some(profile) = wanted.profile {
        ask_registries(connection, profile, &mut images).await;
    }
    let facts = DockerFacts {
        data: wanted.data.to_owned(),
        disk,
        networks: read_networks(connection, wanted.site, &installation).await?,
        containers,
        images,
        owner: owner(receipt.as_ref()),
        paths: paths(control.paths, receipt.as_ref()),
        secrets,
        missing_logins,
        certificates: certificate::facts(&control.texts, &layout),
        access,
        cameras: receipt
            .as_ref()
            .map(|receipt| receipt.rates.clone())
            .unwrap_or_default(),
        receipt,
        carried: BTreeMap::new(),
        rotate: BTreeSet::new(),
        installation,
        engine,
    };
    Ok(DockerObserved {
        facts,
        states,
        secrets: values,
        trust: control.texts.get(&layout.trust().join("ca.crt")).cloned(),
        own,
        images: found_images
            .into_iter()
            .map(|image| {
                let version = image.labels.get(CATALOGUE_LABEL);
                (image.id, version.and_then(|version| version.parse().ok()))
            })
            .collect(),
    })
}

/// The mark of this installation: what the site's own container has, else a new one.
fn installation(files: Option<&ContainerSummary>, site: &str) -> Result<String, DockerError> {
    let labels = files.and_then(|summary| summary.labels.as_ref());
    let labelled = labels
        .filter(|labels| labels.get(label::SITE).is_some_and(|s| s == site))
        .and_then(|labels| labels.get(label::INSTALLATION).cloned());
    if let Some(installation) = labelled {
        return Ok(installation);
    }
    let random = secret::random_hex().map_err(|source| DockerError::Read {
        what: "randomness".to_owned(),
        source: source.into(),
    })?;
    Ok(random.chars().take(16).collect())
}

/// The newest version of each secret.
fn newest(kept: impl Iterator<Item = SecretName>) -> impl Iterator<Item = SecretName> {
    let mut newest: BTreeMap<String, u32> = BTreeMap::new();
    for name in kept {
        let version = newest.entry(name.purpose).or_default();
        *version = (*version).max(name.version);
    }
    let name = |(purpose, version)| SecretName { purpose, version };
    newest.into_iter().map(name)
}

fn owner(receipt: Option<&Receipt>) -> u32 {
    let kept = receipt.and_then(|receipt| {
        let pending = receipt.pending.as_ref().and_then(|p| p.owned.uid);
        receipt.owned.uid.or(pending)
    });
    kept.unwrap_or(OWNER)
}

/// Folders outside of the control folder are known by the receipt: looking at them would mean to
/// read all footage.
fn paths(
    mut paths: BTreeMap<Utf8PathBuf, PathFact>,
    receipt: Option<&Receipt>,
) -> BTreeMap<Utf8PathBuf, PathFact> {
    let known = receipt.into_iter().flat_map(|receipt| {
        let done = receipt.pending.is_none();
        receipt.owned.directories.iter().filter(move |_| done)
    });
    for path in known {
        let fact = PathFact::Directory { mode: 0 };
        paths.entry(path.clone()).or_insert(fact);
    }
    paths
}

/// What the engine says of itself.
pub async fn read_engine(connection: &Connection) -> Result<Engine, DockerError> {
    let info = connection
        .docker
        .info()
        .await
        .map_err(|source| DockerError::engine("tell about itself", source))?;
    let options = info.security_options.unwrap_or_default();
    let unsigned = |value: Option<i64>| u64::try_from(value.unwrap_or(0)).unwrap_or(0);
    Ok(Engine {
        id: info.id.unwrap_or_default(),
        name: info.name.unwrap_or_default(),
        version: info.server_version.unwrap_or_default(),
        api: connection.docker.client_version().to_string(),
        platform: connection.platform.clone(),
        rootless: options.iter().any(|option| option.contains("rootless")),
        cgroup_version: info
            .cgroup_version
            .map(|version| version.to_string())
            .unwrap_or_default(),
        storage_driver: info.driver.unwrap_or_default(),
        root: info.docker_root_dir.unwrap_or_default().into(),
        cpus: unsigned(info.ncpu),
        memory_bytes: unsigned(info.mem_total),
        local: connection.is_local(),
    })
}

async fn read_containers(
    connection: &Connection,
    site: &str,
) -> Result<BTreeMap<String, ContainerSummary>, DockerError> {
    let options = ListContainersOptions {
        all: true,
        // A regular expression; the dot matches itself, too, and what is more is left out below.
        filters: Some(HashMap::from([(
            "name".to_owned(),
            vec![format!("stakeout.{site}.")],
        )])),
        ..ListContainersOptions::default()
    };
    let found = connection
        .docker
        .list_containers(Some(options))
        .await
        .map_err(|source| DockerError::engine("list its containers", source))?;
    let named = found.into_iter().filter_map(|summary| {
        let name = summary.names.as_ref()?.first()?;
        let name = name.strip_prefix('/').unwrap_or(name).to_owned();
        is_of_site(site, &name).then_some((name, summary))
    });
    Ok(named.collect())
}

fn ownership(
    labels: Option<&HashMap<String, String>>,
    site: &str,
    installation: &str,
) -> Ownership {
    let label = |name: &str| labels.and_then(|labels| labels.get(name));
    match (label(label::SITE), label(label::INSTALLATION)) {
        (Some(found), Some(id)) if found == site && id == installation => Ownership::Ours,
        (Some(found), Some(_)) if found == site => {
            Ownership::Foreign("it belongs to another installation".to_owned())
        }
        _ => Ownership::Foreign("it has no label of ours".to_owned()),
    }
}

/// Addresses of the machine that are passed on to a container.
fn published(ports: &[PortSummary]) -> impl Iterator<Item = SocketAddr> {
    ports.iter().filter_map(|port| {
        let ip = port.ip.as_deref()?.parse().ok()?;
        Some(SocketAddr::new(ip, port.public_port?))
    })
}

/// Whether the engine could publish there: it knows its containers, and this machine its programs.
async fn address_fact(
    connection: &Connection,
    address: SocketAddr,
) -> Result<Option<AddressFact>, DockerError> {
    let running = connection
        .docker
        .list_containers(None::<ListContainersOptions>)
        .await
        .map_err(|source| DockerError::engine("list its containers", source))?;
    let holder = running.iter().find(|summary| {
        let ports = summary.ports.as_deref().unwrap_or_default();
        published(ports).any(|other| collide(other, address))
    });
    if let Some(holder) = holder {
        let name = holder.names.iter().flatten().next();
        let name = name.map_or("", |name| name.trim_start_matches('/'));
        return Ok(Some(AddressFact::Taken(format!("container `{name}`"))));
    }
    Ok(connection
        .is_local()
        .then(|| look_at_address(address))
        .flatten())
}

fn container_fact(summary: ContainerSummary, site: &str, installation: &str) -> ContainerFact {
    let unwell = summary
        .status
        .as_deref()
        .is_some_and(|status| status.contains("(unhealthy)"));
    let state = match summary.state {
        Some(ContainerSummaryStateEnum::RUNNING) if unwell => ContainerState::Failing,
        Some(ContainerSummaryStateEnum::RUNNING) => ContainerState::Running,
        Some(ContainerSummaryStateEnum::RESTARTING) => ContainerState::Failing,
        Some(ContainerSummaryStateEnum::PAUSED) => ContainerState::Paused,
        _ => ContainerState::Stopped,
    };
    let networks = summary
        .network_settings
        .and_then(|settings| settings.networks)
        .unwrap_or_default();
    ContainerFact {
        ownership: ownership(summary.labels.as_ref(), site, installation),
        state,
        digest: summary
            .labels
            .and_then(|labels| labels.get(label::DIGEST).cloned()),
        image: summary.image_id.unwrap_or_default(),
        networks: networks.into_keys().collect::<BTreeSet<_>>(),
        published: published(summary.ports.as_deref().unwrap_or_default()).collect(),
    }
}

async fn read_networks(
    connection: &Connection,
    site: &str,
    installation: &str,
) -> Result<BTreeMap<String, NetworkFact>, DockerError> {
    let options = ListNetworksOptions {
        filters: Some(HashMap::from([(
            "name".to_owned(),
            vec![format!("stakeout.{site}.")],
        )])),
    };
    let found = connection
        .docker
        .list_networks(Some(options))
        .await
        .map_err(|source| DockerError::engine("list its networks", source))?;
    let named = found.into_iter().filter_map(|network| {
        let name = network.name.clone()?;
        let fact = NetworkFact {
            ownership: ownership(network.labels.as_ref(), site, installation),
            internal: network.internal.unwrap_or(false),
        };
        is_of_site(site, &name).then_some((name, fact))
    });
    Ok(named.collect())
}

fn image_facts(
    found: &[ImageSummary],
    wanted: &BTreeMap<Component, WantedImage>,
) -> BTreeMap<Component, ImageFact> {
    let facts = wanted.iter().map(|(component, image)| {
        let by_id = found
            .iter()
            .find(|found| image.id.as_ref() == Some(&found.id));
        let by_name = found.iter().find(|found| {
            let names = found.repo_tags.iter().chain(&found.repo_digests);
            let wanted = familiar(&image.reference);
            names.into_iter().any(|name| familiar(name) == wanted)
        });
        let present = by_id.or(by_name).map(|found| found.id.clone());
        let fact = ImageFact {
            reference: image.reference.clone(),
            present,
            wanted: image.id.clone(),
            source: image.source.clone(),
            standing: image.standing,
            obstacle: image.obstacle.clone(),
        };
        (*component, fact)
    });
    facts.collect()
}

/// Whether registries give what the engine has to pull from them.
async fn ask_registries(
    connection: &Connection,
    profile: &Profile,
    images: &mut BTreeMap<Component, ImageFact>,
) {
    let stores = stores(profile);
    let needed = |component: &Component| {
        component.is_ours() || stores.iter().any(|store| store.name() == component.name())
    };
    let asked = images
        .iter_mut()
        .filter_map(|(component, image)| needed(component).then_some(image))
        .filter(|image| image.source == Some(ImageSource::Registry) && !image.is_there())
        .filter(|image| image.standing != ImageStanding::Unverified)
        .map(|image| async move {
            let refusal = refusal(connection, &image.reference).await;
            image.obstacle = refusal.map(|reason| ImageObstacle::Registry { reason });
        });
    join_all(asked).await;
}

/// As engines call an image: Docker Hub and its own folder go without saying.
fn familiar(reference: &str) -> &str {
    let short = reference.strip_prefix("docker.io/").unwrap_or(reference);
    short.strip_prefix("library/").unwrap_or(short)
}

/// The disk below the data directory, or below the nearest folder that exists.
fn read_disk(data: &Utf8Path) -> Option<Disk> {
    let nearest = data.ancestors().find(|folder| folder.exists())?;
    let stat = statvfs(nearest.as_std_path()).ok()?;
    let mut footage_bytes = 0;
    let mut folders = ["recordings", "agents", "minio"]
        .map(|name| data.join(name))
        .to_vec();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = folder.read_dir_utf8() else {
            continue;
        };
        for entry in entries.flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => folders.push(entry.path().to_owned()),
                Ok(metadata) => footage_bytes += metadata.len(),
                Err(_) => {}
            }
        }
    }
    Some(Disk {
        free_bytes: stat.f_bavail * stat.f_frsize,
        total_bytes: stat.f_blocks * stat.f_frsize,
        footage_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vault_is_not_asked_to_read_tables_that_it_does_not_know() {
        let newer = NoWayBack::Catalogue { then: 1, now: 2 };
        assert_eq!(check_tables(Some(1), Some(2)), Err(newer));
        assert_eq!(check_tables(None, Some(2)), Err(newer));
        for (then, now) in [
            (Some(2), Some(2)),
            (Some(2), Some(1)),
            (None, Some(1)),
            (None, None),
        ] {
            assert_eq!(check_tables(then, now), Ok(()));
        }
    }
}
