//! A chart of our own beside a site in a real cluster: released, left alone, mended, taken away.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use e2e::cluster::Cluster;
use e2e::prometheus::Prometheus;
use e2e::shipped::run;
use e2e::{INSTALL, Output, Site, root, wait_until};
use serde_json::{Value, json};

const QUICK: &[&str] = &["install", "--yes", "--no-verify", "--output", "json"];
const NAMESPACE: &str = "stakeout-hill-lookout";

#[test]
fn a_chart_lives_beside_a_site() {
    let cluster = Cluster::start();
    // So that there is a Prometheus to be told of the site.
    cluster.extend();
    let helm = run(Command::new("bash")
        .arg(root().join("ci/parts/kubernetes"))
        .args(["tool", "helm"]));
    let chart = Chart {
        site: site(&cluster, helm.trim()),
        cluster,
        helm: helm.trim().to_owned(),
    };
    chart.is_released_and_then_left_alone();
    chart.reaches_the_vault_and_knows_that_it_is_it();
    chart.is_beside_a_site_that_prometheus_reads();
    chart.is_put_right_after_others();
    chart.is_finished_after_helm_was_killed();
    chart.comes_from_a_registry();
    chart.is_refused_where_it_cannot_be();
    chart.is_released_with_the_roles_that_are_printed();
    chart.goes_and_its_claims_with_the_data();
    what_a_site_needs_is_turned_on(&chart.cluster);
}

/// The cluster as a MicroK8s on which nothing is on, with a script for its command: the snap cannot be
/// had here. What it does is the real thing: names are answered by CoreDNS again, and volumes come from
/// the cluster's provisioner.
fn what_a_site_needs_is_turned_on(cluster: &Cluster) {
    let addons = "cluster: { addons: enable }\n";
    let rest = "cameras: [ { name: gate, test: scene } ]\nstorage: { quota: 1GiB }\n";
    let mut site = cluster.site("milk", rest);
    let folder = site.folder().to_owned();
    let keep = |name: &str, objects: &[Value]| {
        let texts: Vec<_> = objects.iter().map(Value::to_string).collect();
        fs::write(folder.join(format!("{name}.json")), texts.join("\n")).unwrap();
    };
    let taken = |namespace: &str, what: &str| {
        let mut object = cluster.get(namespace, &[what]);
        cluster.kubectl(&["delete", what, "--namespace", namespace]);
        let metadata = object["metadata"].as_object_mut().unwrap();
        metadata.retain(|key, _| ["name", "namespace", "labels"].contains(&key.as_str()));
        object
    };
    keep(
        "dns",
        &["deployment/coredns", "service/kube-dns"].map(|what| taken("kube-system", what)),
    );
    let mut class = taken("default", "storageclass/local-path");
    class["metadata"]["name"] = "microk8s-hostpath".into();
    let default = json!({ "storageclass.kubernetes.io/is-default-class": "true" });
    class["metadata"]["annotations"] = default;
    keep("hostpath-storage", &[class]);
    cluster.kubectl(&["label", "node", "--all", "microk8s.io/cluster=true"]);

    let refused = site.run(&["plan"]).expect(4);
    assert!(told(&refused).contains(addons.trim()), "{refused:#?}");
    site.write_profile(&format!(
        "version: 1\nsite: milk\ntarget: kubernetes\n{rest}{addons}"
    ));
    let refused = site.run(&["plan"]).expect(4);
    let command = "`microk8s enable hostpath-storage`";
    assert!(told(&refused).contains(command), "{refused:#?}");

    let script = folder.join("microk8s");
    let text = format!(
        "#!/bin/sh\nset -e\n[ \"$1\" = enable ]\necho \"$2\" >>'{folder}/enabled'\n\
         exec bash '{}/ci/parts/kubernetes' kubectl '{}' apply --filename \"{folder}/$2.json\"\n",
        root(),
        cluster.folder()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap();
    site.set("PATH", &format!("{folder}:{path}"));
    let made = site.run(INSTALL).expect(0).json();
    assert_eq!(made["verified"]["codec"], "h264", "{made}");
    let enabled = || fs::read_to_string(folder.join("enabled")).unwrap();
    assert_eq!(enabled(), "dns\nhostpath-storage\n");
    let claim = cluster.get("stakeout-milk", &["persistentvolumeclaim/vault"]);
    assert_eq!(claim["spec"]["storageClassName"], "microk8s-hostpath");
    let again = site.run(QUICK).expect(0).json();
    assert_eq!(again["result"], "unchanged", "{again}");

    // They are the cluster's now.
    let gone = site.run(&["uninstall", "--data", "--yes"]).expect(0);
    assert!(
        told(&gone).contains("`dns`, `hostpath-storage`"),
        "{gone:#?}"
    );
    cluster.get("kube-system", &["service/kube-dns"]);
    cluster.get("default", &["storageclass/microk8s-hostpath"]);
    assert_eq!(enabled(), "dns\nhostpath-storage\n");
}

/// The names of our own metrics in an expression.
fn metrics(expression: &str) -> Vec<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = expression.split(|c: char| !is_name(c));
    let ours = words.filter(|word| word.starts_with("stakeout_"));
    ours.filter(|word| word.contains("_agent_") || word.contains("_vault_"))
        .map(str::to_owned)
        .collect()
}

struct Chart {
    cluster: Cluster,
    site: Site,
    helm: String,
}

fn site(cluster: &Cluster, helm: &str) -> Site {
    let mut site = cluster.site("hill", "cameras: [ { name: gate, test: scene } ]\n");
    site.set("STAKEOUT_HELM", helm);
    let login = site.folder().join("door.login");
    fs::write(login, "keeper\nswordfish\n").unwrap();
    site
}

fn told(output: &Output) -> String {
    format!("{}\n{}", output.stdout, output.stderr)
}

impl Chart {
    /// The site with the chart from `source`, which goes on with `values`.
    fn write(&self, source: &str, values: &str) {
        let image = self.image();
        self.site.write_profile(&format!(
            "version: 1\nsite: hill\ntarget: kubernetes\n\
             cameras: [ {{ name: gate, test: scene }} ]\n\
             storage: {{ quota: 1GiB }}\n\
             charts:\n  - name: lookout\n    {source}\n    \
             values: {{ image: '{image}', {values} }}\n    \
             secrets: {{ door: {{ file: door.login }} }}\n    reaches: [ vault ]\n"
        ));
    }

    fn local(&self, values: &str) {
        let chart = root().join("tests/charts/lookout");
        self.write(&format!("chart: {chart}"), values);
    }

    /// The image of the site's own agents.
    fn image(&self) -> String {
        let found = self.cluster.kubectl(&[
            "get",
            "deployments",
            "--namespace=stakeout-hill",
            "--output=jsonpath={..containers[0].image}",
        ]);
        let agent = found.split(' ').find(|image| image.contains("agent"));
        agent.unwrap_or("not-yet").to_owned()
    }

    fn helm(&self) -> Command {
        let mut command = Command::new(&self.helm);
        command
            .env("KUBECONFIG", self.cluster.kubeconfig())
            .args(["--namespace", NAMESPACE]);
        command
    }

    /// Revision and status of each Secret in which Helm keeps the release.
    fn revisions(&self) -> Vec<(u64, String)> {
        let secrets = self
            .cluster
            .get(NAMESPACE, &["secrets", "--selector=owner=helm"]);
        let mut all: Vec<_> = secrets["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|secret| {
                let label = |name: &str| secret["metadata"]["labels"][name].as_str().unwrap();
                (
                    label("version").parse().unwrap(),
                    label("status").to_owned(),
                )
            })
            .collect();
        all.sort();
        all
    }

    fn newest(&self) -> (u64, String) {
        self.revisions().last().unwrap().clone()
    }

    fn is_released_and_then_left_alone(&self) {
        self.site.run(INSTALL).expect(0);
        self.local("");
        let made = self.site.run(QUICK).expect(0).json();
        assert_eq!(made["result"], "installed", "{made}");
        assert_eq!(self.newest(), (1, "deployed".to_owned()));

        // It has come up when the run ends.
        let camera = self.cluster.get(NAMESPACE, &["deployment/lookout"]);
        assert_eq!(camera["status"]["availableReplicas"], 1, "{camera}");
        let environment = &camera["spec"]["template"]["spec"]["containers"][0]["env"];
        let vault = "https://vault.stakeout-hill.svc:8443";
        let told =
            json!([{ "name": "SITE", "value": "hill" }, { "name": "VAULT", "value": vault }]);
        assert_eq!(*environment, told);
        // Its login is in a Secret and nowhere else: not in the release, not in a plan.
        let secret = self.cluster.get(NAMESPACE, &["secret/lookout-logins"]);
        assert_eq!(secret["data"]["door-user"], "a2VlcGVy");
        assert_eq!(secret["data"]["door-password"], "c3dvcmRmaXNo");
        let values = run(self.helm().args(["get", "values", "lookout", "--all"]));
        assert!(!values.contains("swordfish"), "{values}");

        let again = self.site.run(QUICK).expect(0).json();
        assert_eq!(again["result"], "unchanged", "{again}");
        assert_eq!(self.newest().0, 1);

        self.local("replicas: 2");
        self.site.run(QUICK).expect(0);
        assert_eq!(self.newest(), (2, "deployed".to_owned()));
        let camera = self.cluster.get(NAMESPACE, &["deployment/lookout"]);
        assert_eq!(camera["status"]["availableReplicas"], 2, "{camera}");
    }

    /// From the chart's own pod, by the address that it is told and with the trust that it is given.
    fn reaches_the_vault_and_knows_that_it_is_it(&self) {
        let pods = self.cluster.get(NAMESPACE, &["pods"]);
        let pod = pods["items"][0]["metadata"]["uid"].as_str().unwrap();
        let of_pod = |entry: fs::DirEntry| {
            let groups = fs::read_to_string(entry.path().join("cgroup")).ok()?;
            let line = fs::read_to_string(entry.path().join("cmdline")).ok()?;
            let camera = groups.contains(pod) && line.contains("test-camera");
            camera.then(|| entry.file_name().into_string().unwrap())
        };
        let mut processes = fs::read_dir("/proc").unwrap().flatten();
        let process = processes.find_map(of_pod).unwrap();
        let service = self.cluster.get("stakeout-hill", &["service/vault"]);
        let address = service["spec"]["clusterIP"].as_str().unwrap();
        let ask = |trust: &[&str]| {
            Command::new("nsenter")
                .args([
                    "--target",
                    &process,
                    "--net",
                    "curl",
                    "--silent",
                    "--noproxy",
                    "*",
                ])
                .args(["--connect-to", &format!("::{address}:"), "--max-time", "10"])
                .args(trust)
                .arg("https://vault.stakeout-hill.svc:8443/healthz")
                .output()
                .unwrap()
        };
        // As it lies in the pod.
        let trust = format!("/proc/{process}/root/trust/ca.crt");
        let answer = ask(&["--cacert", &trust]);
        let said = String::from_utf8_lossy(&answer.stdout);
        assert!(said.starts_with("ok"), "{answer:?}");
        // 60: nobody that is known has signed it.
        assert_eq!(ask(&[]).status.code(), Some(60));
        let policy = self.cluster.get("stakeout-hill", &["networkpolicy/vault"]);
        assert!(policy["spec"]["ingress"].to_string().contains(NAMESPACE));
    }

    /// What rules and dashboard ask for is what agents and vault tell.
    fn is_beside_a_site_that_prometheus_reads(&self) {
        let namespace = "stakeout-hill";
        let prometheus = Prometheus::of_namespace(&self.cluster, namespace);
        let both = || {
            let targets = prometheus.targets();
            targets.len() == 2 && targets.iter().all(|one| one["health"] == "up")
        };
        wait_until(Duration::from_secs(30), "agent and vault are read", both);
        let drawn = "rate(stakeout_agent_received_bytes_total[5m])";
        let twice = || !prometheus.query(drawn).is_empty();
        wait_until(Duration::from_secs(30), "they are read twice", twice);

        // Every panel draws something.
        let dashboard = self.cluster.get(namespace, &["configmap/dashboard"]);
        let dashboard = dashboard["data"]["stakeout-hill.json"].as_str().unwrap();
        let dashboard: Value = serde_json::from_str(dashboard).unwrap();
        let panels = dashboard["panels"].as_array().unwrap().iter();
        let drawn = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
        let mut expressions = 0;
        for target in drawn {
            let expression = target["expr"].as_str().unwrap();
            let expression = expression.replace("$namespace", namespace);
            let series = prometheus.query(&expression);
            assert_eq!(series.len(), 1, "{expression}: {series:?}");
            // What the legend names is there.
            let legend = target["legendFormat"].as_str().unwrap();
            if let Some((_, name)) = legend.split_once("{{") {
                let name = name.split("}}").next().unwrap();
                assert!(
                    series[0]["metric"][name].is_string(),
                    "{legend}: {series:?}"
                );
            }
            expressions += 1;
        }
        assert!(expressions >= 13, "{expressions}");

        // Every rule can be judged, and nobody is told of a site that is well.
        let judged = || {
            let rules = prometheus.rules();
            !rules.is_empty() && rules.iter().all(|rule| rule["health"] == "ok")
        };
        wait_until(Duration::from_secs(30), "the rules are judged", judged);
        for rule in prometheus.rules() {
            assert_eq!(rule["state"], "inactive", "{rule}");
            // Both sides of a comparison are there, but for what a site of this sort does not have.
            let expression = rule["query"].as_str().unwrap();
            for name in metrics(expression) {
                let found = prometheus.query(&name);
                let named = name.contains("integration");
                assert_eq!(found.is_empty(), named, "{name} of {expression}: {found:?}");
            }
        }
    }

    /// Somebody ran Helm by hand.
    fn is_put_right_after_others(&self) {
        run(self.helm().args([
            "upgrade",
            "lookout",
            root().join("tests/charts/lookout").as_str(),
            "--reuse-values",
            "--set",
            "replicas=1",
        ]));
        let plan = self.site.run(&["plan"]).expect(3);
        assert!(plan.stdout.contains("somebody else's"), "{plan:#?}");
        self.site.run(QUICK).expect(0);
        let camera = self.cluster.get(NAMESPACE, &["deployment/lookout"]);
        assert_eq!(camera["spec"]["replicas"], 2, "{camera}");
    }

    /// Helm holds a release that it was changing when it was killed; others would have to be told how
    /// to free it.
    fn is_finished_after_helm_was_killed(&self) {
        let before = self.newest().0;
        let mut killed = self
            .helm()
            .args(["upgrade", "lookout"])
            .arg(root().join("tests/charts/lookout"))
            .args(["--reuse-values", "--set", "stuck=true"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pending = || self.newest() == (before + 1, "pending-upgrade".to_owned());
        wait_until(Duration::from_secs(30), "Helm is at it", pending);
        killed.kill().unwrap();
        killed.wait().unwrap();
        let plan = self.site.run(&["plan"]).expect(3);
        assert!(plan.stdout.contains("`pending-upgrade`"), "{plan:#?}");
        self.site.run(QUICK).expect(0);
        assert_eq!(self.newest().1, "deployed");
        let again = self.site.run(QUICK).expect(0).json();
        assert_eq!(again["result"], "unchanged", "{again}");
    }

    fn comes_from_a_registry(&self) {
        let folder = self.site.folder();
        let chart = root().join("tests/charts/lookout");
        run(Command::new(&self.helm).args([
            "package",
            chart.as_str(),
            "--destination",
            folder.as_str(),
        ]));
        let registry = format!("oci://{}/charts", self.cluster.registry());
        run(Command::new(&self.helm)
            .arg("push")
            .arg(folder.join("lookout-0.3.0.tgz"))
            .args([registry.as_str(), "--plain-http"]));
        self.write(
            &format!("chart: {registry}/lookout\n    version: 0.3.0"),
            "replicas: 1",
        );
        self.site.run(QUICK).expect(0);
        let camera = self.cluster.get(NAMESPACE, &["deployment/lookout"]);
        assert_eq!(camera["spec"]["replicas"], 1, "{camera}");
        let again = self.site.run(QUICK).expect(0).json();
        assert_eq!(again["result"], "unchanged", "{again}");
        // An archive is a chart, too.
        self.write("chart: lookout-0.3.0.tgz", "replicas: 1, keeps: true");
        self.site.run(QUICK).expect(0);
    }

    fn is_refused_where_it_cannot_be(&self) {
        self.write("chart: nowhere", "");
        let refused = self.site.run(QUICK).expect(4);
        assert!(told(&refused).contains("nowhere"), "{refused:#?}");
        let mut site = site(&self.cluster, "/nonexistent/helm");
        site.set("STAKEOUT_HELM", "/nonexistent/helm");
        self.local("keeps: true");
        fs::copy(self.site.profile(), site.profile()).unwrap();
        let refused = site.run(QUICK).expect(4);
        assert!(told(&refused).contains("STAKEOUT_HELM"), "{refused:#?}");
        // What Helm says of a chart that does not render is told.
        self.local("replicas: many");
        let refused = self.site.run(QUICK);
        assert_ne!(refused.code, Some(0));
        assert!(told(&refused).contains("lookout"), "{refused:#?}");
    }

    /// By an account that has them and nothing else, from the first namespace on.
    fn is_released_with_the_roles_that_are_printed(&self) {
        self.local("replicas: 1");
        self.site.run(&["uninstall", "--data", "--yes"]).expect(0);
        let token = self.cluster.robot(&self.site);
        let kubeconfig = self.site.folder().join("kubeconfig");
        fs::copy(self.cluster.kubeconfig(), &kubeconfig).unwrap();
        for words in [
            ["set-credentials", "robot", "--token", &token],
            ["set-context", "--current", "--user", "robot"],
        ] {
            let file = ["config", "--kubeconfig", kubeconfig.as_str()];
            self.cluster.kubectl(&[&file[..], &words].concat());
        }
        let as_robot = |words: &[&str]| {
            let mut command = self.site.command(words);
            let output = command.env("KUBECONFIG", &kubeconfig).output().unwrap();
            assert!(output.status.success(), "{words:?}: {output:?}");
        };
        as_robot(QUICK);
        assert_eq!(self.newest(), (1, "deployed".to_owned()));
        as_robot(&["plan"]);
        let role = self
            .cluster
            .get(NAMESPACE, &["role/stakeout-hill-installer"]);
        let rules = role["rules"].to_string();
        // No more than this chart is made of.
        assert!(
            rules.contains("deployments") && !rules.contains('*'),
            "{rules}"
        );
        assert!(!rules.contains("ingresses"), "{rules}");
    }

    fn goes_and_its_claims_with_the_data(&self) {
        self.local("keeps: true");
        self.site.run(QUICK).expect(0);
        let there = |what: &str| -> bool {
            let found = self.cluster.get("default", &[what, "--all-namespaces"]);
            let items = found["items"].as_array().unwrap();
            items.iter().any(|item: &Value| {
                let metadata = &item["metadata"];
                metadata["namespace"] == NAMESPACE || metadata["name"] == NAMESPACE
            })
        };
        let gone = self.site.run(&["uninstall", "--yes"]).expect(0);
        assert!(told(&gone).contains("lookout-footage"), "{gone:#?}");
        assert!(there("persistentvolumeclaims"));
        self.site.run(&["uninstall", "--data", "--yes"]).expect(0);
        assert!(!there("deployments"));
        assert!(!there("namespaces"));
    }
}
