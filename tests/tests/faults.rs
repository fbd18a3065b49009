//! What goes wrong on a host, and what a person is told.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Command, Stdio};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use e2e::{DEMO, INSTALL, Site, free_port, profile, send, wait_until};
use rustix::process::Signal;
use serde_json::Value;

#[test]
fn a_killed_service_comes_back_and_a_killed_supervisor_leaves_nothing_behind() {
    let site = Site::new(&profile("kill", DEMO));
    site.run(INSTALL).expect(0);
    for part in ["agent-gate.json", "vault.json", "test-camera"] {
        let before = site.process(part).unwrap();
        assert!(send(before, Signal::KILL));
        let back = || site.process(part).is_some_and(|now| now != before);
        let took = wait_until(Duration::from_secs(1), part, back);
        assert!(took < Duration::from_secs(1));
    }
    wait_until(Duration::from_secs(20), "status is well again", || {
        site.run(&["status"]).code == Some(0)
    });
    let supervisor = site.process("supervise").unwrap();
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

/// A site whose programs and folders an ordinary user can use; `None` where we are one already.
fn site_of_nobody(name: &str) -> Option<Site> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let mut site = Site::new(&profile(name, DEMO));
    let open = |path: &Utf8Path| {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    open(site.folder());
    let programs = site.folder().join("programs");
    fs::create_dir(&programs).unwrap();
    open(&programs);
    for program in ["stakeout", "stakeout-agent", "stakeout-vault"] {
        fs::copy(site.programs.join(program), programs.join(program)).unwrap();
    }
    site.programs = programs;
    Some(site)
}

/// Runs a command of the site as the user `nobody`.
fn run_as_nobody(site: &Site, arguments: &[&str]) -> std::process::Output {
    let command = site.command(arguments);
    Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(command.get_program())
        .args(command.get_args())
        .env_remove("XDG_RUNTIME_DIR")
        .current_dir("/")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn an_ordinary_user_installs_where_it_may_and_is_told_where_it_may_not() {
    let Some(site) = site_of_nobody("plain") else {
        return;
    };
    let ran = run_as_nobody(&site, INSTALL);
    let said = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(4), "{said}");
    assert!(
        said.contains("may not write") && !site.data().exists(),
        "{said}"
    );
    fs::create_dir(site.data()).unwrap();
    std::os::unix::fs::chown(site.data(), Some(65534), Some(65534)).unwrap();
    let ran = run_as_nobody(&site, INSTALL);
    let said = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(0), "{said}");
    let id = site.process("agent-gate.json").unwrap();
    assert_eq!(fs::metadata(format!("/proc/{id}")).unwrap().uid(), 65534);
    let ran = run_as_nobody(&site, &["uninstall", "--data", "--yes"]);
    // The folder above is not this user's, so the empty data folder itself has to stay.
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(
        site.data().read_dir_utf8().unwrap().next().is_none(),
        "{said}"
    );
    assert_eq!(site.processes(), []);
}

#[test]
fn a_proof_that_nobody_waits_for_ends_at_once() {
    let silent = format!(
        "cameras: [ {{ name: gate, rtsp: \"rtsp://127.0.0.1:{}/x\" }} ]\n",
        free_port()
    );
    let site = Site::new(&profile("quit", &silent));
    let mut run = site
        .command(INSTALL)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until(Duration::from_secs(20), "the site is installed", || {
        site.run(&["plan"]).code == Some(0)
    });
    // Installed and not proved: the run now waits for a picture that never comes.
    wait_until(Duration::from_secs(5), "the run ends when told", || {
        assert!(send(run.id(), Signal::INT) || run.try_wait().unwrap().is_some());
        run.try_wait().unwrap().is_some()
    });
    assert_eq!(run.wait().unwrap().code(), Some(130));
    let ran = site.run(&["status"]).expect(0);
    assert!(ran.stdout.contains("no footage"), "{}", ran.stdout);
}

#[test]
fn a_target_that_is_not_here_is_told() {
    let site = Site::new(&DEMO.replacen(
        "cameras",
        "version: 1\nsite: far\ntarget: kubernetes\ncameras",
        1,
    ));
    let ran = site
        .command(&["plan"])
        .env_remove("KUBECONFIG")
        .env("HOME", site.folder())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(10), "{told}");
    assert!(told.contains("no cluster is configured"), "{told}");
}
