//! What a cluster does to whoever installs into it: every run ends as one that nothing happened to,
//! or says what is wrong, where, and what to do.
//!
//! The API server, its store, its controllers and its scheduler are real; the nodes only say that they
//! run what is put there, so everything is without the proof of a recording.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use e2e::admission::Webhook;
use e2e::apiserver_proxy::{ApiProxy, Fault, Rule};
use e2e::background::{Run, Stopped, elsewhere};
use e2e::cluster::Cluster;
use e2e::{DEMO, Output, Site, wait_until};
use serde_json::{Value, json};

const QUICK: &[&str] = &["install", "--yes", "--no-verify"];
const REMOVE: &[&str] = &["uninstall", "--data", "--yes"];

/// Runs of one cluster beside each other.
#[test]
fn a_cluster_fails_in_every_way() {
    let cluster = Cluster::start_with(&["--control-plane-only", "--kwok", "3"]);
    cluster.make_volumes();
    let whole = an_uninterrupted_run(&cluster);
    thread::scope(|scope| {
        let (cluster, whole) = (&cluster, &whole);
        for (name, rules) in requests() {
            scope.spawn(move || every_request_may_fail(cluster, name, &rules, whole));
        }
        scope.spawn(move || {
            of_two_runs_one_waits_for_nobody(cluster, whole);
            a_run_whose_lock_was_taken_stops(cluster, whole);
        });
        scope.spawn(move || a_namespace_that_stays_is_named_and_waited_for(cluster, whole));
        scope.spawn(move || a_webhook_that_refuses_is_named(cluster, whole));
        scope.spawn(move || a_quota_that_is_used_up_is_named(cluster));
        scope.spawn(move || a_claim_without_a_volume_is_named(cluster));
        scope.spawn(move || rights_that_go_half_way_are_named(cluster));
    });
    a_store_that_stops_for_a_while_is_waited_for(&cluster, &whole);
}

/// A site of this cluster, which is reached through `proxy` where there is one.
fn site(cluster: &Cluster, name: &str, rest: &str, proxy: Option<&ApiProxy>) -> Site {
    let mut site = cluster.site_of_no_images(name, rest);
    if let Some(proxy) = proxy {
        site.set("KUBECONFIG", proxy.kubeconfig().as_str());
    }
    site
}

fn profile(name: &str, rest: &str) -> String {
    format!("version: 1\nsite: {name}\ntarget: kubernetes\n{rest}")
}

const TWO: &str = "cameras: [ { name: gate, test: scene }, { name: yard, test: scene } ]\n\
                   storage: { provider: filesystem, quota: 1GiB }\n";

/// Everything that a run said.
fn told(output: &Output) -> String {
    format!("{}{}", output.stdout, output.stderr)
}

/// What a site consists of, whatever its name.
fn objects(cluster: &Cluster, name: &str) -> Vec<String> {
    let objects = cluster.objects(name);
    objects
        .iter()
        .map(|one| one.replace(name, "SITE"))
        .collect()
}

/// What is there with one camera, and with two.
struct Whole {
    one: Vec<String>,
    two: Vec<String>,
}

fn an_uninterrupted_run(cluster: &Cluster) -> Whole {
    let site = site(cluster, "calm", DEMO, None);
    site.run(QUICK).expect(0);
    let one = objects(cluster, "calm");
    assert!(one.len() > 10, "{one:?}");
    site.write_profile(&profile("calm", TWO));
    site.run(QUICK).expect(0);
    let two = objects(cluster, "calm");
    site.run(REMOVE).expect(0);
    assert_eq!(cluster.objects("calm"), Vec::<String>::new());
    Whole { one, two }
}

fn requests() -> Vec<(&'static str, Vec<Rule>)> {
    const WRITES: &[&str] = &["create", "update", "patch", "delete"];
    let moment = Duration::from_millis(200);
    vec![
        ("busy", vec![Rule::every(5, 30, Fault::Busy(1))]),
        ("absent", vec![Rule::every(5, 30, Fault::Unavailable)]),
        ("cut", vec![Rule::every(5, 30, Fault::Cut)]),
        ("short", vec![Rule::every(5, 30, Fault::Short)]),
        (
            "watches",
            vec![
                Rule::first(3, Fault::Gone).verbs(&["watch"]),
                Rule::first(3, Fault::Cut).verbs(&["watch"]),
                Rule::first(30, Fault::Ends(moment)).verbs(&["watch"]),
                Rule::every(2, 4, Fault::Gone).verbs(&["list"]).continued(),
                Rule::every(3, 30, Fault::Late(moment)).verbs(WRITES),
            ],
        ),
    ]
}

/// Installed, changed, changed back and removed, each as if nothing had happened.
fn every_request_may_fail(cluster: &Cluster, name: &str, rules: &[Rule], whole: &Whole) {
    let proxy = ApiProxy::stand(cluster);
    let site = site(cluster, name, DEMO, Some(&proxy));
    let checked = |expected: &[String], what: &str| {
        assert!(proxy.met() > 0, "{name}, {what}: nothing failed");
        // A Deployment goes when its pods have gone.
        wait_until(Duration::from_secs(30), what, || {
            objects(cluster, name).len() <= expected.len()
        });
        assert_eq!(objects(cluster, name), expected, "{name}, {what}");
        proxy.forget();
        if !expected.is_empty() {
            site.run(&["plan"]).expect(0);
        }
        proxy.inject_all(rules);
    };
    proxy.inject_all(rules);
    site.run(QUICK).expect(0);
    checked(&whole.one, "installed");
    site.write_profile(&profile(name, TWO));
    site.run(QUICK).expect(0);
    checked(&whole.two, "a camera more");
    site.write_profile(&profile(name, DEMO));
    site.run(QUICK).expect(0);
    checked(&whole.one, "a camera less");
    site.run(REMOVE).expect(0);
    checked(&[], "removed");
}

/// Whose lock it is; nobody's where there is none.
fn holder(cluster: &Cluster, name: &str) -> String {
    cluster.kubectl(&[
        "get",
        "lease",
        "stakeout-run",
        "--namespace",
        &format!("stakeout-{name}"),
        "--ignore-not-found",
        "--output",
        "jsonpath={.spec.holderIdentity}",
    ])
}

fn of_two_runs_one_waits_for_nobody(cluster: &Cluster, whole: &Whole) {
    let proxy = ApiProxy::stand(cluster);
    let here = site(cluster, "both", DEMO, Some(&proxy));
    let there = site(cluster, "both", DEMO, None);
    // Slow enough to be met at it.
    let late = Fault::Late(Duration::from_secs(1));
    proxy.inject(Rule::first(100, late).verbs(&["patch"]));
    let first = Run::start(here.command(QUICK));
    wait_until(Duration::from_mins(1), "the first one has the lock", || {
        let objects = cluster.objects("both");
        objects.iter().any(|one| one.starts_with("secret")) && !holder(cluster, "both").is_empty()
    });
    let (code, said) = Run::start(elsewhere(&there.command(QUICK))).end();
    assert_eq!(code, Some(8), "{said}");
    assert!(said.contains(&holder(cluster, "both")), "{said}");
    let (code, said) = first.end();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(objects(cluster, "both"), whole.one);

    // Both find nothing, and begin at the same time.
    proxy.forget();
    here.run(REMOVE).expect(0);
    let runs = [here.command(QUICK), elsewhere(&there.command(QUICK))].map(Run::start);
    let ended = runs.map(Run::end);
    let codes = ended.each_ref().map(|(code, _)| *code);
    assert!(codes.contains(&Some(0)), "{ended:#?}");
    assert!(
        codes.iter().all(|code| [Some(0), Some(8)].contains(code)),
        "{ended:#?}"
    );
    assert_eq!(objects(cluster, "both"), whole.one);
    here.run(&["plan"]).expect(0);
    here.run(REMOVE).expect(0);
}

fn a_run_whose_lock_was_taken_stops(cluster: &Cluster, whole: &Whole) {
    let proxy = ApiProxy::stand(cluster);
    let site = site(cluster, "taken", DEMO, Some(&proxy));
    let late = Fault::Late(Duration::from_secs(4));
    proxy.inject(Rule::first(100, late).verbs(&["patch"]));
    let run = Run::start(site.command(QUICK));
    wait_until(Duration::from_mins(1), "it has the lock", || {
        !holder(cluster, "taken").is_empty()
    });
    let other = r#"{"spec":{"holderIdentity":"elsewhere/1"}}"#;
    cluster.kubectl(&[
        "patch",
        "lease",
        "stakeout-run",
        "--namespace",
        "stakeout-taken",
        "--type",
        "merge",
        "--patch",
        other,
    ]);
    let (code, said) = run.end();
    assert_eq!(code, Some(8), "{said}");
    assert!(
        said.contains("another run has taken the site's lock"),
        "{said}"
    );
    // The other one's is left alone.
    assert_eq!(holder(cluster, "taken"), "elsewhere/1");
    cluster.kubectl(&[
        "delete",
        "lease",
        "stakeout-run",
        "--namespace",
        "stakeout-taken",
    ]);
    proxy.forget();
    site.run(QUICK).expect(0);
    assert_eq!(objects(cluster, "taken"), whole.one);
    site.run(REMOVE).expect(0);
}

fn a_namespace_that_stays_is_named_and_waited_for(cluster: &Cluster, whole: &Whole) {
    const HOLD: &str = "example.com/hold";
    let site = site(cluster, "stuck", DEMO, None);
    let namespace = "stakeout-stuck";
    site.run(QUICK).expect(0);
    cluster.create(&json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "theirs", "namespace": namespace, "finalizers": [HOLD] },
    }));
    let removal = Run::start(site.command(REMOVE));
    removal.says(HOLD, 60);
    removal.interrupt();
    // What is still on its way out is not installed into.
    let run = Run::start(site.command(QUICK));
    run.says(HOLD, 30);
    let none = r#"{"metadata":{"finalizers":null}}"#;
    cluster.kubectl(&[
        "patch",
        "configmap",
        "theirs",
        "--namespace",
        namespace,
        "--type",
        "merge",
        "--patch",
        none,
    ]);
    let (code, said) = run.end();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(objects(cluster, "stuck"), whole.one);
    site.run(&["plan"]).expect(0);
    site.run(REMOVE).expect(0);
}

fn a_webhook_that_refuses_is_named(cluster: &Cluster, whole: &Whole) {
    let site = site(cluster, "hooked", DEMO, None);
    let configuration = |client: &Value| {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": { "name": "stands-in-the-way" },
            "webhooks": [{
                "name": "way.example.com",
                "clientConfig": client,
                "failurePolicy": "Fail",
                "sideEffects": "None",
                "timeoutSeconds": 2,
                "admissionReviewVersions": ["v1"],
                "namespaceSelector": { "matchLabels": { "stakeout.site": "hooked" } },
                "rules": [{
                    "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"],
                    "operations": ["CREATE", "UPDATE"],
                }],
            }],
        })
    };
    // Nobody is there to be asked; somebody says no, in words that are also those of RBAC.
    let denies = Webhook::start(403, "Forbidden", "User \"you\" cannot have cameras");
    let absent = json!({ "url": "https://127.0.0.1:1/" });
    for (client, words) in [
        (absent, "failed calling webhook"),
        (denies.client(), "cannot have"),
    ] {
        cluster.create(&configuration(&client));
        let refused = site.run(QUICK).expect(6);
        let said = told(&refused);
        for part in [
            words,
            "way.example.com",
            "Deployment",
            "run the same command again",
        ] {
            assert!(said.contains(part), "{part}: {refused:#?}");
        }
        cluster.kubectl(&[
            "delete",
            "validatingwebhookconfiguration",
            "stands-in-the-way",
        ]);
    }
    site.run(QUICK).expect(0);
    assert_eq!(objects(cluster, "hooked"), whole.one);
    site.run(REMOVE).expect(0);
}

fn a_quota_that_is_used_up_is_named(cluster: &Cluster) {
    let site = site(cluster, "tight", DEMO, None);
    let namespace = "stakeout-tight";
    let quota = |what: &str, most: usize| {
        cluster.create(&json!({
            "apiVersion": "v1", "kind": "ResourceQuota",
            "metadata": { "name": "theirs", "namespace": namespace },
            "spec": { "hard": { what: most.to_string() } },
        }));
        // Nothing is refused before it has been counted.
        wait_until(Duration::from_secs(30), "the quota is counted", || {
            let found = cluster.get(namespace, &["resourcequota/theirs"]);
            !found["status"]["used"].is_null()
        });
    };
    let lift = || {
        cluster.kubectl(&[
            "delete",
            "resourcequota",
            "theirs",
            "--namespace",
            namespace,
        ])
    };
    site.run(QUICK).expect(0);
    let deployments = cluster.get(namespace, &["deployments"]);
    let count = deployments["items"].as_array().unwrap().len();
    site.write_profile(&profile("tight", TWO));
    for what in ["count/deployments.apps", "pods"] {
        quota(what, count);
        let refused = site.run(QUICK).expect(6);
        let said = told(&refused);
        for part in [
            "exceeded quota: theirs",
            "agent-yard",
            "run the same command again",
        ] {
            assert!(said.contains(part), "{what}, {part}: {refused:#?}");
        }
        assert!(refused.took < Duration::from_mins(2), "{refused:#?}");
        lift();
    }
    // Whoever makes pods has been refused, and looks again later and later.
    cluster.kubectl(&["delete", "replicasets", "--all", "--namespace", namespace]);
    site.run(QUICK).expect(0);
    site.run(&["plan"]).expect(0);
    site.run(REMOVE).expect(0);
}

fn a_claim_without_a_volume_is_named(cluster: &Cluster) {
    // More than any volume has.
    let large = DEMO.replace("1GiB", "50GiB");
    let site = site(cluster, "homeless", &large, None);
    let run = Run::start(site.command(QUICK));
    run.says("Unschedulable", 60);
    run.says("persistent volume", 10);
    let doctor = site.run(&["doctor"]).expect(4);
    assert!(told(&doctor).contains("vault"), "{doctor:#?}");
    run.interrupt();
    site.run(REMOVE).expect(0);
    assert_eq!(cluster.objects("homeless"), Vec::<String>::new());
}

fn rights_that_go_half_way_are_named(cluster: &Cluster) {
    // It never has a disk.
    let large = DEMO.replace("1GiB", "50GiB");
    let mut site = site(cluster, "granted", &large, None);
    let token = cluster.robot(&site);
    let proxy = ApiProxy::stand(cluster);
    site.set("KUBECONFIG", proxy.kubeconfig_of("robot", &token).as_str());

    let (name, namespace) = ("stakeout-granted-installer", "stakeout-granted");
    let take = {
        let config = cluster.kubeconfig();
        let kubectl = cluster.folder().join("bin/kubectl");
        move || {
            let run = |words: &[&str]| {
                let mut command = Command::new(&kubectl);
                command
                    .env("KUBECONFIG", &config)
                    .args(words)
                    .output()
                    .unwrap()
            };
            run(&["delete", "rolebinding", name, "--namespace", namespace]);
            let asks = [
                "auth",
                "can-i",
                "patch",
                "deployments",
                "--namespace",
                namespace,
            ];
            let robot = ["--as", "system:serviceaccount:default:robot"];
            wait_until(Duration::from_secs(20), "the right is gone", || {
                !run(&[&asks[..], &robot[..]].concat()).status.success()
            });
        }
    };
    for writes in [4, 12] {
        proxy.after_writes(writes, take.clone());
        let refused = site.run(QUICK).expect(9);
        let said = told(&refused);
        assert!(said.contains("the right to patch "), "{refused:#?}");
        assert!(said.contains("is missing"), "{refused:#?}");
        cluster.grant_robot(&site);
    }
    // While it waits for what it has made.
    proxy.inject(Rule::first(1_000, Fault::Ends(Duration::from_millis(500))).verbs(&["watch"]));
    let run = Run::start(site.command(QUICK));
    run.says("of 3 ready", 60);
    take();
    let (code, said) = run.end();
    assert_eq!(code, Some(9), "{said}");
    assert!(said.contains("the right to watch "), "{said}");
    cluster.grant_robot(&site);
    proxy.forget();
    site.run(REMOVE).expect(0);
    assert_eq!(cluster.objects("granted"), Vec::<String>::new());
}

/// In a cluster of its own: what lies on a lost node keeps every namespace that it is of.
#[test]
fn a_node_that_is_lost_loses_no_camera() {
    let cluster = &Cluster::start_with(&["--control-plane-only", "--kwok", "2"]);
    cluster.make_volumes();
    let site = site(cluster, "moves", TWO, None);
    let namespace = "stakeout-moves";
    site.run(QUICK).expect(0);
    // Name and node of each agent's pod that is ready and stays.
    let agents = || {
        let found = cluster.get(namespace, &["pods"]);
        let pods = found["items"].as_array().unwrap().iter();
        let ready = pods.filter(|pod| {
            let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
            let mut ready = conditions.filter(|one| one["type"] == "Ready");
            pod["metadata"]["deletionTimestamp"].is_null()
                && ready.any(|one| one["status"] == "True")
        });
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let named = ready.map(|pod| {
            (
                text(&pod["metadata"]["name"]),
                text(&pod["spec"]["nodeName"]),
            )
        });
        named
            .filter(|(name, _)| name.starts_with("agent-"))
            .collect::<BTreeMap<_, _>>()
    };
    let before = agents();
    assert_eq!(before.len(), 2, "{before:?}");
    let (_, lost) = before.first_key_value().unwrap();
    // Whoever says that a node is well looks after those with this label alone.
    cluster.kubectl(&["label", "node", lost, "type-"]);
    let begin = Instant::now();
    let noticed = || {
        let node = cluster.get("default", &["node", lost]);
        let taints = node["spec"]["taints"].as_array().into_iter().flatten();
        let mut taints = taints.filter(|taint| taint["effect"] == "NoExecute");
        taints.any(|taint| taint["key"] == "node.kubernetes.io/unreachable")
    };
    wait_until(
        Duration::from_mins(2),
        "the node is taken for lost",
        noticed,
    );
    let all_elsewhere = || {
        let now = agents();
        now.len() == 2 && now.values().all(|node| node != lost)
    };
    let tolerated = wait_until(
        Duration::from_secs(20),
        "the cameras are elsewhere",
        all_elsewhere,
    );
    let (all, told) = (begin.elapsed(), tolerated);
    let line =
        format!("elsewhere {all:?} after the last word of a node, {told:?} after its taint\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    let settled = || site.run(&["plan"]).code == Some(0);
    wait_until(Duration::from_secs(30), "nothing is left to do", settled);
}

fn a_store_that_stops_for_a_while_is_waited_for(cluster: &Cluster, whole: &Whole) {
    let site = site(cluster, "slow", DEMO, None);
    let etcd = fs::read_to_string(cluster.folder().join("run/etcd.pid")).unwrap();
    let etcd = etcd.trim().parse().unwrap();
    for command in [QUICK, REMOVE] {
        let run = Run::start(site.command(command));
        for _ in 0..2 {
            let stopped = Stopped::new(etcd);
            thread::park_timeout(Duration::from_secs(4));
            drop(stopped);
            thread::park_timeout(Duration::from_millis(300));
        }
        let (code, said) = run.end();
        assert_eq!(code, Some(0), "{said}");
        let left = if command == QUICK {
            whole.one.as_slice()
        } else {
            &[]
        };
        assert_eq!(objects(cluster, "slow"), left);
    }
}
