//! A site in a real cluster: made, left alone, changed, and taken away level by level.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use camino::Utf8PathBuf;
use e2e::background::Run;
use e2e::cluster::Cluster;
use e2e::shipped::{self, run};
use e2e::{DEMO, INSTALL, Output, Site, wait_until};
use serde_json::json;

/// Two test cameras.
const TWO: &str = "cameras: [ { name: one, test: scene }, { name: two, test: scene } ]\n\
                   storage: { provider: filesystem, quota: 1GiB }\n";

/// One cluster for all of it, with which whatever is left goes: starting one, and removing a namespace
/// from it, takes longer than what is done.
#[test]
fn a_site_lives_in_a_cluster() {
    let cluster = Cluster::start();
    a_site_is_made_hardened_and_then_left_alone(&cluster);
    a_change_touches_what_it_is_about(&cluster);
    what_others_change_is_told_and_taken_back(&cluster);
    images_come_and_go_in_waves(&cluster);
    what_is_not_ours_is_never_touched(&cluster);
    each_level_of_removal_leaves_what_it_says(&cluster);
    a_run_that_is_killed_is_finished_by_the_next(&cluster);
    a_run_waits_for_nobody_who_holds_the_lock(&cluster);
    an_api_server_that_goes_away_is_waited_for(&cluster);
    the_roles_that_are_printed_are_enough_and_no_more(&cluster);
    what_is_wrong_is_told(&cluster);
}

#[test]
fn a_cluster_that_asks_for_nobodys_rights_is_told() {
    let cluster = Cluster::start_with(&["--no-controllers", "--without-rbac"]);
    let mut site = Site::new(&format!(
        "version: 1\nsite: open\ntarget: kubernetes\n{DEMO}"
    ));
    site.set("KUBECONFIG", cluster.kubeconfig().as_str());
    let refused = site.run(&["rights"]).expect(4);
    assert!(
        told(&refused).contains("microk8s enable rbac"),
        "{refused:#?}"
    );
}

fn a_site_is_made_hardened_and_then_left_alone(cluster: &Cluster) {
    let mut elsewhere = cluster.site_on_the_node("calm", DEMO);
    elsewhere.set("PATH", "/nonexistent");
    let refused = elsewhere.run(&["plan"]).expect(4);
    assert!(told(&refused).contains("[image-way]"), "{refused:#?}");
    let line = "cannot run `ctr --namespace k8s.io images list --quiet`";
    assert!(told(&refused).contains(line), "{refused:#?}");

    let site = cluster.site_on_the_node("calm", DEMO);
    let plan = site.run(&["plan"]).expect(3);
    for image in ["agent", "vault"] {
        let line = format!("+ image of {image} on node node-1");
        assert!(plan.stdout.contains(&line), "{plan:#?}");
    }
    let made = site.run(INSTALL).expect(0).json();
    nothing_was_pulled(cluster, "stakeout-calm");
    assert_eq!(made["result"], "installed");
    assert_eq!(made["verified"]["codec"], "h264");

    // Nothing changed: nothing is written.
    let version = |name: &str| {
        let found = cluster.get("stakeout-calm", &[name]);
        found["metadata"]["resourceVersion"].to_string()
    };
    let receipt = version("secret/stakeout-receipt");
    let again = site.run(INSTALL).expect(0).json();
    assert_eq!(again["result"], "unchanged");
    assert_eq!(version("secret/stakeout-receipt"), receipt);
    site.run(&["plan"]).expect(0);

    for service in ["vault", "camera-gate", "agent-gate"] {
        let found = cluster.get("stakeout-calm", &[&format!("deployment/{service}")]);
        let pod = &found["spec"]["template"]["spec"];
        assert_eq!(pod["automountServiceAccountToken"], false, "{service}");
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{service}");
        let container = &pod["containers"][0];
        let security = &container["securityContext"];
        assert_eq!(security["readOnlyRootFilesystem"], true, "{service}");
        assert_eq!(
            security["capabilities"]["drop"],
            json!(["ALL"]),
            "{service}"
        );
        assert!(container["image"].as_str().unwrap().contains("@sha256:"));
    }
    let status = site.run(&["status", "--output", "json"]).expect(0).json();
    assert_eq!(status["cameras"][0]["receiving"], true, "{status}");
    site.run(&["doctor"]).expect(0);
}

/// The kubelet has found every image on its node.
fn nothing_was_pulled(cluster: &Cluster, namespace: &str) {
    let events = cluster.get(namespace, &["events"]);
    let events = events["items"].as_array().unwrap().iter();
    let pulled: Vec<_> = events
        .filter(|event| event["reason"] == "Pulled")
        .map(|event| event["message"].as_str().unwrap())
        .collect();
    assert!(pulled.len() >= 3, "{pulled:#?}");
    for said in pulled {
        assert!(said.contains("already present on machine"), "{said}");
    }
}

fn a_change_touches_what_it_is_about(cluster: &Cluster) {
    let site = cluster.site("moves", TWO);
    let two = TWO;
    site.run(INSTALL).expect(0);
    let pods = || {
        let found = cluster.get("stakeout-moves", &["pods"]);
        let all = found["items"].as_array().unwrap();
        let name = |pod: &serde_json::Value| pod["metadata"]["name"].to_string();
        all.iter().map(name).collect::<Vec<_>>()
    };
    let of = |pods: &[String], service: &str| {
        let mut all = pods.iter();
        all.find(|name| name.contains(service)).cloned()
    };
    let before = pods();
    let third = two.replace(
        "{ name: two, test: scene }",
        "{ name: two, test: scene, record: { longest: 30s } }, { name: three, test: scene }",
    );
    let text = |rest: &str| format!("version: 1\nsite: moves\ntarget: kubernetes\n{rest}");
    site.write_profile(&text(&third));
    site.run(INSTALL).expect(0);
    let after = pods();
    assert_eq!(of(&before, "vault"), of(&after, "vault"));
    assert_eq!(of(&before, "agent-one"), of(&after, "agent-one"));
    assert_ne!(of(&before, "agent-two"), of(&after, "agent-two"));
    assert!(of(&after, "agent-three").is_some());

    // One that is taken out goes, and the others go on.
    site.write_profile(&text(two));
    site.run(INSTALL).expect(0);
    assert!(
        !cluster
            .objects("moves")
            .iter()
            .any(|name| name.contains("three"))
    );
    assert_eq!(of(&before, "vault"), of(&pods(), "vault"));
}

fn what_others_change_is_told_and_taken_back(cluster: &Cluster) {
    let site = cluster.site("moved", TWO);
    site.run(QUICK).expect(0);
    let namespace = ["--namespace", "stakeout-moved"];
    let kubectl = |words: &[&str]| cluster.kubectl(&[words, &namespace].concat());
    let label = |value: &str| {
        let label = format!("stakeout.service={value}");
        kubectl(&["label", "service/vault", &label, "--overwrite"]);
    };
    label("other");
    let file = site.folder().join("saved.json");
    let plan = site.run(&["plan", "-o", file.as_str()]).expect(4);
    let line = "metadata.labels.stakeout.service: other → vault, changed by `kubectl-label` 20";
    assert!(plan.stdout.contains(line), "{plan:#?}");
    site.run(QUICK).expect(4);
    // A saved plan is for what it has seen.
    label("again");
    let refused = site.run(&["apply", file.as_str(), "--yes"]).expect(3);
    // With its name, and with who did it, if that was not in the same second.
    assert!(told(&refused).contains("Service/vault"), "{refused:#?}");
    site.run(&[QUICK, &["--force-conflicts"]].concat())
        .expect(0);
    site.run(&["plan"]).expect(0);

    // What stays as it was made is made anew, and what that costs is told before.
    let mut agent = cluster.get("stakeout-moved", &["deployment/agent-one"]);
    agent["spec"]["selector"]["matchLabels"]["other"] = "x".into();
    agent["spec"]["template"]["metadata"]["labels"]["other"] = "x".into();
    agent["metadata"] = json!({
        "name": "agent-one",
        "labels": agent["metadata"]["labels"].clone(),
    });
    let file = site.folder().join("agent.json");
    fs::write(&file, agent.to_string()).unwrap();
    kubectl(&["delete", "deployment/agent-one"]);
    let apply = ["apply", "--server-side", "--field-manager", "stakeout"];
    kubectl(&[&apply[..], &["--filename", file.as_str()]].concat());
    let plan = site.run(&["plan"]).expect(3);
    for line in [
        "- Deployment/agent-one (to be made anew)",
        "spec.selector stays as it was made",
        "what `one` sees is not recorded",
    ] {
        assert!(plan.stdout.contains(line), "{plan:#?}");
    }
    site.run(QUICK).expect(0);
    site.run(&["plan"]).expect(0);
}

/// Another release, in the cluster's registry: the same programs of another commit, and so other
/// images.
fn release(cluster: &Cluster, site: &Site, revision: &str) -> Utf8PathBuf {
    let programs = ["stakeout-agent", "stakeout-vault"].map(shipped_program);
    pack(cluster, site, revision, (revision, &programs))
}

fn shipped_program(name: &str) -> Utf8PathBuf {
    let triple = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    shipped::target().join(triple).join("release").join(name)
}

/// Makes images in a folder of the site's, and brings them into the cluster's registry.
fn pack(
    cluster: &Cluster,
    site: &Site,
    folder: &str,
    (revision, programs): (&str, &[Utf8PathBuf]),
) -> Utf8PathBuf {
    let folder = site.folder().join(folder);
    let stakeout = || Command::new(site.programs.join("stakeout"));
    run(stakeout()
        .args(["image", "build", "--revision", revision, "--to"])
        .arg(&folder)
        .args(programs));
    run(stakeout()
        .args(["image", "push", "--images", folder.as_str()])
        .arg(cluster.registry()));
    folder
}

const UPGRADE: &[&str] = &["upgrade", "--yes", "--proof-seconds", "2"];
const BACK: &[&str] = &["rollback", "--yes", "--proof-seconds", "2"];

/// What the cluster is told to run for both cameras: agents, then the test cameras.
fn images_in_waves(cluster: &Cluster) -> [String; 4] {
    ["agent-one", "agent-two", "camera-one", "camera-two"].map(|name| {
        let found = cluster.get("stakeout-waves", &[&format!("deployment/{name}")]);
        found["spec"]["template"]["spec"]["containers"][0]["image"].to_string()
    })
}

fn receiving(site: &Site) -> Vec<bool> {
    let status = site.run(&["status", "--output", "json"]).json();
    let cameras = status["cameras"].as_array().unwrap().iter();
    cameras.map(|camera| camera["receiving"] == true).collect()
}

fn images_come_and_go_in_waves(cluster: &Cluster) {
    let mut site = cluster.site("waves", TWO);
    site.run(INSTALL).expect(0);
    let all = || images_in_waves(cluster);
    let before = all();
    let newer = release(cluster, &site, "newer");
    site.set("STAKEOUT_IMAGES", newer.as_str());
    let upgraded = site.run(UPGRADE).expect(0);
    for line in ["wave 1 of 2", "wave 2 of 2"] {
        assert!(told(&upgraded).contains(line), "{line}: {upgraded:#?}");
    }
    let good = all();
    assert!(good.iter().zip(&before).all(|(a, b)| a != b), "{good:?}");

    // One that ends with its first wave, whatever the reason, leaves the others as they were.
    let newest = release(cluster, &site, "newest");
    site.set("STAKEOUT_IMAGES", newest.as_str());
    let begun = Run::start(site.command(UPGRADE));
    begun.says("done  Deployment/agent-one", 120);
    begun.interrupt();
    only_the_first_wave_is_replaced(&all(), &good);
    // The way back goes in waves, too: what nobody touched is left alone.
    let back = site.run(BACK).expect(0);
    let line = "wave 1 of 1: the cameras of 1 agent record again";
    assert!(told(&back).contains(line), "{back:#?}");
    assert_eq!(all(), good);
    assert_eq!(receiving(&site), [true, true]);
    a_wave_that_fails_is_the_last(cluster, &mut site, &good);
}

/// A camera's agent and the test camera that it records have one image and one turn.
#[track_caller]
fn only_the_first_wave_is_replaced(now: &[String; 4], before: &[String; 4]) {
    let replaced: Vec<_> = now.iter().zip(before).map(|(a, b)| a != b).collect();
    assert_eq!(replaced, [true, false, true, false], "{now:?} {before:?}");
}

/// Somebody has put the vault's program into the agent's image: it does not know what it is asked.
fn a_wave_that_fails_is_the_last(cluster: &Cluster, site: &mut Site, good: &[String; 4]) {
    let folder = site.folder().join("mixed-up");
    fs::create_dir(&folder).unwrap();
    let agent = folder.join("stakeout-agent");
    let vault = shipped_program("stakeout-vault");
    fs::copy(&vault, &agent).unwrap();
    // The vault's image is the one of before.
    let broken = pack(cluster, site, "broken", ("newer", &[agent, vault]));
    site.set("STAKEOUT_IMAGES", broken.as_str());
    let begun = Instant::now();
    let failed = site.run(UPGRADE).expect(6);
    // Its fourth end comes after half a minute.
    assert!(begun.elapsed() < Duration::from_secs(150), "{failed:#?}");
    for line in [
        "-one): it ends with code 2 (Error)",
        "wave 1 of 2, of camera `one`",
        "stakeout rollback",
    ] {
        assert!(told(&failed).contains(line), "{line}: {failed:#?}");
    }
    only_the_first_wave_is_replaced(&images_in_waves(cluster), good);
    assert_eq!(receiving(site), [false, true]);
    site.run(BACK).expect(0);
    assert_eq!(images_in_waves(cluster), *good);
    assert_eq!(receiving(site), [true, true]);
}

fn what_is_not_ours_is_never_touched(cluster: &Cluster) {
    cluster.kubectl(&["create", "namespace", "stakeout-twin"]);
    let site = cluster.site("twin", DEMO);
    let output = site.run(INSTALL).expect(4);
    assert!(told(&output).contains("foreign-object"), "{output:#?}");
    cluster.kubectl(&["delete", "namespace", "stakeout-twin"]);

    // Somebody's own thing, with labels that were copied from ours.
    site.run(QUICK).expect(0);
    let found = cluster.get("stakeout-twin", &["deployment/vault"]);
    let installation = found["metadata"]["labels"]["stakeout.installation"]
        .as_str()
        .unwrap();
    cluster.kubectl(&[
        "create",
        "configmap",
        "theirs",
        "--namespace",
        "stakeout-twin",
    ]);
    cluster.kubectl(&[
        "label",
        "configmap",
        "theirs",
        "--namespace",
        "stakeout-twin",
        "stakeout.site=twin",
        "stakeout.service=site",
        &format!("stakeout.installation={installation}"),
    ]);
    site.run(&["uninstall", "--data", "--yes"]).expect(0);
    let left = cluster.get("stakeout-twin", &["configmap/theirs"]);
    assert_eq!(left["metadata"]["name"], "theirs");
}

fn each_level_of_removal_leaves_what_it_says(cluster: &Cluster) {
    let site = cluster.site("leaves", DEMO);
    site.run(INSTALL).expect(0);
    let claim = || {
        let found = cluster.get("stakeout-leaves", &["persistentvolumeclaim/vault"]);
        found["metadata"]["uid"].to_string()
    };
    let token = || {
        let found = cluster.get("stakeout-leaves", &["secret/vault"]);
        found["data"]["vault-admin-token.1"].to_string()
    };
    let kept = (claim(), token());
    site.run(&["uninstall", "--yes"]).expect(0);
    let left = cluster.objects("leaves");
    assert!(
        !left.iter().any(|name| name.starts_with("deployment")),
        "{left:?}"
    );
    // It comes back with the same secrets and its footage.
    site.run(INSTALL).expect(0);
    assert_eq!((claim(), token()), kept);
    let status = site.run(&["status", "--output", "json"]).expect(0).json();
    let recordings = status["vault"]["recordings"].as_u64().unwrap();
    assert!(recordings >= 2, "{status}");

    site.run(&["uninstall", "--config", "--yes"]).expect(0);
    assert_eq!(claim(), kept.0);
    site.run(&["uninstall", "--data", "--yes"]).expect(0);
    assert_eq!(cluster.objects("leaves"), Vec::<String>::new());
    let nothing = site.run(&["uninstall", "--yes", "--output", "json"]);
    assert_eq!(nothing.expect(0).json()["result"], "unchanged");
}

/// Everything that a run said.
fn told(output: &Output) -> String {
    format!("{}{}", output.stdout, output.stderr)
}

const QUICK: &[&str] = &["install", "--yes", "--no-verify"];
const REMOVE: &[&str] = &["uninstall", "--data", "--yes"];

/// Killed after every so manieth effect; `STAKEOUT_CRASH_STEP=1` takes all.
fn a_run_that_is_killed_is_finished_by_the_next(cluster: &Cluster) {
    let step = std::env::var("STAKEOUT_CRASH_STEP").ok();
    let step = step.and_then(|step| step.parse().ok()).unwrap_or(11);
    // A namespace takes a cluster five seconds to remove, whoever asks.
    let remove = &["uninstall", "--config", "--yes"];
    let site = cluster.site("crash", DEMO);
    site.run(QUICK).expect(0);
    let whole = cluster.objects("crash");
    site.run(remove).expect(0);
    let removed = cluster.objects("crash");
    assert!(removed.len() < 5, "{removed:?}");
    let (mut killed_in_install, mut killed_in_removal) = (0, 0);
    for effects in (1..200).step_by(step) {
        let killed = site.is_killed_after(QUICK, effects);
        site.run(QUICK).expect(0);
        assert_eq!(cluster.objects("crash"), whole, "after {effects} effects");
        let again = site.run(&["plan"]);
        assert_eq!(again.code, Some(0), "{again:#?}");
        let removal = site.is_killed_after(remove, effects);
        site.run(remove).expect(0);
        let left = cluster.objects("crash");
        assert_eq!(left, removed, "after {effects} effects of removal");
        killed_in_install += u32::from(killed);
        killed_in_removal += u32::from(removal);
        if !killed && !removal {
            break;
        }
    }
    assert!(killed_in_install >= 2, "{killed_in_install}");
    assert!(killed_in_removal >= 2, "{killed_in_removal}");
}

fn a_run_waits_for_nobody_who_holds_the_lock(cluster: &Cluster) {
    let site = cluster.site("locked", DEMO);
    site.run(QUICK).expect(0);
    let now = cluster.get("stakeout-locked", &["lease/stakeout-run"]);
    let mut lease = now;
    let time = run(Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%S.000000Z"]));
    lease["spec"]["holderIdentity"] = "elsewhere/1".into();
    lease["spec"]["leaseDurationSeconds"] = 30.into();
    lease["spec"]["acquireTime"] = time.clone().into();
    lease["spec"]["renewTime"] = time.into();
    let file = site.folder().join("lease.json");
    fs::write(&file, lease.to_string()).unwrap();
    cluster.kubectl(&["replace", "--filename", file.as_str()]);
    let other = site.run(REMOVE).expect(8);
    assert!(told(&other).contains("elsewhere/1"), "{other:#?}");
    cluster.kubectl(&[
        "delete",
        "lease",
        "stakeout-run",
        "--namespace",
        "stakeout-locked",
    ]);
    site.run(&["uninstall", "--yes"]).expect(0);
}

fn an_api_server_that_goes_away_is_waited_for(cluster: &Cluster) {
    let site = cluster.site("away", DEMO);
    let run = site
        .command(QUICK)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    cluster.component("restart", "apiserver");
    let output = run.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    // Whatever it was doing, it ends well or says that the same command goes on.
    let code = output.status.code();
    assert!(
        [Some(0), Some(6), Some(7), Some(10)].contains(&code),
        "{code:?} {said}"
    );
    site.run(QUICK).expect(0);
    site.run(&["plan"]).expect(0);
}

fn the_roles_that_are_printed_are_enough_and_no_more(cluster: &Cluster) {
    let mut site = cluster.site("granted", DEMO);
    let token = cluster.robot(&site);
    let kubeconfig = site.folder().join("kubeconfig");
    fs::copy(cluster.kubeconfig(), &kubeconfig).unwrap();
    let set = |words: &[&str]| {
        let mut all = vec!["config", "--kubeconfig", kubeconfig.as_str()];
        all.extend(words);
        cluster.kubectl(&all)
    };
    set(&["set-credentials", "robot", "--token", &token]);
    set(&["set-context", "--current", "--user", "robot"]);
    site.set("KUBECONFIG", kubeconfig.as_str());
    site.run(&["rights"]).expect(0);
    site.run(INSTALL).expect(0);
    // Its network lets everything through, which one who may run programs in pods finds out.
    site.set("KUBECONFIG", cluster.kubeconfig().as_str());
    let rights = site.run(&["rights", "--output", "json"]).expect(0).json();
    assert_eq!(rights["network"]["enforced"], false, "{rights}");
    assert_eq!(rights["network"]["tried"][0]["reached"], true, "{rights}");
    assert_eq!(rights["enforced"], true, "{rights}");
    site.set("KUBECONFIG", kubeconfig.as_str());
    site.run(&["status"]).expect(0);
    site.run(&["plan"]).expect(0);

    // A right that is taken away is named, with what it is about.
    cluster.kubectl(&[
        "delete",
        "rolebinding",
        "stakeout-granted-installer",
        "--namespace",
        "stakeout-granted",
    ]);
    let refused = site.run(INSTALL).expect(9);
    assert!(told(&refused).contains("list"), "{refused:#?}");
    // An account of the site that may do more than nothing is found.
    site.set("KUBECONFIG", cluster.kubeconfig().as_str());
    cluster.kubectl(&[
        "create",
        "rolebinding",
        "wide",
        "--namespace",
        "stakeout-granted",
        "--clusterrole=view",
        "--serviceaccount=stakeout-granted:agent",
    ]);
    let wide = site.run(&["rights"]).expect(4);
    assert!(
        wide.stdout.contains("service account agent may list pods"),
        "{wide:#?}"
    );
}

fn what_is_wrong_is_told(cluster: &Cluster) {
    // More than the node has.
    let cameras: Vec<_> = (0..200)
        .map(|n| format!("{{ name: c{n}, test: scene }}"))
        .collect();
    let many = format!(
        "cameras: [ {} ]\nstorage: {{ quota: 1GiB }}\n",
        cameras.join(", ")
    );
    let site = cluster.site("many", &many);
    let refused = site.run(INSTALL).expect(4);
    assert!(told(&refused).contains("isolation: group"), "{refused:#?}");
    assert_eq!(cluster.objects("many"), Vec::<String>::new());

    // An image that the registry does not have is told of before anything is made.
    let mut site = cluster.site("imageless", DEMO);
    let nowhere = format!("{}/nowhere", cluster.registry());
    site.set("STAKEOUT_REGISTRY", &nowhere);
    let refused = site.run(QUICK).expect(4);
    assert!(told(&refused).contains("image-missing"), "{refused:#?}");
    assert_eq!(cluster.objects("imageless"), Vec::<String>::new());

    // Nodes may reach a registry that is not reached from here. The node looks for images of any
    // registry in its own, by their paths: why they are not there is told, and not after minutes.
    site.set("STAKEOUT_REGISTRY", "127.0.0.1:1/nowhere");
    let mut run = site
        .command(QUICK)
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let namespace = "stakeout-imageless";
    let waits = || {
        let pods = cluster.get(namespace, &["pods"]);
        pods.to_string().contains("ImagePullBackOff")
    };
    wait_until(Duration::from_mins(2), "the image is not there", waits);
    let doctor = site.run(&["doctor"]).expect(4);
    assert!(told(&doctor).contains("ImagePull"), "{doctor:#?}");
    run.kill().unwrap();
    run.wait().unwrap();

    // A cluster that nobody knows, and a file that is not there.
    let mut site = cluster.site("nowhere", DEMO);
    site.run(&["plan", "--context", "nobody"]).expect(2);
    site.set("KUBECONFIG", "/nonexistent");
    site.run(&["plan"]).expect(2);
}
