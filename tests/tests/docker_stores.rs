//! A site with an object store, a database and brokers of its own, on a real Docker Engine with the real
//! servers in it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::process::Command;
use std::time::Duration;

use camino::Utf8Path;
use e2e::engine::{Engine, Witness};
use e2e::{INSTALL, STORES, Site, install_stores, wait_until};
use serde_json::Value;

/// Events travel within seconds; two busy cores take longer.
const PATIENCE: Duration = Duration::from_mins(1);

/// Lines of the secrets of a site that are long enough to be found by.
fn secrets(data: &Utf8Path) -> Vec<String> {
    let mut secrets = Vec::new();
    for entry in fs::read_dir(data.join("control/secrets")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        secrets.extend(text.lines().filter(|l| l.len() > 16).map(str::to_owned));
    }
    secrets
}

/// Runs a command at the engine whose failure is an answer, too.
fn attempt(engine: &Engine, words: &[&str]) -> (bool, String) {
    let output = Command::new("/usr/bin/docker")
        .args(words)
        .env("DOCKER_HOST", engine.address())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[test]
fn a_site_uses_its_own_object_store_and_brokers() {
    let engine = Engine::start();
    engine.load_stand_ins(&["minio", "ferretdb", "mosquitto", "rabbitmq"]);
    let witness = Witness::stand(&engine);
    let site = Site::on_docker("full", STORES, &witness.address());

    let refused = site.run(INSTALL).expect(4);
    assert!(refused.stdout.contains("image-unverified"), "{refused:#?}");
    assert_eq!(engine.objects("stakeout."), Vec::<String>::new());

    let made = site.run(&install_stores()).expect(0).json();
    assert_eq!(made["verified"]["codec"], "h264");
    witness.requests();
    let again = site.run(&install_stores()).expect(0).json();
    assert_eq!(again["result"], "unchanged");
    let requests = witness.requests();
    assert!(
        requests.iter().all(|r| !r.starts_with("POST")),
        "{requests:?}"
    );

    // The footage is in MinIO, and in no folder of the vault's.
    let bucket = site.data().join("minio/recordings/full");
    assert!(bucket.exists(), "{bucket}");
    assert!(!site.data().join("recordings").exists());

    // Mosquitto tells those who have the login, and nobody else.
    let login = site.data().join("control/secrets/mosquitto-login.1");
    let login = fs::read_to_string(login).unwrap();
    let (user, password) = login.trim().split_once('\n').unwrap();
    let ca = site.data().join("control/tls/trust");
    let mount = format!("{ca}:/trust:ro");
    let broker = engine.docker(&["image", "ls", "--quiet", "eclipse-mosquitto"]);
    let subscribe = |options: &[&str]| {
        let mut words = vec!["run", "--rm", "--network", "stakeout.full.stores"];
        words.extend(["--volume", &mount, "--user", "0", broker.trim()]);
        words.extend(["mosquitto_sub", "-h", "mosquitto", "-p", "8883"]);
        words.extend([
            "--cafile",
            "/trust/ca.crt",
            "-t",
            "site/news",
            "-C",
            "1",
            "-W",
            "90",
        ]);
        words.extend(options);
        attempt(&engine, &words)
    };
    let (heard, said) = subscribe(&["-u", user, "-P", password]);
    assert!(heard && said.contains("gate"), "{said}");
    let (heard, said) = subscribe(&[]);
    assert!(!heard && said.contains("not authori"), "{said}");

    // RabbitMQ keeps events in the queue until somebody takes them.
    wait_until(PATIENCE, "an event is in the queue", || {
        let words = ["exec", "stakeout.full.rabbitmq", "rabbitmqctl", "--quiet"];
        let words = [&words[..], &["list_queues", "name", "messages"]].concat();
        let (_, said) = attempt(&engine, &words);
        said.lines().any(|line| {
            let count = line.strip_prefix("news").map(str::trim);
            count.is_some_and(|count| count.parse::<u64>().is_ok_and(|count| count > 0))
        })
    });
    let (_, users) = attempt(
        &engine,
        &[
            "exec",
            "stakeout.full.rabbitmq",
            "rabbitmqctl",
            "--quiet",
            "list_users",
        ],
    );
    assert!(
        users.contains("stakeout") && !users.contains("guest"),
        "{users}"
    );

    // A new certificate is what Mosquitto shows, and nothing else is touched by it.
    let started = |service: &str| {
        let found = engine.inspect(&format!("stakeout.full.{service}"));
        found["State"]["StartedAt"].to_string()
    };
    let services = ["mosquitto", "rabbitmq", "vault", "ferretdb"];
    let before = services.map(started);
    fs::remove_file(site.data().join("control/tls/mosquitto/tls.crt")).unwrap();
    let renewed = site.run(&install_stores()).expect(0).json();
    assert_eq!(renewed["result"], "installed");
    let after = services.map(started);
    assert_ne!(before[0], after[0]);
    assert_eq!(before[1..], after[1..]);
    // What the vault shows to its database, both ends of it read anew.
    fs::remove_file(site.data().join("control/tls/vault-identity/tls.crt")).unwrap();
    site.run(&install_stores()).expect(0);
    let last = services.map(started);
    assert_eq!(last[..2], after[..2]);
    assert!(last[2] != after[2] && last[3] != after[3], "{last:?}");
    let (heard, said) = subscribe(&["-u", user, "-P", password]);
    assert!(heard, "{said}");

    catalogued(&engine, &site);
    hardened(&engine, &site);
    unreachable(&engine, &broker);

    site.run(&["uninstall", "--data", "--yes"]).expect(0);
    assert_eq!(engine.objects("stakeout."), Vec::<String>::new());
    assert_eq!(engine.docker(&["volume", "ls", "--quiet"]), "");
    assert!(!site.data().exists());
}

fn hardened(engine: &Engine, site: &Site) {
    let secrets = secrets(&site.data());
    assert!(secrets.len() >= 8, "{}", secrets.len());
    for service in [
        "minio",
        "ferretdb",
        "mosquitto",
        "rabbitmq",
        "vault",
        "agent-gate",
    ] {
        let found = engine.inspect(&format!("stakeout.full.{service}"));
        let host = &found["HostConfig"];
        assert_eq!(host["ReadonlyRootfs"], true, "{service}");
        assert_eq!(host["CapDrop"], serde_json::json!(["ALL"]), "{service}");
        // Engines differ in how they say that there is none.
        let published = host["PortBindings"].as_object();
        assert!(published.is_none_or(serde_json::Map::is_empty), "{service}");
        assert_eq!(found["Config"]["User"], "10001:10001", "{service}");
        for mount in found["Mounts"].as_array().unwrap() {
            assert_eq!(mount["Type"], "bind", "{service}");
        }
        let text = found.to_string();
        assert!(secrets.iter().all(|secret| !text.contains(secret.as_str())));
    }
}

/// The recordings are listed from the database, which lets the vault in and nobody else.
fn catalogued(engine: &Engine, site: &Site) {
    assert!(!site.data().join("vault/catalogue.sqlite").exists());
    assert!(site.data().join("ferretdb/stakeout.sqlite").exists());
    let tls = format!("{}:/tls:ro", site.data().join("control/tls"));
    let minio = engine.inspect("stakeout.full.minio");
    let tools = minio["Image"].as_str().unwrap();
    let curl = |network: &str, options: &[&str]| {
        let mut words = vec!["run", "--rm", "--network", network, "--volume", &tls];
        words.extend(["--user", "0", "--entrypoint", "/usr/bin/curl", tools]);
        words.extend(["--silent", "--show-error", "--cacert", "/tls/trust/ca.crt"]);
        words.extend(options);
        attempt(engine, &words)
    };
    let token = fs::read_to_string(site.data().join("control/secrets/vault-admin-token.1"));
    let bearer = format!("authorization: Bearer {}", token.unwrap().trim());
    let listed = || {
        let url = "https://vault:8443/api/recordings?camera=gate&limit=1000";
        let (_, said) = curl("stakeout.full.vault", &["--header", &bearer, url]);
        let page: Value = serde_json::from_str(&said).unwrap_or_default();
        page["recordings"].as_array().map_or(0, Vec::len)
    };
    let before = listed();
    assert!(before > 0);

    let show = |service: &str| {
        let (certificate, key) = (
            format!("/tls/{service}/tls.crt"),
            format!("/tls/{service}/tls.key"),
        );
        let words = [
            "--cert",
            &certificate,
            "--key",
            &key,
            "https://ferretdb:27017",
        ];
        curl("stakeout.full.stores", &words).1
    };
    // Past the handshake it speaks no HTTP.
    assert!(!show("vault-identity").contains("alert"));
    assert!(show("mosquitto").contains("alert"));
    let (_, said) = curl("stakeout.full.stores", &["https://ferretdb:27017"]);
    assert!(said.contains("alert"), "{said}");

    // It ends without a word, comes back, and nothing is missing.
    let (killed, said) = attempt(engine, &["kill", "stakeout.full.ferretdb"]);
    assert!(killed, "{said}");
    engine.docker(&["start", "stakeout.full.ferretdb"]);
    wait_until(PATIENCE, "the next recording is listed", || {
        listed() > before
    });
}

/// An agent is in no network with the stores, and from where it is nothing leads to them.
fn unreachable(engine: &Engine, tools: &str) {
    let networks = |name: &str| engine.inspect(name)["NetworkSettings"]["Networks"].clone();
    let agent = networks("stakeout.full.agent-gate");
    let names: Vec<_> = agent.as_object().unwrap().keys().collect();
    assert_eq!(names, ["stakeout.full.agent-gate"]);
    for (store, port) in [
        ("minio", "9000"),
        ("ferretdb", "27017"),
        ("mosquitto", "8883"),
        ("rabbitmq", "5671"),
    ] {
        let found = networks(&format!("stakeout.full.{store}"));
        let address = found["stakeout.full.stores"]["IPAddress"].as_str().unwrap();
        let reach = |network: &str| {
            let mut words = vec!["run", "--rm", "--network", network, tools.trim()];
            words.extend(["nc", "-w", "3", address, port]);
            attempt(engine, &words).0
        };
        assert!(reach("stakeout.full.stores"), "{store} listens");
        assert!(!reach("container:stakeout.full.agent-gate"), "{store}");
        assert!(!reach("stakeout.full.agent-gate"), "{store}");
    }
}

#[test]
fn a_host_deploys_no_store() {
    let text = STORES.to_owned();
    let site = Site::new(&e2e::profile("plain", &text));
    let refused = site.run(&["plan", "--output", "json"]).expect(4);
    assert!(
        refused.stdout.contains("target-cannot-deploy"),
        "{refused:#?}"
    );
    assert!(refused.stdout.contains("`rabbitmq`"), "{refused:#?}");
}
