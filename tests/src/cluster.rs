//! A private cluster with one real node, and its own registry.

use std::fs;
use std::process::Command;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::{Value, json};

use crate::shipped::{Server, local_images, run};
use crate::{Site, free_port, root, wait_until};

/// A real Kubernetes of its own; it and all that it has go when this is dropped.
#[derive(Debug)]
pub struct Cluster {
    folder: tempfile::TempDir,
    environment: Vec<(String, String)>,
}

impl Cluster {
    /// With a node, a registry that has this machine's images, and volumes.
    pub fn start() -> Self {
        Self::start_node(&[])
    }

    /// The same with these arguments of `ci/parts/kubernetes`.
    pub fn start_node(arguments: &[&str]) -> Self {
        let cluster = Self::start_with(arguments);
        cluster.push_images();
        cluster
    }

    /// With these arguments of `ci/parts/kubernetes`, and no images.
    pub fn start_with(arguments: &[&str]) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("cluster-")
            .tempdir_in("/tmp")
            .expect("a folder in /tmp");
        let mut cluster = Self {
            folder,
            environment: Vec::new(),
        };
        let told = cluster.part("start", arguments);
        let pairs = told.lines().filter_map(|line| line.split_once('='));
        cluster.environment = pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        cluster
    }

    #[track_caller]
    fn part(&self, verb: &str, arguments: &[&str]) -> String {
        run(Command::new("bash")
            .arg(root().join("ci/parts/kubernetes"))
            .arg(verb)
            .arg(self.folder())
            .args(arguments))
    }

    fn push_images(&self) {
        let stakeout = crate::programs().join("stakeout");
        let images = local_images();
        run(Command::new(stakeout)
            .args(["image", "push", "--images", images.as_str()])
            .arg(self.registry()));
    }

    /// Puts stand-ins of other people's images into the registry, where nodes look for them.
    pub fn push_stand_ins(&self, names: &[&str]) {
        let script = root().join("ci/parts/stand-ins");
        let built = run(Command::new("bash").arg(script).arg("build").args(names));
        let files = built.lines().filter_map(|line| line.split(' ').nth(2));
        self.part("push", &files.collect::<Vec<_>>());
    }

    pub fn folder(&self) -> &Utf8Path {
        Utf8Path::from_path(self.folder.path()).expect("a folder in /tmp has a plain name")
    }

    fn variable(&self, name: &str) -> &str {
        let mut all = self.environment.iter();
        let found = all.find_map(|(one, value)| (one == name).then_some(value.as_str()));
        found.expect("ci/parts/kubernetes tells it")
    }

    pub fn kubeconfig(&self) -> Utf8PathBuf {
        self.variable("KUBECONFIG").into()
    }

    /// `HOST:PORT` of the registry that the node pulls from.
    pub fn registry(&self) -> &str {
        self.variable("REGISTRY")
    }

    /// A site for this cluster, whose profile goes on with `rest`.
    pub fn site(&self, name: &str, rest: &str) -> Site {
        let profile = format!("version: 1\nsite: {name}\ntarget: kubernetes\n{rest}");
        let mut site = Site::new(&profile);
        site.set("KUBECONFIG", self.kubeconfig().as_str());
        site.set("STAKEOUT_REGISTRY", self.registry());
        site.set("STAKEOUT_IMAGES", local_images().as_str());
        site
    }

    /// The same without a registry, on the machine that the node is: by its containerd.
    pub fn site_on_the_node(&self, name: &str, rest: &str) -> Site {
        let mut site = self.site(name, rest);
        site.unset("STAKEOUT_REGISTRY");
        site.set("CONTAINERD_ADDRESS", self.variable("CONTAINERD"));
        site
    }

    /// The same in a cluster from whose registry nobody pulls: what a release says of its images is
    /// enough.
    pub fn site_of_no_images(&self, name: &str, rest: &str) -> Site {
        let mut site = Site::new(&format!(
            "version: 1\nsite: {name}\ntarget: kubernetes\n{rest}"
        ));
        site.set("KUBECONFIG", self.kubeconfig().as_str());
        site.set("STAKEOUT_REGISTRY", "registry.invalid");
        let image = |name: &str| {
            let digest = format!("sha256:{}", "0".repeat(64));
            json!({ "repository": format!("stakeout/{name}"), "index": digest, "platforms": {} })
        };
        let release = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "revision": "of-no-commit",
            "agent": image("agent"),
            "vault": image("vault"),
        });
        let path = site.folder().join("release.json");
        fs::write(path, release.to_string()).expect("the site's folder can be written");
        let folder = site.folder().to_owned();
        site.set("STAKEOUT_IMAGES", folder.as_str());
        site
    }

    /// `kubectl create` of an object, or of a list.
    #[track_caller]
    pub fn create(&self, object: &Value) {
        let file = tempfile::NamedTempFile::new().expect("a file in /tmp");
        fs::write(file.path(), object.to_string()).expect("a file in /tmp");
        let path = file
            .path()
            .to_str()
            .expect("a file in /tmp has a plain name");
        self.kubectl(&["create", "--filename", path]);
    }

    /// Teaches it what others bring: see `ci/parts/kubernetes`.
    pub fn extend(&self) {
        self.part("extend", &[]);
    }

    /// Volumes for claims of the usual size; nobody makes others. A claim waits for its first pod, so
    /// every run here proves that this is no fault.
    pub fn make_volumes(&self) {
        let class = json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
            "metadata": {
                "name": "made",
                "annotations": { "storageclass.kubernetes.io/is-default-class": "true" },
            },
            "provisioner": "kubernetes.io/no-provisioner",
            "volumeBindingMode": "WaitForFirstConsumer",
        });
        let volume = |n: usize| {
            json!({
                "apiVersion": "v1", "kind": "PersistentVolume",
                "metadata": { "name": format!("made-{n}") },
                "spec": {
                    "capacity": { "storage": "10Gi" }, "accessModes": ["ReadWriteOnce"],
                    "storageClassName": "made", "persistentVolumeReclaimPolicy": "Retain",
                    "hostPath": { "path": "/nonexistent" },
                },
            })
        };
        let mut items: Vec<_> = (0..30).map(volume).collect();
        items.push(class);
        self.create(&json!({ "apiVersion": "v1", "kind": "List", "items": items }));
    }

    /// Ends one of the cluster's programs by SIGKILL, or restarts it.
    pub fn component(&self, verb: &str, name: &str) {
        self.part(verb, &[name]);
    }

    /// `kubectl ARGUMENTS`.
    #[track_caller]
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        self.part("kubectl", arguments)
    }

    /// The token of a new account, `default/robot`, with the roles that `rights` prints for it alone.
    pub fn robot(&self, site: &Site) -> String {
        let namespace = ["--namespace", "default"];
        let kubectl = |words: &[&str]| self.kubectl(&[words, &namespace].concat());
        kubectl(&["create", "serviceaccount", "robot"]);
        self.grant_robot(site);
        kubectl(&["create", "token", "robot"])
    }

    /// Gives that account its roles again.
    pub fn grant_robot(&self, site: &Site) {
        let roles = site.run(&["rights", "--role-for", "default:robot"]);
        let file = site.folder().join("roles.json");
        fs::write(&file, roles.expect(0).stdout).expect("the site's folder can be written");
        self.kubectl(&["apply", "--filename", file.as_str()]);
    }

    /// What the cluster tells of one object, or of a list.
    #[track_caller]
    pub fn get(&self, namespace: &str, what: &[&str]) -> Value {
        let mut words = vec!["get", "--namespace", namespace, "--output", "json"];
        words.extend(what);
        serde_json::from_str(&self.kubectl(&words)).expect("kubectl writes JSON")
    }

    /// Where on this machine what is in a claim lies.
    #[track_caller]
    pub fn volume(&self, namespace: &str, claim: &str) -> Utf8PathBuf {
        let found = self.get(namespace, &[&format!("persistentvolumeclaim/{claim}")]);
        let volume = found["spec"]["volumeName"].as_str().unwrap_or_default();
        let volumes = self.folder().join("data/volumes");
        volumes.join(format!("{volume}_{namespace}_{claim}"))
    }

    /// Leads to a port of a pod of this deployment, until it is dropped.
    pub fn forward(&self, namespace: &str, deployment: &str, port: u16) -> Forward {
        let here = free_port();
        let mut command = Command::new("bash");
        command
            .arg(root().join("ci/parts/kubernetes"))
            .args(["kubectl", self.folder().as_str(), "port-forward"])
            .args(["--namespace", namespace])
            .arg(format!("deployment/{deployment}"))
            .arg(format!("{here}:{port}"));
        let log = self.folder().join(format!("log/forward-{deployment}.log"));
        let server = Server::start(&mut command, &log);
        // Asked by a connection that is dropped again, it may end with that.
        let listens = || {
            let said = fs::read_to_string(&log);
            said.is_ok_and(|said| said.contains(&format!("Forwarding from 127.0.0.1:{here}")))
        };
        wait_until(Duration::from_secs(20), "kubectl listens", listens);
        Forward {
            port: here,
            _server: server,
        }
    }

    /// Names of everything that has the labels of a site, as `kind/name`, sorted.
    pub fn objects(&self, site: &str) -> Vec<String> {
        let kinds = "deployments,services,secrets,configmaps,persistentvolumeclaims,serviceaccounts,\
                     networkpolicies,resourcequotas,namespaces,validatingadmissionpolicies,\
                     validatingadmissionpolicybindings";
        let (namespace, label) = (format!("stakeout-{site}"), format!("stakeout.site={site}"));
        let told = self.kubectl(&[
            "get",
            kinds,
            "--namespace",
            &namespace,
            "--selector",
            &label,
            "--output",
            "name",
        ]);
        let mut names: Vec<_> = told.lines().map(str::to_owned).collect();
        names.sort();
        names
    }
}

/// A port of 127.0.0.1 that leads into a pod.
#[derive(Debug)]
pub struct Forward {
    pub port: u16,
    _server: Server,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let removed = Command::new("bash")
            .arg(root().join("ci/parts/kubernetes"))
            .arg("stop")
            .arg(self.folder())
            .status();
        drop(removed);
    }
}
