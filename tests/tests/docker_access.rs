//! A vault that others reach, on a real Docker Engine: at the address that was asked for and at no
//! other, with a certificate of the site's own, the owner's, or of a real ACME authority.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use e2e::engine::{Engine, Witness};
use e2e::{DEMO, INSTALL, Site, docker_profile, free_port, recordings, shipped, wait_until};
use serde_json::Value;
use vault_testkit::{Part, flat};

const NAME: &str = "vault.example.org";

/// The vault looks at its files every other second.
const PATIENCE: Duration = Duration::from_secs(20);

fn profile(site: &str, access: &str) -> String {
    docker_profile(site, &format!("{DEMO}{access}"))
}

fn site(name: &str, access: &str, address: &str) -> Site {
    Site::at_engine(&profile(name, access), address)
}

fn access(port: u16, tls: &str) -> String {
    format!("access:\n  address: 127.0.0.1:{port}\n  names: [ {NAME} ]\n  tls: {tls}\n")
}

/// ID and start of a container: both stay where nobody touches it.
fn life(engine: &Engine, name: &str) -> (String, String) {
    let found = engine.inspect(name);
    (
        found["Id"].to_string(),
        found["State"]["StartedAt"].to_string(),
    )
}

/// Every port of every container that the machine passes on.
fn published(engine: &Engine) -> Vec<String> {
    let text = engine.docker(&["ps", "--format", "{{.Ports}}"]);
    let ports = text.lines().flat_map(|line| line.split(", "));
    let on = |port: &&str| port.contains("->");
    ports.filter(on).map(str::to_owned).collect()
}

/// SHA-256 of the certificate that is shown there, by openssl; empty where there is none.
fn shown(port: u16) -> String {
    let script = format!(
        "openssl s_client -connect 127.0.0.1:{port} -servername {NAME} </dev/null 2>/dev/null \
         | openssl x509 -noout -fingerprint -sha256"
    );
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (_, fingerprint) = text.trim().split_once('=').unwrap_or_default();
    fingerprint.to_owned()
}

/// What curl gets from the vault when it trusts nothing but `roots`.
fn get(port: u16, host: &str, roots: &Utf8Path) -> Option<String> {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--fail", "--max-time", "10"])
        .args(["--cacert", roots.as_str()])
        .args(["--resolve", &format!("{NAME}:{port}:127.0.0.1")])
        .arg(format!("https://{host}:{port}/healthz"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then_some(text)
}

/// Makes a self-signed pair beside the profile, valid until a year.
fn make_pair(folder: &Utf8Path, stem: &str, name: &str, until: i32) -> (Utf8PathBuf, Utf8PathBuf) {
    let (certificate, key) = (
        folder.join(format!("{stem}.crt")),
        folder.join(format!("{stem}.key")),
    );
    let mut params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    let made = rcgen::KeyPair::generate().unwrap();
    let signed = params.self_signed(&made).unwrap();
    fs::write(&certificate, signed.pem()).unwrap();
    fs::write(&key, made.serialize_pem()).unwrap();
    (certificate, key)
}

fn writes(witness: &Witness) -> Vec<String> {
    let reads = |request: &String| request.starts_with("GET ") || request.starts_with("HEAD ");
    let mut requests = witness.requests();
    requests.retain(|request| !reads(request));
    requests
}

/// The findings of a plan that must not be carried out.
fn refused(site: &Site) -> String {
    let refused = site.run(&["plan", "--output", "json"]).expect(4);
    let plan: Value = refused.json();
    plan["findings"].to_string()
}

#[test]
fn a_vault_is_published_where_it_is_asked_for_and_nowhere_else() {
    let engine = Engine::start();
    let witness = Witness::stand(&engine);
    let port = free_port();
    let site = site("open", "", &witness.address());
    let made = site.run(INSTALL).expect(0).json();
    assert_eq!(made["access"], Value::Null);
    assert_eq!(published(&engine), Vec::<String>::new());
    let agent = life(&engine, "stakeout.open.agent-gate");

    // Somebody else is there: nothing is done, and it is named.
    site.write_profile(&profile("open", &access(port, "internal")));
    let held = TcpListener::bind(("127.0.0.1", port)).unwrap();
    witness.requests();
    let taken = site.run(INSTALL).expect(4);
    assert!(taken.stdout.contains("address-taken"), "{taken:#?}");
    assert!(taken.stdout.contains("program `"), "{taken:#?}");
    assert_eq!(writes(&witness), Vec::<String>::new());
    drop(held);

    let planned = site.run(&["plan"]).expect(3).stdout;
    let words = format!("published at 127.0.0.1:{port}");
    assert!(planned.contains(&words), "{planned}");
    // So is another container.
    let image = engine.docker(&["images", "--quiet", "stakeout/agent"]);
    let at = format!("127.0.0.1:{port}:1");
    let words = ["run", "--detach", "--interactive", "--name", "squatter"];
    engine.docker(&[&words[..], &["--publish", &at, image.trim(), "files", "/"]].concat());
    let taken = refused(&site);
    assert!(taken.contains("container `squatter`"), "{taken}");
    engine.docker(&["rm", "--force", "squatter"]);

    let done = site.run(INSTALL).expect(0);
    let access_told = done.json()["access"].clone();
    assert_eq!(access_told["url"], format!("https://{NAME}:{port}"));
    assert_eq!(access_told["published"], true);
    assert_eq!(access_told["fingerprint"], shown(port));
    assert_eq!(shown(port).len(), 95);
    assert_eq!(published(&engine), [format!("127.0.0.1:{port}->8444/tcp")]);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
    let gateway = gateway(&engine);
    assert!(TcpStream::connect((gateway.as_str(), port)).is_err());
    assert_eq!(life(&engine, "stakeout.open.agent-gate"), agent);

    // Whoever trusts the site's authority trusts what is shown, by name and by address.
    let trust = site.data().join("control/tls/trust/ca.crt");
    for host in [NAME, "127.0.0.1"] {
        assert!(get(port, host, &trust).is_some(), "{host}");
    }
    witness.requests();
    assert_eq!(site.run(INSTALL).expect(0).json()["result"], "unchanged");
    assert_eq!(writes(&witness), Vec::<String>::new());
    let status = site.run(&["status"]).expect(0).stdout;
    assert!(status.contains(&shown(port)), "{status}");
    assert!(
        status.contains(&format!("https://{NAME}:{port}")),
        "{status}"
    );

    // One camera more joins the vault to one network more, and it is reached as before.
    let more = profile("open", &access(port, "internal"));
    let more = more.replace("[ {", "[ { name: aaa, test: scene }, {");
    site.write_profile(&more);
    site.run(INSTALL).expect(0);
    assert_eq!(published(&engine), [format!("127.0.0.1:{port}->8444/tcp")]);
    assert!(get(port, NAME, &trust).is_some());

    // Without the key, nothing is published any more, and the old footage is still there.
    let before: BTreeSet<_> = recordings(&site.data().join("recordings"))
        .into_iter()
        .collect();
    site.write_profile(&profile("open", ""));
    let planned = site.run(&["plan"]).expect(3).stdout;
    let words = format!("no longer published at 127.0.0.1:{port}");
    assert!(planned.contains(&words), "{planned}");
    site.run(INSTALL).expect(0);
    assert_eq!(published(&engine), Vec::<String>::new());
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    assert!(!site.data().join("control/tls/access").exists());
    let after: BTreeSet<_> = recordings(&site.data().join("recordings"))
        .into_iter()
        .collect();
    assert!(!before.is_empty() && after.is_superset(&before));
    assert_eq!(life(&engine, "stakeout.open.agent-gate"), agent);
}

/// The machine's address in the engine's own bridge.
fn gateway(engine: &Engine) -> String {
    let format = "{{range .IPAM.Config}}{{.Gateway}}{{end}}";
    engine.docker(&["network", "inspect", "bridge", "--format", format])
}

#[test]
fn an_owners_certificate_is_judged_shown_and_exchanged_without_a_restart() {
    let engine = Engine::start();
    let witness = Witness::stand(&engine);
    let port = free_port();
    let own = "{ certificate: own.crt, key: own.key }";
    let site = site("owned", &access(port, own), &witness.address());

    // What nobody could show stops the run before it does anything.
    assert!(refused(&site).contains("certificate-unusable"));
    make_pair(site.folder(), "own", "other.example.org", 2090);
    assert!(refused(&site).contains("certificate-names"));
    make_pair(site.folder(), "own", NAME, 2021);
    assert!(refused(&site).contains("certificate-ended"));
    let (_, other) = make_pair(site.folder(), "other", NAME, 2090);
    let (certificate, key) = make_pair(site.folder(), "own", NAME, 2090);
    let right = fs::read_to_string(&key).unwrap();
    fs::copy(&other, &key).unwrap();
    let mixed = refused(&site);
    assert!(
        mixed.contains("does not belong to the certificate"),
        "{mixed}"
    );
    fs::write(&key, &right).unwrap();
    assert_eq!(engine.objects("stakeout."), Vec::<String>::new());

    let planned = site.run(&["plan"]).expect(3).stdout;
    let made = site.run(INSTALL).expect(0);
    let first = shown(port);
    assert_eq!(made.json()["access"]["fingerprint"], first);
    assert!(planned.contains(&format!("SHA-256 {first}")), "{planned}");
    assert!(get(port, NAME, &certificate).is_some());
    // Agents go on to trust the site's authority and nothing else.
    let config = site.data().join("control/config/agent-gate.json");
    let config = fs::read_to_string(config).unwrap();
    assert!(config.contains("https://vault:8443/api"), "{config}");
    witness.requests();
    assert_eq!(site.run(INSTALL).expect(0).json()["result"], "unchanged");
    assert_eq!(writes(&witness), Vec::<String>::new());

    // The key is where the vault reads it, and nowhere else.
    let kept = site.data().join("control/tls/access/tls.key");
    let metadata = fs::metadata(&kept).unwrap();
    assert_eq!((metadata.mode() & 0o777, metadata.uid()), (0o400, 10_001));
    assert_eq!(fs::read_to_string(&kept).unwrap(), right);
    let secret = right.lines().nth(1).unwrap();
    for service in ["vault", "agent-gate", "camera-gate", "files"] {
        let found = engine.inspect(&format!("stakeout.owned.{service}"));
        assert!(!found.to_string().contains(secret), "{service}");
    }
    let logs = engine.docker(&["logs", "stakeout.owned.vault"]);
    assert!(!format!("{planned}{made:?}{logs}").contains(secret));

    // A renewed pair is shown by the same process, and no recording is lost for it.
    let vault = life(&engine, "stakeout.owned.vault");
    let footage = || -> BTreeSet<_> {
        recordings(&site.data().join("recordings"))
            .into_iter()
            .collect()
    };
    let before = footage();
    make_pair(site.folder(), "own", NAME, 2091);
    let renewed = site.run(INSTALL).expect(0);
    assert_eq!(renewed.json()["changed"], 1, "{renewed:#?}");
    let second = renewed.json()["access"]["fingerprint"].clone();
    assert_ne!(second, first);
    wait_until(PATIENCE, "the new certificate is shown", || {
        second == shown(port)
    });
    assert!(get(port, NAME, &certificate).is_some());
    assert_eq!(life(&engine, "stakeout.owned.vault"), vault);
    assert!(!before.is_empty() && footage().is_superset(&before));

    // Killed after whatever effect: one of the two whole pairs is shown, and the next run ends it.
    let quiet = ["install", "--yes", "--output", "json", "--no-verify"];
    let mut kills = 0;
    loop {
        let old = shown(port);
        make_pair(site.folder(), "own", NAME, 2092);
        let mut command = site.command(&quiet);
        command.env("STAKEOUT_TEST_CRASH_AFTER", (kills + 1).to_string());
        let killed = command.output().unwrap().status.code().is_none();
        let between = shown(port);
        let told = site.run(&quiet).expect(0).json()["access"]["fingerprint"].clone();
        assert!(between == old || told == between, "after {kills} effects");
        wait_until(PATIENCE, "the new certificate is shown", || {
            told == shown(port)
        });
        if !killed {
            break;
        }
        kills += 1;
    }
    assert!(kills >= 4, "{kills}");
    assert_eq!(life(&engine, "stakeout.owned.vault"), vault);

    // And back to the site's own authority, by the same way.
    site.write_profile(&profile("owned", &access(port, "internal")));
    let back = site.run(INSTALL).expect(0).json();
    let third = back["access"]["fingerprint"].clone();
    wait_until(PATIENCE, "the site's own is shown", || third == shown(port));
    assert_eq!(life(&engine, "stakeout.owned.vault"), vault);
    let trust = site.data().join("control/tls/trust/ca.crt");
    assert!(get(port, NAME, &trust).is_some());
}

#[test]
fn an_acme_authority_certifies_what_is_published() {
    let engine = Engine::start();
    let port = free_port();
    let gateway = gateway(&engine);
    let witness = Witness::stand(&engine);
    let site = site("acme", "", &witness.address());
    // The container reaches the authority at the machine's address, and the authority the vault at
    // what is published.
    let (api, key) = make_pair(site.folder(), "authority", &gateway, 2090);
    let arguments = flat(&[
        ("--listen", &gateway),
        ("--tls-port", &port.to_string()),
        ("--certificate", api.as_str()),
        ("--key", key.as_str()),
    ]);
    let pebble = Part::start("pebble", &arguments);
    let tls = format!(
        "{{ acme: {{ directory: \"{}\", email: owner@example.org, ca_file: authority.crt }} }}",
        pebble.url
    );
    site.write_profile(&profile("acme", &access(port, &tls)));
    let planned = site.run(&["plan"]).expect(3).stdout;
    assert!(planned.contains("at port 443"), "{planned}");
    assert!(planned.contains("acme-port"), "{planned}");

    let made = site.run(INSTALL).expect(0).json();
    assert_eq!(made["access"]["published"], true);
    wait_until(Duration::from_mins(1), "a certificate is issued", || {
        !shown(port).is_empty()
    });
    let roots = pebble
        .said
        .iter()
        .find_map(|line| line.strip_prefix("roots "));
    let trusted = site.folder().join("roots.pem");
    let mut fetch = Command::new("curl");
    fetch.args(["--silent", "--fail", "--cacert", api.as_str(), "--insecure"]);
    fetch.args(["--output", trusted.as_str(), roots.unwrap()]);
    shipped::run(&mut fetch);
    assert!(get(port, NAME, &trusted).is_some());

    // The installer tells what is shown, leaves it alone, and what it is told of stays secret.
    witness.requests();
    let again = site.run(INSTALL).expect(0).json();
    assert_eq!(again["result"], "unchanged");
    assert_eq!(writes(&witness), Vec::<String>::new());
    assert_eq!(again["access"]["fingerprint"], shown(port));
    let folder = site.data().join("control/tls/access");
    let key = fs::read_to_string(folder.join("key.pem")).unwrap();
    let found = engine.inspect("stakeout.acme.vault").to_string();
    assert!(!found.contains(key.lines().nth(1).unwrap()));

    // It survives a restart without its authority, and goes with the key.
    let issued = shown(port);
    drop(pebble);
    engine.docker(&["restart", "stakeout.acme.vault"]);
    wait_until(PATIENCE, "what was got is shown again", || {
        shown(port) == issued
    });
    site.write_profile(&profile("acme", &access(port, "internal")));
    let back = site.run(INSTALL).expect(0).json();
    let own = back["access"]["fingerprint"].clone();
    wait_until(PATIENCE, "the site's own is shown", || own == shown(port));
    let left: BTreeSet<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(
        left,
        BTreeSet::from(["tls.crt".to_owned(), "tls.key".to_owned()])
    );
}

#[test]
fn a_vault_on_a_plain_machine_is_reached_where_it_is_asked_for() {
    let port = free_port();
    let text = |access: &str| e2e::profile("plain", &format!("{DEMO}{access}"));
    let site = Site::new(&text(""));
    site.run(INSTALL).expect(0);
    site.write_profile(&text(&access(port, "internal")));
    let held = TcpListener::bind(("127.0.0.1", port)).unwrap();
    assert!(refused(&site).contains("address-taken"));
    drop(held);
    let done = site.run(INSTALL).expect(0).json();
    let told = done["access"].clone();
    assert_eq!(told["url"], format!("https://{NAME}:{port}"));
    wait_until(PATIENCE, "the vault is reached", || {
        told["fingerprint"] == shown(port)
    });
    let trust = site.data().join("tls/trust/ca.crt");
    for host in [NAME, "127.0.0.1"] {
        assert!(get(port, host, &trust).is_some(), "{host}");
    }
    let status = site.run(&["status", "--output", "json"]).expect(0).json();
    assert_eq!(status["access"]["published"], true);
    assert_eq!(status["access"]["fingerprint"], shown(port));

    // The owner's pair takes its place, in the same process.
    let vault = site.process("vault.json");
    let (certificate, _) = make_pair(site.folder(), "own", NAME, 2090);
    let own = "{ certificate: own.crt, key: own.key }";
    site.write_profile(&text(&access(port, own)));
    let exchanged = site.run(INSTALL).expect(0).json();
    let second = exchanged["access"]["fingerprint"].clone();
    wait_until(PATIENCE, "the owner's is shown", || second == shown(port));
    assert!(get(port, NAME, &certificate).is_some());
    assert_eq!(site.process("vault.json"), vault);
    let key = fs::metadata(site.data().join("tls/access/tls.key")).unwrap();
    assert_eq!(key.mode() & 0o777, 0o400);
    assert_eq!(site.run(INSTALL).expect(0).json()["result"], "unchanged");

    site.write_profile(&text(""));
    site.run(INSTALL).expect(0);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    assert!(!site.data().join("tls").exists());
}
