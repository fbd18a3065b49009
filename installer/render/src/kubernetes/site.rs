//! The objects that are there once: the namespace and its rules, configuration, claims.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use installer_spec::{Buffer, Exposure, Isolation, Keeper, Profile, Provider};
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::core::v1::{
    Namespace, PersistentVolumeClaim, ResourceQuota, Service, ServiceAccount, ServicePort,
};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

use super::release::{self, chart_home};
use super::{
    Inputs, Kind, Rendered, Scraping, Site, Workload, entrance, labels, manifest, monitoring,
    network, object, workload,
};
use crate::configuration::{Role, service_names};
use crate::docker::{self, CAMERA_PORT, Container, VAULT_PORT};
use crate::{Layout, SecretName, Store, chart_login, label, stores};

/// Label of every namespace, with its own name.
pub(super) const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// The Secret with the keys that agents and vault share.
const VAULT_KEYS: &str = "vault-keys";

/// The claim of the vault.
pub(super) const VAULT_CLAIM: &str = "vault";

/// Paths as they are in the site's data, wherever that is.
pub(super) fn layout() -> Layout {
    Layout::with_control("")
}

/// The Secret in which a secret of this purpose is kept: that of the service it belongs to.
pub fn secret_home(profile: &Profile, purpose: &str) -> String {
    if ["vault-access-key", "vault-secret-key"].contains(&purpose) {
        return VAULT_KEYS.to_owned();
    }
    if let Some(agent) = purpose
        .strip_suffix("-token")
        .filter(|s| *s != "vault-admin")
    {
        return agent.to_owned();
    }
    if let Some((chart, _)) = chart_login(purpose) {
        return chart_home(chart);
    }
    let camera = purpose
        .strip_prefix("camera-")
        .and_then(|rest| rest.strip_suffix("-login"));
    if let Some(camera) = camera {
        return match profile.agents.isolation {
            Isolation::Camera => format!("agent-{camera}"),
            Isolation::Group => "agent".to_owned(),
        };
    }
    let of_store = Store::ALL
        .into_iter()
        .find(|store| purpose.starts_with(&format!("{}-", store.name())));
    of_store.map_or("vault", Store::name).to_owned()
}

pub(super) fn claims(profile: &Profile) -> BTreeSet<String> {
    let mut claims = BTreeSet::new();
    if keeps_of_agents(profile) {
        let agents = service_names(profile).into_iter();
        let agents = agents.filter(|(_, role)| *role == Role::Agent);
        claims.extend(agents.map(|(name, _)| name));
    }
    if profile.storage.keeper == Keeper::Vault {
        let stores = stores(profile).into_iter();
        claims.extend(stores.map(|store| store.name().to_owned()));
        if !is_stateless(profile) {
            claims.insert(VAULT_CLAIM.to_owned());
        }
    }
    claims
}

/// Whether everything that the vault keeps is somewhere else. A claim would hold its pods on one
/// node.
pub(super) fn is_stateless(profile: &Profile) -> bool {
    profile.vault.replicas > 1
}

/// Whether what agents have outlives their pods: footage that nobody else has, or a buffer by choice.
pub(super) fn keeps_of_agents(profile: &Profile) -> bool {
    profile.storage.keeper == Keeper::Agent || profile.agents.buffer == Buffer::Claim
}

pub(super) fn render(inputs: &Inputs<'_>) -> Site {
    let model = docker::render(&docker::Inputs {
        profile: inputs.profile,
        folder: inputs.folder,
        secrets: inputs.secrets,
        buffer_bytes: Some(workload::BUFFER_BYTES / 10 * 9),
        agents_at: match inputs.scraping {
            Scraping::Nobody => Ipv4Addr::LOCALHOST,
            Scraping::Prometheus => Ipv4Addr::UNSPECIFIED,
        },
    });
    let plain = |object| Rendered {
        object,
        secrets: BTreeMap::new(),
    };
    let mut objects = vec![plain(namespace(
        &inputs.profile.site,
        inputs.installation,
        inputs.namespace,
    ))];
    objects.extend(release::namespaces(inputs).into_iter().map(plain));
    objects.extend(admission(inputs, &model.containers).map(plain));
    objects.push(plain(quota(inputs, &model.containers)));
    let roles: BTreeSet<Role> = model.containers.iter().map(|c| c.role).collect();
    objects.extend(roles.into_iter().map(|role| plain(account(inputs, role))));
    objects.extend(
        network::policies(inputs, &model.containers)
            .into_iter()
            .map(plain),
    );
    objects.extend(secrets(inputs, &model.containers));
    objects.extend(
        claims(inputs.profile)
            .into_iter()
            .map(|name| plain(claim(inputs, &name))),
    );
    objects.extend(
        model
            .containers
            .iter()
            .filter_map(|c| service(inputs, c))
            .map(plain),
    );
    objects.extend(entrance::objects(inputs).into_iter().map(plain));
    let budgets = budgets(inputs, &model.containers);
    objects.extend(budgets.into_iter().map(plain));
    let watched = monitoring::objects(inputs, &model.containers);
    objects.extend(watched.into_iter().map(plain));
    objects.sort_by_key(|one| one.object.id.kind);
    let workloads = model.containers.iter().filter_map(|container| {
        Some(Workload {
            service: container.service.clone(),
            role: container.role,
            image: container.image,
            object: workload::deployment(inputs, container)?,
        })
    });
    Site {
        workloads: workloads.collect(),
        releases: release::releases(inputs),
        objects,
    }
}

/// The site's own namespace, called `name`.
pub fn namespace(site: &str, installation: &str, name: &str) -> super::Object {
    let mut namespace: Namespace = manifest(include_str!(
        "../../../../manifests/kubernetes/namespace.yaml"
    ));
    let own = namespace.metadata.labels.get_or_insert_default();
    own.extend(labels(site, installation, "site"));
    object(name, Kind::Namespace, name, &namespace)
}

fn admission(inputs: &Inputs<'_>, containers: &[Container]) -> [super::Object; 2] {
    let name = inputs.namespace;
    let mut policy: ValidatingAdmissionPolicy = manifest(include_str!(
        "../../../../manifests/kubernetes/admission-policy.yaml"
    ));
    policy.metadata.labels = Some(inputs.labels("site"));
    if let Some(spec) = &mut policy.spec {
        spec.match_constraints
            .get_or_insert_default()
            .namespace_selector = Some(LabelSelector {
            match_labels: Some([(NAMESPACE_NAME.to_owned(), name.to_owned())].into()),
            match_expressions: None,
        });
        let images = containers
            .iter()
            .filter_map(|one| inputs.images.get(&one.image));
        if !images.into_iter().all(|image| image.contains('@')) {
            let rules = spec.validations.get_or_insert_default();
            rules.retain(|rule| !rule.expression.contains("sha256"));
        }
    }
    let mut binding: ValidatingAdmissionPolicyBinding = manifest(include_str!(
        "../../../../manifests/kubernetes/admission-binding.yaml"
    ));
    binding.metadata.labels = Some(inputs.labels("site"));
    if let Some(spec) = &mut binding.spec {
        spec.policy_name = Some(name.to_owned());
    }
    [
        inputs.object(Kind::ValidatingAdmissionPolicy, name, &policy),
        inputs.object(Kind::ValidatingAdmissionPolicyBinding, name, &binding),
    ]
}

/// A lost node's pods count until it is back or gone, so there may be two of each for a while; and
/// what was asked for and not made counts until the cluster looks again, minutes later.
fn quota(inputs: &Inputs<'_>, containers: &[Container]) -> super::Object {
    let mut quota: ResourceQuota = manifest(include_str!(
        "../../../../manifests/kubernetes/resource-quota.yaml"
    ));
    quota.metadata.labels = Some(inputs.labels("site"));
    let hard = quota
        .spec
        .get_or_insert_default()
        .hard
        .get_or_insert_default();
    let mut limit = |what: &str, count: usize| {
        hard.insert(what.to_owned(), Quantity(count.to_string()));
    };
    let pods = containers.iter().map(|one| {
        let replicas = workload::replicas(inputs.profile, one.role);
        usize::try_from(replicas).unwrap_or(usize::MAX)
    });
    limit("pods", 2 * pods.sum::<usize>() + 4);
    limit(
        "persistentvolumeclaims",
        2 * claims(inputs.profile).len() + 2,
    );
    // A load balancer may lead to a port of the nodes, too.
    let exposure = inputs.entrance.map(|entrance| entrance.exposure);
    let balanced = exposure == Some(Exposure::LoadBalancer);
    let at_nodes = balanced || exposure == Some(Exposure::NodePort);
    limit("services.loadbalancers", usize::from(balanced));
    limit("services.nodeports", usize::from(at_nodes));
    inputs.object(Kind::ResourceQuota, "site", &quota)
}

/// How many agents may be moved at a time, and how many vaults; of one there is nothing to say.
fn budgets(inputs: &Inputs<'_>, containers: &[Container]) -> Vec<super::Object> {
    let mut budgets = Vec::new();
    let agents = containers.iter().filter(|one| one.role == Role::Agent);
    if agents.count() > 1 {
        budgets.push(budget(inputs, Role::Agent, "agents", None));
    }
    if workload::replicas(inputs.profile, Role::Vault) > 1 {
        budgets.push(budget(inputs, Role::Vault, "vault", Some(1)));
    }
    budgets
}

/// `most` is the manifest's own if absent.
fn budget(inputs: &Inputs<'_>, role: Role, name: &str, most: Option<i32>) -> super::Object {
    let mut budget: PodDisruptionBudget = manifest(include_str!(
        "../../../../manifests/kubernetes/disruption-budget.yaml"
    ));
    budget.metadata.labels = Some(inputs.labels(name));
    let spec = budget.spec.get_or_insert_default();
    spec.selector = Some(LabelSelector {
        match_labels: Some(role_selector(inputs, role)),
        match_expressions: None,
    });
    if let Some(most) = most {
        spec.max_unavailable = Some(IntOrString::Int(most));
    }
    inputs.object(Kind::PodDisruptionBudget, name, &budget)
}

/// Name of a role's service account, and of the role in labels.
pub(super) fn role_name(role: Role) -> &'static str {
    match role {
        Role::Store => "store",
        Role::Vault => "vault",
        Role::TestCamera => "test-camera",
        Role::Agent => "agent",
    }
}

fn account(inputs: &Inputs<'_>, role: Role) -> super::Object {
    let name = role_name(role);
    let mut account: ServiceAccount = manifest(include_str!(
        "../../../../manifests/kubernetes/service-account.yaml"
    ));
    account.metadata.labels = Some(inputs.labels(name));
    inputs.object(Kind::ServiceAccount, name, &account)
}

fn claim(inputs: &Inputs<'_>, name: &str) -> super::Object {
    let mut claim: PersistentVolumeClaim =
        manifest(include_str!("../../../../manifests/kubernetes/claim.yaml"));
    claim.metadata.labels = Some(inputs.labels(name));
    let bytes = inputs.volumes.get(name).copied().unwrap_or_default();
    let requests = claim
        .spec
        .get_or_insert_default()
        .resources
        .get_or_insert_default()
        .requests
        .get_or_insert_default();
    requests.insert("storage".to_owned(), workload::bytes(bytes));
    inputs.object(Kind::PersistentVolumeClaim, name, &claim)
}

/// What one Secret holds: all of its data, and what those of its values are that are made elsewhere.
#[derive(Default)]
struct Home {
    data: BTreeMap<String, Value>,
    secrets: BTreeMap<String, SecretName>,
}

/// One Secret for each service: its configuration, and the secrets that it is the home of.
fn secrets(inputs: &Inputs<'_>, containers: &[Container]) -> Vec<Rendered> {
    let mut homes: BTreeMap<String, Home> = BTreeMap::new();
    for container in containers {
        if let Some(config) = &container.config {
            let name = config.path.file_name().unwrap_or_default();
            let home = homes.entry(container.service.clone()).or_default();
            let text = workload::base64(config.contents.as_bytes());
            home.data.insert(name.to_owned(), text.into());
        }
    }
    for (purpose, version) in inputs.secrets {
        let name = SecretName {
            purpose: purpose.clone(),
            version: *version,
        };
        let home = homes
            .entry(secret_home(inputs.profile, purpose))
            .or_default();
        home.data.insert(name.to_string(), Value::Null);
        home.secrets.insert(name.to_string(), name);
    }
    let render = |(name, home): (String, Home)| {
        // A typed Secret has no place for a value that is made elsewhere.
        let secret = json!({
            "apiVersion": Kind::Secret.api_version(),
            "kind": Kind::Secret.name(),
            "metadata": { "labels": inputs.labels(&name) },
            "type": "Opaque",
            "data": home.data,
        });
        Rendered {
            object: inputs.object(Kind::Secret, &name, &secret),
            secrets: home.secrets,
        }
    };
    homes.into_iter().map(render).collect()
}

/// Where others in the cluster reach a service; agents are reached by nobody.
fn service(inputs: &Inputs<'_>, container: &Container) -> Option<super::Object> {
    let name = &container.service;
    let port = listens(container)?;
    let mut service: Service = manifest(include_str!(
        "../../../../manifests/kubernetes/service.yaml"
    ));
    service.metadata.labels = Some(inputs.labels(name));
    let spec = service.spec.get_or_insert_default();
    spec.selector = Some(selector(inputs, name));
    spec.ports = Some(vec![ServicePort {
        name: Some(role_name(container.role).to_owned()),
        port: i32::from(port),
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::Int(i32::from(port))),
        ..ServicePort::default()
    }]);
    Some(inputs.object(Kind::Service, name, &service))
}

/// The port at which a container takes connections from others.
pub(super) fn listens(container: &Container) -> Option<u16> {
    match container.role {
        Role::Agent => None,
        Role::Vault => Some(VAULT_PORT),
        Role::TestCamera => Some(CAMERA_PORT),
        Role::Store => Store::ALL
            .into_iter()
            .find(|store| store.name() == container.service)
            .map(Store::port),
    }
}

/// What finds the pods of one service.
pub(super) fn selector(inputs: &Inputs<'_>, service: &str) -> BTreeMap<String, String> {
    of_site(inputs, label::SERVICE, service)
}

/// What finds the pods of one role.
pub(super) fn role_selector(inputs: &Inputs<'_>, role: Role) -> BTreeMap<String, String> {
    of_site(inputs, label::ROLE, role_name(role))
}

fn of_site(inputs: &Inputs<'_>, key: &str, value: &str) -> BTreeMap<String, String> {
    [(label::SITE, inputs.profile.site.as_str()), (key, value)]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// Whether the vault keeps its footage in its own claim.
pub(super) fn keeps_in_claim(profile: &Profile) -> bool {
    profile.storage.provider == Provider::Filesystem
}
