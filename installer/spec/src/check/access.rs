//! Where the vault is reached from elsewhere, and whose certificate it shows there.

use std::net::{IpAddr, SocketAddr};

use camino::Utf8PathBuf;
use url::Url;

use super::{Checker, Fields, join, kind_name};
use crate::keys::{self, Words};
use crate::profile::{Access, AccessTls, Acme, ClusterAccess, Exposure, Issuer, IssuerKind};
use crate::tree::{Kind, Node};

/// The longest name of DNS, and of one part of it (RFC 1035, section 2.3.4).
const MOST_NAME: usize = 253;
const MOST_LABEL: usize = 63;

const EXPOSURES: Words<Exposure> = Words {
    known: &[
        ("load-balancer", Exposure::LoadBalancer),
        ("ingress", Exposure::Ingress),
        ("gateway", Exposure::Gateway),
        ("node-port", Exposure::NodePort),
    ],
    later: &[],
};
const ISSUERS: Words<IssuerKind> = Words {
    known: &[
        ("ClusterIssuer", IssuerKind::ClusterIssuer),
        ("Issuer", IssuerKind::Issuer),
    ],
    later: &[],
};

impl Checker<'_> {
    pub(super) fn access(&mut self, node: &Node) -> Option<Access> {
        let fields = self.fields(node, "access", keys::ACCESS)?;
        if !fields.has("address") && !fields.has("names") {
            let help = "write the address and port at which the vault is reached, for example \
                        `address: 192.168.1.5:8443`; in a cluster `names: [ vault.example.org ]`";
            self.missing(fields.at, "access", "address", help);
        }
        let address = fields.get("address").map(|node| self.listening(node));
        let cluster = self.cluster_access(&fields);
        let names = fields.get("names").map(|node| self.access_names(node));
        let tls = fields.get("tls").map(|node| self.access_tls(node));
        let access = Access {
            address: address.map_or(Some(None), |a| a.map(Some))?,
            cluster: cluster?,
            names: names.unwrap_or_else(|| Some(Vec::new()))?,
            tls: tls.unwrap_or(Some(AccessTls::Internal))?,
        };
        let everywhere = access.address.is_some_and(|one| one.ip().is_unspecified());
        if access.names.is_empty() && everywhere {
            let help = "write `names: [ vault.example.org ]`, or the one address that is meant";
            self.error(
                fields.key_place("address"),
                "access.names",
                "every address of the machine is meant, and the certificate is for none of them",
                help,
            );
            return None;
        }
        if access.names.is_empty() && access.address.is_none() {
            if fields.has("names") {
                self.error(
                    fields.key_place("names"),
                    "access.names",
                    "there is none, and no address either",
                    "write `names: [ vault.example.org ]`",
                );
            }
            return None;
        }
        if matches!(access.tls, AccessTls::CertManager(_)) && access.address.is_some() {
            self.error(
                fields.key_place("address"),
                "access.tls.cert_manager",
                "cert-manager lives in clusters, and `access.address` is one of a machine",
                "take `address` out for a cluster, or write `tls: internal`",
            );
            return None;
        }
        if let AccessTls::Acme(_) = access.tls {
            let at = fields.key_place("names");
            let message = if access.names.is_empty() {
                "an ACME authority certifies DNS names, and there is none".to_owned()
            } else {
                let no_dns = |name: &&String| name.parse::<IpAddr>().is_ok();
                let address = access.names.iter().find(no_dns);
                let Some(address) = address else {
                    return Some(access);
                };
                format!("an ACME authority certifies DNS names, and `{address}` is an address")
            };
            let help = "write `names: [ vault.example.org ]` with a name that leads to this \
                        machine, or `tls: internal`";
            self.error(at, "access.names", message, help);
            return None;
        }
        Some(access)
    }

    /// What only a cluster understands.
    fn cluster_access(&mut self, fields: &Fields<'_>) -> Option<ClusterAccess> {
        const KEYS: [&str; 4] = ["exposure", "class", "namespace", "port"];
        if fields.has("address")
            && let Some(key) = KEYS.into_iter().find(|key| fields.has(key))
        {
            self.error(
                fields.key_place(key),
                &join("access", key),
                format!("`{key}` is of a cluster, and `address` of a machine"),
                "keep one of the two",
            );
            return None;
        }
        let exposure = fields
            .get("exposure")
            .map(|node| self.word(node, "access.exposure", EXPOSURES));
        let class = fields.get("class").map(|node| {
            let help = "write the name of a class, as `kubectl get ingressclass` shows it";
            self.object_name(node, "access.class", help)
        });
        let namespace = fields.get("namespace").map(|node| {
            let help = "write the name of a namespace, for example `ingress-nginx`";
            self.object_name(node, "access.namespace", help)
        });
        let port = fields.get("port").map(|node| self.access_port(node));
        Some(ClusterAccess {
            exposure: exposure.map_or(Some(None), |e| e.map(Some))?,
            class: class.map_or(Some(None), |c| c.map(Some))?,
            namespace: namespace.map_or(Some(None), |n| n.map(Some))?,
            port: port.map_or(Some(None), |p| p.map(Some))?,
        })
    }

    /// A name of an object of a cluster (RFC 1123); classes of load balancers hold a slash.
    fn object_name(&mut self, node: &Node, path: &str, help: &str) -> Option<String> {
        let text = self.text(node, path)?;
        let fine =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.' | '/');
        let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if text.len() <= MOST_NAME
            && text.chars().all(fine)
            && text.starts_with(ends)
            && text.ends_with(ends)
        {
            return Some(text.to_owned());
        }
        let message = format!("{} is no name of one", super::shown(node, text));
        self.error(node.at, path, message, help);
        None
    }

    fn access_port(&mut self, node: &Node) -> Option<u16> {
        const PATH: &str = "access.port";
        let port = match &node.kind {
            Kind::Plain(text) => text.parse::<u16>().ok().filter(|port| *port > 0),
            _ => None,
        };
        if port.is_none() {
            let help = "write a number from 1 to 65535, for example `port: 8443`";
            self.error(node.at, PATH, "this is not a port", help);
        }
        port
    }

    fn listening(&mut self, node: &Node) -> Option<SocketAddr> {
        const PATH: &str = "access.address";
        let text = self.text(node, PATH)?;
        let (message, help) = match text.parse::<SocketAddr>() {
            Ok(address) if address.port() == 0 => {
                let message = "port 0 is none to be found at".to_owned();
                (message, format!("write `{}:8443`", address.ip()))
            }
            Ok(address) => return Some(address),
            Err(_) => match text.parse::<IpAddr>() {
                Ok(IpAddr::V4(ip)) => (
                    "the port is missing".to_owned(),
                    format!("write `{ip}:8443`"),
                ),
                Ok(IpAddr::V6(ip)) => (
                    "the port is missing".to_owned(),
                    format!("write \"[{ip}]:8443\""),
                ),
                Err(_) => (
                    format!("{} is not an address with a port", super::shown(node, text)),
                    "write an IP address of the machine and a port, for example \
                     192.168.1.5:8443; names stand in `names`"
                        .to_owned(),
                ),
            },
        };
        self.error(node.at, PATH, message, help);
        None
    }

    fn access_names(&mut self, node: &Node) -> Option<Vec<String>> {
        const PATH: &str = "access.names";
        let Kind::List(items) = &node.kind else {
            let message = format!("`names` is a list, not {}", kind_name(node));
            self.error(
                node.at,
                PATH,
                message,
                "write `names: [ vault.example.org ]`",
            );
            return None;
        };
        let names: Vec<_> = items
            .iter()
            .enumerate()
            .map(|(index, item)| self.access_name(item, &format!("{PATH}[{index}]")))
            .collect();
        let names: Vec<String> = names.into_iter().collect::<Option<_>>()?;
        for (index, name) in names.iter().enumerate() {
            if names.iter().take(index).any(|earlier| earlier == name) {
                let at = items.get(index).map_or(node.at, |item| item.at);
                let message = format!("`{name}` stands twice");
                self.error(
                    at,
                    &format!("{PATH}[{index}]"),
                    message,
                    "keep one of the two",
                );
                return None;
            }
        }
        Some(names)
    }

    fn access_name(&mut self, node: &Node, path: &str) -> Option<String> {
        let text = self.text(node, path)?;
        if let Ok(ip) = text.parse::<IpAddr>() {
            if ip.is_unspecified() {
                let help = "write an address at which a browser finds the vault";
                self.error(node.at, path, format!("`{text}` is no one's address"), help);
                return None;
            }
            return Some(ip.to_string());
        }
        if is_dns_name(text) {
            return Some(text.to_ascii_lowercase());
        }
        let message = format!(
            "{} is neither a DNS name nor an address",
            super::shown(node, text)
        );
        let help = "write it as in the browser, without `https://` and port: vault.example.org";
        self.error(node.at, path, message, help);
        None
    }

    fn access_tls(&mut self, node: &Node) -> Option<AccessTls> {
        const PATH: &str = "access.tls";
        const HELP: &str = "write `internal`, `{ certificate: FILE, key: FILE }`, `{ acme: { \
                            directory: https://… } }` or `{ cert_manager: { issuer: NAME } }`";
        if !matches!(node.kind, Kind::Map(_)) {
            let text = self.text(node, PATH)?;
            if text == "internal" {
                return Some(AccessTls::Internal);
            }
            let message = format!("{} is not known here", super::shown(node, text));
            self.error(node.at, PATH, message, HELP);
            return None;
        }
        let fields = self.fields(node, PATH, keys::TLS)?;
        if let Some(asked) = ["acme", "cert_manager"]
            .into_iter()
            .find(|key| fields.has(key))
        {
            for key in ["certificate", "key", "cert_manager"]
                .into_iter()
                .filter(|key| *key != asked && fields.has(key))
            {
                self.error(
                    fields.key_place(key),
                    &join(PATH, key),
                    format!("`{key}` and `{asked}` stand side by side"),
                    "keep one of the two: files of your own, or an authority that is asked",
                );
            }
            let node = fields.get(asked)?;
            return match asked {
                "acme" => self.acme(node).map(AccessTls::Acme),
                _ => self.issuer(node).map(AccessTls::CertManager),
            };
        }
        if !fields.has("certificate") && !fields.has("key") {
            self.error(node.at, PATH, "`tls` names no certificate", HELP);
            return None;
        }
        for key in ["certificate", "key"]
            .into_iter()
            .filter(|key| !fields.has(key))
        {
            let help = "a certificate of your own is two PEM files beside the profile: \
                        `{ certificate: own.crt, key: own.key }`";
            self.missing(node.at, PATH, key, help);
        }
        let mut file = |key: &str| {
            let read = |node| self.access_file(node, &join(PATH, key));
            fields.get(key).map(read)
        };
        let (certificate, key) = (file("certificate"), file("key"));
        Some(AccessTls::Files {
            certificate: certificate??,
            key: key??,
        })
    }

    fn issuer(&mut self, node: &Node) -> Option<Issuer> {
        const PATH: &str = "access.tls.cert_manager";
        const HELP: &str = "write `cert_manager: { issuer: letsencrypt }` with the name of a \
                            ClusterIssuer, or of an Issuer with `kind: Issuer`";
        let fields = self.fields(node, PATH, keys::CERT_MANAGER)?;
        if !fields.has("issuer") {
            self.missing(node.at, PATH, "issuer", HELP);
        }
        let name = fields
            .get("issuer")
            .map(|node| self.object_name(node, &join(PATH, "issuer"), HELP));
        let kind = fields
            .get("kind")
            .map(|node| self.word(node, &join(PATH, "kind"), ISSUERS));
        Some(Issuer {
            name: name??,
            kind: kind.unwrap_or(Some(IssuerKind::ClusterIssuer))?,
        })
    }

    fn acme(&mut self, node: &Node) -> Option<Acme> {
        const PATH: &str = "access.tls.acme";
        let fields = self.fields(node, PATH, keys::ACME)?;
        if !fields.has("directory") {
            let help = "write the authority's directory, for example `directory: \
                        https://acme-v02.api.letsencrypt.org/directory`";
            self.missing(node.at, PATH, "directory", help);
        }
        let directory = fields
            .get("directory")
            .map(|node| self.acme_directory(node));
        let email = fields.get("email").map(|node| self.email(node));
        let ca_file = fields
            .get("ca_file")
            .map(|node| self.access_file(node, &join(PATH, "ca_file")));
        Some(Acme {
            directory: directory??,
            email: email.map_or(Some(None), |e| e.map(Some))?,
            ca_file: ca_file.map_or(Some(None), |f| f.map(Some))?,
        })
    }

    fn acme_directory(&mut self, node: &Node) -> Option<Url> {
        const PATH: &str = "access.tls.acme.directory";
        const HELP: &str = "write the `https://` URL of the authority's directory";
        let text = self.text(node, PATH)?;
        let message = match Url::parse(text) {
            Err(_) => "this is not a URL",
            Ok(url) if url.scheme() != "https" => "an authority's directory is an https URL",
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                "the directory's URL must not hold a user or password"
            }
            Ok(url) => return Some(url),
        };
        self.error(node.at, PATH, message, HELP);
        None
    }

    /// Whom the authority warns of certificates that end.
    fn email(&mut self, node: &Node) -> Option<String> {
        const PATH: &str = "access.tls.acme.email";
        let text = self.text(node, PATH)?;
        let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '<' | '>' | ',' | ':' | '?');
        let parts = text.split_once('@');
        let fine = parts.is_some_and(|(user, host)| !user.is_empty() && is_dns_name(host));
        if fine && text.chars().all(plain) {
            return Some(text.to_owned());
        }
        let help = "write one address, for example owner@example.org";
        self.error(node.at, PATH, "this is not an e-mail address", help);
        None
    }

    fn access_file(&mut self, node: &Node, path: &str) -> Option<Utf8PathBuf> {
        let text = self.text(node, path)?;
        if !text.is_empty() && !text.chars().any(char::is_control) && !text.contains("-----") {
            return Some(Utf8PathBuf::from(text));
        }
        let help = "name a PEM file; its path starts at the profile's folder";
        self.error(node.at, path, "this is not a file's path", help);
        None
    }
}

fn is_dns_name(text: &str) -> bool {
    let label = |label: &str| {
        let fine = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let ends = !label.starts_with('-') && !label.ends_with('-');
        (1..=MOST_LABEL).contains(&label.len()) && label.chars().all(fine) && ends
    };
    // Only digits at the end are an address that is none.
    let last = text.rsplit('.').next().unwrap_or_default();
    let number = last.chars().all(|c| c.is_ascii_digit());
    text.len() <= MOST_NAME && text.split('.').all(label) && !number
}
