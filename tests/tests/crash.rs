//! The installer is killed after every single effect, run again, and must end where an
//! uninterrupted run ends: same files, same services, nothing extra.

#![expect(
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and tells what it did"
)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use e2e::{Output, Site};
use serde_json::Value;

const BEFORE: &str = "version: 1
site: crash
target: host
cameras:
  - { name: one, test: scene }
  - { name: two, test: scene }
storage: { provider: filesystem, quota: 1GiB }
";

/// One camera changed, one removed, one added.
const AFTER: &str = "version: 1
site: crash
target: host
cameras:
  - { name: one, test: scene, record: { when: continuous, longest: 30s } }
  - { name: three, test: scene }
storage: { provider: filesystem, quota: 1GiB }
";

const INSTALL: &[&str] = &["install", "--yes", "--no-verify"];
const UNINSTALL: &[&str] = &["uninstall", "--yes"];
const ERASE: &[&str] = &["uninstall", "--data", "--yes"];

/// More primitives than any of the runs here performs.
const EFFECTS_MAX: u64 = 500;

/// Kills `command` after its first effect, its second, … until a run survives; `prepare` makes the state
/// before each.
fn campaign(name: &str, prepare: impl Fn(&Site), command: &[&str]) {
    let site = Site::new(BEFORE);
    prepare(&site);
    site.run(command).expect(0);
    let wanted = snapshot(&site);
    site.run(ERASE).expect(0);
    for after in 1..EFFECTS_MAX {
        prepare(&site);
        let ran = run_and_crash(&site, command, after);
        if ran.code.is_some() {
            ran.expect(0);
            println!("{name}: killed after each of {} effects", after - 1);
            assert!(after > 10, "{name} was hardly ever killed");
            return;
        }
        site.run(command).expect(0);
        let found = snapshot(&site);
        assert_eq!(
            diff(&wanted, &found),
            Vec::<String>::new(),
            "{name} killed after {after}"
        );
        if command != ERASE {
            let again = site
                .run(&[command, &["--output", "json"]].concat())
                .expect(0);
            assert_eq!(
                again.json()["changed"],
                0,
                "{name} killed after {after}: {again:#?}"
            );
        }
        site.run(ERASE).expect(0);
        assert!(
            !site.data().exists(),
            "{name} killed after {after}: data is left"
        );
        assert!(
            site.processes().is_empty(),
            "{name}: {:?}",
            site.processes()
        );
    }
    panic!("{name} never ends");
}

/// Runs it to be killed after that many primitive effects.
fn run_and_crash(site: &Site, arguments: &[&str], after: u64) -> Output {
    let mut command = site.command(arguments);
    command.env("STAKEOUT_TEST_CRASH_AFTER", after.to_string());
    let output = command.output().unwrap();
    Output {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        took: std::time::Duration::ZERO,
    }
}

/// Everything that an installation decides: paths, modes, contents, processes, services. Footage,
/// logs and values of secrets are left out.
fn snapshot(site: &Site) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let data = site.data();
    let mut folders = vec![data.clone()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = folder.read_dir_utf8() else {
            continue;
        };
        for entry in entries.flatten() {
            let path = entry.path().to_owned();
            let short = path.strip_prefix(&data).unwrap().to_string();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let mode = metadata.permissions().mode() & 0o7777;
            if metadata.is_file() {
                let contents = match short.split('/').next() {
                    Some("config") => fs::read_to_string(&path).unwrap(),
                    Some("bin") => metadata.len().to_string(),
                    Some("receipt.json") => {
                        let text = fs::read_to_string(&path).unwrap();
                        let receipt: Value = serde_json::from_str(&text).unwrap();
                        format!("{receipt:#}")
                    }
                    _ => String::new(),
                };
                found.insert(short, format!("{mode:o} {contents}"));
            } else {
                let theirs = ["recordings", "vault", "logs", "run"].contains(&short.as_str())
                    || short.starts_with("agents/");
                // A camera that went keeps its folder while there is footage in it.
                if !short.starts_with("agents/") {
                    found.insert(short + "/", format!("{mode:o}"));
                }
                if !theirs {
                    folders.push(path);
                }
            }
        }
    }
    let mut processes: Vec<_> = site.processes().into_iter().map(|(_, line)| line).collect();
    processes.sort();
    for (n, line) in processes.into_iter().enumerate() {
        found.insert(format!("process {n}"), line);
    }
    let status = site.run(&["status", "--output", "json"]).json();
    for service in status["services"].as_array().unwrap() {
        let fine = (&service["running"], &service["answers"], &service["port"]);
        found.insert(format!("service {}", service["name"]), format!("{fine:?}"));
    }
    found
}

fn diff(wanted: &BTreeMap<String, String>, found: &BTreeMap<String, String>) -> Vec<String> {
    let mut lines = Vec::new();
    for (key, value) in wanted {
        match found.get(key) {
            None => lines.push(format!("missing {key}")),
            Some(other) if other != value => lines.push(format!("{key}: {value}\n  != {other}")),
            Some(_) => {}
        }
    }
    lines.extend(
        found
            .keys()
            .filter(|key| !wanted.contains_key(*key))
            .map(|k| format!("extra {k}")),
    );
    lines
}

#[test]
fn a_killed_install_goes_on() {
    campaign("install", |_| {}, INSTALL);
}

#[test]
fn a_killed_change_goes_on() {
    let prepare = |site: &Site| {
        site.write_profile(BEFORE);
        site.run(INSTALL).expect(0);
        site.write_profile(AFTER);
    };
    campaign("change", prepare, INSTALL);
}

#[test]
fn a_killed_removal_goes_on() {
    let prepare = |site: &Site| {
        site.run(INSTALL).expect(0);
    };
    campaign("uninstall", prepare, UNINSTALL);
    campaign("uninstall --data", prepare, ERASE);
}
