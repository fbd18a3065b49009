//! The way to the agents and the vault of an installed site, wherever they run.

use std::net::SocketAddr;

use installer_docker::Forward;
use installer_engine::{CameraAccess, VaultAccess};
use installer_host::read_secret;
use installer_plan::Plan;
use installer_render::docker::{AGENT_PORT, ROOT, VAULT_PORT};
use installer_render::{Layout, agent_of};
use installer_spec::{Camera, Keeper};
use url::Url;

use crate::cluster;
use crate::error::{CommandError, Exit};
use crate::site::Site;
use crate::target::{OnEngine, Seen};

/// Held for as long as the site is talked to.
#[derive(Debug)]
pub(crate) struct Peers {
    /// In the profile's order.
    pub(crate) cameras: Vec<CameraAccess>,
    _forwards: Forwards,
}

/// Ways in that close when this goes.
#[derive(Debug)]
enum Forwards {
    None,
    Engine {
        _all: Vec<Forward>,
    },
    Cluster {
        _all: Vec<installer_kubernetes::Forward>,
    },
}

impl Peers {
    pub(crate) fn in_cluster(
        cameras: Vec<CameraAccess>,
        all: Vec<installer_kubernetes::Forward>,
    ) -> Self {
        Self {
            cameras,
            _forwards: Forwards::Cluster { _all: all },
        }
    }
}

/// Opens the way to everything that `plan` has made.
pub(crate) async fn peers(site: &Site, plan: &Plan, seen: &Seen) -> Result<Peers, CommandError> {
    match seen {
        Seen::Host(_) => on_host(site, plan),
        Seen::Docker(seen) => on_engine(site, seen).await,
        Seen::Kubernetes(seen) => cluster::peers(site, seen).await,
    }
}

pub(crate) fn base(address: SocketAddr) -> Url {
    Url::parse(&format!("http://{address}/")).expect("invariant: a literal URL")
}

fn on_host(site: &Site, plan: &Plan) -> Result<Peers, CommandError> {
    let layout = Layout::new(site.data.clone());
    let secret = |purpose: &str| {
        read_secret(&layout, purpose)
            .map_err(|error| CommandError::from_error(Exit::Internal, &error))
    };
    let base = |service: &str| {
        let port = plan.owned.ports.get(service).copied().unwrap_or(0);
        base(SocketAddr::from(([127, 0, 0, 1], port)))
    };
    let vault = match site.profile.storage.keeper {
        Keeper::Agent => None,
        Keeper::Vault => Some(VaultAccess {
            url: base("vault"),
            token: secret("vault-admin-token")?,
            integrations: !site.profile.events.is_empty(),
        }),
    };
    let access = |camera: &Camera| {
        let service = agent_of(&site.profile, camera);
        Ok(CameraAccess {
            camera: camera.name.clone(),
            agent: base(&service),
            token: secret(&format!("{service}-token"))?,
            vault: vault.clone(),
            trust: None,
            folder: layout.agent_data(&service).join(&camera.name),
        })
    };
    let cameras: Result<_, CommandError> = site.profile.cameras.iter().map(access).collect();
    Ok(Peers {
        cameras: cameras?,
        _forwards: Forwards::None,
    })
}

pub(crate) async fn on_engine(site: &Site, seen: &OnEngine) -> Result<Peers, CommandError> {
    let name = &site.profile.site;
    let secret = |purpose: &str| {
        seen.observed
            .secret(purpose)
            .map(str::to_owned)
            .ok_or_else(|| {
                let message =
                    format!("secret `{purpose}` is not in the control folder of the site");
                CommandError::new(Exit::Internal, message)
            })
    };
    let open = async |service: &str, program: &str, port: u16| {
        let container = installer_plan::docker::object_name(name, service);
        Forward::open(&seen.connection, &container, program, port)
            .await
            .map_err(|error| CommandError::from_error(Exit::Internal, &error))
    };
    let mut forwards = Vec::new();
    let vault = match site.profile.storage.keeper {
        Keeper::Agent => None,
        Keeper::Vault => {
            let forward = open("vault", "stakeout-vault", VAULT_PORT).await?;
            let url = Url::parse(&format!("https://{}/", forward.address()))
                .expect("invariant: a literal URL");
            forwards.push(forward);
            Some(VaultAccess {
                url,
                token: secret("vault-admin-token")?,
                integrations: !site.profile.events.is_empty(),
            })
        }
    };
    let layout = Layout::with_control(ROOT);
    let mut cameras = Vec::new();
    let mut agents = std::collections::BTreeMap::new();
    for camera in &site.profile.cameras {
        let service = agent_of(&site.profile, camera);
        if !agents.contains_key(&service) {
            let forward = open(&service, "stakeout-agent", AGENT_PORT).await?;
            agents.insert(service.clone(), base(forward.address()));
            forwards.push(forward);
        }
        cameras.push(CameraAccess {
            camera: camera.name.clone(),
            agent: agents
                .get(&service)
                .cloned()
                .expect("invariant: inserted above"),
            token: secret(&format!("{service}-token"))?,
            vault: vault.clone(),
            trust: seen.observed.trust.clone(),
            folder: layout.agent_data(&service).join(&camera.name),
        });
    }
    Ok(Peers {
        cameras,
        _forwards: Forwards::Engine { _all: forwards },
    })
}
