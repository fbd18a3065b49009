//! A site with an object store, a database and brokers of its own in a real cluster, with the real servers
//! in its pods.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::cluster::Cluster;
use e2e::shipped::run;
use e2e::{INSTALL, STORES, Site, install_stores, wait_until};
use serde_json::{Value, json};

/// Without the proof, where it was given before.
const QUICK: &[&str] = &[
    "install",
    "--yes",
    "--no-verify",
    "--allow-unverified-images",
];

const NAMESPACE: &str = "stakeout-full";
const DEPLOYED: [&str; 4] = ["minio", "ferretdb", "mosquitto", "rabbitmq"];

/// Events travel within seconds; two busy cores take longer.
const PATIENCE: Duration = Duration::from_mins(1);

/// One cluster for all of it: what is proved is proved of one site.
#[test]
fn a_site_uses_its_own_object_store_database_and_brokers() {
    let cluster = Cluster::start();
    cluster.push_stand_ins(&DEPLOYED);
    let full = Full {
        site: cluster.site("full", STORES),
        cluster,
    };
    full.is_made_in_one_run_and_then_left_alone();
    full.keeps_footage_in_one_store_and_its_list_in_the_other();
    full.tells_both_brokers();
    full.is_hardened();
    full.shows_a_new_certificate();
    full.has_two_vaults_and_loses_one();
    full.comes_back_to_what_it_had();
}

struct Full {
    cluster: Cluster,
    site: Site,
}

impl Full {
    fn get(&self, what: &str) -> Value {
        self.cluster.get(NAMESPACE, &[what])
    }

    fn items(&self, what: &str) -> Vec<Value> {
        self.get(what)["items"].as_array().unwrap().clone()
    }

    /// `COMMAND` in the pod of a service.
    fn exec(&self, service: &str, command: &[&str]) -> String {
        let to = format!("deployment/{service}");
        let exec = ["exec", "--namespace", NAMESPACE, &to, "--"];
        self.cluster.kubectl(&[&exec, command].concat())
    }

    /// A value of a Secret.
    fn secret(&self, name: &str, key: &str) -> String {
        let found = self.get(&format!("secret/{name}"));
        let value = found["data"][key].as_str().unwrap();
        String::from_utf8(STANDARD.decode(value).unwrap()).unwrap()
    }

    /// User and password.
    fn login(&self, name: &str, key: &str) -> (String, String) {
        let login = self.secret(name, key);
        let (user, password) = login.trim().split_once('\n').unwrap();
        (user.to_owned(), password.to_owned())
    }

    fn authority(&self) -> String {
        let trust = self.get("configmap/trust");
        trust["data"]["ca.crt"].as_str().unwrap().to_owned()
    }

    /// What was written last to each object that a run may write to.
    fn versions(&self) -> BTreeMap<String, String> {
        let kinds = "serviceaccounts,networkpolicies,secrets,configmaps,services,resourcequotas";
        let all = self.items(kinds).into_iter();
        let mut versions: BTreeMap<_, _> =
            all.map(|one| version(&one, "resourceVersion")).collect();
        // Of these the cluster itself tells news.
        let told = self.items("deployments,persistentvolumeclaims").into_iter();
        versions.extend(told.map(|one| version(&one, "generation")));
        versions
    }

    /// The rows of the database, as FerretDB keeps them.
    fn rows(&self) -> Vec<Value> {
        let file = self.cluster.volume(NAMESPACE, "ferretdb");
        let file = file.join("stakeout.sqlite");
        let told = run(Command::new("python3").args(["-c", ROWS, file.as_str()]));
        told.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// Prints every document of the collection of recordings.
const ROWS: &str = "
import sqlite3, sys
base = sqlite3.connect('file:' + sys.argv[1] + '?mode=ro', uri=True)
for (table,) in base.execute(\"select name from sqlite_master where type='table' and name like 'recordings%'\").fetchall():
    for (text,) in base.execute('select _ferretdb_sjson from \"' + table + '\"'):
        print(text)
";

fn version(object: &Value, field: &str) -> (String, String) {
    let (kind, meta) = (object["kind"].as_str().unwrap(), &object["metadata"]);
    let name = meta["name"].as_str().unwrap();
    (format!("{kind}/{name}"), meta[field].to_string())
}

impl Full {
    fn is_made_in_one_run_and_then_left_alone(&self) {
        let refused = self.site.run(INSTALL).expect(4);
        assert!(refused.stdout.contains("image-unverified"), "{refused:#?}");
        assert_eq!(self.cluster.objects("full"), Vec::<String>::new());

        let made = self.site.run(&install_stores()).expect(0).json();
        assert_eq!(made["result"], "installed");
        assert_eq!(made["verified"]["codec"], "h264");
        let before = self.versions();
        assert!(before.len() > 30, "{before:#?}");
        let again = self.site.run(&install_stores()).expect(0).json();
        assert_eq!(again["result"], "unchanged");
        assert_eq!(self.versions(), before);
        let status = self.site.run(&["status", "--output", "json"]);
        let status = status.expect(0).json();
        assert_eq!(status["cameras"][0]["receiving"], true, "{status}");
    }

    fn keeps_footage_in_one_store_and_its_list_in_the_other(&self) {
        let objects = self.cluster.volume(NAMESPACE, "minio");
        let rows = self.rows();
        assert!(!rows.is_empty());
        for row in rows {
            assert_eq!(row["camera"], "gate", "{row}");
            let location = row["location"].as_str().unwrap();
            let object = location.strip_prefix("s3://").unwrap();
            assert!(object.starts_with("recordings/full/"), "{object}");
            // As MinIO keeps an object: a folder with its parts and what is known of it.
            let kept = objects.join(object).join("xl.meta");
            assert!(kept.exists(), "{kept}");
        }
        // None of either is with the vault.
        let own = self.cluster.volume(NAMESPACE, "vault");
        let own = run(Command::new("find").args([own.as_str(), "-type", "f"]));
        assert!(
            !own.contains(".mp4") && !own.contains("catalogue.sqlite"),
            "{own}"
        );
    }

    fn tells_both_brokers(&self) {
        // Mosquitto tells those who have the login, and nobody else.
        let (user, password) = self.login("mosquitto", "mosquitto-login.1");
        let authority = self.authority();
        let subscribe = |login: &str| {
            let script = format!(
                "echo '{authority}' >/tmp/ca.crt; mosquitto_sub -h localhost -p 8883 \
                 --cafile /tmp/ca.crt -t site/news -C 1 -W 60 {login} 2>&1 || true"
            );
            self.exec("mosquitto", &["sh", "-c", &script])
        };
        let said = subscribe(&format!("-u {user} -P {password}"));
        let event: Value = serde_json::from_str(&said).expect(&said);
        assert_eq!(event["recording"]["camera"], "gate", "{event}");
        let said = subscribe("");
        assert!(said.contains("not authori"), "{said}");

        // RabbitMQ keeps events in the queue until somebody takes them.
        let counted = || {
            let words = ["--quiet", "list_queues", "name", "messages"];
            let told = self.exec("rabbitmq", &[&["rabbitmqctl"], &words[..]].concat());
            let mut lines = told.lines().map(|line| line.split_whitespace());
            let news = lines.find_map(|mut line| (line.next()? == "news").then(|| line.next())?);
            news.is_some_and(|count| count != "0")
        };
        wait_until(PATIENCE, "an event is in the queue", counted);
        let users = self.exec("rabbitmq", &["rabbitmqctl", "--quiet", "list_users"]);
        assert!(
            users.contains("stakeout") && !users.contains("guest"),
            "{users}"
        );
    }

    fn is_hardened(&self) {
        let namespace = self.get("namespace/stakeout-full");
        let level = &namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"];
        assert_eq!(*level, "restricted");
        let all = self.items("secrets").into_iter();
        let all = all.filter(|one| one["metadata"]["name"] != "stakeout-receipt");
        let secrets: Vec<String> = all.flat_map(|one| lines_of(&one)).collect();
        assert!(secrets.len() >= 8, "{}", secrets.len());
        // Files have them, and nothing that is told of pods and what makes them.
        let told = self.get("pods,deployments,replicasets,configmaps,services,events");
        let told = told.to_string();
        let found = secrets.iter().filter(|one| told.contains(one.as_str()));
        assert_eq!(found.count(), 0);
        for service in DEPLOYED {
            self.is_hard(service);
        }
    }

    fn is_hard(&self, service: &str) {
        let selector = format!("--selector=stakeout.service={service}");
        let found = self.cluster.get(NAMESPACE, &["pods", &selector]);
        let pod = &found["items"][0]["spec"];
        assert_eq!(pod["automountServiceAccountToken"], false, "{service}");
        assert_eq!(pod["serviceAccountName"], "store", "{service}");
        let context = &pod["securityContext"];
        assert_eq!(context["runAsNonRoot"], true, "{service}");
        assert_eq!(context["runAsUser"], 10001, "{service}");
        let container = &pod["containers"][0];
        let security = &container["securityContext"];
        assert_eq!(security["readOnlyRootFilesystem"], true, "{service}");
        let dropped = &security["capabilities"]["drop"];
        assert_eq!(*dropped, json!(["ALL"]), "{service}");
        let mounts = container["volumeMounts"].to_string();
        assert!(!mounts.contains("serviceaccount"), "{service}: {mounts}");
        let variables = container["env"].to_string();
        assert!(!variables.contains("valueFrom"), "{service}: {variables}");
    }

    /// Mosquitto reads its certificate once, so its pod is another one then, and no other pod is.
    fn shows_a_new_certificate(&self) {
        let pods = || {
            let all = self.items("pods").into_iter();
            let service = |pod: &Value| pod["metadata"]["labels"]["stakeout.service"].to_string();
            let uid = |pod: &Value| pod["metadata"]["uid"].to_string();
            let ends = |pod: &Value| pod["metadata"]["deletionTimestamp"].is_string();
            let all = all.filter(|pod| !ends(pod));
            all.map(|pod| (service(&pod), uid(&pod)))
                .collect::<BTreeMap<_, _>>()
        };
        let before = pods();
        let secret = ["delete", "secret/mosquitto-tls", "--namespace", NAMESPACE];
        self.cluster.kubectl(&secret);
        // Killed once the receipt and the certificate are written: the next run makes up for it.
        assert!(self.site.is_killed_after(QUICK, 2));
        self.secret("mosquitto-tls", "tls.crt");
        assert_eq!(pods(), before);
        self.site.run(QUICK).expect(0);
        let mut after = pods();
        let mosquitto = after.insert("\"mosquitto\"".to_owned(), String::new());
        assert_ne!(mosquitto.as_ref(), before.get("\"mosquitto\""));
        let mut others = before;
        others.insert("\"mosquitto\"".to_owned(), String::new());
        assert_eq!(after, others);
        // That it was restarted is no drift.
        self.site
            .run(&["plan", "--allow-unverified-images"])
            .expect(0);

        let forward = self.cluster.forward(NAMESPACE, "mosquitto", 8883);
        let shown = run(Command::new("openssl")
            .args(["s_client", "-connect"])
            .arg(format!("127.0.0.1:{}", forward.port))
            .stdin(Stdio::null()));
        let kept = self.secret("mosquitto-tls", "tls.crt");
        let kept = kept.lines().take_while(|line| !line.contains("END"));
        let kept = kept.collect::<Vec<_>>().join("\n");
        assert!(shown.contains(&kept), "{shown}");
    }

    /// What the vault had was elsewhere already, so there may be two of it.
    fn has_two_vaults_and_loses_one(&self) {
        let profile = std::fs::read_to_string(self.site.profile()).unwrap();
        self.site
            .write_profile(&format!("{profile}vault: {{ replicas: 2 }}\n"));
        // Verified, so a frame went through either of them.
        self.site.run(&install_stores()).expect(0);
        let deployment = self.get("deployment/vault");
        assert_eq!(deployment["spec"]["strategy"]["type"], "RollingUpdate");
        let budget = self.get("poddisruptionbudget/vault");
        assert_eq!(budget["spec"]["maxUnavailable"], 1, "{budget}");
        let vaults = || {
            let selector = "--selector=stakeout.service=vault";
            let found = self.cluster.get(NAMESPACE, &["pods", selector]);
            let all = found["items"].as_array().unwrap().clone().into_iter();
            let ready = |pod: &Value| {
                let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
                let ready = conditions.any(|one| one["type"] == "Ready" && one["status"] == "True");
                ready && !pod["metadata"]["deletionTimestamp"].is_string()
            };
            let names = all.filter(ready).map(|pod| version(&pod, "name").1);
            names.collect::<Vec<_>>()
        };
        let both = vaults();
        assert_eq!(both.len(), 2, "{both:?}");

        let newest = || {
            let rows = self.rows().into_iter();
            rows.filter_map(|row| row["stored_ms"].as_i64())
                .max()
                .unwrap()
        };
        let lost = both[0].trim_matches('"');
        let lost = format!("pod/{lost}");
        let kill = ["delete", &lost, "--namespace", NAMESPACE];
        self.cluster
            .kubectl(&[&kill[..], &["--grace-period=0", "--force"]].concat());
        let before = newest();
        wait_until(PATIENCE, "a recording after the loss", || newest() > before);
        wait_until(PATIENCE, "two vaults again", || vaults().len() == 2);
        self.site
            .run(&["plan", "--allow-unverified-images"])
            .expect(0);
    }

    fn comes_back_to_what_it_had(&self) {
        let claims = || {
            let all = self.items("persistentvolumeclaims").into_iter();
            all.map(|one| version(&one, "uid")).collect::<Vec<_>>()
        };
        let keys = || {
            let rows = self.rows().into_iter();
            rows.map(|row| row["key"].to_string()).collect::<Vec<_>>()
        };
        let (kept, before) = (claims(), keys());
        assert_eq!(kept.len(), DEPLOYED.len() + 1, "{kept:?}");
        self.site.run(&["uninstall", "--yes"]).expect(0);
        assert_eq!(claims(), kept);
        let left = self.cluster.objects("full");
        let runs = |name: &String| name.starts_with("deployment") || name.starts_with("service");
        assert!(!left.iter().any(runs), "{left:?}");
        // What was recorded is listed again, and can be watched.
        self.site.run(QUICK).expect(0);
        assert_eq!(claims(), kept);
        let after = keys();
        assert!(before.iter().all(|key| after.contains(key)), "{after:?}");
        self.first_can_be_watched();

        self.site.run(&["uninstall", "--data", "--yes"]).expect(0);
        assert_eq!(self.cluster.objects("full"), Vec::<String>::new());
    }

    fn first_can_be_watched(&self) {
        let forward = self.cluster.forward(NAMESPACE, "vault", 8443);
        let trust = self.site.folder().join("ca.crt");
        std::fs::write(&trust, self.authority()).unwrap();
        let token = self.secret("vault", "vault-admin-token.1");
        let bearer = format!("authorization: Bearer {}", token.trim());
        let curl = |path: &str, more: &[&str]| {
            let url = format!("https://localhost:{}{path}", forward.port);
            run(Command::new("curl")
                .args(["--silent", "--show-error", "--fail", "--noproxy", "*"])
                .args(["--cacert", trust.as_str(), "--header", &bearer])
                .args(more)
                .arg(url))
        };
        let page = curl("/api/recordings?camera=gate&limit=1000", &[]);
        let page: Value = serde_json::from_str(&page).unwrap();
        let first = page["recordings"].as_array().unwrap().last().unwrap();
        let file = self.site.folder().join("first.mp4");
        let media = format!("/api/recordings/{}/media", first["id"]);
        curl(&media, &["--output", file.as_str()]);
        let seen = e2e::ffprobe(&file);
        assert_eq!(seen["streams"][0]["codec_name"], "h264", "{seen}");
    }
}

/// Lines of a Secret's secret values that are long enough to be found by: those with a version, and keys
/// of certificates.
fn lines_of(secret: &Value) -> Vec<String> {
    let data = secret["data"].as_object().unwrap();
    let is_secret = |name: &str| {
        let end = name.rsplit_once('.').map_or(name, |(_, end)| end);
        end == "key" || end.parse::<u32>().is_ok()
    };
    let values = data.iter().filter(|(name, _)| is_secret(name));
    let texts = values.map(|(_, value)| STANDARD.decode(value.as_str().unwrap()).unwrap());
    let texts: Vec<_> = texts.map(|text| String::from_utf8(text).unwrap()).collect();
    let lines = texts.iter().flat_map(|text| text.lines());
    let telling = lines.filter(|line| line.len() > 16 && !line.starts_with("-----"));
    telling.map(str::to_owned).collect()
}
