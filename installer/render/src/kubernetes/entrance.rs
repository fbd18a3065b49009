//! How others come to the vault: what leads into the cluster, and whose certificate they are shown.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use installer_spec::{Access, AccessTls, Exposure, IssuerKind};
use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::api::networking::v1::{
    Ingress, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::site::{NAMESPACE_NAME, selector};
use super::{Inputs, Kind, Object, manifest};
use crate::access::ACCESS;
use crate::docker::PUBLIC_PORT;

/// Service that everything from outside ends at.
pub const ENTRANCE: &str = "vault-access";

/// Every choice about the way in, made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entrance {
    pub exposure: Exposure,
    /// At which people come in.
    pub port: u16,
    /// Of the load balancer or of the Ingress.
    pub class: Option<String>,
    /// Namespace and name of the Gateway.
    pub gateway: Option<(String, String)>,
    /// Of the load balancer's Service, or of the Ingress.
    pub annotations: BTreeMap<String, String>,
    /// Whose pods pass connections on; of none, they come from anywhere.
    pub namespaces: BTreeSet<String>,
}

/// The objects of the way in.
pub(super) fn objects(inputs: &Inputs<'_>) -> Vec<Object> {
    let Some(access) = &inputs.profile.access else {
        return Vec::new();
    };
    let mut objects: Vec<_> = certificate(inputs, access).into_iter().collect();
    let Some(entrance) = inputs.entrance else {
        return objects;
    };
    objects.push(service(inputs, entrance));
    match entrance.exposure {
        Exposure::Ingress => objects.push(ingress(inputs, access, entrance)),
        Exposure::Gateway => objects.push(route(inputs, access, entrance)),
        Exposure::LoadBalancer | Exposure::NodePort => {}
    }
    objects
}

/// What the vault's pods let in of it.
pub(super) fn rule(inputs: &Inputs<'_>) -> Option<NetworkPolicyIngressRule> {
    let entrance = inputs.entrance?;
    let from = || {
        let one_of = LabelSelectorRequirement {
            key: NAMESPACE_NAME.to_owned(),
            operator: "In".to_owned(),
            values: Some(entrance.namespaces.iter().cloned().collect()),
        };
        vec![NetworkPolicyPeer {
            namespace_selector: Some(LabelSelector {
                match_labels: None,
                match_expressions: Some(vec![one_of]),
            }),
            ..NetworkPolicyPeer::default()
        }]
    };
    Some(NetworkPolicyIngressRule {
        from: (!entrance.namespaces.is_empty()).then(from),
        ports: Some(vec![NetworkPolicyPort {
            protocol: Some("TCP".to_owned()),
            port: Some(IntOrString::Int(i32::from(PUBLIC_PORT))),
            end_port: None,
        }]),
    })
}

fn service(inputs: &Inputs<'_>, entrance: &Entrance) -> Object {
    let mut service: Service = manifest(include_str!(
        "../../../../manifests/kubernetes/entrance.yaml"
    ));
    service.metadata.labels = Some(inputs.labels("vault"));
    let spec = service.spec.get_or_insert_default();
    spec.selector = Some(selector(inputs, "vault"));
    let mut port = ServicePort {
        name: Some(ACCESS.to_owned()),
        port: i32::from(entrance.port),
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::Int(i32::from(PUBLIC_PORT))),
        ..ServicePort::default()
    };
    match entrance.exposure {
        Exposure::LoadBalancer => {
            spec.type_ = Some("LoadBalancer".to_owned());
            spec.load_balancer_class.clone_from(&entrance.class);
            service.metadata.annotations =
                Some(entrance.annotations.clone()).filter(|all| !all.is_empty());
        }
        Exposure::NodePort => {
            spec.type_ = Some("NodePort".to_owned());
            port.port = i32::from(PUBLIC_PORT);
            port.node_port = Some(i32::from(entrance.port));
        }
        Exposure::Ingress | Exposure::Gateway => port.port = i32::from(PUBLIC_PORT),
    }
    spec.ports = Some(vec![port]);
    inputs.object(Kind::Service, ENTRANCE, &service)
}

/// Names that a rule may be about: an address is none.
pub fn dns_names(access: &Access) -> Vec<String> {
    let names = access.names.iter();
    let names = names.filter(|name| name.parse::<IpAddr>().is_err());
    names.cloned().collect()
}

fn ingress(inputs: &Inputs<'_>, access: &Access, entrance: &Entrance) -> Object {
    let mut ingress: Ingress = manifest(include_str!(
        "../../../../manifests/kubernetes/ingress.yaml"
    ));
    ingress.metadata.labels = Some(inputs.labels("vault"));
    ingress.metadata.annotations = Some(entrance.annotations.clone()).filter(|all| !all.is_empty());
    let names = dns_names(access);
    let spec = ingress.spec.get_or_insert_default();
    spec.ingress_class_name.clone_from(&entrance.class);
    for tls in spec.tls.iter_mut().flatten() {
        tls.hosts = Some(names.clone());
    }
    let usual = spec.rules.take().unwrap_or_default();
    let rules = names.iter().flat_map(|name| {
        usual.iter().map(|rule| {
            let mut rule = rule.clone();
            rule.host = Some(name.clone());
            rule
        })
    });
    spec.rules = Some(rules.collect());
    inputs.object(Kind::Ingress, "vault", &ingress)
}

fn route(inputs: &Inputs<'_>, access: &Access, entrance: &Entrance) -> Object {
    let mut route: Value = manifest(include_str!(
        "../../../../manifests/kubernetes/tls-route.yaml"
    ));
    route["metadata"]["labels"] = json!(inputs.labels("vault"));
    if let Some((namespace, name)) = &entrance.gateway {
        route["spec"]["parentRefs"] = json!([{
            "group": Kind::TlsRoute.group(),
            "kind": "Gateway",
            "namespace": namespace,
            "name": name,
        }]);
    }
    route["spec"]["hostnames"] = json!(dns_names(access));
    route["spec"]["rules"][0]["backendRefs"][0]["port"] = json!(PUBLIC_PORT);
    inputs.object(Kind::TlsRoute, "vault", &route)
}

fn certificate(inputs: &Inputs<'_>, access: &Access) -> Option<Object> {
    let AccessTls::CertManager(issuer) = &access.tls else {
        return None;
    };
    let mut certificate: Value = manifest(include_str!(
        "../../../../manifests/kubernetes/certificate.yaml"
    ));
    certificate["metadata"]["labels"] = json!(inputs.labels("vault"));
    let addresses = access.names.iter();
    let addresses = addresses.filter(|name| name.parse::<IpAddr>().is_ok());
    let addresses: Vec<_> = addresses.collect();
    let spec = &mut certificate["spec"];
    if !addresses.is_empty() {
        spec["ipAddresses"] = json!(addresses);
    }
    let names = dns_names(access);
    if !names.is_empty() {
        spec["dnsNames"] = json!(names);
    }
    spec["issuerRef"] = json!({
        "group": Kind::Certificate.group(),
        "kind": match issuer.kind {
            IssuerKind::Issuer => "Issuer",
            IssuerKind::ClusterIssuer => "ClusterIssuer",
        },
        "name": issuer.name,
    });
    Some(inputs.object(Kind::Certificate, ACCESS, &certificate))
}
