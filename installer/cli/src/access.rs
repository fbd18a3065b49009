//! Where the vault is reached, and by what a browser knows it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use installer_plan::CertificateFacts;
use installer_plan::docker::ContainerState;
use installer_render::ACCESS;
use installer_spec::{Access, AccessTls};
use serde::Serialize;

use crate::site::Site;
use crate::target::{OnEngine, Seen};

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
    #[serde(skip)]
    awaits: bool,
}

/// What the profile asks for, as it is; nothing where it does not ask.
pub(crate) fn report(site: &Site, seen: &Seen) -> Option<AccessReport> {
    match seen {
        Seen::Docker(seen) => on_engine(site, seen),
        Seen::Kubernetes(_) => None,
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
        awaits: matches!(access.tls, AccessTls::Acme(_)),
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
            None if self.awaits => write!(
                f,
                "\n  no certificate from the authority yet; the vault's log says why"
            ),
            None => write!(f, "\n  no certificate yet"),
        }
    }
}
