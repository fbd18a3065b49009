//! The vault at an address of its owner's choice: what was seen of it, and what stands in the way.

use std::collections::BTreeSet;

use installer_spec::{Access, AccessTls, Profile};
use serde::{Deserialize, Serialize};

use crate::check::{Finding, Severity};

/// Where ACME authorities look (RFC 8737, section 3).
const ACME_PORT: u16 = 443;

/// What planning may know of `access`; everything is absent where the profile has none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AccessFacts {
    /// Absent where it cannot be seen, and where this site publishes it already.
    pub address: Option<AddressFact>,
    pub own: Option<OwnCertificate>,
    /// Text of the roots of an ACME authority, or why it cannot be read.
    pub roots: Option<Result<String, String>>,
}

/// Whether something can listen at an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AddressFact {
    Free,
    /// By whom, as far as that can be told.
    Taken(String),
    /// It is none of this machine's.
    Foreign,
}

/// The owner's files, as they lie beside the profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OwnCertificate {
    /// And why.
    Unusable(String),
    Usable(OwnFact),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnFact {
    /// SHA-256, as browsers show it.
    pub fingerprint: String,
    /// RFC 3339.
    pub not_after: String,
    pub standing: Standing,
    /// Names that the profile needs and the certificate is not for.
    pub uncovered: BTreeSet<String>,
    /// The site has exactly these files.
    pub in_place: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    Valid,
    /// Within a fortnight.
    EndsSoon,
    Ended,
    NotYet,
}

/// What a plan says of the place, beside the container or service that serves it.
pub(crate) fn published(access: &Access) -> String {
    let tls = shown(access);
    match access.address {
        Some(address) => format!("published at {address} with {tls}"),
        None => format!("published with {tls}"),
    }
}

/// Whose certificate is shown, in words.
pub(crate) fn shown(access: &Access) -> String {
    match &access.tls {
        AccessTls::Internal => "a certificate of the site's own authority".to_owned(),
        AccessTls::Files { certificate, .. } => format!("the certificate in `{certificate}`"),
        AccessTls::Acme(acme) => format!(
            "a certificate of {}, which looks for {} at port {ACME_PORT}",
            acme.directory.host_str().unwrap_or_default(),
            listed(&access.needed_names())
        ),
        AccessTls::CertManager(issuer) => {
            format!("a certificate of cert-manager's issuer `{}`", issuer.name)
        }
    }
}

/// What stands in the way of `access`, and what its owner should know.
pub(crate) fn findings(profile: &Profile, facts: &AccessFacts) -> Vec<Finding> {
    let Some(access) = &profile.access else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let mut say = |severity, id: &str, message: String, help: &str| {
        found.push(Finding::new(severity, id, message, help));
    };
    let Some(address) = access.address else {
        say(
            Severity::Error,
            "address-missing",
            "`access` is one of a cluster: it names no address of this machine".to_owned(),
            "write `address: 192.168.1.5:8443` with an address of this machine, and take out \
             `exposure`, `class`, `namespace` and `port`",
        );
        return found;
    };
    match &facts.address {
        None | Some(AddressFact::Free) => {}
        Some(AddressFact::Taken(holder)) => say(
            Severity::Error,
            "address-taken",
            format!("`access.address`: {holder} listens at {address} already"),
            "stop it, or write another port",
        ),
        Some(AddressFact::Foreign) => say(
            Severity::Error,
            "address-foreign",
            format!(
                "`access.address`: {} is no address of this machine",
                address.ip()
            ),
            "`ip address` lists those that are; names and addresses of a router stand in `names`",
        ),
    }
    if address.ip().is_unspecified() {
        say(
            Severity::Warning,
            "address-everywhere",
            format!(
                "the vault is published at every address of the machine, port {}",
                address.port()
            ),
            "write the one address at which it is meant to be reached",
        );
    }
    match (&access.tls, &facts.own, &facts.roots) {
        (AccessTls::Files { .. }, Some(own), _) => own_findings(own, &mut say),
        (AccessTls::Acme(_), _, roots) => {
            if let Some(Err(reason)) = roots {
                say(
                    Severity::Error,
                    "acme-roots",
                    format!("`access.tls.acme.ca_file`: {reason}"),
                    "name a PEM file beside the profile, or take it out for a public authority",
                );
            }
            if address.port() != ACME_PORT {
                say(
                    Severity::Warning,
                    "acme-port",
                    format!(
                        "the authority looks for {} at port {ACME_PORT}, and {address} is published",
                        listed(&access.needed_names())
                    ),
                    "write port 443, or have the router lead it here",
                );
            }
        }
        _ => {}
    }
    found
}

pub(crate) fn own_findings(
    own: &OwnCertificate,
    say: &mut impl FnMut(Severity, &str, String, &str),
) {
    let fact = match own {
        OwnCertificate::Unusable(reason) => {
            let help = "name a certificate and its key, PEM files beside the profile";
            say(
                Severity::Error,
                "certificate-unusable",
                reason.clone(),
                help,
            );
            return;
        }
        OwnCertificate::Usable(fact) => fact,
    };
    let until = &fact.not_after;
    let (severity, id, message) = match fact.standing {
        Standing::Valid => (Severity::Info, "", String::new()),
        Standing::EndsSoon => (
            Severity::Warning,
            "certificate-ends",
            format!("it ends at {until}"),
        ),
        Standing::Ended => (
            Severity::Error,
            "certificate-ended",
            format!("it ended at {until}"),
        ),
        Standing::NotYet => (
            Severity::Error,
            "certificate-early",
            "it is not valid yet".to_owned(),
        ),
    };
    if !id.is_empty() {
        let message = format!("`access.tls.certificate`: {message}");
        say(
            severity,
            id,
            message,
            "put a new one beside the profile and install again",
        );
    }
    if !fact.uncovered.is_empty() {
        say(
            Severity::Error,
            "certificate-names",
            format!(
                "`access.tls.certificate`: it is not for {}",
                listed(&fact.uncovered)
            ),
            "have one issued for these names, or list in `access.names` what it is for",
        );
    }
}

fn listed(names: &BTreeSet<String>) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use installer_spec::{MemoryLists, SourceFile, parse};

    use super::*;

    #[test]
    fn what_stands_in_the_way_of_publishing_is_found() {
        let own = |standing, uncovered: &[&str]| AccessFacts {
            own: Some(OwnCertificate::Usable(OwnFact {
                fingerprint: "AB:CD".into(),
                not_after: "2026-01-01T00:00:00Z".into(),
                standing,
                uncovered: uncovered.iter().map(ToString::to_string).collect(),
                in_place: false,
            })),
            ..AccessFacts::default()
        };
        let at = |address| AccessFacts {
            address: Some(address),
            ..AccessFacts::default()
        };
        let files = "{ certificate: own.crt, key: own.key }";
        let acme = "{ acme: { directory: https://a/dir, ca_file: a.crt } }";
        let roots = AccessFacts {
            roots: Some(Err("cannot read it".into())),
            ..AccessFacts::default()
        };
        let cases = [
            ("192.168.1.5:8443", "internal", AccessFacts::default(), ""),
            (
                "0.0.0.0:8443",
                "internal",
                AccessFacts::default(),
                "address-everywhere",
            ),
            ("192.168.1.5:8443", "internal", at(AddressFact::Free), ""),
            (
                "192.168.1.5:8443",
                "internal",
                at(AddressFact::Foreign),
                "address-foreign",
            ),
            (
                "192.168.1.5:8443",
                "internal",
                at(AddressFact::Taken("program `nginx`".into())),
                "address-taken",
            ),
            ("192.168.1.5:8443", files, own(Standing::Valid, &[]), ""),
            (
                "192.168.1.5:8443",
                files,
                own(Standing::EndsSoon, &[]),
                "certificate-ends",
            ),
            (
                "192.168.1.5:8443",
                files,
                own(Standing::Ended, &[]),
                "certificate-ended",
            ),
            (
                "192.168.1.5:8443",
                files,
                own(Standing::NotYet, &[]),
                "certificate-early",
            ),
            (
                "192.168.1.5:8443",
                files,
                own(Standing::Valid, &["x"]),
                "certificate-names",
            ),
            ("192.168.1.5:443", acme, AccessFacts::default(), ""),
            ("192.168.1.5:443", acme, roots, "acme-roots"),
            (
                "192.168.1.5:8443",
                acme,
                AccessFacts::default(),
                "acme-port",
            ),
        ];
        for (address, tls, access, wanted) in cases {
            let text = format!(
                "version: 1\nsite: s\ntarget: docker\ncameras: [ {{ name: a, test: scene }} ]\n\
                 access: {{ address: \"{address}\", names: [ v.example.org ], tls: {tls} }}\n"
            );
            let source = SourceFile {
                name: "p.yaml",
                text: &text,
            };
            let profile = parse(&source, &MemoryLists::default()).unwrap().profile;
            let found = findings(&profile, &access);
            let found: Vec<_> = found.iter().map(|found| found.id.as_str()).collect();
            assert_eq!(found.join(" "), wanted, "{address} {tls}");
        }
    }
}
