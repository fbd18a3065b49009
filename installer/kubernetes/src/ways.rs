//! What may lead connections into a cluster from outside.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join;
use installer_plan::kubernetes::{GatewayFact, IngressClassFact, Ways};
use serde::Deserialize;

use crate::cluster::{read_all, read_list};
use crate::connect::Connection;
use crate::error::KubernetesError;

const GATEWAY_API: &str = "gateway.networking.k8s.io";

/// Reads API groups, classes of Ingresses, and Gateways. What we may not read is empty.
pub(crate) async fn read_ways(connection: &Connection) -> Result<Ways, KubernetesError> {
    let groups = read_list::<Groups>(connection, "/apis", "apis");
    let classes = read_all::<IngressClass>(
        connection,
        "/apis/networking.k8s.io/v1/ingressclasses",
        "ingressclasses.networking.k8s.io",
    );
    let (groups, classes) = join(groups, classes).await;
    let groups = groups?.unwrap_or_default().groups;
    let groups: BTreeSet<_> = groups.into_iter().map(|group| group.name).collect();
    let gateways = if groups.contains(GATEWAY_API) {
        read_gateways(connection).await?
    } else {
        Vec::new()
    };
    Ok(Ways {
        groups,
        ingress_classes: classes?.into_iter().map(IngressClass::fact).collect(),
        gateways,
    })
}

async fn read_gateways(connection: &Connection) -> Result<Vec<GatewayFact>, KubernetesError> {
    let (gateways, classes) = join(
        read_all::<Gateway>(
            connection,
            "/apis/gateway.networking.k8s.io/v1/gateways",
            "gateways.gateway.networking.k8s.io",
        ),
        read_all::<GatewayClass>(
            connection,
            "/apis/gateway.networking.k8s.io/v1/gatewayclasses",
            "gatewayclasses.gateway.networking.k8s.io",
        ),
    )
    .await;
    let classes = classes?.into_iter();
    let controllers: BTreeMap<_, _> = classes
        .map(|class| (class.metadata.name, class.spec.controller_name))
        .collect();
    let gateways = gateways?.into_iter();
    Ok(gateways
        .filter(Gateway::passes_tls_on)
        .map(|gateway| GatewayFact {
            controller: controllers
                .get(&gateway.spec.gateway_class_name)
                .cloned()
                .unwrap_or_default(),
            namespace: gateway.metadata.namespace,
            name: gateway.metadata.name,
        })
        .collect())
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Groups {
    groups: Vec<Group>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Group {
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    name: String,
    namespace: String,
    annotations: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct IngressClass {
    metadata: Metadata,
    spec: IngressClassSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct IngressClassSpec {
    controller: String,
}

impl IngressClass {
    fn fact(self) -> (String, IngressClassFact) {
        const DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";
        let default = self.metadata.annotations.get(DEFAULT);
        let fact = IngressClassFact {
            default: default.is_some_and(|value| value == "true"),
            controller: self.spec.controller,
        };
        (self.metadata.name, fact)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct GatewayClass {
    metadata: Metadata,
    spec: GatewayClassSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct GatewayClassSpec {
    controller_name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Gateway {
    metadata: Metadata,
    spec: GatewaySpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct GatewaySpec {
    gateway_class_name: String,
    listeners: Vec<Listener>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Listener {
    protocol: String,
    tls: ListenerTls,
    allowed_routes: AllowedRoutes,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ListenerTls {
    mode: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AllowedRoutes {
    namespaces: RouteNamespaces,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RouteNamespaces {
    from: String,
}

impl Gateway {
    /// As it comes, and for routes of other namespaces: which ones a selector means is not ours to
    /// judge.
    fn passes_tls_on(&self) -> bool {
        self.spec.listeners.iter().any(|listener| {
            listener.protocol == "TLS"
                && listener.tls.mode == "Passthrough"
                && ["All", "Selector"].contains(&listener.allowed_routes.namespaces.from.as_str())
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_gateway_counts_that_passes_tls_of_other_namespaces_on() {
        let passes = |protocol: &str, mode: &str, from: &str| {
            let gateway = json!({
                "metadata": { "name": "g", "namespace": "n" },
                "spec": { "gatewayClassName": "c", "listeners": [{
                    "name": "l", "port": 443, "protocol": protocol,
                    "tls": { "mode": mode },
                    "allowedRoutes": { "namespaces": { "from": from } },
                }] },
            });
            serde_json::from_value::<Gateway>(gateway)
                .unwrap()
                .passes_tls_on()
        };
        assert!(passes("TLS", "Passthrough", "All"));
        assert!(!passes("TLS", "Terminate", "All"));
        assert!(!passes("HTTPS", "Terminate", "All"));
        assert!(!passes("TLS", "Passthrough", "Same"));
    }
}
