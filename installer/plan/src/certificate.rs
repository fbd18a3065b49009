//! Which certificates have to be made; every target keeps them in the same folders.

use std::collections::{BTreeMap, BTreeSet};

use installer_render::{ACCESS, ACME_ROOTS};
use installer_spec::{AccessTls, Profile};
use serde::{Deserialize, Serialize};

use crate::access::{AccessFacts, OwnCertificate};
use crate::plan::Change;

/// The certificates that are kept, as they are at the moment of looking.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CertificateFacts {
    /// There is an authority with its key, it is not near its end, and the site trusts it.
    pub authority: bool,
    /// By service.
    pub services: BTreeMap<String, CertificateFact>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateFact {
    pub names: BTreeSet<String>,
    /// From the authority, with its key, and not in the last third of its life.
    pub good: bool,
    /// SHA-256, as browsers show it.
    pub fingerprint: String,
    /// RFC 3339.
    pub not_after: String,
}

/// A certificate that has to be made, as a plan tells of it.
pub(crate) struct Due {
    pub(crate) change: Change,
    pub(crate) id: String,
    pub(crate) detail: Vec<String>,
    pub(crate) what: What,
}

pub(crate) enum What {
    /// The site's authority.
    Authority,
    /// One of the authority's.
    Issued {
        service: String,
        names: BTreeSet<String>,
    },
    /// The owner's pair of this fingerprint, for [`ACCESS`].
    Own { fingerprint: String },
}

/// What has to be made, in order, and how many are as they should be. `wanted` are names by
/// service, of what the site's own authority issues.
pub(crate) fn due(
    wanted: BTreeMap<String, BTreeSet<String>>,
    profile: &Profile,
    kept: &CertificateFacts,
    access: &AccessFacts,
) -> (Vec<Due>, usize) {
    let (mut due, mut unchanged) = (Vec::new(), 0);
    let change = |service: &str| {
        if kept.services.contains_key(service) {
            Change::Change
        } else {
            Change::Add
        }
    };
    if kept.authority {
        unchanged += usize::from(!wanted.is_empty());
    } else if !wanted.is_empty() {
        due.push(Due {
            change: Change::Add,
            id: "certificate authority of the site".to_owned(),
            detail: Vec::new(),
            what: What::Authority,
        });
    }
    for (service, names) in wanted {
        let fact = kept.services.get(&service);
        if kept.authority && fact.is_some_and(|fact| fact.good && fact.names == names) {
            unchanged += 1;
            continue;
        }
        let listed: Vec<_> = names.iter().map(String::as_str).collect();
        due.push(Due {
            change: change(&service),
            id: format!("certificate of {service} ({})", listed.join(", ")),
            detail: Vec::new(),
            what: What::Issued { service, names },
        });
    }
    // Where the owner's cannot be used, an error finding says so, and nothing is done.
    if brings_own(profile)
        && let Some(OwnCertificate::Usable(own)) = &access.own
    {
        if own.in_place {
            unchanged += 1;
        } else {
            due.push(Due {
                change: change(ACCESS),
                id: format!("certificate of {ACCESS} (the owner's)"),
                detail: vec![
                    format!("SHA-256 {}", own.fingerprint),
                    format!("valid until {}", own.not_after),
                ],
                what: What::Own {
                    fingerprint: own.fingerprint.clone(),
                },
            });
        }
    }
    (due, unchanged)
}

pub(crate) fn brings_own(profile: &Profile) -> bool {
    let access = profile.access.as_ref();
    access.is_some_and(|access| matches!(access.tls, AccessTls::Files { .. }))
}

/// Whether the vault wrote a file of this name to the folder of [`ACCESS`]: account, certificate and
/// key of an ACME authority.
pub(crate) fn is_of_acme(profile: &Profile, name: &str) -> bool {
    let access = profile.access.as_ref();
    let asks = access.is_some_and(|access| matches!(access.tls, AccessTls::Acme(_)));
    asks && !["tls.crt", "tls.key", ACME_ROOTS].contains(&name)
}
