//! How others come to the vault of a cluster: what the profile says, and else what the cluster has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use installer_render::kubernetes::{Entrance, Kind, dns_names};
use installer_spec::{Access, AccessTls, Exposure, Profile};
use serde::Deserialize;

use super::facts::{GatewayFact, IngressClassFact};
use super::{KubernetesFacts, judge};
use crate::access::{own_findings, shown};
use crate::check::{Finding, Severity};

const TEXT: &str = include_str!("../../../../manifests/kubernetes/entrances.yaml");

static KNOWN: LazyLock<Known> =
    LazyLock::new(|| serde_saphyr::from_str(TEXT).expect("invariant: the entrances are tested"));

/// Where browsers look.
const HTTPS: u16 = 443;
/// Of the ports that nodes give away by default, the one that looks most like it.
const NODE_PORT: u16 = 30443;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    load_balancers: Vec<LoadBalancer>,
    ingress: Vec<Passage>,
    gateway: Vec<Passage>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LoadBalancer {
    group: String,
    title: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Passage {
    controller: String,
    namespaces: BTreeSet<String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// The way in that was chosen, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) entrance: Entrance,
    why: String,
}

/// What does not fit together, with what to do.
struct Trouble {
    id: &'static str,
    message: String,
    help: String,
}

impl Choice {
    /// What a plan says beside the Service.
    pub(super) fn detail(&self, access: &Access) -> Vec<String> {
        let entrance = &self.entrance;
        let by = match entrance.exposure {
            Exposure::LoadBalancer => "a load balancer".to_owned(),
            Exposure::Ingress => match &entrance.class {
                Some(class) => format!("the Ingress class `{class}`"),
                None => "an Ingress".to_owned(),
            },
            Exposure::Gateway => match &entrance.gateway {
                Some((namespace, name)) => format!("Gateway `{name}` of namespace `{namespace}`"),
                None => "a Gateway".to_owned(),
            },
            Exposure::NodePort => format!("port {} of each node", entrance.port),
        };
        let whole = format!(
            "{} by {by}, {}, with {}",
            access.url(entrance.port),
            self.why,
            shown(access)
        );
        let told = entrance.annotations.iter();
        let told = told.map(|(key, value)| format!("annotated {key}: {value}"));
        std::iter::once(whole).chain(told).collect()
    }
}

/// How others come to the vault; nothing where the profile does not ask for it, or where it cannot
/// be.
pub fn entrance(profile: &Profile, facts: &KubernetesFacts) -> Option<Entrance> {
    choose(profile, facts).map(|choice| choice.entrance)
}

/// The way in; nothing where the profile asks for none, or where it cannot be.
pub(super) fn choose(profile: &Profile, facts: &KubernetesFacts) -> Option<Choice> {
    let access = profile.access.as_ref()?;
    chosen(access, facts).ok()
}

fn chosen(access: &Access, facts: &KubernetesFacts) -> Result<Choice, Trouble> {
    if access.address.is_some() {
        return Err(Trouble {
            id: "access-cluster",
            message: "`access.address` names an address of a machine, and a cluster has many"
                .to_owned(),
            help:
                "write `access: { names: [ vault.example.org ] }`; what leads there follows from \
                   the cluster, or from `exposure`"
                    .to_owned(),
        });
    }
    let flavour = judge(&facts.cluster.signs).map(|(flavour, _)| flavour);
    let balancer = flavour.and_then(|flavour| flavour.load_balancer.as_ref());
    let (exposure, why) = match access.cluster.exposure {
        Some(exposure) => (exposure, "as the profile says".to_owned()),
        None => usual(access, facts),
    };
    let mut entrance = Entrance {
        exposure,
        port: access.cluster.port.unwrap_or(HTTPS),
        class: access.cluster.class.clone(),
        gateway: None,
        annotations: BTreeMap::new(),
        namespaces: BTreeSet::new(),
    };
    match exposure {
        Exposure::LoadBalancer => {
            let usual = balancer.map_or(HTTPS, |balancer| balancer.port);
            entrance.port = access.cluster.port.unwrap_or(usual);
            entrance.annotations = balancer
                .map(|one| one.annotations.clone())
                .unwrap_or_default();
        }
        Exposure::NodePort => entrance.port = access.cluster.port.unwrap_or(NODE_PORT),
        Exposure::Ingress => {
            need_dns(access)?;
            let (class, controller) = ingress(access, facts)?;
            entrance.class = Some(class);
            entrance.annotations.clone_from(&controller.annotations);
            entrance.namespaces.clone_from(&controller.namespaces);
        }
        Exposure::Gateway => {
            need_dns(access)?;
            let gateway = gateway(access, facts)?;
            let pods = KNOWN
                .gateway
                .iter()
                .find(|one| one.controller == gateway.controller);
            let pods = pods.into_iter().flat_map(|one| &one.namespaces);
            entrance.namespaces = pods.chain([&gateway.namespace]).cloned().collect();
            entrance.class = None;
            entrance.gateway = Some((gateway.namespace.clone(), gateway.name.clone()));
        }
    }
    let own = access.cluster.namespace.iter();
    if exposure == Exposure::Ingress && access.cluster.namespace.is_some() {
        entrance.namespaces = own.cloned().collect();
    }
    Ok(Choice { entrance, why })
}

/// What the cluster has, best first: an address of its own, TLS passed on untouched, a controller
/// that can be told to; a port of the nodes is there in any case.
fn usual(access: &Access, facts: &KubernetesFacts) -> (Exposure, String) {
    let flavour = judge(&facts.cluster.signs).map(|(flavour, _)| flavour);
    if let Some(flavour) = flavour.filter(|flavour| flavour.load_balancer.is_some()) {
        let why = format!("which {} has", flavour.title);
        return (Exposure::LoadBalancer, why);
    }
    let groups = &facts.cluster.ways.groups;
    let mut known = KNOWN.load_balancers.iter();
    if let Some(found) = known.find(|one| groups.contains(&one.group)) {
        return (
            Exposure::LoadBalancer,
            format!("which {} gives an address", found.title),
        );
    }
    if dns_names(access).is_empty() {
        let why = "since its names are addresses".to_owned();
        return (Exposure::NodePort, why);
    }
    if gateway(access, facts).is_ok() {
        return (Exposure::Gateway, "which passes TLS on".to_owned());
    }
    if ingress(access, facts).is_ok() {
        return (Exposure::Ingress, "which the cluster has".to_owned());
    }
    let why = "since nothing in the cluster leads in from outside".to_owned();
    (Exposure::NodePort, why)
}

fn need_dns(access: &Access) -> Result<(), Trouble> {
    if dns_names(access).is_empty() {
        return Err(Trouble {
            id: "access-names",
            message: "an Ingress or a Gateway tells sites apart by DNS names, and `access.names` \
                      has none"
                .to_owned(),
            help: "write one that leads to the cluster, or `exposure: load-balancer`".to_owned(),
        });
    }
    Ok(())
}

fn ingress<'f>(
    access: &Access,
    facts: &'f KubernetesFacts,
) -> Result<(String, &'static Passage), Trouble> {
    let classes = &facts.cluster.ways.ingress_classes;
    let trouble = |message: String| Trouble {
        id: "access-ingress",
        message,
        help:
            "`kubectl get ingressclass` lists what is there; write `class`, or another `exposure`"
                .to_owned(),
    };
    let known = |fact: &IngressClassFact| {
        let mut known = KNOWN.ingress.iter();
        known.find(|one| one.controller == fact.controller)
    };
    let (name, fact): (&'f String, &IngressClassFact) = match &access.cluster.class {
        Some(wanted) => classes
            .get_key_value(wanted)
            .ok_or_else(|| trouble(format!("the cluster has no Ingress class `{wanted}`")))?,
        None => {
            let usable = || classes.iter().filter(|(_, fact)| known(fact).is_some());
            let marked = usable().find(|(_, fact)| fact.default);
            let only = || usable().next().filter(|_| usable().count() == 1);
            marked.or_else(only).ok_or_else(|| {
                trouble("the cluster has not the one Ingress class that is meant".to_owned())
            })?
        }
    };
    let controller = known(fact).ok_or_else(|| {
        trouble(format!(
            "Ingress class `{name}` is of controller `{}`, which we do not know how to tell that \
             the vault speaks TLS itself",
            fact.controller
        ))
    })?;
    Ok((name.clone(), controller))
}

fn gateway<'f>(access: &Access, facts: &'f KubernetesFacts) -> Result<&'f GatewayFact, Trouble> {
    let trouble = |message: String| {
        Trouble {
        id: "access-gateway",
        message,
        help: "write name and namespace of a Gateway as `class` and `namespace`; it has a listener \
               of protocol TLS and mode Passthrough that takes routes of namespaces with other names"
            .to_owned(),
    }
    };
    if facts.unserved.contains(&Kind::TlsRoute) {
        return Err(trouble(
            "the cluster does not know TLSRoute v1, which is of Gateway API 1.5".to_owned(),
        ));
    }
    let cluster = &access.cluster;
    let mut fitting = facts.cluster.ways.gateways.iter().filter(|gateway| {
        let name = cluster.class.as_ref();
        let namespace = cluster.namespace.as_ref();
        name.is_none_or(|name| *name == gateway.name)
            && namespace.is_none_or(|namespace| *namespace == gateway.namespace)
    });
    match (fitting.next(), fitting.next()) {
        (Some(gateway), None) => Ok(gateway),
        (Some(_), Some(_)) => Err(trouble("several Gateways pass TLS on".to_owned())),
        _ => Err(trouble("no such Gateway passes TLS on".to_owned())),
    }
}

/// What stands in the way of `access`, and what its owner should know.
pub(super) fn findings(profile: &Profile, facts: &KubernetesFacts) -> Vec<Finding> {
    let Some(access) = &profile.access else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let mut say = |severity, id: &str, message: String, help: &str| {
        found.push(Finding::new(severity, id, message, help));
    };
    let flavour = judge(&facts.cluster.signs).map(|(flavour, _)| flavour);
    match chosen(access, facts) {
        Err(trouble) => say(Severity::Error, trouble.id, trouble.message, &trouble.help),
        Ok(choice) => {
            let asked = access.cluster.exposure == Some(Exposure::LoadBalancer);
            let groups = &facts.cluster.ways.groups;
            let balances = flavour.is_some_and(|flavour| flavour.load_balancer.is_some())
                || KNOWN
                    .load_balancers
                    .iter()
                    .any(|one| groups.contains(&one.group));
            let usual = "install a load balancer such as MetalLB, or an Ingress controller";
            let help = flavour
                .and_then(|flavour| flavour.way_in.as_deref())
                .unwrap_or(usual);
            if asked && !balances && access.cluster.class.is_none() {
                say(
                    Severity::Warning,
                    "access-load-balancer",
                    "nothing that we know gives addresses to load balancers here".to_owned(),
                    help,
                );
            }
            if choice.entrance.exposure == Exposure::NodePort && access.cluster.exposure.is_none() {
                say(
                    Severity::Info,
                    "access-node-port",
                    format!(
                        "the vault is reached at port {} of the nodes",
                        choice.entrance.port
                    ),
                    help,
                );
            }
        }
    }
    match &access.tls {
        AccessTls::Acme(_) => say(
            Severity::Error,
            "access-acme",
            "`access.tls.acme`: in a cluster the vault has no place that only it writes \
             certificates to, and the authority's question may end at another's port 443"
                .to_owned(),
            "let cert-manager ask: `tls: { cert_manager: { issuer: NAME } }`",
        ),
        AccessTls::CertManager(_) if facts.unserved.contains(&Kind::Certificate) => say(
            Severity::Error,
            "access-cert-manager",
            "`access.tls.cert_manager`: the cluster has no cert-manager, or does not let us see \
             its certificates"
                .to_owned(),
            "install it, or write `tls: internal`",
        ),
        AccessTls::Files { .. } => {
            if let Some(own) = &facts.access.own {
                own_findings(own, &mut say);
            }
        }
        AccessTls::CertManager(_) | AccessTls::Internal => {}
    }
    found
}
