//! Who may talk to whom: nobody to anybody, and then these few.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use installer_spec::Camera;
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
    NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::paths::{self, Need, To};
use super::site::{NAMESPACE_NAME, listens, role_selector, selector};
use super::{Inputs, Kind, Object, chart_namespace, chart_trust, entrance, manifest, monitoring};
use crate::configuration::{Role, agent_of};
use crate::docker::{Container, VAULT_PORT};

const DNS_PORT: u16 = 53;
/// Where EKS Pod Identity's agent answers on every node ("Amazon EKS User Guide").
const POD_IDENTITY: &str = "169.254.170.23";
/// Where node-local caches of names listen.
const LINK_LOCAL: &str = "169.254.0.0/16";
/// A host that is named, not numbered, may be anywhere.
const ANYWHERE: [&str; 2] = ["0.0.0.0/0", "::/0"];

pub(super) fn policies(inputs: &Inputs<'_>, containers: &[Container]) -> Vec<Object> {
    let mut deny: NetworkPolicy = manifest(include_str!(
        "../../../../manifests/kubernetes/default-deny.yaml"
    ));
    deny.metadata.labels = Some(inputs.labels("site"));
    let mut all = vec![inputs.object(Kind::NetworkPolicy, "default-deny", &deny)];
    let cameras = inputs.profile.cameras.iter();
    let cameras: Cameras<'_> = cameras.map(|one| (one.name.as_str(), one)).collect();
    all.extend(containers.iter().map(|one| policy(inputs, one, &cameras)));
    all
}

type Cameras<'a> = HashMap<&'a str, &'a Camera>;

/// The policy of one service's pods.
fn policy(inputs: &Inputs<'_>, container: &Container, cameras: &Cameras<'_>) -> Object {
    let name = &container.service;
    let egress = match container.role {
        Role::Agent => {
            let recorded = container.cameras.iter();
            let recorded = recorded.filter_map(|name| cameras.get(name.as_str()).copied());
            rules(inputs, &paths::of_agent(inputs.profile, recorded))
        }
        Role::Vault => rules(inputs, &paths::of_vault(inputs.profile)),
        Role::TestCamera | Role::Store => Vec::new(),
    };
    let callers = callers(inputs, container, cameras);
    let ingress = listens(container)
        .filter(|_| !callers.is_empty())
        .map(|port| NetworkPolicyIngressRule {
            from: Some(callers),
            ports: Some(vec![tcp(port)]),
        });
    let outside = match container.role {
        Role::Vault => entrance::rule(inputs),
        _ => None,
    };
    let numbers = monitoring::rule(inputs, container);
    let charts = match container.role {
        Role::Vault => of_charts(inputs),
        _ => None,
    };
    let ingress = ingress.into_iter().chain(outside).chain(numbers);
    let ingress: Vec<_> = ingress.chain(charts).collect();
    let mut types = Vec::new();
    if !ingress.is_empty() {
        types.push("Ingress".to_owned());
    }
    if !egress.is_empty() {
        types.push("Egress".to_owned());
    }
    let mut policy = NetworkPolicy::default();
    policy.metadata.labels = Some(inputs.labels(name));
    policy.spec = Some(NetworkPolicySpec {
        pod_selector: Some(LabelSelector {
            match_labels: Some(selector(inputs, name)),
            match_expressions: None,
        }),
        ingress: (!ingress.is_empty()).then_some(ingress),
        egress: (!egress.is_empty()).then_some(egress),
        policy_types: Some(types),
    });
    inputs.object(Kind::NetworkPolicy, name, &policy)
}

/// The pods that may connect to a service.
fn callers(
    inputs: &Inputs<'_>,
    container: &Container,
    cameras: &Cameras<'_>,
) -> Vec<NetworkPolicyPeer> {
    let of_role = |role| peer(role_selector(inputs, role));
    let played = container
        .cameras
        .iter()
        .filter_map(|name| cameras.get(name.as_str()));
    match container.role {
        Role::Agent => Vec::new(),
        Role::Vault => vec![of_role(Role::Agent)],
        Role::Store => vec![of_role(Role::Vault)],
        Role::TestCamera => played
            .map(|camera| pods(inputs, &agent_of(inputs.profile, camera)))
            .collect(),
    }
}

/// Lets in the charts that may reach the vault: each from its own namespace.
fn of_charts(inputs: &Inputs<'_>) -> Option<NetworkPolicyIngressRule> {
    let charts = inputs.profile.charts.iter();
    let charts = charts.filter(|chart| chart_trust(chart).is_some());
    let peers: Vec<_> = charts
        .map(|chart| {
            let name = chart_namespace(inputs.namespace, &chart.name);
            NetworkPolicyPeer {
                namespace_selector: Some(LabelSelector {
                    match_labels: Some([(NAMESPACE_NAME.to_owned(), name)].into()),
                    match_expressions: None,
                }),
                ..NetworkPolicyPeer::default()
            }
        })
        .collect();
    (!peers.is_empty()).then(|| NetworkPolicyIngressRule {
        from: Some(peers),
        ports: Some(vec![tcp(VAULT_PORT)]),
    })
}

/// What lets a service reach those whom it needs.
fn rule(inputs: &Inputs<'_>, need: &Need) -> NetworkPolicyEgressRule {
    let peers = match &need.to {
        To::Service(name) => vec![pods(inputs, name)],
        To::Host(host) => host_peers(host),
        To::Anybody => anywhere(),
        To::Lender => host_peers(POD_IDENTITY),
    };
    to(peers, need.port)
}

/// Several names may be anywhere.
fn rules(inputs: &Inputs<'_>, needs: &[Need]) -> Vec<NetworkPolicyEgressRule> {
    let mut rules = vec![dns()];
    for need in needs {
        let rule = rule(inputs, need);
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
    rules
}

fn host_peers(host: &str) -> Vec<NetworkPolicyPeer> {
    let plain = host.trim_start_matches('[').trim_end_matches(']');
    match plain.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => vec![block(&format!("{address}/32"))],
        Ok(IpAddr::V6(address)) => vec![block(&format!("{address}/128"))],
        Err(_) => anywhere(),
    }
}

fn anywhere() -> Vec<NetworkPolicyPeer> {
    ANYWHERE.map(block).to_vec()
}

fn block(cidr: &str) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        ip_block: Some(IPBlock {
            cidr: cidr.to_owned(),
            except: None,
        }),
        ..NetworkPolicyPeer::default()
    }
}

fn pods(inputs: &Inputs<'_>, service: &str) -> NetworkPolicyPeer {
    peer(selector(inputs, service))
}

fn peer(labels: BTreeMap<String, String>) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        pod_selector: Some(LabelSelector {
            match_labels: Some(labels),
            match_expressions: None,
        }),
        ..NetworkPolicyPeer::default()
    }
}

fn to(peers: Vec<NetworkPolicyPeer>, port: u16) -> NetworkPolicyEgressRule {
    NetworkPolicyEgressRule {
        to: Some(peers),
        ports: Some(vec![tcp(port)]),
    }
}

fn tcp(port: u16) -> NetworkPolicyPort {
    over("TCP", port)
}

fn over(protocol: &str, port: u16) -> NetworkPolicyPort {
    NetworkPolicyPort {
        protocol: Some(protocol.to_owned()),
        port: Some(IntOrString::Int(i32::from(port))),
        end_port: None,
    }
}

/// Names are asked for at the cluster's own server, or at a cache on the node.
fn dns() -> NetworkPolicyEgressRule {
    let servers = NetworkPolicyPeer {
        namespace_selector: Some(LabelSelector {
            match_labels: Some([(NAMESPACE_NAME.to_owned(), "kube-system".to_owned())].into()),
            match_expressions: None,
        }),
        ..NetworkPolicyPeer::default()
    };
    NetworkPolicyEgressRule {
        to: Some(vec![servers, block(LINK_LOCAL)]),
        ports: Some(vec![over("UDP", DNS_PORT), over("TCP", DNS_PORT)]),
    }
}
