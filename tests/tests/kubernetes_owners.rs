//! Whose fields and objects they are, where others have a hand in a site: what is theirs is told, and
//! taken only when somebody asks for it.
//!
//! The API server is real, and so are kubectl and Helm; the node only says that it runs what is put
//! there.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::process::Command;

use e2e::apiserver_proxy::ApiProxy;
use e2e::cluster::Cluster;
use e2e::shipped::run;
use e2e::{DEMO, Output, Site, root};
use serde_json::{Value, json};

const QUICK: &[&str] = &["install", "--yes", "--no-verify"];

#[test]
fn what_is_others_is_theirs() {
    let cluster = Cluster::start_with(&["--control-plane-only", "--kwok", "1"]);
    cluster.make_volumes();
    fields_are_taken_only_when_asked(&cluster);
    a_field_that_is_taken_in_between_stays(&cluster);
    a_look_alike_survives_prune(&cluster);
    what_others_made_is_adopted_with_its_fields(&cluster);
    run(Command::new("bash")
        .arg(root().join("ci/parts/kubernetes"))
        .arg("extend")
        .arg(cluster.folder()));
    what_has_a_name_of_ours_is_told_whatever_its_kind(&cluster);
}

/// Everything that a run said.
fn told(output: &Output) -> String {
    format!("{}{}", output.stdout, output.stderr)
}

/// What another one does to an object of a site.
struct Other<'a> {
    cluster: &'a Cluster,
    namespace: &'a str,
}

impl Other<'_> {
    /// Says whose service an object is.
    fn label(&self, object: &str, service: &str) {
        let label = format!("stakeout.service={service}");
        let namespace = ["--namespace", self.namespace];
        self.cluster
            .kubectl(&[&["label", object, &label, "--overwrite"][..], &namespace].concat());
    }

    fn labelled(&self, object: &str) -> String {
        let found = self.cluster.get(self.namespace, &[object]);
        let label = found["metadata"]["labels"]["stakeout.service"].as_str();
        label.unwrap().to_owned()
    }
}

fn fields_are_taken_only_when_asked(cluster: &Cluster) {
    let site = cluster.site_of_no_images("asked", DEMO);
    site.run(QUICK).expect(0);
    let other = Other {
        cluster,
        namespace: "stakeout-asked",
    };
    other.label("service/vault", "theirs");
    let file = site.folder().join("saved.json");
    let save = ["plan", "-o", file.as_str()];
    let refused = [site.run(&save), site.run(QUICK)];
    let apply = ["apply", file.as_str(), "--yes", "--no-verify"];
    for refused in refused.into_iter().chain([site.run(&apply)]) {
        let refused = refused.expect(4);
        let said = told(&refused);
        for part in [
            "Service/vault: `metadata.labels.stakeout.service` is of `kubectl-label` since 20",
            "--force-conflicts",
            "let that manager give them up",
        ] {
            assert!(said.contains(part), "{part}: {refused:#?}");
        }
    }
    assert_eq!(other.labelled("service/vault"), "theirs");

    // What was asked for is saved with the plan.
    let forced = site.run(&[&save[..], &["--force-conflicts"]].concat());
    let said = forced.expect(3).stdout;
    assert!(said.contains("taken from other managers"), "{said}");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("\"take\""), "{text}");
    site.run(&[QUICK, &["--force-conflicts"]].concat())
        .expect(0);
    assert_eq!(other.labelled("service/vault"), "vault");
    // It is ours alone again.
    let again = site.run(&[QUICK, &["--output", "json"]].concat());
    assert_eq!(again.expect(0).json()["result"], "unchanged");

    // Fields that we do not say are nobody's conflict; nor is the same value.
    let namespace = ["--namespace", "stakeout-asked"];
    let annotate = ["annotate", "service/vault", "example.com/note=theirs"];
    cluster.kubectl(&[&annotate[..], &namespace].concat());
    let replicas = |object: &str, count: u32| {
        let patch = json!({ "spec": { "replicas": count } }).to_string();
        cluster.kubectl(&[&["patch", object, "--patch", &patch][..], &namespace].concat());
    };
    replicas("deployment/vault", 1);
    site.write_profile(&profile("asked", LONGER));
    site.run(QUICK).expect(0);
    // Another number is.
    replicas("deployment/agent-gate", 0);
    let refused = site.run(QUICK).expect(4);
    assert!(
        told(&refused).contains("Deployment/agent-gate: `spec.replicas` is of `kubectl-patch`"),
        "{refused:#?}"
    );
    site.run(&[QUICK, &["--force-conflicts"]].concat())
        .expect(0);

    // A certificate that somebody else has put in place.
    let patch = r#"{"data":{"tls.crt":"bm9uZQ=="}}"#;
    let patch = ["patch", "secret/vault-tls", "--patch", patch];
    cluster.kubectl(&[&patch[..], &namespace].concat());
    let refused = site.run(QUICK).expect(4);
    assert!(
        told(&refused).contains("Secret/vault-tls: `data.tls.crt` is of `kubectl-patch` since 20"),
        "{refused:#?}"
    );
    site.run(&[QUICK, &["--force-conflicts"]].concat())
        .expect(0);
    let again = site.run(&[QUICK, &["--output", "json"]].concat());
    assert_eq!(again.expect(0).json()["result"], "unchanged");

    // Nobody else is at a host.
    let here = Site::new(&e2e::profile("here", DEMO));
    here.run(&["install", "--yes", "--force-conflicts"])
        .expect(10);
}

const LONGER: &str = "cameras: [ { name: gate, test: scene, record: { longest: 30s } } ]\n\
                      storage: { provider: filesystem, quota: 1GiB }\n";

fn profile(name: &str, rest: &str) -> String {
    format!("version: 1\nsite: {name}\ntarget: kubernetes\n{rest}")
}

fn a_field_that_is_taken_in_between_stays(cluster: &Cluster) {
    let mut site = cluster.site_of_no_images("between", DEMO);
    site.run(QUICK).expect(0);
    site.write_profile(&profile("between", LONGER));
    let proxy = ApiProxy::stand(cluster);
    site.set("KUBECONFIG", proxy.kubeconfig().as_str());
    let (config, kubectl) = (cluster.kubeconfig(), cluster.folder().join("bin/kubectl"));
    // After the plan was shown.
    proxy.before("patch", "deployments", move || {
        let mut command = Command::new(&kubectl);
        let words = "label deployment/agent-gate stakeout.service=theirs --overwrite";
        command.env("KUBECONFIG", &config).args(words.split(' '));
        command.args(["--namespace", "stakeout-between"]);
        assert!(command.status().unwrap().success());
    });
    let stopped = site.run(QUICK).expect(6);
    let line = "`metadata.labels.stakeout.service` is of `kubectl-label` since 20";
    assert!(told(&stopped).contains(line), "{stopped:#?}");
    let other = Other {
        cluster,
        namespace: "stakeout-between",
    };
    assert_eq!(other.labelled("deployment/agent-gate"), "theirs");
    // Who asked for another one has not asked for this one.
    site.run(QUICK).expect(4);
    site.run(&[QUICK, &["--force-conflicts"]].concat())
        .expect(0);
    assert_eq!(other.labelled("deployment/agent-gate"), "agent-gate");
}

const TWO: &str = "cameras: [ { name: gate, test: scene }, { name: yard, test: scene } ]\n\
                   storage: { provider: filesystem, quota: 1GiB }\n";

/// With our labels, made by somebody else.
fn look_alike(cluster: &Cluster, kind: &str, name: &str) -> Value {
    let found = cluster.get("stakeout-twins", &[&format!("{kind}/{name}")]);
    json!({
        "apiVersion": found["apiVersion"], "kind": found["kind"],
        "metadata": {
            "name": name, "namespace": "stakeout-twins", "labels": found["metadata"]["labels"],
        },
        "spec": found["spec"],
    })
}

fn a_look_alike_survives_prune(cluster: &Cluster) {
    let mut site = cluster.site_of_no_images("twins", TWO);
    site.run(QUICK).expect(0);
    // One under another name is told of, and in nobody's way.
    let mut twin = look_alike(cluster, "networkpolicy", "agent-yard");
    twin["metadata"]["name"] = "agent-twin".into();
    cluster.create(&twin);
    // One that takes a name between the plan and the removal is another: its UID says so.
    let twin = look_alike(cluster, "networkpolicy", "agent-yard");
    let file = site.folder().join("twin.json");
    fs::write(&file, twin.to_string()).unwrap();
    let proxy = ApiProxy::stand(cluster);
    let (config, kubectl) = (cluster.kubeconfig(), cluster.folder().join("bin/kubectl"));
    proxy.before("delete", "networkpolicies", move || {
        let words = ["replace", "--force", "--filename", file.as_str()];
        let mut command = Command::new(&kubectl);
        let status = command.env("KUBECONFIG", &config).args(words).status();
        assert!(status.unwrap().success());
    });
    site.set("KUBECONFIG", proxy.kubeconfig().as_str());
    site.write_profile(&profile("twins", DEMO));
    let run = site.run(QUICK).expect(0);
    assert!(
        told(&run).contains("NetworkPolicy/agent-twin looks like ours and is not"),
        "{run:#?}"
    );
    let left = cluster.objects("twins");
    assert!(!left.contains(&"secret/agent-yard".to_owned()), "{left:?}");
    for name in ["agent-twin", "agent-yard"] {
        cluster.get("stakeout-twins", &[&format!("networkpolicy/{name}")]);
    }
    // From now on it is known to be another's.
    let again = site.run(QUICK).expect(0);
    assert!(
        told(&again).contains("NetworkPolicy/agent-yard looks like ours"),
        "{again:#?}"
    );
    cluster.get("stakeout-twins", &["networkpolicy/agent-yard"]);
}

/// A Secret by `kubectl create`, a NetworkPolicy by `kubectl apply`, a Service by Helm.
fn what_others_made_is_adopted_with_its_fields(cluster: &Cluster) {
    let group = format!("agents: {{ isolation: group }}\n{TWO}");
    let site = cluster.site_of_no_images("older", &group);
    let namespace = "stakeout-older";
    let kubectl = |words: &[&str]| cluster.kubectl(&[words, &["--namespace", namespace]].concat());
    kubectl(&["create", "namespace", namespace]);
    kubectl(&["label", "namespace", namespace, "stakeout.site=older"]);
    let login = "--from-literal=camera-yard-login.1=us\npass";
    kubectl(&["create", "secret", "generic", "agent", login]);
    kubectl(&["label", "secret", "agent", "stakeout.site=older"]);

    let planned = site.run(&["plan", "--output", "json"]).json();
    let made = |id: &str| {
        let mut steps = planned["steps"].as_array().unwrap().iter();
        let step = steps.find(|step| step["id"] == id).unwrap();
        let manifest = step["action"]["kubernetes"]["object"]["manifest"].as_str();
        let mut object: Value = serde_json::from_str(manifest.unwrap()).unwrap();
        let labels = object["metadata"]["labels"].as_object_mut().unwrap();
        labels.remove("stakeout.installation");
        labels.insert("theirs".to_owned(), "x".into());
        object
    };
    let file = site.folder().join("policy.json");
    fs::write(&file, made("NetworkPolicy/vault").to_string()).unwrap();
    kubectl(&["apply", "--filename", file.as_str()]);
    let chart = site.folder().join("chart");
    fs::create_dir_all(chart.join("templates")).unwrap();
    fs::write(
        chart.join("Chart.yaml"),
        "apiVersion: v2\nname: older\nversion: 1.0.0\n",
    )
    .unwrap();
    let service = made("Service/vault").to_string();
    fs::write(chart.join("templates/service.yaml"), service).unwrap();
    let helm = run(Command::new("bash")
        .arg(root().join("ci/parts/kubernetes"))
        .args(["tool", "helm"]));
    run(Command::new(helm.trim())
        .args(["install", "older", chart.as_str(), "--namespace", namespace])
        .env("KUBECONFIG", cluster.kubeconfig()));

    let objects = ["secret/agent", "networkpolicy/vault", "service/vault"];
    let all = || objects.map(|object| cluster.get(namespace, &[object]));
    let before = all();
    site.run(QUICK).expect(0);
    let after = all();
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before["metadata"]["uid"], after["metadata"]["uid"]);
        let metadata = &after["metadata"];
        assert_eq!(metadata["labels"]["theirs"], Value::Null, "{metadata}");
        assert_eq!(metadata["annotations"], Value::Null, "{metadata}");
    }
    let key = |secret: &Value| secret["data"]["camera-yard-login.1"].clone();
    assert_eq!(key(&before[0]), key(&after[0]));
    let again = site.run(&[QUICK, &["--output", "json"]].concat());
    assert_eq!(again.expect(0).json()["result"], "unchanged");

    // What the profile no longer says goes, whoever said it first.
    site.write_profile(&profile(
        "older",
        &group.replace(", { name: yard, test: scene }", ""),
    ));
    site.run(QUICK).expect(0);
    let last = all();
    assert_eq!(key(&last[0]), Value::Null);
    assert_eq!(before[0]["metadata"]["uid"], last[0]["metadata"]["uid"]);
}

fn what_has_a_name_of_ours_is_told_whatever_its_kind(cluster: &Cluster) {
    let access = "access: { names: [ vault.example.org ], tls: { cert_manager: { issuer: own } }, \
                  exposure: ingress, class: some }";
    let profile = format!("{DEMO}{access}\n");
    let site = cluster.site_of_no_images("named", &profile);
    let namespace = "stakeout-named";
    cluster.create(&json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
        "metadata": { "name": "some" },
        "spec": { "controller": "k8s.io/ingress-nginx" },
    }));
    cluster.create(&json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": { "name": namespace, "labels": { "stakeout.site": "named" } },
    }));
    let planned = site.run(&["plan", "--output", "json"]).json();
    let kinds = [
        "Certificate",
        "Ingress",
        "PodDisruptionBudget",
        "PodMonitor",
        "PrometheusRule",
    ];
    let mut foreign = Vec::new();
    for step in planned["steps"].as_array().unwrap() {
        let object = &step["action"]["kubernetes"]["object"];
        let Some(manifest) = object["manifest"].as_str() else {
            continue;
        };
        let mut object: Value = serde_json::from_str(manifest).unwrap();
        if kinds.iter().any(|kind| object["kind"] == *kind) {
            object["metadata"]["labels"] = json!({});
            cluster.create(&object);
            foreign.push(step["id"].as_str().unwrap().to_owned());
        }
    }
    for kind in ["Certificate", "Ingress", "PodMonitor", "PrometheusRule"] {
        assert!(foreign.iter().any(|id| id.starts_with(kind)), "{foreign:?}");
    }
    let refused = site.run(&["plan"]).expect(4);
    for id in &foreign {
        let line = format!("{id} in namespace `{namespace}` is not ours");
        assert!(told(&refused).contains(&line), "{line}: {refused:#?}");
    }
}
