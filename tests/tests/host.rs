//! A site on this machine, below the supervisor: what a person does, and what goes wrong.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use e2e::{Site, ffprobe, free_port, root, send, wait_until};
use rustix::process::Signal;
use serde_json::Value;

const INSTALL: &[&str] = &[
    "install",
    "--yes",
    "--output",
    "json",
    "--proof-seconds",
    "2",
];

fn profile(site: &str, rest: &str) -> String {
    format!("version: 1\nsite: {site}\ntarget: host\n{rest}")
}

const DEMO: &str =
    "cameras: [ { name: gate, test: scene } ]\nstorage: { provider: filesystem, quota: 1GiB }\n";

/// Every MP4 below a folder, oldest first.
fn recordings(folder: &Utf8Path) -> Vec<Utf8PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        let Ok(entries) = folder.read_dir_utf8() else {
            continue;
        };
        for entry in entries.flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path().to_owned());
            } else if entry.path().extension() == Some("mp4") {
                found.push(entry.path().to_owned());
            }
        }
    }
    found.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
    found
}

fn process(site: &Site, part: &str) -> Option<u32> {
    site.processes()
        .into_iter()
        .find(|(_, line)| line.contains(part))
        .map(|(id, _)| id)
}

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
        let output = Command::new("bash")
            .args(["-c", line])
            .current_dir(root())
            .env("STAKEOUT_DATA_DIR", site.data())
            .env_remove("STAKEOUT_PROFILE")
            .stdin(Stdio::null())
            .output()
            .unwrap();
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

#[test]
fn cameras_come_and_go_without_touching_the_others() {
    let site = Site::new(&profile("change", DEMO));
    site.run(INSTALL).expect(0);
    let gate = process(&site, "agent-gate.json").unwrap();
    let two = "cameras: [ { name: gate, test: scene }, { name: yard, test: scene } ]\nstorage: { provider: filesystem, quota: 1GiB }\n";
    site.write_profile(&profile("change", two));
    let changed = site.run(INSTALL).expect(0).json();
    assert_eq!(changed["cameras"].as_array().unwrap().len(), 2);
    assert_eq!(
        process(&site, "agent-gate.json"),
        Some(gate),
        "gate's agent was left alone"
    );
    assert!(process(&site, "agent-yard.json").is_some());
    site.write_profile(&profile("change", DEMO));
    site.run(INSTALL).expect(0);
    assert_eq!(process(&site, "agent-gate.json"), Some(gate));
    assert_eq!(process(&site, "agent-yard.json"), None);
    assert!(!site.data().join("config/agent-yard.json").exists());
}

#[test]
fn a_killed_service_comes_back_and_a_killed_supervisor_leaves_nothing_behind() {
    let site = Site::new(&profile("kill", DEMO));
    site.run(INSTALL).expect(0);
    for part in ["agent-gate.json", "vault.json", "test-camera"] {
        let before = process(&site, part).unwrap();
        assert!(send(before, Signal::KILL));
        let back = || process(&site, part).is_some_and(|now| now != before);
        let took = wait_until(Duration::from_secs(1), part, back);
        assert!(took < Duration::from_secs(1));
    }
    wait_until(Duration::from_secs(20), "status is well again", || {
        site.run(&["status"]).code == Some(0)
    });
    let supervisor = process(&site, "supervise").unwrap();
    assert!(send(supervisor, Signal::KILL));
    wait_until(Duration::from_secs(10), "its services end with it", || {
        site.processes().is_empty()
    });
    site.run(&["status"]).expect(4);
    site.run(&["plan"]).expect(3);
    site.run(INSTALL).expect(0);
    site.run(&["status"]).expect(0);
}

#[test]
fn a_second_run_at_the_same_time_names_the_first() {
    let site = Site::new(&profile("lock", DEMO));
    let mut first = site
        .command(INSTALL)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until(Duration::from_secs(10), "the first run began", || {
        site.data().join("receipt.json").exists()
    });
    let second = site.run(&["uninstall", "--yes"]).expect(8);
    assert!(
        second.stderr.contains(&format!("process {}", first.id())),
        "{}",
        second.stderr
    );
    assert!(first.wait().unwrap().success());
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

#[test]
fn what_stands_in_the_way_is_found_before_the_first_effect() {
    // A program that is missing.
    let mut site = Site::new(&profile("checks", DEMO));
    let lonely = site.folder().join("lonely");
    fs::create_dir(&lonely).unwrap();
    fs::copy(site.programs.join("stakeout"), lonely.join("stakeout")).unwrap();
    let programs = std::mem::replace(&mut site.programs, lonely);
    let ran = site.run(INSTALL).expect(4);
    assert!(
        ran.stderr.contains("stakeout-vault") && !site.data().exists(),
        "{}",
        ran.stderr
    );
    site.programs = programs;

    // A file where the folder should be.
    fs::write(site.data(), "").unwrap();
    let ran = site.run(INSTALL).expect(4);
    assert!(ran.stderr.contains("is not a folder"), "{}", ran.stderr);
    fs::remove_file(site.data()).unwrap();

    // A port of ours that a stranger took while we were away.
    site.run(INSTALL).expect(0);
    site.run(&["uninstall", "--yes"]).expect(0);
    let receipt = fs::read_to_string(site.data().join("receipt.json")).unwrap();
    let receipt: Value = serde_json::from_str(&receipt).unwrap();
    let port = u16::try_from(receipt["owned"]["ports"]["vault"].as_u64().unwrap()).unwrap();
    let stranger = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let ran = site.run(INSTALL).expect(4);
    assert!(
        ran.stderr.contains(&format!("port {port}")),
        "{}",
        ran.stderr
    );
    assert_eq!(site.processes(), []);
    drop(stranger);
    site.run(INSTALL).expect(0);
}

/// A tmpfs that goes with the test; `None` where this user may not mount.
struct Mount(Utf8PathBuf);

impl Mount {
    fn new(path: Utf8PathBuf, options: &str) -> Option<Self> {
        fs::create_dir_all(&path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "none", path.as_str()])
            .stderr(Stdio::null())
            .status();
        mounted
            .is_ok_and(|status| status.success())
            .then(|| Self(path))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        drop(
            Command::new("umount")
                .args(["-l", self.0.as_str()])
                .status(),
        );
    }
}

#[test]
fn a_full_or_read_only_disk_is_found_before_the_first_effect() {
    let site = Site::new(&profile("disk", DEMO));
    for (options, word) in [("size=8m", "has only"), ("ro,size=1g", "read-only")] {
        let Some(_mount) = Mount::new(site.data(), options) else {
            assert!(
                !rustix::process::geteuid().is_root(),
                "root can mount a tmpfs"
            );
            return;
        };
        let ran = site.run(INSTALL).expect(4);
        assert!(ran.stderr.contains(word), "{}", ran.stderr);
        assert_eq!(site.data().read_dir_utf8().unwrap().count(), 0);
    }
}

#[test]
fn without_a_terminal_nothing_is_asked_and_everything_missing_is_named() {
    let site = Site::new(&profile("quiet", DEMO));
    let ran = site.run(&["install"]).expect(2);
    assert!(
        ran.stderr.contains("--yes") && !site.data().exists(),
        "{}",
        ran.stderr
    );
    fs::remove_file(site.profile()).unwrap();
    let ran = site.run(&["init"]).expect(2);
    assert!(
        ran.stderr.contains("--site") && ran.stderr.contains("--camera"),
        "{}",
        ran.stderr
    );
    let ran = site
        .run(&[
            "init",
            "--site",
            "quiet",
            "--test-camera",
            "--quota",
            "1GiB",
        ])
        .expect(0);
    assert!(ran.stdout.contains("Site quiet"), "{}", ran.stdout);
    site.run(&["validate"]).expect(0);
    site.run(&["init", "--site", "quiet", "--test-camera"])
        .expect(2);
    let rtsp = "rtsp://u:pw-of-the-yard@127.0.0.1:9/x";
    site.run(&["cameras", "add", "yard", "--rtsp", rtsp])
        .expect(4);
    site.run(&["cameras", "add", "yard", "--rtsp", rtsp, "--no-probe"])
        .expect(0);
    let text = fs::read_to_string(site.profile()).unwrap();
    assert!(
        text.contains("yard") && !text.contains("pw-of-the-yard"),
        "{text}"
    );
    site.run(&["validate", "--strict"]).expect(0);
    site.run(&["cameras", "remove", "yard"]).expect(0);
    site.run(&["cameras", "remove", "yard"]).expect(2);
    site.run(&["completions", "bash"]).expect(0);
    let detected = site.run(&["detect", "--output", "json"]).expect(0).json();
    assert_eq!(detected["targets"][0]["name"], "host");
    let schema = site.run(&["schema"]).expect(0).json();
    assert!(schema["properties"]["cameras"].is_object());
}

#[test]
fn another_target_is_refused_by_name() {
    let site = Site::new(&DEMO.replacen(
        "cameras",
        "version: 1\nsite: far\ntarget: kubernetes\ncameras",
        1,
    ));
    let ran = site.run(&["plan"]).expect(10);
    assert!(ran.stderr.contains("kubernetes"), "{}", ran.stderr);
}
