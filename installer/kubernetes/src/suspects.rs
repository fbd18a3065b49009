//! Whose policy lets through what ours do not, or takes away what ours let through.
//!
//! NetworkPolicies add up: in a site's namespace those of others can only open, and what they close is
//! at the other end, in a namespace of its own. Networks have kinds of their own besides, which may do
//! either; what is in those is not read.

use std::collections::BTreeMap;
use std::fmt;

use installer_render::kubernetes::Path;
use installer_render::label;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicySpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams};

use crate::connect::Connection;
use crate::error::KubernetesError;
use crate::reach::Reached;

/// Where names are asked for.
const NAMES: &str = "kube-system";

/// Kinds of networks, by group, version, kind and plural, and whether they are of a namespace.
const OF_NETWORKS: [(&str, &str, &str, &str, bool); 6] = [
    (
        "crd.projectcalico.org",
        "v1",
        "GlobalNetworkPolicy",
        "globalnetworkpolicies",
        false,
    ),
    (
        "crd.projectcalico.org",
        "v1",
        "NetworkPolicy",
        "networkpolicies",
        true,
    ),
    (
        "cilium.io",
        "v2",
        "CiliumClusterwideNetworkPolicy",
        "ciliumclusterwidenetworkpolicies",
        false,
    ),
    (
        "cilium.io",
        "v2",
        "CiliumNetworkPolicy",
        "ciliumnetworkpolicies",
        true,
    ),
    (
        "policy.networking.k8s.io",
        "v1alpha1",
        "AdminNetworkPolicy",
        "adminnetworkpolicies",
        false,
    ),
    (
        "policy.networking.k8s.io",
        "v1alpha1",
        "BaselineAdminNetworkPolicy",
        "baselineadminnetworkpolicies",
        false,
    ),
];

/// What may be the reason of a path that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Suspect {
    /// A policy of somebody else's.
    Policy {
        kind: String,
        /// Where it is not the site's own.
        namespace: Option<String>,
        name: String,
    },
    /// One of ours is not there.
    Missing { name: String },
}

impl fmt::Display for Suspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy {
                kind,
                namespace,
                name,
            } => {
                let namespace = namespace.as_ref().map(|name| format!("{name}/"));
                write!(f, "{kind} {}{name}", namespace.unwrap_or_default())
            }
            Self::Missing { name } => write!(f, "our own NetworkPolicy {name}, which is missing"),
        }
    }
}

/// The pods and policies that there are.
#[derive(Debug, Default)]
struct Seen {
    namespace: String,
    site: String,
    /// Labels of the site's pods, by service.
    pods: BTreeMap<String, BTreeMap<String, String>>,
    policies: Vec<NetworkPolicy>,
    /// Of the network's own kinds.
    others: Vec<Suspect>,
}

/// Of each of these paths, what may be the reason that it is so.
pub async fn suspects(
    connection: &Connection,
    namespace: &str,
    site: &str,
    wrong: &[(Path, Reached)],
) -> Result<Vec<Vec<Suspect>>, KubernetesError> {
    if wrong.is_empty() {
        return Ok(Vec::new());
    }
    let client = || connection.client.clone();
    let everything = ListParams::default();
    let read = |what: &str, source: kube::Error| KubernetesError::Read {
        what: what.to_owned(),
        source: source.into(),
    };
    let policies = Api::<NetworkPolicy>::all(client()).list(&everything).await;
    let policies = match policies {
        // Whoever may not see all sees those of the site.
        Err(kube::Error::Api(status)) if status.code == 403 => {
            Api::namespaced(client(), namespace).list(&everything).await
        }
        other => other,
    };
    let policies = match policies {
        Ok(found) => found.items,
        // Nobody is suspected unseen.
        Err(kube::Error::Api(status)) if status.code == 403 => {
            return Ok(vec![Vec::new(); wrong.len()]);
        }
        Err(source) => return Err(read("the list of NetworkPolicies", source)),
    };
    let pods = Api::<Pod>::namespaced(client(), namespace);
    let pods = pods.list(&everything).await;
    let pods = pods.map_err(|source| read("the list of pods", source))?;
    let pods = pods.items.into_iter().filter_map(|pod| {
        let labels = pod.metadata.labels?;
        Some((labels.get(label::SERVICE)?.clone(), labels))
    });
    let mut seen = Seen {
        namespace: namespace.to_owned(),
        site: site.to_owned(),
        pods: pods.collect(),
        policies,
        others: Vec::new(),
    };
    for (group, version, kind, plural, of_namespace) in OF_NETWORKS {
        let kind = GroupVersionKind::gvk(group, version, kind);
        let resource = ApiResource::from_gvk_with_plural(&kind, plural);
        let api: Api<DynamicObject> = if of_namespace {
            Api::namespaced_with(client(), namespace, &resource)
        } else {
            Api::all_with(client(), &resource)
        };
        // Most clusters do not know most of them, and not everybody may see them.
        let found = match api.list(&everything).await {
            Ok(found) => found.items,
            Err(kube::Error::Api(status)) if [403, 404].contains(&status.code) => continue,
            Err(source) => return Err(read(&kind.kind, source)),
        };
        seen.others
            .extend(found.into_iter().map(|one| Suspect::Policy {
                kind: format!("{} of {group}", kind.kind),
                namespace: None,
                name: one.metadata.name.unwrap_or_default(),
            }));
    }
    let of = |(path, reached): &(Path, Reached)| seen.suspects(path, *reached);
    Ok(wrong.iter().map(of).collect())
}

impl Seen {
    fn suspects(&self, path: &Path, reached: Reached) -> Vec<Suspect> {
        let mut suspects = if path.allowed {
            self.closers(path, reached)
        } else {
            self.openers(path)
        };
        suspects.extend(self.others.iter().cloned());
        suspects
    }

    /// Those of others in the site's namespace that let something out of one end or into the other.
    fn openers(&self, path: &Path) -> Vec<Suspect> {
        let out =
            |spec: &NetworkPolicySpec| spec.egress.as_ref().is_some_and(|all| !all.is_empty());
        let into =
            |spec: &NetworkPolicySpec| spec.ingress.as_ref().is_some_and(|all| !all.is_empty());
        let selects = |spec: &NetworkPolicySpec, service: Option<&String>| {
            let labels = service.and_then(|service| self.pods.get(service));
            labels.is_some_and(|labels| is_selected(spec.pod_selector.as_ref(), labels))
        };
        let opens = |policy: &&NetworkPolicy| {
            policy.spec.as_ref().is_some_and(|spec| {
                (out(spec) && selects(spec, Some(&path.from)))
                    || (into(spec) && selects(spec, path.service.as_ref()))
            })
        };
        let theirs = self
            .policies
            .iter()
            .filter(|one| self.is_here(one) && !self.is_ours(one));
        theirs.filter(opens).map(|one| self.policy(one)).collect()
    }

    /// Ours that are missing, and those of others where the path leads to.
    fn closers(&self, path: &Path, reached: Reached) -> Vec<Suspect> {
        let ends = [Some(&path.from), path.service.as_ref()];
        let missing = ends.into_iter().flatten().filter(|name| {
            let named = |one: &NetworkPolicy| one.metadata.name.as_ref() == Some(*name);
            !self
                .policies
                .iter()
                .any(|one| self.is_here(one) && named(one))
        });
        let missing = missing.map(|name| Suspect::Missing { name: name.clone() });
        let mut suspects: Vec<_> = missing.collect();
        let place = match reached {
            Reached::Nameless => Some(NAMES),
            _ => namespace_of(&path.to),
        };
        let there = self.policies.iter().filter(|one| {
            let namespace = one.metadata.namespace.as_deref();
            place.is_some() && namespace == place && !self.is_here(one)
        });
        suspects.extend(there.map(|one| self.policy(one)));
        suspects
    }

    fn is_here(&self, policy: &NetworkPolicy) -> bool {
        policy.metadata.namespace.as_ref() == Some(&self.namespace)
    }

    fn is_ours(&self, policy: &NetworkPolicy) -> bool {
        let labels = policy.metadata.labels.as_ref();
        labels.and_then(|labels| labels.get(label::SITE)) == Some(&self.site)
    }

    fn policy(&self, policy: &NetworkPolicy) -> Suspect {
        let namespace = policy.metadata.namespace.clone();
        Suspect::Policy {
            kind: "NetworkPolicy".to_owned(),
            namespace: namespace.filter(|name| *name != self.namespace),
            name: policy.metadata.name.clone().unwrap_or_default(),
        }
    }
}

/// Of a Service's name that says so.
fn namespace_of(host: &str) -> Option<&str> {
    let mut parts = host.split('.').skip(1);
    let namespace = parts.next()?;
    (parts.next() == Some("svc")).then_some(namespace)
}

/// As the API server selects; absent and empty, it is everybody.
fn is_selected(selector: Option<&LabelSelector>, labels: &BTreeMap<String, String>) -> bool {
    let Some(selector) = selector else {
        return true;
    };
    let mut wanted = selector.match_labels.iter().flatten();
    let expressions = selector.match_expressions.iter().flatten();
    wanted.all(|(key, value)| labels.get(key) == Some(value))
        && expressions.into_iter().all(|one| {
            let value = labels.get(&one.key);
            let named =
                value.is_some_and(|value| one.values.iter().flatten().any(|one| one == value));
            match one.operator.as_str() {
                "In" => named,
                "NotIn" => !named,
                "Exists" => value.is_some(),
                _ => value.is_none(),
            }
        })
}

#[cfg(test)]
mod tests {
    use installer_render::Role;
    use serde_json::{Value, json};

    use super::*;

    fn seen(policies: &[Value]) -> Seen {
        let pod = |service: &str| {
            (
                service.to_owned(),
                [(label::SERVICE.to_owned(), service.to_owned())].into(),
            )
        };
        let of = |name: &str| {
            json!({
                "metadata": { "name": name, "namespace": "here", "labels": { label::SITE: "shut" } },
                "spec": { "podSelector": {}, "egress": [ {} ] },
            })
        };
        let all = [of("agent"), of("vault"), of("minio")];
        let all = all.iter().chain(policies);
        Seen {
            namespace: "here".into(),
            site: "shut".into(),
            pods: [pod("agent"), pod("vault"), pod("minio")].into(),
            policies: all
                .map(|one| serde_json::from_value(one.clone()).unwrap())
                .collect(),
            others: Vec::new(),
        }
    }

    fn told(seen: &Seen, to: &str, allowed: bool, reached: Reached) -> Vec<String> {
        let path = Path {
            from: "agent".into(),
            role: Role::Agent,
            to: to.into(),
            port: 1,
            service: seen.pods.contains_key(to).then(|| to.to_owned()),
            allowed,
        };
        let suspects = seen.suspects(&path, reached);
        suspects.iter().map(Suspect::to_string).collect()
    }

    fn of_others(namespace: &str, selector: &Value, rules: &Value) -> Value {
        let mut spec = json!({ "podSelector": selector });
        spec.as_object_mut()
            .unwrap()
            .extend(rules.as_object().unwrap().clone());
        json!({ "metadata": { "name": "theirs", "namespace": namespace }, "spec": spec })
    }

    #[test]
    fn whoever_opens_either_end_is_suspected() {
        let out = json!({ "egress": [ {} ] });
        let into = json!({ "ingress": [ {} ] });
        let labelled = |name: &str| json!({ "matchLabels": { label::SERVICE: name } });
        let in_list = json!({ "matchExpressions": [ { "key": label::SERVICE, "operator": "In", "values": ["minio"] } ] });
        let no_list = json!({ "matchExpressions": [ { "key": label::SERVICE, "operator": "NotIn", "values": ["minio"] } ] });
        for (namespace, selector, rules, to, found) in [
            ("here", json!({}), &out, "minio", true),
            ("here", labelled("agent"), &out, "minio", true),
            ("here", labelled("vault"), &out, "minio", false),
            ("here", labelled("minio"), &into, "minio", true),
            ("here", in_list, &into, "minio", true),
            ("here", no_list, &into, "minio", false),
            (
                "here",
                labelled("agent"),
                &json!({ "egress": [] }),
                "minio",
                false,
            ),
            ("elsewhere", json!({}), &out, "minio", false),
            ("here", json!({}), &into, "api.default.svc", false),
        ] {
            let seen = seen(&[of_others(namespace, &selector, rules)]);
            let found: &[&str] = if found {
                &["NetworkPolicy theirs"]
            } else {
                &[]
            };
            assert_eq!(
                told(&seen, to, false, Reached::Yes),
                found,
                "{selector} {rules}"
            );
        }
    }

    #[test]
    fn what_closes_is_at_the_other_end_or_missing() {
        let none = json!({ "policyTypes": ["Ingress"] });
        let seen_names = seen(&[of_others("kube-system", &json!({}), &none)]);
        let names = ["NetworkPolicy kube-system/theirs"];
        assert_eq!(told(&seen_names, "vault", true, Reached::Nameless), names);
        assert_eq!(
            told(&seen_names, "vault", true, Reached::No),
            Vec::<String>::new()
        );
        let there = seen(&[of_others("yard", &json!({}), &none)]);
        let found = told(&there, "camera.yard.svc", true, Reached::No);
        assert_eq!(found, ["NetworkPolicy yard/theirs"]);
        // In the site's own namespace it cannot close.
        let here = seen(&[of_others("here", &json!({}), &none)]);
        assert_eq!(
            told(&here, "vault", true, Reached::No),
            Vec::<String>::new()
        );
        let mut gone = seen(&[]);
        gone.policies.remove(1);
        let found = told(&gone, "vault", true, Reached::No);
        assert_eq!(found, ["our own NetworkPolicy vault, which is missing"]);
    }
}
