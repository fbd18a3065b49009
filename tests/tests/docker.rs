//! A site on a real Docker Engine: made, left alone, changed, moved away, and never taken from
//! somebody else.

use std::fs;
use std::process::Command;
use std::time::Duration;

use e2e::engine::{Engine, Witness};
use e2e::{DEMO, INSTALL, Site, docker_profile, shipped, wait_until};
use serde_json::Value;

const UNINSTALL: &[&str] = &["uninstall", "--yes", "--output", "json"];

#[test]
fn a_site_is_made_hardened_and_then_left_alone() {
    let engine = Engine::start();
    let witness = Witness::stand(&engine);
    let site = Site::on_docker("calm", DEMO, &witness.address());
    let made = site.run(INSTALL).expect(0).json();
    assert_eq!(made["result"], "installed");
    assert_eq!(made["verified"]["codec"], "h264");

    // Nothing changed: nothing is written, and nothing is started to find that out.
    witness.requests();
    let again = site.run(INSTALL).expect(0).json();
    assert_eq!(again["result"], "unchanged");
    let writes: Vec<_> = witness
        .requests()
        .into_iter()
        .filter(|request| !request.starts_with("GET ") && !request.starts_with("HEAD "))
        .collect();
    assert_eq!(writes, Vec::<String>::new());

    // As hard as it gets, and no secret where an engine's user could read it.
    let mut secrets = Vec::new();
    for entry in fs::read_dir(site.data().join("control/secrets")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        secrets.extend(text.lines().filter(|l| l.len() > 8).map(str::to_owned));
    }
    assert!(secrets.len() >= 5, "{}", secrets.len());
    for service in ["vault", "camera-gate", "agent-gate"] {
        let found = engine.inspect(&format!("stakeout.calm.{service}"));
        let host = &found["HostConfig"];
        assert_eq!(host["ReadonlyRootfs"], true, "{service}");
        assert_eq!(host["CapDrop"], serde_json::json!(["ALL"]), "{service}");
        assert_eq!(host["CapAdd"], Value::Null, "{service}");
        assert_eq!(
            host["SecurityOpt"],
            serde_json::json!(["no-new-privileges"]),
            "{service}"
        );
        assert_eq!(host["Privileged"], false, "{service}");
        for limit in ["Memory", "NanoCpus", "PidsLimit"] {
            assert!(host[limit].as_i64().unwrap() > 0, "{service} {limit}");
        }
        assert_eq!(host["LogConfig"]["Config"]["max-size"], "8m");
        assert_eq!(host["RestartPolicy"]["Name"], "always");
        assert_eq!(host["PortBindings"], Value::Null, "{service}");
        assert_eq!(found["Config"]["User"], "10001:10001", "{service}");
        assert!(found["Config"]["Healthcheck"]["Test"].is_array());
        let text = found.to_string();
        assert!(secrets.iter().all(|secret| !text.contains(secret.as_str())));
    }
    let secret = site.data().join("control/secrets/vault-admin-token.1");
    let mode = Command::new("stat")
        .args(["-c", "%a %u", secret.as_str()])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&mode.stdout).trim(), "400 10001");
}

#[test]
fn a_change_touches_what_it_is_about_and_tells_the_gap() {
    let engine = Engine::start();
    let two = "cameras: [ { name: one, test: scene }, { name: two, test: scene } ]\n\
               storage: { provider: filesystem, quota: 1GiB }\n";
    let site = Site::on_docker("moves", two, &engine.address());
    site.run(INSTALL).expect(0);
    let id = |name: &str| engine.inspect(&format!("stakeout.moves.{name}"))["Id"].to_string();
    let before = ["vault", "agent-one", "agent-two"].map(id);

    let changed = two.replace(
        "{ name: two, test: scene }",
        "{ name: two, test: scene, record: { longest: 30s } }",
    );
    site.write_profile(&docker_profile("moves", &changed));
    let done = site.run(INSTALL).expect(0).json();
    let after = ["vault", "agent-one", "agent-two"].map(id);
    assert_eq!(before[0], after[0], "the vault was not touched");
    assert_eq!(before[1], after[1], "the other camera was not touched");
    assert_ne!(before[2], after[2]);
    let gap = done["gaps_ms"]["agent-two"].as_u64().unwrap();
    assert!(gap > 0 && gap < 3000, "{gap} ms");

    // A third camera joins the running vault's networks; one goes, with its network.
    let third = changed.replace("{ name: one, test: scene }", "{ name: three, test: scene }");
    site.write_profile(&docker_profile("moves", &third));
    site.run(INSTALL).expect(0);
    assert_eq!(id("vault"), before[0], "the vault was not touched");
    let objects = engine.objects("stakeout.moves.");
    assert!(objects.contains(&"network stakeout.moves.agent-three".to_owned()));
    assert!(!objects.iter().any(|o| o.ends_with("-one")), "{objects:?}");

    // What one agent is in, no other is in.
    let one = engine.inspect("stakeout.moves.agent-two");
    let networks = one["NetworkSettings"]["Networks"].as_object().unwrap();
    assert_eq!(
        networks.keys().collect::<Vec<_>>(),
        ["stakeout.moves.agent-two"]
    );
}

#[test]
fn each_level_of_removal_leaves_what_it_says() {
    let engine = Engine::start();
    let site = Site::on_docker("leaves", DEMO, &engine.address());
    site.run(INSTALL).expect(0);
    site.run(UNINSTALL).expect(0);
    assert_eq!(
        engine.objects("stakeout.leaves."),
        ["container stakeout.leaves.files"]
    );
    assert!(!e2e::recordings(&site.data()).is_empty());
    // It comes back with the same secrets and its footage.
    let token = site.data().join("control/secrets/vault-admin-token.1");
    let kept = fs::read_to_string(&token).unwrap();
    site.run(INSTALL).expect(0);
    assert_eq!(fs::read_to_string(&token).unwrap(), kept);

    site.run(&["uninstall", "--config", "--yes"]).expect(0);
    assert!(!token.exists());
    let footage = e2e::recordings(&site.data());
    assert!(!footage.is_empty());
    e2e::ffprobe(&footage[0]);

    site.run(&["uninstall", "--data", "--yes"]).expect(0);
    assert_eq!(engine.objects("stakeout.leaves."), Vec::<String>::new());
    assert!(!site.data().exists());
    let nothing = site.run(UNINSTALL).expect(0).json();
    assert_eq!(nothing["result"], "unchanged");
}

#[test]
fn what_looks_like_ours_and_is_not_is_never_touched() {
    let engine = Engine::start();
    let witness = Witness::stand(&engine);
    let site = Site::on_docker("twin", DEMO, &witness.address());
    // Somebody's container with our name; and one with our labels, copied, of another installation.
    let image = shipped::local_images();
    let load = Command::new(site.programs.join("stakeout"))
        .args(["image", "load", "--images", image.as_str()])
        .env("DOCKER_HOST", engine.address())
        .output()
        .unwrap();
    assert!(load.status.success(), "{load:?}");
    let make = |name: &str, labels: &[&str]| {
        let mut words = vec!["create", "--name", name];
        for label in labels {
            words.extend(["--label", label]);
        }
        words.extend(["stakeout/agent:0.1.0", "version"]);
        engine.docker(&words);
    };
    make("stakeout.twin.vault", &[]);
    make(
        "stakeout.twin.agent-old",
        &[
            "stakeout.site=twin",
            "stakeout.installation=0123456789abcdef",
        ],
    );
    // A site whose name begins like ours is another site.
    make("stakeout.twin-peaks.vault", &[]);
    let before = engine.objects("stakeout.");
    witness.requests();
    let refused = site.run(INSTALL).expect(4);
    assert!(
        refused.stdout.contains("stakeout.twin.vault"),
        "{refused:#?}"
    );
    assert!(refused.stdout.contains("stakeout.twin.agent-old"));
    assert!(!refused.stdout.contains("twin-peaks"));
    site.run(&["uninstall", "--data", "--yes"]).expect(0);
    assert_eq!(engine.objects("stakeout."), before);
    assert!(witness.requests().iter().all(|r| r.starts_with("GET ")));

    // Without them it goes in beside the other site, and out again, and the other stays.
    engine.docker(&["rm", "stakeout.twin.vault", "stakeout.twin.agent-old"]);
    site.run(INSTALL).expect(0);
    site.run(&["uninstall", "--data", "--yes"]).expect(0);
    assert_eq!(
        engine.objects("stakeout."),
        ["container stakeout.twin-peaks.vault"]
    );
}

#[test]
fn what_stands_in_the_way_is_named_before_anything_is_done() {
    let engine = Engine::start();
    let mut site = Site::on_docker("blocked", DEMO, &engine.address());
    // No images anywhere.
    site.set("STAKEOUT_IMAGES", "/nonexistent");
    let refused = site.run(INSTALL).expect(4);
    assert!(refused.stdout.contains("image-missing"), "{refused:#?}");
    // A camera at the machine's own address.
    site.write_profile(&docker_profile(
        "blocked",
        "cameras: [ { name: gate, rtsp: \"rtsp://127.0.0.1/main\" } ]\n",
    ));
    let refused = site.run(INSTALL).expect(4);
    assert!(refused.stdout.contains("camera-loopback"), "{refused:#?}");
    // More footage than the disk holds.
    let promised = DEMO.replace("quota: 1GiB", "retention: 9000d");
    site.write_profile(&docker_profile("blocked", &promised));
    let refused = site.run(&["plan"]).expect(4);
    assert!(refused.stdout.contains("retention-short"), "{refused:#?}");
    assert_eq!(engine.objects("stakeout."), Vec::<String>::new());
    // No engine, and one that is not for this user.
    site.set("DOCKER_HOST", "unix:///nonexistent/docker.sock");
    let absent = site.run(INSTALL).expect(10);
    assert!(absent.stdout.contains("/nonexistent/docker.sock"));
    site.set("DOCKER_HOST", "tcp://127.0.0.1:2375");
    let plain = site.run(INSTALL).expect(2);
    assert!(plain.stdout.contains("DOCKER_TLS_VERIFY"), "{plain:#?}");
}

#[test]
fn a_site_survives_its_engine_and_its_containers() {
    let engine = Engine::start();
    let site = Site::on_docker("hard", DEMO, &engine.address());
    site.run(INSTALL).expect(0);
    let count = || e2e::recordings(&site.data().join("recordings")).len();
    let seconds = Duration::from_secs;

    engine.docker(&["kill", "stakeout.hard.agent-gate"]);
    // Killed by hand counts as stopped by hand: the next run starts it again.
    let again = site.run(INSTALL).expect(0).json();
    assert_eq!(again["result"], "installed");

    engine.docker(&["pause", "stakeout.hard.agent-gate"]);
    let again = site.run(INSTALL).expect(0).json();
    assert_eq!(again["result"], "installed");

    let before = count();
    engine.restart();
    wait_until(seconds(60), "the site records after a restart", || {
        let state = engine.docker(&[
            "ps",
            "--format",
            "{{.Names}}",
            "--filter",
            "name=stakeout.hard.agent-gate",
        ]);
        !state.is_empty()
    });
    let again = site.run(INSTALL).expect(0).json();
    assert_eq!(again["result"], "unchanged", "{again}");
    let proved = site
        .run(&[
            "install",
            "--yes",
            "--output",
            "json",
            "--proof-seconds",
            "2",
        ])
        .expect(0);
    assert_eq!(proved.json()["result"], "unchanged");
    assert!(count() >= before);
}

#[test]
fn what_runs_is_told_and_an_upgrade_can_be_taken_back() {
    let engine = Engine::start();
    let mut site = Site::on_docker("told", DEMO, &engine.address());
    site.run(&["upgrade", "--yes"]).expect(4);
    site.run(INSTALL).expect(0);
    let status = site.run(&["status", "--output", "json"]).expect(0).json();
    assert_eq!(status["cameras"][0]["receiving"], true, "{status}");
    assert!(status["vault"]["recordings"].as_u64().unwrap() > 0);
    let fingerprint = status["vault"]["fingerprint"].as_str().unwrap();
    assert_eq!(fingerprint.split(':').count(), 32, "{fingerprint}");
    site.run(&["doctor"]).expect(0);

    // The chain of causes, from the container to what it last said.
    engine.docker(&["kill", "stakeout.told.vault"]);
    site.run(&["status"]).expect(4);
    let doctor = site.run(&["doctor"]).expect(4);
    for cause in ["service vault is not well", "exited (137)", "log: "] {
        assert!(doctor.stdout.contains(cause), "{cause}: {doctor:#?}");
    }
    site.run(INSTALL).expect(0);
    let nothing = site.run(&["rollback", "--yes"]).expect(4);
    assert!(
        nothing.stderr.contains("no images of before"),
        "{nothing:#?}"
    );

    // Another release: the same programs of another commit, and so other images.
    let services = ["vault", "agent-gate"];
    let image =
        |service: &str| engine.inspect(&format!("stakeout.told.{service}"))["Image"].to_string();
    let before = services.map(image);
    let newer = site.folder().join("newer");
    let triple = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    let programs = shipped::target().join(triple).join("release");
    shipped::run(
        Command::new(site.programs.join("stakeout"))
            .args(["image", "build", "--revision", "newer", "--to"])
            .arg(&newer)
            .args(["stakeout-agent", "stakeout-vault"].map(|name| programs.join(name))),
    );
    site.set("STAKEOUT_IMAGES", newer.as_str());
    let upgraded = site
        .run(&[
            "upgrade",
            "--yes",
            "--output",
            "json",
            "--proof-seconds",
            "2",
        ])
        .expect(0)
        .json();
    let gap = upgraded["gaps_ms"]["agent-gate"].as_u64().unwrap();
    assert!(gap < 3000, "{gap} ms");
    let after = services.map(image);
    assert!(before.iter().zip(&after).all(|(a, b)| a != b));
    site.run(&["rollback", "--yes"]).expect(0);
    assert_eq!(services.map(image), before);
    site.run(&["status"]).expect(0);
}

#[test]
fn secrets_and_certificates_are_made_anew_and_the_old_ones_go() {
    let engine = Engine::start();
    let site = Site::on_docker("fresh", DEMO, &engine.address());
    site.run(INSTALL).expect(0);
    let control = site.data().join("control");
    let secret = |name: &str| control.join("secrets").join(name);
    let ca = || fs::read_to_string(control.join("tls/ca/ca.crt")).unwrap();
    let (value, authority) = (
        fs::read_to_string(secret("agent-gate-token.1")).unwrap(),
        ca(),
    );

    let refused = site.run(&["secrets", "rotate", "nothing", "--yes"]);
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    let rotate: &[&str] = &[
        "secrets",
        "rotate",
        "--yes",
        "--output",
        "json",
        "--proof-seconds",
        "2",
    ];
    let rotated = site.run(rotate).expect(0).json();
    assert_eq!(rotated["verified"]["codec"], "h264");
    assert_ne!(
        fs::read_to_string(secret("agent-gate-token.2")).unwrap(),
        value
    );
    assert!(!secret("agent-gate-token.1").exists());
    assert_eq!(ca(), authority, "nobody asked for another authority");
    let listed = site
        .run(&["secrets", "list", "--output", "json"])
        .expect(0)
        .json();
    let listed = listed.as_array().unwrap();
    assert!(
        listed.len() >= 5 && listed.iter().all(|one| one["version"] == 2),
        "{listed:?}"
    );
    assert!(!format!("{listed:?}").contains(value.trim()));

    site.run(&[rotate, &["--certificates"]].concat()).expect(0);
    assert_ne!(ca(), authority);
    assert!(secret("agent-gate-token.2").exists(), "no secret was named");
    // Trusted for as long as something may still show it.
    let trust = fs::read_to_string(control.join("tls/trust/ca.crt")).unwrap();
    assert!(trust.contains(authority.trim()) && trust.contains(ca().trim()));
    site.run(&["plan"]).expect(0);
}

#[test]
fn two_runs_at_once_do_not_meet() {
    let engine = Engine::start();
    let site = Site::on_docker("race", DEMO, &engine.address());
    shipped::local_images();
    let first = site.command(INSTALL).spawn().unwrap();
    let mut first = first;
    wait_until(Duration::from_secs(20), "the first has begun", || {
        !engine.objects("stakeout.race.files").is_empty()
            || engine
                .objects("stakeout.race.")
                .contains(&"container stakeout.race.files".to_owned())
    });
    let second = site.run(INSTALL);
    assert_eq!(second.code, Some(8), "{second:#?}");
    assert!(first.wait().unwrap().success());
    site.run(INSTALL).expect(0);
}

/// The installer is killed after its nth effect, run again, and must end where an uninterrupted
/// run ends. CI takes every eleventh; `STAKEOUT_CRASH_STEP=1` takes all.
#[test]
fn a_run_that_is_killed_is_finished_by_the_next() {
    const AFTER: &str = "cameras: [ { name: gate, test: scene, record: { longest: 30s } } ]\n\
                         storage: { provider: filesystem, quota: 1GiB }\n";
    let install: &[&str] = &["install", "--yes", "--no-verify"];
    let erase: &[&str] = &["uninstall", "--data", "--yes"];
    let step = std::env::var("STAKEOUT_CRASH_STEP").map_or(11, |step| step.parse().unwrap());
    let engine = Engine::start();
    let site = Site::on_docker("crash", DEMO, &engine.address());
    let mut kills = 0;
    site.run(install).expect(0);
    let made = engine.shape("crash", &site.data());
    site.write_profile(&docker_profile("crash", AFTER));
    site.run(install).expect(0);
    let changed = engine.shape("crash", &site.data());
    site.run(erase).expect(0);

    for (name, first, command, wanted) in [
        ("install", DEMO, install, &made),
        ("change", AFTER, install, &changed),
        ("erase", AFTER, erase, &Vec::new()),
    ] {
        let mut after = 1;
        loop {
            if name != "install" {
                site.write_profile(&docker_profile("crash", DEMO));
                site.run(install).expect(0);
            }
            site.write_profile(&docker_profile("crash", first));
            let ended = !site.is_killed_after(command, after);
            if !ended {
                kills += 1;
                site.run(command).expect(0);
            }
            let found = engine.shape("crash", &site.data());
            assert_eq!(&found, wanted, "{name} killed after {after}");
            if name != "erase" {
                let again = site.run(&["plan"]);
                assert_eq!(
                    again.code,
                    Some(0),
                    "{name} killed after {after}: {again:#?}"
                );
                site.run(erase).expect(0);
            }
            let left: Vec<_> = fs::read_dir(site.data()).into_iter().flatten().collect();
            assert!(
                !site.data().exists(),
                "{name} killed after {after}: {left:?}"
            );
            if ended {
                break;
            }
            after += step;
        }
    }
    assert!(kills >= 8, "{kills}");
}
