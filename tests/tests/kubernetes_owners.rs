//! Whose fields and objects they are, where others have a hand in a site: what is theirs is told, and
//! taken only when somebody asks for it.
//!
//! The API server is real; nothing is waited for, since nobody runs anything.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

use e2e::apiserver_proxy::ApiProxy;
use e2e::cluster::Cluster;
use e2e::{DEMO, Output, Site};
use serde_json::json;

const TELL: &[&str] = &["install", "--yes", "--no-wait"];

#[test]
fn what_is_others_is_theirs() {
    let cluster = Cluster::start_with(&["--control-plane-only", "--kwok", "1"]);
    cluster.create(&json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {
            "name": "made",
            "annotations": { "storageclass.kubernetes.io/is-default-class": "true" },
        },
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    }));
    fields_are_taken_only_when_asked(&cluster);
    a_field_that_is_taken_in_between_stays(&cluster);
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
    site.run(TELL).expect(0);
    let other = Other {
        cluster,
        namespace: "stakeout-asked",
    };
    other.label("service/vault", "theirs");
    let file = site.folder().join("saved.json");
    let save = ["plan", "-o", file.as_str()];
    let refused = [site.run(&save), site.run(TELL)];
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
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("\"take\""), "{text}");
    site.run(&[TELL, &["--force-conflicts"]].concat()).expect(0);
    assert_eq!(other.labelled("service/vault"), "vault");
    // It is ours alone again.
    let again = site.run(&[TELL, &["--output", "json"]].concat());
    assert_eq!(again.expect(0).json()["result"], "unchanged");

    // Fields that we do not say are nobody's conflict; nor is the same value.
    let namespace = ["--namespace", "stakeout-asked"];
    let annotate = ["annotate", "service/vault", "example.com/note=theirs"];
    cluster.kubectl(&[&annotate[..], &namespace].concat());
    let scale = ["scale", "deployment/vault", "--replicas=1"];
    cluster.kubectl(&[&scale[..], &namespace].concat());
    site.write_profile(&profile("asked", LONGER));
    site.run(TELL).expect(0);
    // Another number is.
    let scale = ["scale", "deployment/agent-gate", "--replicas=0"];
    cluster.kubectl(&[&scale[..], &namespace].concat());
    let refused = site.run(TELL).expect(4);
    assert!(
        told(&refused).contains("Deployment/agent-gate: `spec.replicas` is of `kubectl`"),
        "{refused:#?}"
    );
    site.run(&[TELL, &["--force-conflicts"]].concat()).expect(0);

    // A certificate that somebody else has put in place.
    let patch = r#"{"data":{"tls.crt":"bm9uZQ=="}}"#;
    let patch = ["patch", "secret/vault-tls", "--patch", patch];
    cluster.kubectl(&[&patch[..], &namespace].concat());
    let refused = site.run(TELL).expect(4);
    assert!(
        told(&refused).contains("Secret/vault-tls: `data.tls.crt` is of `kubectl-patch` since 20"),
        "{refused:#?}"
    );
    site.run(&[TELL, &["--force-conflicts"]].concat()).expect(0);
    let again = site.run(&[TELL, &["--output", "json"]].concat());
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
    site.run(TELL).expect(0);
    site.write_profile(&profile("between", LONGER));
    let proxy = ApiProxy::stand(cluster);
    site.set("KUBECONFIG", proxy.kubeconfig().as_str());
    let (config, kubectl) = (cluster.kubeconfig(), cluster.folder().join("bin/kubectl"));
    // After the plan was shown, and the receipt written.
    proxy.after_writes(2, move || {
        let mut command = Command::new(&kubectl);
        let words = "label deployment/agent-gate stakeout.service=theirs --overwrite";
        command.env("KUBECONFIG", &config).args(words.split(' '));
        command.args(["--namespace", "stakeout-between"]);
        assert!(command.status().unwrap().success());
    });
    let stopped = site.run(TELL).expect(6);
    let line = "`metadata.labels.stakeout.service` is of `kubectl-label` since 20";
    assert!(told(&stopped).contains(line), "{stopped:#?}");
    let other = Other {
        cluster,
        namespace: "stakeout-between",
    };
    assert_eq!(other.labelled("deployment/agent-gate"), "theirs");
    // Who asked for another one has not asked for this one.
    site.run(TELL).expect(4);
    site.run(&[TELL, &["--force-conflicts"]].concat()).expect(0);
    assert_eq!(other.labelled("deployment/agent-gate"), "agent-gate");
}
