//! A site in a cluster: objects of one namespace.
//!
//! What runs is the same as on a container engine ([`crate::docker`]): each container becomes a
//! Deployment that sees the same files at the same paths, out of Secrets, a ConfigMap and claims.

mod entrance;
mod monitoring;
mod network;
mod object;
mod paths;
mod release;
mod site;
mod workload;

pub use entrance::{ENTRANCE, Entrance, dns_names};
pub use monitoring::Scraping;
pub use object::{Kind, Object, ObjectId};
pub use paths::{Path, paths};
pub use release::{Release, chart_home, chart_namespace, chart_trust, vault_host};
pub use site::{namespace, secret_home};
pub use workload::BUFFER_BYTES;

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8Path;
use installer_spec::Profile;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::docker::Component;
use crate::{Role, SecretName, label};

/// ConfigMap with what the site's parts trust, under [`TRUST_KEY`].
pub const TRUST: &str = "trust";
pub const TRUST_KEY: &str = "ca.crt";

/// Secret with the certificate of a service.
pub fn certificate_secret(service: &str) -> String {
    format!("{service}-tls")
}

/// Everything that rendering needs and cannot know by itself.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    pub profile: &'a Profile,
    /// The profile's folder: relative paths start there.
    pub folder: &'a Utf8Path,
    pub namespace: &'a str,
    pub installation: &'a str,
    /// Version in force by purpose.
    pub secrets: &'a BTreeMap<String, u32>,
    /// What nodes are told to run, by reference.
    pub images: &'a BTreeMap<Component, String>,
    /// Bytes that each claim asks for, by name.
    pub volumes: &'a BTreeMap<String, u64>,
    /// How the vault is reached from outside; absent, it is not.
    pub entrance: Option<&'a Entrance>,
    pub scraping: Scraping,
}

/// A rendered object, and what its secret values are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    pub object: Object,
    /// Of a Secret: what its values are, by key.
    pub secrets: BTreeMap<String, SecretName>,
}

/// The Deployment of a service, and when its turn is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    pub service: String,
    pub role: Role,
    pub image: Component,
    pub object: Object,
}

/// The objects of a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// In the order of [`Kind`]; the namespace is the first.
    pub objects: Vec<Rendered>,
    /// In starting order.
    pub workloads: Vec<Workload>,
    /// What comes after them.
    pub releases: Vec<Release>,
}

/// Renders the whole site.
pub fn render(inputs: &Inputs<'_>) -> Site {
    site::render(inputs)
}

/// Names of the claims that a profile needs.
pub fn claims(profile: &Profile) -> BTreeSet<String> {
    site::claims(profile)
}

impl Inputs<'_> {
    /// Labels of an object that belongs to `service`.
    fn labels(&self, service: &str) -> BTreeMap<String, String> {
        labels(&self.profile.site, self.installation, service)
    }

    fn object<K: Serialize>(&self, kind: Kind, name: &str, typed: &K) -> Object {
        object(self.namespace, kind, name, typed)
    }
}

/// The labels that everything of a site has.
pub fn labels(site: &str, installation: &str, service: &str) -> BTreeMap<String, String> {
    [
        (label::SITE, site),
        (label::INSTALLATION, installation),
        (label::SERVICE, service),
        ("app.kubernetes.io/part-of", "stakeout"),
        ("app.kubernetes.io/instance", site),
        ("app.kubernetes.io/name", service),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

fn object<K: Serialize>(namespace: &str, kind: Kind, name: &str, typed: &K) -> Object {
    let mut value = serde_json::to_value(typed).expect("invariant: plain data serialises");
    if kind.is_namespaced() {
        value["metadata"]["namespace"] = namespace.into();
    }
    value["metadata"]["name"] = name.into();
    Object::new(ObjectId::new(kind, name), &value)
}

/// An object of `manifests/kubernetes`, read as what the API says it is.
fn manifest<K: DeserializeOwned>(text: &str) -> K {
    serde_saphyr::from_str(text).expect("invariant: the manifests are tested")
}
