//! Every shipped profile, planned for a host that was never there: the text is the test.
//!
//! `UPDATE_GOLDEN=1 cargo test -p e2e --test golden` writes what the code says now.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod addons;
mod charts;
mod drift;
mod flavours;
mod kubernetes;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use e2e::root;
use installer_plan::docker::{self, DockerFacts, Engine, ImageFact, ImageStanding};
use installer_plan::host::{Level, plan, plan_uninstall};
use installer_plan::{
    AccessFacts, Action, CertificateFact, CertificateFacts, DataDirectory, Disk, Facts, HostAction,
    Machine, Owned, PathFact, PortFact, Promise, Receipt, SecretFact, ServiceFact, ServiceManager,
    Severity, Writable, digest_of, show,
};
use installer_render::docker::Component;
use installer_render::host::Program;
use installer_spec::{Lists, Profile, SourceFile, TargetChoice, parse};

struct Folder(Utf8PathBuf);

impl Lists for Folder {
    fn fetch(&self, path: &Utf8Path) -> io::Result<Vec<u8>> {
        fs::read(self.0.join(path))
    }
}

/// Those that say nothing of a target but a plain machine.
fn host_profiles() -> impl Iterator<Item = (String, Profile)> {
    let elsewhere = [TargetChoice::Docker, TargetChoice::Kubernetes];
    let on_host = move |(_, profile): &(_, Profile)| !elsewhere.contains(&profile.target);
    profiles().into_iter().filter(on_host)
}

/// Those that a container engine understands.
fn engine_profiles() -> impl Iterator<Item = (String, Profile)> {
    let on_engine = |(_, profile): &(_, Profile)| profile.target != TargetChoice::Kubernetes;
    profiles().into_iter().filter(on_engine)
}

fn profiles() -> Vec<(String, Profile)> {
    let folder = root().join("profiles");
    let mut names: Vec<_> = folder
        .read_dir_utf8()
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_owned())
        .filter_map(|name| name.strip_suffix(".yaml").map(str::to_owned))
        .collect();
    names.sort();
    assert!(names.len() >= 4, "the profiles are gone: {names:?}");
    let read = |name: String| {
        let text = fs::read_to_string(folder.join(format!("{name}.yaml"))).unwrap();
        let source = SourceFile {
            name: &name,
            text: &text,
        };
        let parsed = parse(&source, &Folder(folder.clone()))
            .unwrap_or_else(|faults| panic!("{name}: {faults:#?}"));
        (name, parsed.profile)
    };
    names.into_iter().map(read).collect()
}

/// A bare machine with 100 GiB free.
fn bare(manager: ServiceManager) -> Facts {
    let program = |program: Program| {
        let path = Utf8Path::new("/opt/stakeout").join(program.file_name());
        (program, (path, digest_of(&program)))
    };
    Facts {
        machine: Machine {
            hostname: "pi".into(),
            id: "0f0f".into(),
            arch: "aarch64".into(),
            cpus: 4,
            memory_bytes: 4 << 30,
            uid: 0,
            manager,
            service_user: false,
        },
        data: DataDirectory {
            path: "/var/lib/stakeout/site".into(),
            writable: Writable::Yes,
            disk: Disk {
                free_bytes: 100 << 30,
                total_bytes: 128 << 30,
                footage_bytes: 0,
            },
        },
        programs: Program::ALL.into_iter().map(program).collect(),
        paths: BTreeMap::new(),
        secrets: BTreeMap::new(),
        missing_logins: BTreeMap::new(),
        certificates: CertificateFacts::default(),
        access: AccessFacts::default(),
        services: BTreeMap::new(),
        supervisor: false,
        ports: PortFact {
            free: (20_001..20_400).collect(),
            taken: BTreeSet::new(),
        },
        receipt: None,
        carried: BTreeMap::new(),
        rotate: BTreeSet::new(),
        cameras: BTreeMap::new(),
    }
}

fn check_golden(name: &str, file: &str, text: &str) {
    let path = root().join("tests/golden").join(name).join(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        text, golden,
        "{path} is stale; UPDATE_GOLDEN=1 writes it anew, then read it"
    );
}

#[test]
fn every_profile_plans_as_its_golden_text_says() {
    for (name, profile) in host_profiles() {
        let folder = Utf8Path::new("/etc/stakeout");
        for (manager, file) in [
            (ServiceManager::Systemd, "host.plan.txt"),
            (ServiceManager::Supervisor, "host-supervisor.plan.txt"),
        ] {
            let plan = plan(&profile, folder, &bare(manager), Promise::Whole).unwrap();
            check_golden(&name, file, &show(&plan));
        }
    }
}

/// An engine that has this release's images and nothing else, with 100 GiB free.
fn bare_engine() -> DockerFacts {
    let image = |component: Component| {
        let id = format!("sha256:{}", digest_of(&component));
        let fact = ImageFact {
            reference: format!("stakeout/{}:1.0.0", component.name()),
            present: Some(id.clone()),
            wanted: Some(id),
            source: None,
            standing: ImageStanding::Pinned,
            obstacle: None,
        };
        (component, fact)
    };
    DockerFacts {
        engine: Engine {
            id: "e0e0".into(),
            name: "pi".into(),
            version: "29.0.0".into(),
            api: "1.52".into(),
            platform: "linux/arm64".into(),
            rootless: false,
            cgroup_version: "2".into(),
            storage_driver: "overlay2".into(),
            root: "/var/lib/docker".into(),
            cpus: 4,
            memory_bytes: 4 << 30,
            local: true,
        },
        data: "/var/lib/stakeout/site".into(),
        disk: Some(Disk {
            free_bytes: 100 << 30,
            total_bytes: 128 << 30,
            footage_bytes: 0,
        }),
        installation: "0123456789abcdef".into(),
        owner: 10_001,
        images: Component::ALL.into_iter().map(image).collect(),
        networks: BTreeMap::new(),
        containers: BTreeMap::new(),
        paths: BTreeMap::new(),
        secrets: BTreeMap::new(),
        missing_logins: BTreeMap::new(),
        certificates: CertificateFacts::default(),
        access: AccessFacts::default(),
        receipt: None,
        carried: BTreeMap::new(),
        rotate: BTreeSet::new(),
        cameras: BTreeMap::new(),
    }
}

#[test]
fn every_profile_plans_for_an_engine_as_its_golden_text_says() {
    for (name, profile) in engine_profiles() {
        let folder = Utf8Path::new("/etc/stakeout");
        let plan = docker::plan(&profile, folder, &bare_engine(), Promise::Whole).unwrap();
        check_golden(&name, "docker.plan.txt", &show(&plan));
    }
}

#[test]
fn several_vaults_are_refused_where_there_is_one_machine() {
    let (_, mut profile) = profiles()
        .into_iter()
        .find(|(n, _)| n == "replicas")
        .unwrap();
    profile.target = TargetChoice::Auto;
    let folder = Utf8Path::new("/etc/stakeout");
    let host = plan(
        &profile,
        folder,
        &bare(ServiceManager::Systemd),
        Promise::Whole,
    );
    let engine = docker::plan(&profile, folder, &bare_engine(), Promise::Whole);
    for plan in [host.unwrap(), engine.unwrap()] {
        let found = plan
            .findings
            .iter()
            .find(|one| one.id == "replicas-cluster");
        let found = found.unwrap_or_else(|| panic!("{}", show(&plan)));
        assert!(found.help.contains("--target kubernetes"), "{found:?}");
        assert_eq!(found.severity, Severity::Error);
    }
}

/// What a run that did all of a plan leaves.
fn receipt_of(plan: &installer_plan::Plan) -> Receipt {
    Receipt {
        format: 1,
        site: plan.site.clone(),
        target: plan.target.clone(),
        revision: 1,
        installer: "0.1.0".into(),
        owned: plan.owned.clone(),
        pending: None,
        previous_images: BTreeMap::new(),
        rates: BTreeMap::new(),
        verified: None,
    }
}

/// The facts that a host shows after every step of a plan was done.
fn after(plan: &installer_plan::Plan, before: &Facts) -> Facts {
    let mut facts = before.clone();
    facts.machine.service_user |= facts.machine.manager == ServiceManager::Systemd;
    for step in &plan.steps {
        let Action::Host(action) = &step.action else {
            continue;
        };
        match action {
            HostAction::MakeDirectory { path, mode, .. } => {
                facts
                    .paths
                    .insert(path.clone(), PathFact::Directory { mode: *mode });
            }
            HostAction::InstallProgram { to, digest, .. } => {
                let fact = PathFact::File {
                    digest: digest.clone(),
                    mode: 0o755,
                    text: None,
                };
                facts.paths.insert(to.clone(), fact);
            }
            HostAction::MakeSecret { name, path, .. } => {
                let fact = PathFact::File {
                    digest: String::new(),
                    mode: 0o600,
                    text: None,
                };
                facts.paths.insert(path.clone(), fact);
                let secret = facts
                    .secrets
                    .entry(name.purpose.clone())
                    .or_insert(SecretFact {
                        versions: BTreeSet::new(),
                        current: None,
                    });
                secret.versions.insert(name.version);
                secret.current = Some(name.version);
            }
            HostAction::WriteFile {
                path,
                mode,
                contents,
                ..
            } => {
                let digest = plan.owned.files[path].clone();
                let text = Some(contents.clone());
                facts.paths.insert(
                    path.clone(),
                    PathFact::File {
                        digest,
                        mode: *mode,
                        text,
                    },
                );
            }
            HostAction::RemoveFile { path } | HostAction::RemoveDirectory { path, .. } => {
                facts.paths.remove(path);
            }
            HostAction::StartService { name, .. } => {
                let digest = match &step.settle {
                    Some(
                        installer_plan::Condition::Healthy { digest, .. }
                        | installer_plan::Condition::Listening { digest, .. },
                    ) => Some(digest.clone()),
                    _ => None,
                };
                let fact = ServiceFact {
                    running: true,
                    digest,
                    enabled: true,
                };
                facts.services.insert(name.clone(), fact);
            }
            HostAction::StopService { name, .. } => {
                facts.services.remove(name);
            }
            HostAction::StartSupervisor { .. } => facts.supervisor = true,
            HostAction::MakeAuthority { .. } => facts.certificates.authority = true,
            HostAction::IssueCertificate { service, names, .. } => {
                let fact = CertificateFact {
                    names: names.clone(),
                    good: true,
                    fingerprint: "AB:CD".into(),
                    not_after: "2027-01-01T00:00:00Z".into(),
                };
                facts.certificates.services.insert(service.clone(), fact);
            }
            _ => {}
        }
    }
    facts.receipt = Some(receipt_of(plan));
    facts
}

/// The profile that publishes its vault, for a plain machine and without a login to be asked for.
fn published_on_a_host() -> Profile {
    let mut published = profiles().into_iter();
    let (_, mut profile) = published.find(|(name, _)| name == "published").unwrap();
    profile.target = TargetChoice::Host;
    profile
}

#[test]
fn a_vault_is_published_on_a_host_as_its_golden_text_says() {
    let (profile, folder) = (published_on_a_host(), Utf8Path::new("/etc/stakeout"));
    let facts = bare(ServiceManager::Systemd);
    let promised = plan(&profile, folder, &facts, Promise::Short).unwrap();
    check_golden("published", "host.plan.txt", &show(&promised));
    let units: Vec<_> = promised
        .steps
        .iter()
        .filter_map(|step| match &step.action {
            Action::Host(HostAction::WriteFile { path, contents, .. }) => {
                path.as_str().ends_with("vault.service").then_some(contents)
            }
            _ => None,
        })
        .collect();
    assert!(matches!(units.as_slice(), [unit] if !unit.contains("IPAddressDeny")));
}

#[test]
fn a_plan_that_was_done_leaves_nothing_to_do() {
    let published = ("published".to_owned(), published_on_a_host());
    for (name, profile) in host_profiles().chain([published]) {
        for manager in [ServiceManager::Systemd, ServiceManager::Supervisor] {
            let folder = Utf8Path::new("/etc/stakeout");
            let before = bare(manager);
            let first = plan(&profile, folder, &before, Promise::Whole).unwrap();
            let facts = after(&first, &before);
            let second = plan(&profile, folder, &facts, Promise::Whole).unwrap();
            assert!(second.is_empty(), "{name} {manager:?}:\n{}", show(&second));
            assert_eq!(second.owned, first.owned, "{name} {manager:?}");
        }
    }
}

#[test]
fn a_camera_more_touches_only_what_is_its_own() {
    let (_, mut profile) = profiles()
        .into_iter()
        .find(|(name, _)| name == "demo")
        .unwrap();
    let folder = Utf8Path::new("/etc/stakeout");
    let before = bare(ServiceManager::Supervisor);
    let facts = after(
        &plan(&profile, folder, &before, Promise::Whole).unwrap(),
        &before,
    );
    let mut more = profile.cameras[0].clone();
    more.name = "yard".into();
    profile.cameras.push(more);
    let change = plan(&profile, folder, &facts, Promise::Whole).unwrap();
    let ids: Vec<_> = change.steps.iter().map(|step| step.id.as_str()).collect();
    assert!(
        ids.iter()
            .all(|id| id.contains("yard") || id.contains("services.json")),
        "{}",
        show(&change)
    );
    check_golden("demo", "camera-added.plan.txt", &show(&change));
}

#[test]
fn a_new_password_is_a_new_secret_and_restarts_its_agent_alone() {
    let (_, profile) = profiles()
        .into_iter()
        .find(|(name, _)| name == "demo")
        .unwrap();
    let folder = Utf8Path::new("/etc/stakeout");
    let before = bare(ServiceManager::Supervisor);
    let mut facts = after(
        &plan(&profile, folder, &before, Promise::Whole).unwrap(),
        &before,
    );
    facts.secrets.get_mut("camera-demo-login").unwrap().current = None;
    let change = plan(&profile, folder, &facts, Promise::Whole).unwrap();
    let ids: Vec<_> = change.steps.iter().map(|step| step.id.as_str()).collect();
    assert!(
        ids.contains(&"secret camera-demo-login.2 (random login)"),
        "{ids:?}"
    );
    assert!(
        ids.iter().any(|id| id.starts_with("service agent-demo")),
        "{ids:?}"
    );
    assert!(
        !ids.iter().any(|id| id.starts_with("service vault")),
        "{ids:?}"
    );
}

#[test]
fn every_level_of_removal_is_as_its_golden_text_says_and_keeps_footage_to_the_last() {
    let (_, profile) = profiles()
        .into_iter()
        .find(|(name, _)| name == "demo")
        .unwrap();
    let before = bare(ServiceManager::Systemd);
    let install = plan(
        &profile,
        Utf8Path::new("/etc/stakeout"),
        &before,
        Promise::Whole,
    )
    .unwrap();
    let facts = after(&install, &before);
    for (level, file) in [
        (Level::Services, "uninstall.plan.txt"),
        (Level::Config, "uninstall-config.plan.txt"),
        (Level::Data, "uninstall-data.plan.txt"),
    ] {
        let removal = plan_uninstall("demo", level, &facts);
        let text = show(&removal);
        check_golden("demo", file, &text);
        let footage = text.contains("recordings") || text.contains("agents");
        assert_eq!(footage, level == Level::Data, "{text}");
        assert_eq!(removal.owned == Owned::default(), level == Level::Data);
    }
}

#[test]
fn a_plan_holds_no_secret_even_when_the_profile_does() {
    let text =
        "version: 1\nsite: s\ncameras:\n  - name: gate\n    rtsp: rtsp://u:s3cr3tpw@10.0.0.9/a\n";
    let source = SourceFile {
        name: "p.yaml",
        text,
    };
    let parsed = parse(&source, &Folder("/".into())).unwrap();
    let folder = Utf8Path::new("/etc/stakeout");
    let plan = plan(
        &parsed.profile,
        folder,
        &bare(ServiceManager::Systemd),
        Promise::Whole,
    )
    .unwrap();
    let json = serde_json::to_string(&plan).unwrap();
    assert!(!json.contains("s3cr3tpw") && !show(&plan).contains("s3cr3tpw"));
    assert!(!format!("{:?}", parsed.profile).contains("s3cr3tpw"));
    assert!(
        parsed
            .warnings
            .iter()
            .all(|warning| !warning.to_string().contains("s3cr3tpw"))
    );
}

#[test]
fn the_profile_in_the_readme_is_sound() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let text = readme
        .split("```yaml")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let source = SourceFile {
        name: "README.md",
        text,
    };
    let parsed = parse(&source, &Folder(root()));
    assert!(parsed.is_ok(), "{parsed:#?}");
}
