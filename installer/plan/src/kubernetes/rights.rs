//! What the installer may have to do in a cluster, and what its workloads never may.

use installer_render::kubernetes::Kind;
use installer_render::label;
use installer_spec::{Addons, Profile};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{names, namespace};

/// One thing that somebody may do or not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Right {
    pub verb: String,
    pub group: String,
    /// `pods`, `pods/log`
    pub resource: String,
    /// Absent for what is in no namespace, and for all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Absent, of any name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Without it the run goes on, and tells what it could not see.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

const CHANGES: [&str; 6] = ["get", "list", "watch", "create", "patch", "delete"];

struct List<'a> {
    namespace: &'a str,
    rights: Vec<Right>,
}

impl List<'_> {
    fn inside(&mut self, group: &str, resource: &str, verbs: &[&str]) {
        for verb in verbs {
            self.rights.push(Right {
                verb: (*verb).to_owned(),
                group: group.to_owned(),
                resource: resource.to_owned(),
                namespace: Some(self.namespace.to_owned()),
                name: None,
                optional: false,
            });
        }
    }

    fn named(&mut self, group: &str, resource: &str, name: &str, verbs: &[&str]) {
        for verb in verbs {
            self.rights.push(Right {
                verb: (*verb).to_owned(),
                group: group.to_owned(),
                resource: resource.to_owned(),
                namespace: None,
                // What is not there yet has no name to be asked by.
                name: (*verb != "create").then(|| name.to_owned()),
                optional: false,
            });
        }
    }

    fn everywhere(&mut self, group: &str, resource: &str) {
        self.rights.push(Right {
            verb: "list".to_owned(),
            group: group.to_owned(),
            resource: resource.to_owned(),
            namespace: None,
            name: None,
            optional: true,
        });
    }
}

/// Everything that install, status, upgrade and removal of a site ask of the cluster.
pub fn installer_rights(profile: &Profile) -> Vec<Right> {
    let namespace = namespace(&profile.site);
    let mut list = List {
        namespace: &namespace,
        rights: Vec::new(),
    };
    let wanted = names(profile);
    // What a site before this one had is taken away, too, so every kind is on the list.
    for kind in Kind::ALL {
        if kind.is_namespaced() {
            list.inside(kind.group(), kind.plural(), &CHANGES);
        }
    }
    for id in wanted.iter().filter(|id| !id.kind.is_namespaced()) {
        let verbs = ["get", "create", "patch", "delete"];
        list.named(id.kind.group(), id.kind.plural(), &id.name, &verbs);
    }
    list.inside("apps", "replicasets", &["list", "watch"]);
    list.inside("", "pods", &["get", "list", "watch"]);
    list.inside("", "pods/log", &["get"]);
    // By WebSocket it is asked for with GET, by SPDY with POST.
    list.inside("", "pods/portforward", &["get", "create"]);
    list.inside("", "events", &["list"]);
    list.inside(
        "coordination.k8s.io",
        "leases",
        &["get", "create", "update", "delete"],
    );
    // Its UID is the cluster's identity.
    list.named("", "namespaces", "kube-system", &["get"]);
    list.everywhere("", "nodes");
    list.everywhere("", "pods");
    list.everywhere("storage.k8s.io", "storageclasses");
    if profile.cluster.addons == Addons::Enable {
        // Whether somebody answers for names.
        list.named("", "services", "kube-dns", &["get"]);
        list.everywhere("discovery.k8s.io", "endpointslices");
    }
    if profile.access.is_some() {
        list.everywhere("networking.k8s.io", "ingressclasses");
        list.everywhere("gateway.networking.k8s.io", "gateways");
        list.everywhere("gateway.networking.k8s.io", "gatewayclasses");
    }
    list.rights
}

/// What no workload's account may do: read or change anything of the site, and the doors to more.
pub fn workload_rights(profile: &Profile) -> Vec<Right> {
    let namespace = namespace(&profile.site);
    let mut list = List {
        namespace: &namespace,
        rights: Vec::new(),
    };
    for (group, resource) in [
        ("", "secrets"),
        ("", "configmaps"),
        ("", "pods"),
        ("apps", "deployments"),
        ("networking.k8s.io", "networkpolicies"),
        ("rbac.authorization.k8s.io", "roles"),
        ("rbac.authorization.k8s.io", "rolebindings"),
    ] {
        list.inside(group, resource, &CHANGES);
    }
    list.inside("", "pods/exec", &["create"]);
    list.inside("", "pods/portforward", &["get", "create"]);
    list.inside("", "serviceaccounts/token", &["create"]);
    list.everywhere("", "nodes");
    list.everywhere("", "secrets");
    list.everywhere("", "namespaces");
    list.rights
}

/// The service accounts of a site.
pub fn workload_accounts(profile: &Profile) -> Vec<String> {
    let of_accounts = |kind| kind == Kind::ServiceAccount;
    let names = names(profile).into_iter();
    let names = names.filter(|id| of_accounts(id.kind));
    names.map(|id| id.name).collect()
}

/// Role, ClusterRole and their bindings, for whoever installs: no more than is on the list, and what
/// the charts take, each in its own namespace.
pub fn minimal_roles(profile: &Profile, user: &Value, charts: &[Right]) -> Vec<Value> {
    let name = format!("stakeout-{}-installer", profile.site);
    let namespace = namespace(&profile.site);
    let mut rights = installer_rights(profile);
    rights.extend_from_slice(charts);
    let (inside, outside): (Vec<_>, Vec<_>) = rights
        .into_iter()
        .partition(|right| right.namespace.is_some());
    let api = "rbac.authorization.k8s.io/v1";
    let reference =
        |kind: &str| json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name });
    let mut roles = vec![
        json!({ "apiVersion": api, "kind": "ClusterRole", "metadata": { "name": name }, "rules": rules(&outside) }),
        json!({ "apiVersion": api, "kind": "ClusterRoleBinding", "metadata": { "name": name }, "roleRef": reference("ClusterRole"), "subjects": [user] }),
    ];
    let mut places: Vec<_> = inside
        .iter()
        .filter_map(|one| one.namespace.clone())
        .collect();
    // The site's is the first.
    places.sort_by_key(|place| (*place != namespace, place.clone()));
    places.dedup();
    for place in places {
        let there = inside
            .iter()
            .filter(|one| one.namespace.as_ref() == Some(&place));
        let there: Vec<_> = there.cloned().collect();
        roles.extend([
            // Made for the site, which takes it over.
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": place, "labels": { label::SITE: profile.site } } }),
            json!({ "apiVersion": api, "kind": "Role", "metadata": { "name": name, "namespace": place }, "rules": rules(&there) }),
            json!({ "apiVersion": api, "kind": "RoleBinding", "metadata": { "name": name, "namespace": place }, "roleRef": reference("Role"), "subjects": [user] }),
        ]);
    }
    roles
}

/// One rule for each resource and name, with all of its verbs.
fn rules(rights: &[Right]) -> Vec<Value> {
    let mut rules: Vec<(&Right, Vec<&str>)> = Vec::new();
    for right in rights {
        let same = |(one, _): &&mut (&Right, Vec<&str>)| {
            (&one.group, &one.resource, &one.name) == (&right.group, &right.resource, &right.name)
        };
        match rules.iter_mut().find(same) {
            Some((_, verbs)) => verbs.push(&right.verb),
            None => rules.push((right, vec![&right.verb])),
        }
    }
    let rule = |(right, verbs): (&Right, Vec<&str>)| {
        let mut rule =
            json!({ "apiGroups": [right.group], "resources": [right.resource], "verbs": verbs });
        if let Some(name) = &right.name {
            rule["resourceNames"] = json!([name]);
        }
        rule
    };
    rules.into_iter().map(rule).collect()
}
