//! Every shipped profile, planned for a cluster that was never there.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8Path;
use installer_plan::docker::{ImageFact, ImageStanding, Ownership};
use installer_plan::host::Level;
use installer_plan::kubernetes::{
    AddonFacts, Cluster, DIGEST_LABEL, ImageWay, KubernetesAction, KubernetesFacts, NodeFact,
    ObjectFact, ReleaseFact, Room, Signs, StorageClassFact, Ways, applied_digest, namespace,
    objects, plan, plan_uninstall,
};
use installer_plan::{
    AccessFacts, Action, CertificateFact, CertificateFacts, Condition, OwnCertificate, Plan,
    Promise, SecretFact, digest_of, show,
};
use installer_render::docker::Component;
use installer_render::kubernetes::{Kind, ObjectId};
use installer_spec::{Profile, TargetChoice};

use crate::{check_golden, profiles, receipt_of};

pub(crate) const FOLDER: &str = "/etc/stakeout";

/// Profiles as they are for a cluster, whatever target they name.
pub(crate) fn cluster_profiles() -> impl Iterator<Item = (String, Profile)> {
    profiles().into_iter().map(|(name, mut profile)| {
        profile.target = TargetChoice::Kubernetes;
        (name, profile)
    })
}

pub(crate) fn demo() -> Profile {
    let mut all = cluster_profiles();
    all.find(|(name, _)| name == "demo").unwrap().1
}

/// Three nodes of 8 CPUs that run little, and a registry with this release.
pub(crate) fn bare_cluster(site: &str) -> KubernetesFacts {
    let node = |name: &str| {
        let fact = NodeFact {
            platform: "linux/amd64".into(),
            usable: true,
            room: Room {
                pods: 110,
                cpu_milli: 8000,
                memory_bytes: 32 << 30,
                ephemeral_bytes: 200 << 30,
            },
            taken: Room {
                pods: 6,
                cpu_milli: 500,
                memory_bytes: 1 << 30,
                ephemeral_bytes: 0,
            },
        };
        (name.to_owned(), fact)
    };
    let image = |component: Component| {
        let repository = format!("registry.example/stakeout/{}", component.name());
        let fact = ImageFact {
            reference: format!("{repository}@sha256:{}", digest_of(&component)),
            present: None,
            wanted: None,
            source: None,
            standing: ImageStanding::Pinned,
            obstacle: None,
        };
        (component, fact)
    };
    let class = StorageClassFact {
        default: true,
        provisioner: "rancher.io/local-path".into(),
    };
    KubernetesFacts {
        cluster: Cluster {
            id: "c0c0".into(),
            signs: Signs {
                version: "v1.34.4".into(),
                context: "kubernetes-admin@site".into(),
                server: "https://cluster.example:6443".into(),
                labels: ["node-role.kubernetes.io/control-plane=".to_owned()].into(),
                ..Signs::default()
            },
            nodes: ["a", "b", "c"].map(node).into(),
            storage_classes: [("local-path".to_owned(), class)].into(),
            ways: Ways::default(),
        },
        unserved: Kind::ALL
            .into_iter()
            .filter(|kind| kind.is_extension())
            .collect(),
        namespace: namespace(site),
        installation: "0123456789abcdef".into(),
        objects: BTreeMap::new(),
        given: BTreeSet::new(),
        access: AccessFacts::default(),
        secrets: BTreeMap::new(),
        missing_logins: BTreeMap::new(),
        addons: AddonFacts::default(),
        certificates: CertificateFacts::default(),
        images: Component::ALL.into_iter().map(image).collect(),
        image_way: None,
        receipt: None,
        rotate: BTreeSet::new(),
        cameras: BTreeMap::new(),
        charts: BTreeMap::new(),
        releases: BTreeMap::new(),
    }
}

pub(crate) fn planned(profile: &Profile, facts: &KubernetesFacts) -> Plan {
    plan(profile, Utf8Path::new(FOLDER), facts, Promise::Whole).unwrap()
}

/// The facts that a cluster shows after every step of a plan was done.
pub(crate) fn after(plan: &Plan, before: &KubernetesFacts) -> KubernetesFacts {
    let mut facts = before.clone();
    let mut objects = facts.objects.clone();
    let mut made = |id: ObjectId, applied, image| {
        let fact = ObjectFact {
            image,
            uid: digest_of(&id),
            ownership: Ownership::Ours,
            applied,
            shared: Vec::new(),
            offered: false,
            generation: 1,
            ending: false,
            storage_bytes: None,
            ready: id.kind == Kind::Deployment,
            changed: None,
        };
        objects.insert(id, fact);
    };
    let mut gone = BTreeSet::new();
    for step in &plan.steps {
        let Action::Kubernetes(action) = &step.action else {
            continue;
        };
        match action {
            KubernetesAction::Apply {
                object, secrets, ..
            } => {
                let digest = applied_digest(object.id.kind, &object.value());
                let manifest = object.value();
                let image = manifest.pointer("/spec/template/spec/containers/0/image");
                let image = image.and_then(|image| image.as_str()).map(str::to_owned);
                made(object.id.clone(), Some(digest), image);
                for source in secrets.values() {
                    let fact = SecretFact {
                        versions: [source.name.version].into(),
                        current: Some(source.name.version),
                    };
                    facts.secrets.insert(source.name.purpose.clone(), fact);
                }
            }
            KubernetesAction::MakeAuthority { secret, trust, .. } => {
                made(ObjectId::new(Kind::Secret, secret.clone()), None, None);
                made(ObjectId::new(Kind::ConfigMap, trust.clone()), None, None);
                facts.certificates.authority = true;
            }
            KubernetesAction::IssueCertificate {
                service,
                secret,
                names,
                ..
            } => {
                made(ObjectId::new(Kind::Secret, secret.clone()), None, None);
                let fact = CertificateFact {
                    names: names.clone(),
                    good: true,
                    fingerprint: "AB:CD".into(),
                    not_after: "2027-01-01T00:00:00Z".into(),
                };
                facts.certificates.services.insert(service.clone(), fact);
            }
            KubernetesAction::InstallCertificate { secret, .. } => {
                made(ObjectId::new(Kind::Secret, secret.clone()), None, None);
                if let Some(OwnCertificate::Usable(own)) = &mut facts.access.own {
                    own.in_place = true;
                }
            }
            KubernetesAction::Delete { id, .. } => {
                gone.insert(id);
            }
            KubernetesAction::Release { release, labels } => {
                let before = facts.releases.get(&release.name);
                let fact = ReleaseFact {
                    namespace: release.namespace.clone(),
                    revision: before.map_or(1, |fact| fact.revision + 1),
                    status: "deployed".into(),
                    digest: labels.get(DIGEST_LABEL).cloned(),
                    ready: true,
                    claims: BTreeSet::new(),
                };
                facts.releases.insert(release.name.clone(), fact);
            }
            KubernetesAction::RemoveRelease { name, .. } => {
                facts.releases.remove(name);
            }
            KubernetesAction::EnableAddon { .. } => {
                if let Some(Condition::Addon { brings, .. }) = &step.settle {
                    facts.bring(brings);
                }
            }
            KubernetesAction::ImportImage { reference, .. } => {
                if let Some(ImageWay::Import { held, .. }) = &mut facts.image_way {
                    held.insert(reference.clone());
                }
            }
            KubernetesAction::Restart { .. }
            | KubernetesAction::NoteCameras { .. }
            | KubernetesAction::AwaitCameras { .. } => {}
        }
    }
    objects.retain(|id, _| !gone.contains(id));
    facts.objects = objects;
    facts.receipt = Some(receipt_of(plan));
    facts
}

#[test]
fn every_profile_plans_for_a_cluster_as_its_golden_text_says() {
    for (name, profile) in cluster_profiles() {
        let plan = planned(&profile, &bare_cluster(&profile.site));
        check_golden(&name, "kubernetes.plan.txt", &show(&plan));
    }
}

#[test]
fn the_objects_of_a_site_are_as_their_golden_text_says() {
    for name in ["demo", "stores"] {
        let mut all = cluster_profiles();
        let (_, profile) = all.find(|(one, _)| one == name).unwrap();
        let facts = bare_cluster(&profile.site);
        let site = objects(&profile, Utf8Path::new(FOLDER), &facts);
        let workloads = site.workloads.into_iter().map(|one| one.object);
        let all = site.objects.into_iter().map(|one| one.object);
        let texts: Vec<_> = all
            .chain(workloads)
            .map(|object| serde_json::to_string_pretty(&object.value()).unwrap())
            .collect();
        check_golden(name, "kubernetes.objects.json", &(texts.join("\n") + "\n"));
    }
}

/// Where they differ from those of a vault that is alone.
#[test]
fn several_vaults_stand_in_for_each_other() {
    let (_, profile) = cluster_profiles()
        .find(|(name, _)| name == "replicas")
        .unwrap();
    let facts = bare_cluster(&profile.site);
    let site = objects(&profile, Utf8Path::new(FOLDER), &facts);
    let workloads = site.workloads.into_iter().map(|one| one.object);
    let all = site.objects.into_iter().map(|one| one.object);
    let texts: Vec<_> = all
        .chain(workloads)
        .filter(|object| match object.id.kind {
            Kind::Deployment | Kind::PodDisruptionBudget => object.id.name == "vault",
            Kind::PersistentVolumeClaim | Kind::ResourceQuota => true,
            _ => false,
        })
        .map(|object| serde_json::to_string_pretty(&object.value()).unwrap())
        .collect();
    check_golden("replicas", "vault.objects.json", &(texts.join("\n") + "\n"));
}

#[test]
fn a_vault_becomes_two_and_one_again_and_its_claim_stays() {
    let (_, two) = cluster_profiles()
        .find(|(name, _)| name == "replicas")
        .unwrap();
    let mut one = two.clone();
    one.vault.replicas = 1;
    let before = bare_cluster(&two.site);
    let mut facts = after(&planned(&one, &before), &before);
    let claim = ObjectId::new(Kind::PersistentVolumeClaim, "vault");
    for (profile, budget) in [
        (&two, "+ PodDisruptionBudget/vault"),
        (&one, "- PodDisruptionBudget/vault"),
    ] {
        let plan = planned(profile, &facts);
        let told = show(&plan);
        for wanted in ["~ Deployment/vault", "~ ResourceQuota/site", budget] {
            assert!(told.contains(wanted), "no `{wanted}` in\n{told}");
        }
        assert!(!told.contains("PersistentVolumeClaim"), "{told}");
        facts = after(&plan, &facts);
        assert!(facts.objects.contains_key(&claim));
        assert!(planned(profile, &facts).is_empty());
    }
}

#[test]
fn a_plan_that_was_done_leaves_nothing_to_do_in_a_cluster() {
    for (name, profile) in cluster_profiles().filter(|(_, p)| p.access.is_none()) {
        let before = bare_cluster(&profile.site);
        let first = planned(&profile, &before);
        let second = planned(&profile, &after(&first, &before));
        assert!(second.is_empty(), "{name}:\n{}", show(&second));
        assert_eq!(second.owned, first.owned, "{name}");
    }
}

#[test]
fn a_new_certificate_restarts_those_who_read_it_once() {
    let (_, profile) = cluster_profiles()
        .find(|(name, _)| name == "stores")
        .unwrap();
    let before = bare_cluster(&profile.site);
    let there = after(&planned(&profile, &before), &before);
    for (certificate, restarted) in [
        ("minio", vec![]),
        ("rabbitmq", vec![]),
        ("vault", vec![]),
        ("mosquitto", vec!["mosquitto"]),
        ("vault-identity", vec!["ferretdb", "vault"]),
    ] {
        let mut facts = there.clone();
        let kept = facts.certificates.services.get_mut(certificate);
        kept.unwrap().good = false;
        let plan = planned(&profile, &facts);
        let steps = plan.steps.iter();
        let names: Vec<_> = steps
            .filter_map(|step| match &step.action {
                Action::Kubernetes(KubernetesAction::Restart { id }) => {
                    assert!(step.settle.is_some(), "{}", step.id);
                    Some(id.name.as_str())
                }
                _ => None,
            })
            .collect();
        assert_eq!(names, restarted, "{}", show(&plan));
        // Beside the certificate nothing else is done.
        assert_eq!(plan.steps.len(), 1 + restarted.len(), "{}", show(&plan));
        assert!(planned(&profile, &after(&plan, &facts)).is_empty());
    }
}

#[test]
fn a_camera_more_or_less_touches_only_what_is_its_own() {
    let mut profile = demo();
    let before = bare_cluster(&profile.site);
    let facts = after(&planned(&profile, &before), &before);
    let mut more = profile.cameras[0].clone();
    more.name = "yard".into();
    profile.cameras.push(more);
    let change = planned(&profile, &facts);
    // Both may be counted, and both may reach the vault.
    // Of two agents there is a budget.
    let shared = [
        "ResourceQuota/site",
        "NetworkPolicy/vault",
        "PodDisruptionBudget/agents",
    ];
    for step in &change.steps {
        let id = step.id.as_str();
        assert!(id.contains("yard") || shared.contains(&id), "{id}");
    }
    check_golden("demo", "kubernetes-camera-added.plan.txt", &show(&change));
    let facts = after(&change, &facts);
    profile.cameras.pop();
    let back = planned(&profile, &facts);
    for step in &back.steps {
        let id = step.id.as_str();
        assert!(id.contains("yard") || shared.contains(&id), "{id}");
    }
    assert!(planned(&profile, &after(&back, &facts)).is_empty());
}

#[test]
fn a_thousand_cameras_on_few_nodes_are_refused_with_a_way_out() {
    let mut profile = demo();
    let camera = profile.cameras[0].clone();
    profile.cameras = (0..500)
        .map(|index| {
            let mut camera = camera.clone();
            camera.name = format!("c{index:03}");
            camera
        })
        .collect();
    let facts = bare_cluster(&profile.site);
    let plan = planned(&profile, &facts);
    let short = plan.findings.iter().find(|found| found.id == "capacity");
    let short = short.unwrap();
    assert!(short.help.contains("isolation: group"), "{short:?}");
    assert!(
        short.message.contains("of 1001 pods have no place"),
        "{short:?}"
    );
}

#[test]
fn what_is_not_ours_is_told_and_left_alone() {
    let profile = demo();
    let before = bare_cluster(&profile.site);
    let mut facts = after(&planned(&profile, &before), &before);
    let vault = ObjectId::new(Kind::Deployment, "vault");
    let fact = facts.objects.get_mut(&vault).unwrap();
    fact.ownership = Ownership::Foreign("it was made by `kubectl`".into());
    let plan = planned(&profile, &facts);
    assert!(
        plan.findings
            .iter()
            .any(|found| found.id == "foreign-object")
    );
    let removal = plan_uninstall(&profile.site, Level::Data, &facts);
    let told = show(&plan) + &show(&removal);
    assert!(!told.contains("Deployment/vault\n"), "{told}");
    assert!(!told.contains("- Namespace"), "{told}");
}

#[test]
fn every_level_of_removal_from_a_cluster_is_as_its_golden_text_says() {
    let profile = demo();
    let before = bare_cluster(&profile.site);
    let facts = after(&planned(&profile, &before), &before);
    for (level, file) in [
        (Level::Services, "kubernetes-uninstall.plan.txt"),
        (Level::Config, "kubernetes-uninstall-config.plan.txt"),
        (Level::Data, "kubernetes-uninstall-data.plan.txt"),
    ] {
        let plan = plan_uninstall(&profile.site, level, &facts);
        check_golden("demo", file, &show(&plan));
    }
}
