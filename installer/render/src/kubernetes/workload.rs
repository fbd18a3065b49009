//! A container of the site as a Deployment.
//!
//! The container sees the same paths as on an engine: one projected volume has everything below
//! `control`, a claim or a buffer is mounted wherever it writes.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use camino::{Utf8Path, Utf8PathBuf};
use installer_spec::Profile;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{
    ConfigMapProjection, Container as PodContainer, ContainerPort, EmptyDirVolumeSource, EnvVar,
    ExecAction, KeyToPath, PersistentVolumeClaimVolumeSource, Probe, ProjectedVolumeSource,
    ResourceRequirements, SecretProjection, TopologySpreadConstraint, Volume, VolumeMount,
    VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use sha2::{Digest as _, Sha256};

use super::site::{
    VAULT_CLAIM, is_stateless, keeps_in_claim, keeps_of_agents, layout, role_name, role_selector,
    secret_home, selector,
};
use super::{Inputs, Kind, Object, TRUST, TRUST_KEY, certificate_secret, manifest, monitoring};
use crate::configuration::Role;
use crate::docker::{Container, Mount, MountAccess, certificate_files};
use crate::{Layout, SecretName, label};

/// What an agent keeps of one camera while the vault is away: an hour at 4 Mbit/s. It is gone with
/// the pod; the vault has what counts.
pub const BUFFER_BYTES: u64 = 2 << 30;

/// What of that a node must have free before an agent is put there.
const BUFFER_REQUEST: u64 = 256 << 20;

/// Everything else that a container writes beside its volumes: logs.
const SCRATCH_BYTES: u64 = 64 << 20;

/// The volume with configuration, secrets and certificates.
const CONTROL: &str = "control";

/// The volume with what a vault has for itself: the lock of its folder.
const LOCAL: &str = "local";

/// Owner and group: the kubelet gives the files to root and to the pod's own group.
const CONTROL_MODE: i32 = 0o440;

/// Read once: for a thousand cameras that takes longer than everything else.
static MANIFEST: LazyLock<Deployment> = LazyLock::new(|| {
    manifest(include_str!(
        "../../../../manifests/kubernetes/deployment.yaml"
    ))
});

/// The Deployment of a container; nothing where its image cannot be had.
pub(super) fn deployment(inputs: &Inputs<'_>, container: &Container) -> Option<Object> {
    let service = &container.service;
    let image = inputs.images.get(&container.image)?;
    let mut deployment = MANIFEST.clone();
    deployment.metadata.labels = Some(inputs.labels(service));
    let spec = deployment
        .spec
        .as_mut()
        .expect("invariant: the manifest has a spec");
    spec.selector = LabelSelector {
        match_labels: Some(selector(inputs, service)),
        match_expressions: None,
    };
    let mut labels = inputs.labels(service);
    labels.insert(label::ROLE.to_owned(), role_name(container.role).to_owned());
    let config = container.config.as_ref().map_or("", |file| &file.contents);
    let digest: String = hex::encode(Sha256::digest(config.as_bytes()));
    // Half of it is plenty to tell two versions apart.
    let digest = digest.chars().take(32).collect();
    spec.template.metadata = Some(ObjectMeta {
        labels: Some(labels),
        // A pod reads its configuration once: another one is another pod.
        annotations: Some([(label::DIGEST.to_owned(), digest)].into()),
        ..ObjectMeta::default()
    });
    let pod = spec
        .template
        .spec
        .as_mut()
        .expect("invariant: the manifest has a pod");
    pod.service_account_name = Some(role_name(container.role).to_owned());
    let replicas = replicas(inputs.profile, container.role);
    if container.role == Role::Agent || replicas > 1 {
        pod.topology_spread_constraints = Some(vec![spread(inputs, container.role)]);
    }
    let volumes = Volumes::of(inputs, container);
    pod.volumes = Some(volumes.volumes);
    let main = pod
        .containers
        .first_mut()
        .expect("invariant: the manifest has a container");
    // Cameras whose footage lies on the node's own disk.
    let buffered = match container.role {
        Role::Agent if !keeps_of_agents(inputs.profile) => cameras(container),
        _ => 0,
    };
    fill(main, container, image, buffered);
    main.volume_mounts = Some(volumes.mounts);
    main.ports = monitoring::port(inputs, container).map(|port| {
        vec![ContainerPort {
            name: Some(monitoring::PORT.to_owned()),
            container_port: i32::from(port),
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]
    });
    if replicas > 1 {
        spec.replicas = i32::try_from(replicas).ok();
        spec.strategy = Some(rolling());
    }
    Some(inputs.object(Kind::Deployment, service, &deployment))
}

/// Pods of a role's Deployment.
pub(super) fn replicas(profile: &Profile, role: Role) -> u32 {
    match role {
        Role::Vault => profile.vault.replicas,
        Role::Agent | Role::Store | Role::TestCamera => 1,
    }
}

/// Of pods that share what they keep, none ends before another one stands in for it. Both numbers,
/// so that both go again with the replicas: the API server would fill one in, and keep it.
fn rolling() -> DeploymentStrategy {
    DeploymentStrategy {
        type_: Some("RollingUpdate".to_owned()),
        rolling_update: Some(RollingUpdateDeployment {
            max_unavailable: Some(IntOrString::Int(0)),
            max_surge: Some(IntOrString::Int(1)),
        }),
    }
}

pub(super) fn base64(bytes: &[u8]) -> String {
    use ::base64::Engine;
    ::base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Pods of a role on as many nodes as there are.
fn spread(inputs: &Inputs<'_>, role: Role) -> TopologySpreadConstraint {
    TopologySpreadConstraint {
        max_skew: 1,
        topology_key: "kubernetes.io/hostname".to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(LabelSelector {
            match_labels: Some(role_selector(inputs, role)),
            match_expressions: None,
        }),
        ..TopologySpreadConstraint::default()
    }
}

fn fill(main: &mut PodContainer, container: &Container, image: &str, buffered: u64) {
    role_name(container.role).clone_into(&mut main.name);
    main.image = Some(image.to_owned());
    if !container.command.is_empty() {
        main.args = Some(container.command.clone());
    }
    if !container.environment.is_empty() {
        let variables = container.environment.iter().map(|(name, value)| EnvVar {
            name: name.clone(),
            value: Some(value.clone()),
            value_from: None,
        });
        main.env = Some(variables.collect());
    }
    // RabbitMQ's own tool starts a virtual machine first, which takes a busy node seconds.
    let patience = match container.role {
        Role::Store => 20,
        Role::Agent | Role::TestCamera | Role::Vault => 5,
    };
    let probe = |period: i32, failures: i32| Probe {
        exec: Some(ExecAction {
            command: Some(container.health.clone()),
        }),
        period_seconds: Some(period),
        timeout_seconds: Some(patience),
        failure_threshold: Some(failures),
        ..Probe::default()
    };
    // A vault that repairs a big catalogue on a slow disk has two minutes, a broker three.
    main.startup_probe = Some(probe(2, 90));
    main.readiness_probe = Some(probe(10, 2));
    main.liveness_probe = Some(probe(30, 4));
    main.resources = Some(resources(container, buffered));
}

fn resources(container: &Container, buffered: u64) -> ResourceRequirements {
    let limits = container.limits;
    let cameras = match container.role {
        Role::Agent => cameras(container),
        _ => 0,
    };
    // Recording takes a hundredth of a core, looking for motion a tenth at most; what a vault or a
    // store takes at rest is little, too.
    let (cpu, memory) = match container.role {
        Role::Agent => (20 + 30 * cameras, (32 + 24 * cameras) << 20),
        _ => (50, (limits.memory_mib / 4) << 20),
    };
    let amounts = |cpu: u64, memory: u64, disk: u64| {
        [
            ("cpu", Quantity(milli(cpu))),
            ("memory", bytes(memory)),
            ("ephemeral-storage", bytes(disk)),
        ]
        .map(|(name, quantity)| (name.to_owned(), quantity))
        .into()
    };
    ResourceRequirements {
        requests: Some(amounts(
            cpu,
            memory,
            SCRATCH_BYTES + BUFFER_REQUEST * buffered,
        )),
        limits: Some(amounts(
            limits.cpu_milli,
            limits.memory_mib << 20,
            SCRATCH_BYTES + BUFFER_BYTES * buffered,
        )),
        claims: None,
    }
}

/// Cameras that an agent records.
fn cameras(container: &Container) -> u64 {
    u64::try_from(container.cameras.len()).unwrap_or(u64::MAX)
}

/// In the form that the API server gives back.
fn milli(cpu: u64) -> String {
    if cpu.is_multiple_of(1000) {
        (cpu / 1000).to_string()
    } else {
        format!("{cpu}m")
    }
}

/// In the form that the API server gives back: the largest unit that divides it.
pub(super) fn bytes(bytes: u64) -> Quantity {
    let units = [(40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")];
    let unit = units
        .into_iter()
        .find(|(shift, _)| bytes != 0 && bytes.is_multiple_of(1 << shift));
    Quantity(match unit {
        Some((shift, unit)) => format!("{}{unit}", bytes >> shift),
        None => bytes.to_string(),
    })
}

/// What a pod has of volumes, and where its container sees them.
#[derive(Default)]
struct Volumes {
    volumes: Vec<Volume>,
    mounts: Vec<VolumeMount>,
}

/// One object's part of the projected volume: key by path.
#[derive(Default)]
struct Sources {
    secrets: BTreeMap<String, BTreeMap<String, String>>,
    trust: BTreeMap<String, String>,
}

impl Volumes {
    fn of(inputs: &Inputs<'_>, container: &Container) -> Self {
        let mut all = Self::default();
        let mut sources = Sources::default();
        let layout = layout();
        for mount in &container.mounts {
            if let Ok(path) = mount.source.strip_prefix(layout.control()) {
                sources.add(inputs, container, &layout, mount, path);
            } else if mount.access == MountAccess::Write {
                all.writes(inputs, container, &layout, mount);
            }
        }
        for (index, target) in container.scratch.iter().enumerate() {
            let name = format!("scratch-{index}");
            all.volumes.push(Volume {
                name: name.clone(),
                empty_dir: Some(EmptyDirVolumeSource {
                    medium: None,
                    size_limit: Some(bytes(SCRATCH_BYTES)),
                }),
                ..Volume::default()
            });
            all.mount(name, target.clone(), None);
        }
        all.volumes.push(sources.volume());
        let control = Utf8Path::new(crate::docker::ROOT).join(layout.control());
        all.mounts.push(VolumeMount {
            name: CONTROL.to_owned(),
            mount_path: control.into_string(),
            read_only: Some(true),
            ..VolumeMount::default()
        });
        all
    }

    fn mount(&mut self, name: String, target: Utf8PathBuf, sub_path: Option<String>) {
        self.mounts.push(VolumeMount {
            name,
            mount_path: target.into_string(),
            sub_path,
            ..VolumeMount::default()
        });
    }

    fn writes(
        &mut self,
        inputs: &Inputs<'_>,
        container: &Container,
        layout: &Layout,
        mount: &Mount,
    ) {
        if container.role == Role::Agent && !keeps_of_agents(inputs.profile) {
            self.volumes.push(Volume {
                name: "buffer".to_owned(),
                empty_dir: Some(EmptyDirVolumeSource {
                    medium: None,
                    size_limit: Some(bytes(BUFFER_BYTES * cameras(container))),
                }),
                ..Volume::default()
            });
            self.mount("buffer".to_owned(), mount.target.clone(), None);
            return;
        }
        if container.role == Role::Vault && is_stateless(inputs.profile) {
            self.volumes.push(Volume {
                name: LOCAL.to_owned(),
                empty_dir: Some(EmptyDirVolumeSource {
                    medium: None,
                    size_limit: Some(bytes(SCRATCH_BYTES)),
                }),
                ..Volume::default()
            });
            self.mount(LOCAL.to_owned(), mount.target.clone(), None);
            return;
        }
        let claim = match container.role {
            Role::Vault => VAULT_CLAIM,
            _ => container.service.as_str(),
        };
        if !self.volumes.iter().any(|volume| volume.name == claim) {
            self.volumes.push(Volume {
                name: claim.to_owned(),
                persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                    claim_name: claim.to_owned(),
                    read_only: None,
                }),
                ..Volume::default()
            });
        }
        // The catalogue lies beside the footage in one claim.
        let beside = container.role == Role::Vault && keeps_in_claim(inputs.profile);
        let of_vault = container.role == Role::Vault;
        let sub_path = (beside || of_vault).then(|| {
            let name = mount.source.strip_prefix(layout.data());
            name.unwrap_or(&mount.source).to_string()
        });
        self.mount(claim.to_owned(), mount.target.clone(), sub_path);
    }
}

impl Sources {
    /// `path` is the mount's below `control`.
    fn add(
        &mut self,
        inputs: &Inputs<'_>,
        container: &Container,
        layout: &Layout,
        mount: &Mount,
        path: &Utf8Path,
    ) {
        let mut secret = |home: String, key: &str, path: &Utf8Path| {
            let items = self.secrets.entry(home).or_default();
            items.insert(path.to_string(), key.to_owned());
        };
        let file = mount.source.file_name().unwrap_or_default();
        if mount.source.starts_with(layout.secrets()) {
            if let Some(name) = SecretName::parse(file) {
                secret(secret_home(inputs.profile, &name.purpose), file, path);
            }
        } else if mount.source.starts_with(layout.config()) {
            secret(container.service.clone(), file, path);
        } else if mount.source == layout.trust() {
            let path = path.join(TRUST_KEY).into_string();
            self.trust.insert(path, TRUST_KEY.to_owned());
        } else if let Ok(below) = mount.source.strip_prefix(layout.tls()) {
            // The folder of one certificate, or one file of it.
            let mut parts = below.components();
            let service = parts
                .next()
                .map(|part| part.as_str().to_owned())
                .unwrap_or_default();
            let files = certificate_files(&service);
            let wanted = match parts.next() {
                Some(one) => vec![one.as_str().to_owned()],
                None => vec![files.certificate.to_owned(), files.key.to_owned()],
            };
            for file in wanted {
                let path = Utf8Path::new("tls").join(&service).join(&file);
                secret(certificate_secret(&service), &file, &path);
            }
        }
    }

    fn volume(self) -> Volume {
        let items = |keys: BTreeMap<String, String>| {
            let item = |(path, key)| KeyToPath {
                key,
                path,
                mode: None,
            };
            Some(keys.into_iter().map(item).collect::<Vec<_>>())
        };
        let mut sources: Vec<_> = self
            .secrets
            .into_iter()
            .map(|(name, keys)| VolumeProjection {
                secret: Some(SecretProjection {
                    name,
                    items: items(keys),
                    optional: None,
                }),
                ..VolumeProjection::default()
            })
            .collect();
        if !self.trust.is_empty() {
            sources.push(VolumeProjection {
                config_map: Some(ConfigMapProjection {
                    name: TRUST.to_owned(),
                    items: items(self.trust),
                    optional: None,
                }),
                ..VolumeProjection::default()
            });
        }
        Volume {
            name: CONTROL.to_owned(),
            projected: Some(ProjectedVolumeSource {
                default_mode: Some(CONTROL_MODE),
                sources: Some(sources),
            }),
            ..Volume::default()
        }
    }
}
