//! A site on a host with systemd as PID 1: a booted container, rebooted and cut off from power.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and tells what it measured"
)]

use std::process::{Command, Output};
use std::time::Duration;

use e2e::{programs, root, wait_until};
use serde_json::Value;

/// Exposure that `systemd-analyze security` may find at most.
const EXPOSURE_MAX: f64 = 3.0;

/// A machine that goes with the test.
struct Machine {
    name: String,
}

impl Machine {
    fn boot() -> Self {
        let machine = Self {
            name: format!("stakeout-{}", std::process::id()),
        };
        machine.part(&["remove"]);
        let bind = |from: &str, to: &str| format!("{from}:{to}");
        let programs = bind(
            programs().canonicalize_utf8().unwrap().as_str(),
            "/opt/stakeout",
        );
        let profiles = bind(root().join("profiles").as_str(), "/opt/profiles");
        let booted = machine.part(&["boot", "--bind-ro", &programs, "--bind-ro", &profiles]);
        assert!(booted.status.success(), "{booted:?}");
        machine
    }

    /// `ci/parts/nspawn VERB NAME …`
    fn part(&self, words: &[&str]) -> Output {
        let (verb, rest) = words.split_first().unwrap();
        Command::new(root().join("ci/parts/nspawn"))
            .arg(verb)
            .arg(&self.name)
            .args(rest)
            .output()
            .unwrap()
    }

    fn run(&self, words: &[&str]) -> Output {
        self.part(&[&["exec"], words].concat())
    }

    #[track_caller]
    fn expect(&self, code: i32, words: &[&str]) -> String {
        let output = self.run(words);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{words:?}\n{said}\n{errors}"
        );
        said
    }

    #[track_caller]
    fn stakeout(&self, code: i32, words: &[&str]) -> String {
        let profile = ["--profile", "/etc/site.yaml"];
        self.expect(
            code,
            &[&["/opt/stakeout/stakeout"], words, &profile].concat(),
        )
    }

    fn pid(&self, service: &str) -> String {
        let unit = format!("stakeout.demo.{service}.service");
        self.expect(0, &["systemctl", "show", "--value", "-p", "MainPID", &unit])
            .trim()
            .to_owned()
    }

    fn status_is_well(&self) -> bool {
        let words = [
            "/opt/stakeout/stakeout",
            "status",
            "--profile",
            "/etc/site.yaml",
        ];
        self.run(&words).status.success()
    }

    /// After a boot nobody does anything, and footage comes.
    fn records_by_itself(&self, how: &str) {
        let took = wait_until(Duration::from_mins(1), how, || self.status_is_well());
        let young = || {
            let status = self.stakeout(0, &["status", "--output", "json"]);
            let status: Value = serde_json::from_str(&status).unwrap();
            // The time of day of a container does not jump: what is young was written after boot.
            status["cameras"][0]["age_seconds"]
                .as_f64()
                .is_some_and(|age| age < 3.0)
        };
        let footage = wait_until(Duration::from_secs(30), how, young);
        println!("{how}: well after {took:?}, footage after {footage:?} more");
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.part(&["remove"]);
    }
}

#[test]
fn a_site_is_hardened_comes_back_after_a_reboot_and_leaves_without_a_trace() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: booting a machine needs root");
        return;
    }
    let machine = Machine::boot();
    machine.expect(0, &["cp", "/opt/profiles/demo.yaml", "/etc/site.yaml"]);
    let install = [
        "install",
        "--yes",
        "--output",
        "json",
        "--proof-seconds",
        "2",
    ];
    let first: Value = serde_json::from_str(&machine.stakeout(0, &install)).unwrap();
    let verified = &first["verified"];
    assert!(verified["frames"].as_u64().unwrap() >= 50, "{first}");
    assert_eq!(verified["hops"].as_array().unwrap().len(), 5);
    machine.expect(0, &["test", "-f", verified["recording"].as_str().unwrap()]);
    let second: Value = serde_json::from_str(&machine.stakeout(0, &install)).unwrap();
    assert_eq!(
        (&second["result"], &second["changed"]),
        (&Value::from("unchanged"), &Value::from(0))
    );
    machine.stakeout(0, &["plan"]);

    for service in ["vault", "camera-demo", "agent-demo"] {
        let unit = format!("stakeout.demo.{service}.service");
        let text = machine.expect(0, &["systemd-analyze", "security", "--no-pager", &unit]);
        let line = text
            .lines()
            .find(|line| line.contains("Overall exposure level"))
            .unwrap();
        let exposure: f64 = line
            .split_whitespace()
            .find_map(|word| word.parse().ok())
            .unwrap();
        println!("{unit}: exposure {exposure}");
        assert!(exposure < EXPOSURE_MAX, "{line}");
        let user = machine.expect(0, &["ps", "-o", "user:32=", "-p", &machine.pid(service)]);
        assert_eq!(user.trim(), "stakeout-demo");
    }

    let before = machine.pid("agent-demo");
    machine.expect(0, &["kill", "-9", &before]);
    let back = || machine.status_is_well() && machine.pid("agent-demo") != before;
    let took = wait_until(Duration::from_secs(15), "a killed agent is back", back);
    println!("a killed agent is back after {took:?}");

    assert!(machine.part(&["reboot"]).status.success());
    machine.records_by_itself("after a reboot");
    assert!(machine.part(&["shutdown-hard"]).status.success());
    assert!(machine.part(&["boot"]).status.success());
    machine.records_by_itself("after a power cut");

    let agent = machine.pid("agent-demo");
    let yard = "s/^cameras:/cameras:\\n  - { name: yard, test: scene }/";
    machine.expect(0, &["sed", "-i", yard, "/etc/site.yaml"]);
    machine.stakeout(3, &["plan"]);
    machine.stakeout(0, &install);
    assert_eq!(
        machine.pid("agent-demo"),
        agent,
        "the other camera's agent was left alone"
    );

    let gone = machine.stakeout(0, &["uninstall", "--yes"]);
    assert!(gone.contains("/var/lib/stakeout/demo/recordings"), "{gone}");
    let units = machine.expect(
        0,
        &[
            "systemctl",
            "list-units",
            "--all",
            "--no-legend",
            "stakeout.*",
        ],
    );
    assert_eq!(units.trim(), "");
    let files = machine.expect(0, &["find", "/etc/systemd/system", "-name", "*stakeout*"]);
    assert_eq!(files.trim(), "");
    machine.expect(0, &["test", "-f", verified["recording"].as_str().unwrap()]);
    machine.stakeout(0, &["uninstall", "--data", "--yes"]);
    machine.expect(1, &["test", "-e", "/var/lib/stakeout"]);
    machine.expect(1, &["grep", "stakeout", "/etc/passwd"]);
}
