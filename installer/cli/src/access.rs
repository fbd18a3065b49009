//! Where the vault is reached, and by what a browser knows it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use installer_plan::CertificateFacts;
use installer_plan::docker::{ContainerState, Ownership};
use installer_plan::kubernetes;
use installer_render::ACCESS;
use installer_render::kubernetes::{ENTRANCE, Kind, ObjectId};
use installer_spec::{Access, AccessTls, Exposure};
use serde::Serialize;

use crate::site::Site;
use crate::target::{OnCluster, OnEngine, Seen};

#[derive(Debug, Clone, Serialize)]
pub(crate) struct AccessReport {
    pub(crate) url: String,
    /// Where it is published.
    pub(crate) address: String,
    /// The vault runs and is published there.
    pub(crate) published: bool,
    /// SHA-256 of the certificate that is shown there; absent until an authority has issued one.
    pub(crate) fingerprint: Option<String>,
    /// RFC 3339.
    pub(crate) certificate_until: Option<String>,
    /// What is said where no certificate is seen.
    #[serde(skip)]
    unseen: &'static str,
}

/// What the profile asks for, as it is; nothing where it does not ask.
pub(crate) fn report(site: &Site, seen: &Seen) -> Option<AccessReport> {
    match seen {
        Seen::Docker(seen) => on_engine(site, seen),
        Seen::Kubernetes(seen) => in_cluster(site, seen),
        Seen::Host(seen) => {
            let access = site.profile.access.as_ref()?;
            // Told to listen there, and somebody answers.
            let told = seen.facts.access.address.is_none();
            let address = access.address?;
            let published = told && answers(address);
            Some(made(access, address, published, &seen.facts.certificates))
        }
    }
}

pub(crate) fn on_engine(site: &Site, seen: &OnEngine) -> Option<AccessReport> {
    let access = site.profile.access.as_ref()?;
    let address = access.address?;
    let facts = &seen.observed.facts;
    let published = facts
        .containers
        .values()
        .any(|fact| fact.state == ContainerState::Running && fact.published.contains(&address));
    Some(made(access, address, published, &facts.certificates))
}

/// The vault is ready, what leads to it is there, and a load balancer has given an address where one
/// was asked for.
pub(crate) fn in_cluster(site: &Site, seen: &OnCluster) -> Option<AccessReport> {
    let access = site.profile.access.as_ref()?;
    let facts = &seen.observed.facts;
    let entrance = kubernetes::entrance(&site.profile, facts)?;
    let fact = |kind, name: &str| {
        let fact = facts.objects.get(&ObjectId::new(kind, name))?;
        (fact.ownership == Ownership::Ours).then_some(fact)
    };
    let leads = fact(Kind::Service, ENTRANCE).is_some();
    let ready = fact(Kind::Deployment, "vault").is_some_and(|vault| vault.ready);
    let given: Vec<_> = facts.given.iter().map(String::as_str).collect();
    let waits = entrance.exposure == Exposure::LoadBalancer && given.is_empty();
    let address = match entrance.exposure {
        Exposure::LoadBalancer if waits => "a load balancer, which has no address yet".to_owned(),
        Exposure::LoadBalancer => format!("{}:{}", given.join(", "), entrance.port),
        Exposure::NodePort => format!("port {} of each node", entrance.port),
        Exposure::Ingress | Exposure::Gateway => match &entrance.gateway {
            Some((namespace, name)) => format!("Gateway {namespace}/{name}"),
            None => format!("Ingress class {}", entrance.class.unwrap_or_default()),
        },
    };
    let certificate = facts.certificates.services.get(ACCESS);
    Some(AccessReport {
        url: access.url(entrance.port),
        address,
        published: leads && ready && !waits,
        fingerprint: certificate.map(|fact| fact.fingerprint.clone()),
        certificate_until: certificate.map(|fact| fact.not_after.clone()),
        unseen: unseen(access),
    })
}

fn unseen(access: &Access) -> &'static str {
    match &access.tls {
        AccessTls::Acme(_) => "no certificate from the authority yet; the vault's log says why",
        AccessTls::CertManager(_) => "its certificate is cert-manager's",
        AccessTls::Internal | AccessTls::Files { .. } => "no certificate yet",
    }
}

fn answers(mut address: SocketAddr) -> bool {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
}

fn made(
    access: &Access,
    address: SocketAddr,
    published: bool,
    certificates: &CertificateFacts,
) -> AccessReport {
    let certificate = certificates.services.get(ACCESS);
    AccessReport {
        url: access.url(address.port()),
        address: address.to_string(),
        published,
        fingerprint: certificate.map(|fact| fact.fingerprint.clone()),
        certificate_until: certificate.map(|fact| fact.not_after.clone()),
        unseen: unseen(access),
    }
}

impl fmt::Display for AccessReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vault at {}", self.url)?;
        if !self.published {
            write!(f, " (NOT published at {} now)", self.address)?;
        } else if !self.url.ends_with(&self.address) {
            write!(f, " (published at {})", self.address)?;
        }
        match &self.fingerprint {
            Some(fingerprint) => write!(f, "\n  its certificate: SHA-256 {fingerprint}"),
            None => write!(f, "\n  {}", self.unseen),
        }
    }
}
