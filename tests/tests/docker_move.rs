//! A site goes from services of a machine to containers of its engine and back, with everything
//! that it has recorded.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use e2e::engine::Engine;
use e2e::{INSTALL, Site, free_port, recordings, wait_until};

const CAMERAS: &str = "cameras: [ { name: one, test: scene, record: { longest: 5s } }, \
                       { name: two, test: scene, record: { longest: 5s } } ]\n\
                       storage: { provider: filesystem, quota: 1GiB }\n";

/// Longest that a camera may go unrecorded: both homes stop and start their services in order.
const GAP_MS: u64 = 20_000;

fn site(name: &str, engine: &Engine) -> Site {
    // Without a target, so that it is looked for where it lies.
    let access = format!("access: {{ address: \"127.0.0.1:{}\" }}\n", free_port());
    let profile = format!("version: 1\nsite: {name}\n{CAMERAS}{access}");
    Site::at_engine(&profile, &engine.address())
}

fn to<'a>(target: &'a str, words: &[&'a str]) -> Vec<&'a str> {
    [words, &["--target", target]].concat()
}

/// What the vault has, by name with its bytes.
fn kept(site: &Site) -> BTreeSet<(Utf8PathBuf, u64)> {
    recordings(&site.data().join("recordings"))
        .into_iter()
        .map(|path| {
            let size = fs::metadata(&path).unwrap().len();
            (path, size)
        })
        .collect()
}

fn secret(path: &Utf8Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn a_site_moves_to_the_engine_and_back_with_all_its_footage() {
    let engine = Engine::start();
    let site = site("nomad", &engine);
    site.run(INSTALL).expect(0);
    wait_until(Duration::from_secs(30), "some footage", || {
        kept(&site).len() >= 6
    });
    let at_host = kept(&site);
    let token = secret(&site.data().join("secrets/agent-one-token.1"));

    // A plan says what will happen, and does nothing.
    let planned = site.run(&to("docker", &["plan"])).expect(3);
    assert!(planned.stdout.contains("taken along"), "{planned:#?}");
    assert_eq!(engine.objects("stakeout."), Vec::<String>::new());

    let moved = site.run(&to("docker", INSTALL)).expect(0).json();
    assert_eq!(moved["result"], "installed");
    for agent in ["agent-one", "agent-two"] {
        let gap = moved["gaps_ms"][agent].as_u64().unwrap();
        assert!(gap > 0 && gap < GAP_MS, "{moved:#?}");
    }
    assert_eq!(
        site.processes()
            .iter()
            .filter(|(_, line)| line.contains("supervise"))
            .count(),
        0
    );
    let at_engine = kept(&site);
    assert!(at_host.is_subset(&at_engine), "{at_host:?} {at_engine:?}");
    assert!(!site.data().join("receipt.json").exists());
    assert!(!site.data().join("secrets").exists());
    let carried = site.data().join("control/secrets/agent-one-token.1");
    assert_eq!(secret(&carried), token);
    assert!(
        at_engine
            .iter()
            .all(|(path, _)| fs::metadata(path).unwrap().uid() == 10_001)
    );

    let published = moved["access"]["published"].as_bool();
    assert_eq!(published, Some(true), "{moved:#?}");

    // From now on it is where it is, without being told.
    let again = site.run(INSTALL).expect(0).json();
    assert_eq!(again["result"], "unchanged");
    let status = site.run(&["status", "--output", "json"]).expect(0).json();
    // The vault knows what was recorded before.
    let known = status["vault"]["recordings"].as_u64().unwrap();
    assert!(known >= at_host.len() as u64, "{status:#?}");

    let back = site.run(&to("host", INSTALL)).expect(0).json();
    assert_eq!(back["result"], "installed");
    assert!(
        back["gaps_ms"]["agent-two"].as_u64().unwrap() < GAP_MS,
        "{back:#?}"
    );
    assert_eq!(engine.objects("stakeout."), Vec::<String>::new());
    assert!(at_engine.is_subset(&kept(&site)));
    assert!(!site.data().join("control").exists());
    assert_eq!(
        secret(&site.data().join("secrets/agent-one-token.1")),
        token
    );
    let again = site.run(INSTALL).expect(0).json();
    assert_eq!(again["result"], "unchanged");
    site.run(&["uninstall", "--data", "--yes"]).expect(0);
    assert!(!site.data().exists());
}

/// Killed after its nth effect, a move is finished by the same command, or taken back.
#[test]
fn a_move_that_is_killed_is_finished_or_taken_back() {
    let engine = Engine::start();
    let site = site("torn", &engine);
    let install: &[&str] = &["install", "--yes", "--no-verify"];
    site.run(INSTALL).expect(0);
    let mut known = kept(&site);
    let step = std::env::var("STAKEOUT_CRASH_STEP").map_or(23, |step| step.parse().unwrap());
    let (mut after, mut kills) = (3, 0);
    loop {
        let mut ended = true;
        for target in ["docker", "host"] {
            let command = to(target, install);
            if site.is_killed_after(&command, after) {
                ended = false;
                kills += 1;
                // Half moved, it is not taken away half.
                let both = site.data().join("control/receipt.json").exists()
                    && site.data().join("receipt.json").exists();
                if both {
                    let refused = site.run(&to(target, &["uninstall", "--yes"]));
                    assert_eq!(refused.code, Some(4), "{refused:#?}");
                }
                // Every other time the owner thinks better of it, and then again.
                if kills % 2 == 0 {
                    let other = if target == "host" { "docker" } else { "host" };
                    site.run(&to(other, install)).expect(0);
                }
                site.run(&command).expect(0);
            }
            let plan = site.run(&to(target, &["plan"]));
            assert_eq!(
                plan.code,
                Some(0),
                "{target} killed after {after}: {plan:#?}"
            );
            let now = kept(&site);
            assert!(known.is_subset(&now), "{target} killed after {after}");
            known = now;
            let control = site.data().join("control").exists();
            assert_eq!(control, target == "docker", "killed after {after}");
        }
        if ended {
            break;
        }
        after += step;
    }
    assert!(kills >= 4, "{kills}");
    site.run(&["uninstall", "--data", "--yes"]).expect(0);
    assert_eq!(engine.objects("stakeout."), Vec::<String>::new());
}
