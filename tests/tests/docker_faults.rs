//! What goes wrong with a real Docker Engine, its images and its disk: told with the cause, never
//! half done for good.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use camino::{Utf8Path, Utf8PathBuf};
use e2e::engine::{Engine, Witness};
use e2e::registry::{Gate, Mood, Registry};
use e2e::{DEMO, INSTALL, Output, Site, docker_profile, recordings, shipped, wait_until};

const ERASE: &[&str] = &["uninstall", "--data", "--yes"];

fn is_said(output: &Output, words: &[&str]) {
    for word in words {
        let said = output.stdout.contains(word) || output.stderr.contains(word);
        assert!(said, "{word}: {output:#?}");
    }
}

#[test]
fn an_engine_that_restarts_under_the_installer_costs_one_more_run() {
    const INSTALL: &[&str] = &["install", "--yes", "--no-verify", "--output", "json"];
    let engine = Engine::start();
    let witness = Witness::stand(&engine);
    let site = Site::on_docker("shaken", DEMO, &witness.address());
    witness.requests();
    site.run(INSTALL).expect(0);
    let writes = |requests: &[String]| requests.iter().filter(|r| Witness::is_write(r)).count();
    let all = writes(&witness.requests());
    let wanted = engine.shape("shaken", &site.data());
    site.run(ERASE).expect(0);

    let mut cut = 0;
    for moment in [all / 4, all * 3 / 4] {
        witness.requests();
        let mut command = site.command(INSTALL);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let begun = command.spawn().unwrap();
        let mut seen = 0;
        wait_until(Duration::from_mins(1), "so many changes are made", || {
            seen += writes(&witness.requests());
            seen >= moment
        });
        engine.restart();
        let ended = begun.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stdout).into_owned();
        match ended.status.code() {
            Some(6) => {
                assert!(said.contains("run the same command again"), "{said}");
                cut += 1;
            }
            // It was between two changes all the time.
            code => assert_eq!(code, Some(0), "{said}"),
        }
        site.run(INSTALL).expect(0);
        assert_eq!(
            engine.shape("shaken", &site.data()),
            wanted,
            "cut after {moment} of {all}"
        );
        site.run(&["plan"]).expect(0);
        site.run(ERASE).expect(0);
        assert_eq!(engine.objects("stakeout."), Vec::<String>::new());
    }
    assert!(cut > 0, "the engine was away while changes were made");
}

/// A small disk in place of a folder, for as long as this lives.
struct SmallDisk(Utf8PathBuf);

impl SmallDisk {
    fn mount(at: &Utf8Path, size: &str) -> Self {
        let options = format!("size={size},mode=0755");
        let words = ["-t", "tmpfs", "-o", &options, "none", at.as_str()];
        shipped::run(Command::new("mount").args(words));
        Self(at.to_owned())
    }

    fn free(&self) -> u64 {
        let found = rustix::fs::statvfs(self.0.as_str()).unwrap();
        found.f_bavail * found.f_frsize
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        shipped::run(Command::new("umount").args(["--lazy", self.0.as_str()]));
    }
}

/// Takes all that is left of the disk.
fn fill(path: &Utf8Path) {
    use std::io::Write as _;
    let mut ballast = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    for piece in [1 << 20, 1 << 12, 1] {
        while ballast.write_all(&vec![0; piece]).is_ok() {}
    }
}

/// When footage was last written, be its recording finished or not.
fn newest(data: &Utf8Path) -> SystemTime {
    let mut find = Command::new("find");
    // Files go while it looks; what it says about that is no matter.
    let found = find
        .args(["agents", "recordings", "-type", "f", "-printf", "%T@\n"])
        .current_dir(data)
        .output()
        .unwrap();
    let found = String::from_utf8_lossy(&found.stdout).into_owned();
    let times = found.lines().filter_map(|line| line.parse::<f64>().ok());
    SystemTime::UNIX_EPOCH + Duration::from_secs_f64(times.fold(0.0, f64::max))
}

#[test]
fn a_full_disk_costs_the_oldest_footage_and_is_named() {
    // 120 kB/s in all.
    let cameras = ["a", "b", "c", "d"]
        .map(|name| format!("  - {{ name: {name}, test: scene, record: {{ longest: 5s }} }}\n"));
    let four = format!(
        "agents: {{ isolation: group }}\n\
         storage: {{ provider: filesystem, quota: 100MiB }}\ncameras:\n{}",
        cameras.concat()
    );
    let engine = Engine::start();
    let site = Site::on_docker("narrow", &four, &engine.address());
    let disk = SmallDisk::mount(site.folder(), "400m");
    site.write_profile(&docker_profile("narrow", &four));
    site.run(INSTALL).expect(0);

    // Somebody takes all but a mebibyte, which is eight seconds of footage.
    let ballast = site.folder().join("ballast");
    fill(&ballast);
    let oldest = recordings(&site.data());
    // Open no longer than for this: a file that is open takes its space with it when it goes.
    let shrink = |file: fs::File| file.set_len(file.metadata().unwrap().len() - (1 << 20));
    shrink(fs::OpenOptions::new().write(true).open(&ballast).unwrap()).unwrap();
    let filled = SystemTime::now();
    let mut least = u64::MAX;
    wait_until(
        Duration::from_mins(1),
        "half a minute on a full disk",
        || {
            let newest = newest(&site.data());
            let silence = SystemTime::now().duration_since(newest).unwrap_or_default();
            // The vault looks every 10 s; until then frames wait in memory.
            assert!(silence < Duration::from_secs(15), "nothing for {silence:?}");
            least = least.min(disk.free());
            newest > filled + Duration::from_secs(30)
        },
    );
    assert!(least < 100_000, "{least} bytes were left at least");
    let left = recordings(&site.data());
    assert!(
        !oldest.iter().any(|path| left.contains(path)),
        "the oldest made room"
    );
    let doctor = site.run(&["doctor"]).expect(4);
    is_said(&doctor, &["disk is full:", "make room"]);
    let status = site.run(&["status"]).expect(4);
    is_said(&status, &["disk is full:"]);

    fs::remove_file(&ballast).unwrap();
    // Within a minute the vault is asked again; what waits for it stays meanwhile.
    let kept = || recordings(&site.data()).len();
    let before = kept();
    wait_until(Duration::from_mins(1), "all footage stays again", || {
        kept() >= before + 8
    });
    site.run(&["doctor"]).expect(0);
    site.run(INSTALL).expect(0);
    engine.docker(&["stop", "stakeout.narrow.agent"]);
    for recording in recordings(&site.data()) {
        e2e::ffprobe(&recording);
    }
    site.run(ERASE).expect(0);
}

#[test]
fn an_image_that_is_not_the_one_named_is_refused() {
    let engine = Engine::start();
    let witness = Witness::stand(&engine);
    let mut site = Site::on_docker("forged", DEMO, &witness.address());
    let images = shipped::local_images();

    // A folder whose release names another digest than what lies there.
    let forged = site.folder().join("forged");
    shipped::run(Command::new("cp").args(["-r", images.as_str(), forged.as_str()]));
    let mut release = shipped::json(&images.join("release.json"));
    let real = release["vault"]["index"].as_str().unwrap().to_owned();
    let other = format!("sha256:{}", "0f".repeat(32));
    release["vault"]["index"] = other.as_str().into();
    fs::write(forged.join("release.json"), release.to_string()).unwrap();
    site.set("STAKEOUT_IMAGES", forged.as_str());
    let refused = site.run(INSTALL).expect(4);
    is_said(&refused, &["image-digest", &real, &other]);

    // An engine that has another image under our name, and nobody who has the right one.
    let load = |arguments: &[&str]| {
        let mut command = Command::new(site.programs.join("stakeout"));
        command.args(arguments).env("DOCKER_HOST", engine.address());
        shipped::run(&mut command);
    };
    load(&["image", "load", "--images", images.as_str()]);
    engine.docker(&["tag", "stakeout/agent:0.1.0", "keep:agent"]);
    engine.docker(&["tag", "stakeout/vault:0.1.0", "stakeout/agent:0.1.0"]);
    engine.docker(&["rmi", "keep:agent"]);
    let release = shipped::json(&images.join("release.json"));
    let config = |image: &str| {
        let mut platforms = release[image]["platforms"].as_object().unwrap().values();
        platforms.next().unwrap()["config"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let alone = site.folder().join("alone");
    fs::create_dir(&alone).unwrap();
    fs::copy(images.join("release.json"), alone.join("release.json")).unwrap();
    site.set("STAKEOUT_IMAGES", alone.as_str());
    let refused = site.run(INSTALL).expect(4);
    is_said(
        &refused,
        &["image-digest", release["agent"]["index"].as_str().unwrap()],
    );
    assert!(witness.requests().iter().all(|r| !Witness::is_write(r)));
    assert_eq!(engine.objects("stakeout."), Vec::<String>::new());

    // With the right one at hand it takes its name back.
    site.set("STAKEOUT_IMAGES", images.as_str());
    site.run(INSTALL).expect(0);
    let runs = engine.inspect("stakeout.forged.agent-gate")["Image"].to_string();
    assert!(runs.contains(&config("agent")), "{runs}");
    site.run(ERASE).expect(0);
}

#[test]
fn images_come_from_a_registry_when_it_has_time() {
    const EVENTS: &str = "cameras: [ { name: gate, test: scene } ]\n\
                          storage: { provider: filesystem, quota: 1GiB }\n\
                          events: [ { mqtt: deploy, topic: site/news } ]\n";
    let install = |output: &'static str| {
        let words = [
            "--allow-unverified-images",
            "--proof-seconds",
            "2",
            "--output",
            output,
        ];
        [&["install", "--yes"], &words[..]].concat()
    };
    let engine = Engine::start();
    let witness = Witness::stand(&engine);
    let registry = Registry::start(&[]);
    let gate = Gate::stand(&registry.address);
    let mut site = Site::on_docker("distant", EVENTS, &witness.address());

    // Ours are pushed by us, others' as anybody mirrors them.
    let images = shipped::local_images();
    let push = [
        "image",
        "push",
        "--images",
        images.as_str(),
        &registry.address,
    ];
    shipped::run(Command::new(site.programs.join("stakeout")).args(push));
    engine.load_stand_ins(&["mosquitto"]);
    let listed = engine.docker(&["image", "ls", "--format", "{{.Repository}}:{{.Tag}}"]);
    let tag = listed
        .lines()
        .find_map(|name| name.split_once("eclipse-mosquitto:"))
        .unwrap()
        .1;
    let mirrored = format!("{}/library/eclipse-mosquitto:{tag}", registry.address);
    engine.docker(&["tag", listed.lines().next().unwrap(), &mirrored]);
    engine.docker(&["push", &mirrored]);
    engine.docker(&["rmi", &mirrored, listed.lines().next().unwrap()]);

    let release = site.folder().join("release");
    fs::create_dir(&release).unwrap();
    fs::copy(images.join("release.json"), release.join("release.json")).unwrap();
    site.set("STAKEOUT_IMAGES", release.as_str());
    site.set("STAKEOUT_REGISTRY", &gate.address);
    witness.requests();

    gate.set(Mood::Shut);
    let refused = site.run(&install("json")).expect(4);
    is_said(
        &refused,
        &[
            "image-registry",
            &gate.address,
            "stakeout/agent@sha256:",
            "--registry",
        ],
    );
    assert!(witness.requests().iter().all(|r| !Witness::is_write(r)));

    // Nobody waits for an hour, and nothing is left of the attempt.
    gate.set(Mood::Busy(Instant::now() + Duration::from_hours(1)));
    let gone = site.run(&install("json")).expect(6);
    is_said(
        &gone,
        &[
            &gate.address,
            "stakeout/agent@sha256:",
            "run the same command again",
        ],
    );
    assert_eq!(engine.objects("stakeout."), Vec::<String>::new());

    let patience = Duration::from_secs(6);
    gate.set(Mood::Busy(Instant::now() + patience));
    let waited = site.run(&install("jsonl")).expect(0);
    is_said(&waited, &["step-waiting", "again in"]);
    assert!(waited.took > patience, "{:?}", waited.took);
    assert!(gate.refused() < 40, "{} requests", gate.refused());
    gate.set(Mood::Open);
    let again = site.run(&install("json")).expect(0).json();
    assert_eq!(again["result"], "unchanged");
    let broker = engine.inspect("stakeout.distant.mosquitto")["Config"]["Image"].to_string();
    assert!(broker.contains(&gate.address), "{broker}");
    site.run(ERASE).expect(0);
}

#[test]
fn a_user_without_the_socket_is_told_how_to_get_it() {
    let engine = Engine::start();
    let site = Site::on_docker("closed", DEMO, &engine.address());
    let mode = |path: &Utf8Path, mode: u32| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(site.folder(), 0o755);
    let program = site.folder().join("stakeout");
    fs::copy(site.programs.join("stakeout"), &program).unwrap();
    mode(&engine.socket(), 0o660);
    // First the socket itself is closed, then a folder on the way to it.
    for folder in [0o755, 0o700] {
        mode(engine.folder(), folder);
        for words in [INSTALL, &["status"], &["uninstall", "--yes"]] {
            let as_root = site.command(words);
            let mut command = Command::new(&program);
            command
                .args(as_root.get_args())
                .uid(65534)
                .gid(65534)
                .current_dir("/");
            command.env("DOCKER_HOST", engine.address());
            let ran = command.output().unwrap();
            let said = String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()).into_owned();
            assert_eq!(ran.status.code(), Some(9), "{words:?}: {said}");
            for word in [
                "65534",
                engine.socket().as_str(),
                "sudo",
                "docker $USER",
                "DOCKER_HOST",
            ] {
                assert!(said.contains(word), "{words:?}: {word}: {said}");
            }
        }
    }
    assert_eq!(engine.objects("stakeout."), Vec::<String>::new());
}

#[test]
fn an_engine_at_a_port_is_the_same_engine() {
    let engine = Engine::start_on_tcp();
    let mut site = Site::new(&docker_profile("wired", DEMO));
    site.set("STAKEOUT_IMAGES", shipped::local_images().as_str());
    for (name, value) in engine.environment() {
        site.set(&name, &value);
    }
    let made = site.run(INSTALL).expect(0).json();
    assert_eq!(made["verified"]["codec"], "h264");
    let again = site.run(INSTALL).expect(0).json();
    assert_eq!(again["result"], "unchanged");
    site.run(&["status"]).expect(0);

    // The same port with another authority's word for it, and with none for us.
    let certificates = engine.folder().join("tls");
    let wrong = site.folder().join("wrong");
    let copy = || {
        fs::remove_dir_all(&wrong).ok();
        shipped::run(Command::new("cp").args(["-rL", certificates.as_str(), wrong.as_str()]));
    };
    let openssl = |words: &[&str]| {
        shipped::run(Command::new("openssl").args(words).current_dir(&wrong));
    };
    let selfsigned = |key: &str, certificate: &str| {
        let pair = [
            "-keyout",
            key,
            "-out",
            certificate,
            "-subj",
            "/CN=other",
            "-days",
            "3",
        ];
        let kind = [
            "req",
            "-x509",
            "-nodes",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ];
        openssl(&[&kind[..], &pair].concat());
    };
    let with_wrong = || {
        let output = site
            .command(&["status"])
            .env("DOCKER_CERT_PATH", &wrong)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.code(), said)
    };
    copy();
    selfsigned("ca-key.pem", "ca.pem");
    let (code, said) = with_wrong();
    assert_eq!(code, Some(10), "{said}");
    for word in [
        "tcp://127.0.0.1:",
        "UnknownIssuer",
        "ca.pem",
        "DOCKER_CERT_PATH",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    copy();
    selfsigned("key.pem", "cert.pem");
    let (code, said) = with_wrong();
    assert_eq!(code, Some(10), "{said}");
    assert!(said.contains("DOCKER_CERT_PATH"), "{said}");

    site.run(ERASE).expect(0);
    assert_eq!(engine.objects("stakeout."), Vec::<String>::new());
    assert!(!site.data().exists());
}
