//! A site in a cluster whose network enforces NetworkPolicies: what ours let through is enough and no
//! more, and whose policies add to it or take from it is found.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use e2e::cluster::Cluster;
use e2e::{Output, STORES, Site, install_stores, wait_until};
use serde_json::{Value, json};

const NAMESPACE: &str = "stakeout-shut";
const DEPLOYED: [&str; 4] = ["minio", "ferretdb", "mosquitto", "rabbitmq"];

/// What is written takes its time to the kernel.
const PATIENCE: Duration = Duration::from_secs(90);

const NEEDED: [&str; 6] = [
    "vault minio:9000",
    "vault ferretdb:27017",
    "vault mosquitto:8883",
    "vault rabbitmq:5671",
    "agent-gate vault:8443",
    "agent-gate camera-gate:8554",
];

/// One cluster for all of it: what is proved is proved of one site.
#[test]
fn a_site_lives_with_its_own_policies_and_finds_what_others_do() {
    let cluster = Cluster::start_node(&["--network-policies"]);
    cluster.push_stand_ins(&DEPLOYED);
    let site = cluster.site("shut", STORES);
    let shut = Shut { cluster, site };
    shut.records_and_is_shut();
    shut.finds_what_is_opened_too_far();
    shut.finds_what_keeps_names_away();
    shut.finds_what_the_network_itself_forbids();
    shut.misses_its_own();
}

struct Shut {
    cluster: Cluster,
    site: Site,
}

impl Shut {
    fn told(&self) -> Value {
        let rights = self.site.run(&["rights", "--output", "json"]);
        serde_json::from_str::<Value>(&rights.stdout).unwrap()["network"].take()
    }

    /// What `rights` says when it finds this.
    fn finds(&self, words: &str) -> Output {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // It takes its time by itself.
            let rights = self.site.run(&["rights"]);
            if rights.code == Some(4) && rights.stdout.contains(words) {
                return rights;
            }
            assert!(Instant::now() < deadline, "no `{words}` in {rights:#?}");
        }
    }

    fn is_well(&self) {
        let well = || self.site.run(&["rights"]).code == Some(0);
        wait_until(PATIENCE, "nothing is wrong", well);
    }

    fn policy(&self, namespace: &str, name: &str, spec: &Value) {
        self.cluster.create(&json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": { "name": name, "namespace": namespace }, "spec": spec,
        }));
    }

    fn remove(&self, namespace: &str, what: &str) {
        self.cluster
            .kubectl(&["delete", "--namespace", namespace, what]);
    }

    /// A frame comes from the camera to the vault's store, and the events of it to both brokers, with
    /// no more than is let through.
    fn records_and_is_shut(&self) {
        let made = self.site.run(&install_stores()).expect(0).json();
        assert_eq!(made["verified"]["codec"], "h264", "{made}");
        let status = self.site.run(&["status", "--output", "json"]);
        let status = status.expect(0).json();
        assert_eq!(status["cameras"][0]["receiving"], true, "{status}");

        let rights = self.site.run(&["rights"]).expect(0);
        let said = "network policies are enforced: 6 ways that are needed are open, 13 others shut";
        assert!(rights.stdout.contains(said), "{rights:#?}");
        let told = self.told();
        assert_eq!(told["enforced"], true, "{told}");
        let tried = told["tried"].as_array().unwrap();
        let of = |allowed: bool| {
            let all = tried.iter().filter(|one| one["allowed"] == allowed);
            let all = all.inspect(|one| assert_eq!(one["reached"], allowed, "{one}"));
            let word = |one: &Value, key: &str| one[key].as_str().unwrap().to_owned();
            all.map(|one| format!("{} {}", word(one, "from"), word(one, "to")))
                .collect::<Vec<_>>()
        };
        assert_eq!(of(true), NEEDED);
        assert_eq!(of(false).len(), 13, "{told}");
    }

    fn finds_what_is_opened_too_far(&self) {
        self.policy(
            NAMESPACE,
            "wide",
            &json!({ "podSelector": {}, "policyTypes": ["Egress"], "egress": [ {} ] }),
        );
        let found = self.finds(
            "agent-gate reaches kubernetes.default.svc:443, and must not; look at NetworkPolicy wide",
        );
        // The stores let nobody else in still.
        assert!(
            !found.stdout.contains("agent-gate reaches minio"),
            "{found:#?}"
        );
        self.remove(NAMESPACE, "networkpolicy/wide");
        self.is_well();
    }

    /// As somebody's who wants every namespace to be shut, and forgot that all ask there.
    fn finds_what_keeps_names_away(&self) {
        let nobody = json!({ "podSelector": {}, "policyTypes": ["Ingress"] });
        self.policy("kube-system", "shut", &nobody);
        let found = self.finds("agent-gate finds no address of camera-gate:8554, and should");
        let place = "look at NetworkPolicy kube-system/shut";
        assert_eq!(
            found.stdout.matches(place).count(),
            NEEDED.len(),
            "{found:#?}"
        );
        self.remove("kube-system", "networkpolicy/shut");
        self.is_well();
    }

    fn finds_what_the_network_itself_forbids(&self) {
        self.cluster.create(&json!({
            "apiVersion": "crd.projectcalico.org/v1", "kind": "GlobalNetworkPolicy",
            "metadata": { "name": "default.no-cameras" },
            "spec": {
                "order": 1, "types": ["Ingress"], "ingress": [ { "action": "Deny" } ],
                "selector": "stakeout.role == 'test-camera'",
            },
        }));
        let found = self.finds(
            "agent-gate does not reach camera-gate:8554, and should; look at GlobalNetworkPolicy",
        );
        assert_eq!(found.stdout.matches("FAIL").count(), 1, "{found:#?}");
        assert!(found.stdout.contains("no-cameras"), "{found:#?}");
        let what = "globalnetworkpolicies.crd.projectcalico.org/default.no-cameras";
        self.remove("default", what);
        self.is_well();
    }

    fn misses_its_own(&self) {
        self.remove(NAMESPACE, "networkpolicy/agent-gate");
        // Not even names are for those whom nothing is let through.
        self.finds(
            "agent-gate finds no address of camera-gate:8554, and should: nobody answers it who knows \
             names; look at our own NetworkPolicy agent-gate, which is missing",
        );
        self.site.run(&install_stores()).expect(0);
        self.is_well();
    }
}
