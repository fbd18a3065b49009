//! A site on this machine, below the supervisor: what a person does with it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use camino::Utf8PathBuf;
use e2e::{DEMO, INSTALL, Site, ffprobe, free_port, profile, recordings, root, wait_until};
use serde_json::Value;

/// Inode and time of every file that is not footage or a log.
fn stamps(site: &Site) -> Vec<(Utf8PathBuf, u64, i64)> {
    let mut found = Vec::new();
    for folder in ["", "config", "secrets", "bin"] {
        for entry in site.data().join(folder).read_dir_utf8().unwrap().flatten() {
            let metadata = entry.metadata().unwrap();
            if metadata.is_file() {
                found.push((
                    entry.path().to_owned(),
                    metadata.ino(),
                    metadata.mtime_nsec(),
                ));
            }
        }
    }
    found.sort();
    found
}

/// The README's first line is run as it stands there, and says the same a second time.
#[test]
fn the_first_line_of_the_readme_ends_with_a_verified_recording() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let line = readme
        .split("```")
        .nth(1)
        .unwrap()
        .trim_start_matches("sh")
        .trim();
    assert!(line.starts_with("cargo build --release"), "{line}");
    let site = Site::new(&profile("demo", DEMO));
    let run = |line: &str| {
        let mut command = Command::new("bash");
        command
            .args(["-c", line])
            .current_dir(root())
            .env("STAKEOUT_DATA_DIR", site.data())
            .env_remove("STAKEOUT_PROFILE")
            .stdin(Stdio::null());
        // A person's cargo was not started by cargo; build scripts look at the difference.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"]
                .iter()
                .any(|p| name.starts_with(p))
            {
                command.env_remove(&*name);
            }
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}\n{errors}");
        said
    };
    let said = run(line);
    for part in [
        "Verified: ",
        "h264 640x360",
        "camera ",
        "agent ",
        "vault ",
        "object ",
        "event ",
    ] {
        assert!(said.contains(part), "{part} is missing from\n{said}");
    }
    assert!(run(line).contains("Nothing to change"));
}

#[test]
fn a_site_is_proved_left_alone_and_taken_away() {
    let site = Site::new(&profile("whole", DEMO));
    site.run(&["plan"]).expect(3);
    let first = site.run(INSTALL).expect(0).json();
    let verified = &first["verified"];
    let path = Utf8PathBuf::from(verified["recording"].as_str().unwrap());
    let probed = ffprobe(&path);
    let video = &probed["streams"][0];
    assert_eq!(
        video["nb_read_packets"].as_str().unwrap(),
        verified["frames"].to_string()
    );
    assert_eq!(verified["codec"], "h264");
    assert_eq!(
        (&video["width"], &video["height"]),
        (&verified["width"], &verified["height"])
    );
    assert!(verified["seconds"].as_f64().unwrap() >= 2.0);
    let hops: Vec<_> = verified["hops"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hop| hop["name"].as_str().unwrap())
        .collect();
    assert_eq!(hops, ["camera", "agent", "vault", "object", "event"]);

    let before = stamps(&site);
    let second = site.run(INSTALL).expect(0);
    assert_eq!(second.json()["result"], "unchanged");
    assert!(second.took < Duration::from_secs(1), "{:?}", second.took);
    assert_eq!(stamps(&site), before, "a second run writes nothing");
    site.run(&["plan"]).expect(0);
    site.run(&["status"]).expect(0);
    site.run(&["doctor"]).expect(0);
    let probes = site
        .run(&["cameras", "probe", "--seconds", "2", "--output", "json"])
        .expect(0);
    let offer = &probes.json()[0];
    assert_eq!(
        (&offer["codec"], &offer["auth"]),
        (&Value::from("h264"), &Value::from("digest"))
    );

    is_watched(&site);

    let gone = site
        .run(&["uninstall", "--yes", "--output", "json"])
        .expect(0)
        .json();
    assert!(path.exists(), "footage stays");
    assert_eq!(gone["footage"][0], site.data().join("recordings").as_str());
    assert_eq!(site.processes(), []);
    site.run(&["status"]).expect(4);
    let again = site.run(INSTALL).expect(0).json();
    assert_eq!(again["result"], "installed");
    assert!(
        path.exists(),
        "footage of the first installation is still there"
    );
    site.run(&["uninstall", "--config", "--yes"]).expect(0);
    assert!(!site.data().join("secrets").exists() && path.exists());
    site.run(&["uninstall", "--data", "--yes"]).expect(0);
    assert!(!site.data().exists());
    let nothing = site
        .run(&["uninstall", "--yes", "--output", "json"])
        .expect(0)
        .json();
    assert_eq!(nothing["result"], "unchanged");
}

/// Until the camera and what the vault holds were seen; then nobody reads any more.
fn is_watched(site: &Site) {
    let record = site.folder().join("watched.jsonl");
    let words = ["watch", "--output", "jsonl", "--record", record.as_str()];
    let mut command = site.command(&words);
    let mut watch = command.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let lines = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let mut told = Vec::new();
    let is = |line: &Value, event: &str| line["event"] == event;
    for line in lines {
        told.push(line);
        let camera = told.iter().filter(|line| is(line, "camera")).count() >= 3;
        if camera && told.iter().any(|line| is(line, "vault")) {
            break;
        }
    }
    assert!(watch.wait().unwrap().success());
    let camera = told.iter().rfind(|line| is(line, "camera")).unwrap();
    assert_eq!(
        (&camera["name"], &camera["receiving"]),
        (&"gate".into(), &true.into())
    );
    assert!(
        camera["bytes"].as_u64().unwrap() > 0 && camera["footage_ms"].is_u64(),
        "{camera}"
    );
    let vault = told.iter().find(|line| is(line, "vault")).unwrap();
    assert!(vault["recordings"].as_u64().unwrap() >= 1, "{vault}");
    // What was recorded is told again, line by line.
    let replay = ["watch", "--replay", record.as_str(), "--output", "jsonl"];
    let replayed = site.run(&replay).expect(0).stdout;
    assert_eq!(replayed, fs::read_to_string(&record).unwrap());
    let refused = site.run(&["watch", "--record", record.as_str(), "--output", "jsonl"]);
    assert!(refused.expect(1).stderr.contains("name another file"));
    site.run(&["watch"]).expect(2);
}

#[test]
fn cameras_come_and_go_without_touching_the_others() {
    let site = Site::new(&profile("change", DEMO));
    site.run(INSTALL).expect(0);
    let gate = site.process("agent-gate.json").unwrap();
    let two = "cameras: [ { name: gate, test: scene }, { name: yard, test: scene } ]\nstorage: { provider: filesystem, quota: 1GiB }\n";
    site.write_profile(&profile("change", two));
    let changed = site.run(INSTALL).expect(0).json();
    assert_eq!(changed["cameras"].as_array().unwrap().len(), 2);
    assert_eq!(
        site.process("agent-gate.json"),
        Some(gate),
        "gate's agent was left alone"
    );
    assert!(site.process("agent-yard.json").is_some());
    site.write_profile(&profile("change", DEMO));
    site.run(INSTALL).expect(0);
    assert_eq!(site.process("agent-gate.json"), Some(gate));
    assert_eq!(site.process("agent-yard.json"), None);
    assert!(!site.data().join("config/agent-yard.json").exists());
}

#[test]
fn a_saved_plan_is_done_only_while_it_holds() {
    let site = Site::new(&profile("saved", DEMO));
    let file = site.folder().join("plan.json");
    site.run(&["plan", "-o", file.as_str()]).expect(3);
    let text = fs::read_to_string(&file).unwrap();
    let other = site.folder().join("other.json");
    let machine = serde_json::from_str::<Value>(&text).unwrap()["plan"]["machine"].to_string();
    fs::write(&other, text.replace(&machine, "\"another\"")).unwrap();
    site.run(&["apply", other.as_str(), "--yes"]).expect(10);
    site.run(&["apply", file.as_str(), "--yes", "--proof-seconds", "2"])
        .expect(0);
    let stale = site.run(&["apply", file.as_str(), "--yes"]).expect(3);
    assert!(stale.stderr.contains("no longer holds"), "{}", stale.stderr);
}

#[test]
fn footage_of_a_site_without_a_vault_moves_into_the_vault_that_comes_later() {
    let alone = "cameras: [ { name: gate, test: scene } ]\nstorage: { provider: filesystem, keeper: agent }\n";
    let site = Site::new(&profile("later", alone));
    let first = site.run(INSTALL).expect(0).json();
    let hops: Vec<_> = first["verified"]["hops"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hop| &hop["name"])
        .collect();
    assert_eq!(hops, ["camera", "agent", "object"]);
    let old = Utf8PathBuf::from(first["verified"]["recording"].as_str().unwrap());
    assert!(old.starts_with(site.data().join("agents")));
    site.write_profile(&profile("later", DEMO));
    site.run(INSTALL).expect(0);
    let name = old.file_name().unwrap();
    let moved = || {
        recordings(&site.data().join("recordings"))
            .iter()
            .any(|path| path.file_name() == Some(name))
    };
    wait_until(
        Duration::from_secs(20),
        "the old recording is in the vault",
        moved,
    );
    assert!(!old.exists(), "it was moved, not copied");
}

#[test]
fn each_recording_reaches_the_webhook() {
    let port = free_port();
    let listener = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let heard = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().unwrap();
        let mut text = String::new();
        let mut buffer = [0; 4096];
        while !text.ends_with('}') {
            let n = stream.read(&mut buffer).unwrap();
            text.push_str(&String::from_utf8_lossy(&buffer[..n]));
        }
        stream
            .write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
            .unwrap();
        text
    });
    let demo = DEMO.replace(
        "test: scene",
        "test: scene, record: { when: continuous, longest: 5s }",
    );
    let hook = format!("{demo}events: [ {{ webhook: \"http://127.0.0.1:{port}/hook\" }} ]\n");
    let site = Site::new(&profile("hook", &hook));
    // The listener takes one event and is gone: others wait, so that the proof may fail.
    site.run(&["install", "--yes", "--no-verify"]).expect(0);
    let text = heard.join().unwrap();
    assert!(
        text.to_lowercase().contains("x-stakeout-signature: "),
        "{text}"
    );
    assert!(
        text.contains("recording.stored") && text.contains("\"camera\":\"gate\""),
        "{text}"
    );
}

#[test]
fn a_password_in_a_url_is_nowhere_but_in_the_secret_store() {
    let rtsp = format!("rtsp://admin:Gr4nd-Secret@127.0.0.1:{}/main", free_port());
    let cameras = format!("cameras: [ {{ name: gate, rtsp: \"{rtsp}\" }} ]\n");
    let site = Site::new(&profile("secret", &cameras));
    let mut said = String::new();
    for command in [
        &["validate"][..],
        &["plan", "--output", "json"],
        &["render"],
        &["install", "--yes", "--no-verify", "--output", "jsonl"],
        &["status", "--output", "json"],
        &["cameras", "list"],
        &["cameras", "probe", "--seconds", "1"],
        &["doctor"],
    ] {
        let ran = site.run(command);
        said.push_str(&ran.stdout);
        said.push_str(&ran.stderr);
    }
    assert!(!said.contains("Gr4nd-Secret"), "{said}");
    let mut found = Vec::new();
    let mut folders = vec![site.data()];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir_utf8().unwrap().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path().to_owned());
            } else if String::from_utf8_lossy(&fs::read(entry.path()).unwrap())
                .contains("Gr4nd-Secret")
            {
                found.push(entry.path().to_owned());
            }
        }
    }
    let secret = site.data().join("secrets/camera-gate-login.1");
    assert_eq!(found, std::slice::from_ref(&secret));
    assert_eq!(fs::metadata(secret).unwrap().mode() & 0o777, 0o600);
}
