//! The agent as process 1 of an image from scratch: read-only root, a user of its own, no
//! capability, no new privileges, no shell and no /tmp, in a real engine.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and tells what it measured"
)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_api::{CameraState, CameraStatus};
use agent_config::{
    AgentConfig, CameraConfig, HttpConfig, RecordPolicy, Retention, TlsFiles, When,
};
use camino::{Utf8Path, Utf8PathBuf};
use e2e::{programs, root, wait_until};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

const PATIENCE: Duration = Duration::from_mins(1);
/// Nobody's on this machine.
const USER: u32 = 10_731;
const TOKEN: &str = "5f2b7c01d9e84a36";
const API: &str = "127.0.0.1:8443";

struct Engine {
    temp: tempfile::TempDir,
}

impl Engine {
    /// An engine with the images `agent:test` and `camera:test`: the program, what it is linked to,
    /// and nothing else.
    fn start() -> Self {
        let temp = tempfile::Builder::new().prefix("stk-").tempdir().unwrap();
        fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let engine = Self { temp };
        let folder = engine.path("engine");
        let started = Command::new(root().join("ci/parts/docker"))
            .args(["start", folder.as_str()])
            .output()
            .unwrap();
        assert!(started.status.success(), "{started:?}");
        let image = engine.path("agent.tar");
        let make = format!(
            "set -e; . {}; root={}; mkdir $root; add_program {} /stakeout-agent; tar -C $root -cf {image} .",
            root().join("ci/images/assemble"),
            engine.path("root"),
            programs().join("stakeout-agent"),
        );
        let made = Command::new("bash").args(["-c", &make]).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        // In exec form, as there is no shell; the command line of `docker run` has only the other.
        for (name, check) in [
            ("agent", "\"--config\", \"/config/agent.json\""),
            ("camera", "\"--address\", \"127.0.0.1:8554\""),
        ] {
            let entry = "ENTRYPOINT [\"/stakeout-agent\"]";
            let check = format!("HEALTHCHECK CMD [\"/stakeout-agent\", \"health\", {check}]");
            let name = format!("{name}:test");
            engine.good(&[
                "import",
                "--change",
                entry,
                "--change",
                &check,
                image.as_str(),
                &name,
            ]);
        }
        engine.good(&["network", "create", "site"]);
        engine
    }

    fn path(&self, name: &str) -> Utf8PathBuf {
        Utf8Path::from_path(self.temp.path()).unwrap().join(name)
    }

    /// A folder of the containers' user.
    fn volume(&self, name: &str) -> Utf8PathBuf {
        let path = self.path(name);
        fs::create_dir(&path).unwrap();
        chown(&path, Some(USER), Some(USER)).unwrap();
        path
    }

    fn host(&self) -> String {
        format!("unix://{}/docker.sock", self.path("engine"))
    }

    fn docker(&self, words: &[&str]) -> Output {
        let mut docker = Command::new("docker");
        docker
            .args(["--host", &self.host()])
            .args(words)
            .output()
            .unwrap()
    }

    #[track_caller]
    fn good(&self, words: &[&str]) -> String {
        let output = self.docker(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn run(&self, name: &str, options: &[&str], arguments: &[&str]) {
        let user = format!("{USER}:{USER}");
        let mut words = vec!["run", "--detach", "--name", name, "--network", "site"];
        words.extend(["--user", &user, "--read-only", "--cap-drop", "ALL"]);
        words.extend(["--security-opt", "no-new-privileges", "--pids-limit", "64"]);
        words.extend(["--health-interval", "1s", "--health-retries", "1"]);
        words.extend(options);
        let image = format!("{name}:test");
        words.push(&image);
        words.extend(arguments);
        self.good(&words);
    }

    #[track_caller]
    fn until_healthy(&self, name: &str) {
        let healthy = || {
            let state = self.good(&[
                "inspect",
                "-f",
                "{{.State.Running}} {{.State.Health.Status}}",
                name,
            ]);
            let logs = || self.docker(&["logs", name]);
            assert!(state.starts_with("true"), "{name} has ended: {:?}", logs());
            state == "true healthy"
        };
        let took = wait_until(PATIENCE, &format!("{name} is healthy"), healthy);
        println!("{name} is healthy after {took:.1?}");
    }

    /// What the API answers through `pipe` inside the container, by TLS that trusts `certificate`.
    fn call(&self, certificate: &CertificateDer<'static>, path: &str) -> Option<String> {
        let work = async {
            let mut trusted = rustls::RootCertStore::empty();
            trusted.add(certificate.clone()).unwrap();
            let config = rustls::ClientConfig::builder()
                .with_root_certificates(trusted)
                .with_no_client_auth();
            let mut pipe = tokio::process::Command::new("docker")
                .args(["--host", &self.host(), "exec", "-i", "agent"])
                .args(["/stakeout-agent", "pipe", API])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .unwrap();
            let joined = tokio::io::join(pipe.stdout.take().unwrap(), pipe.stdin.take().unwrap());
            let name = ServerName::try_from("agent").unwrap();
            let connector = TlsConnector::from(Arc::new(config));
            let mut stream = connector.connect(name, joined).await.ok()?;
            let request = format!(
                "GET {path} HTTP/1.0\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            // The server has closed, so the pipe ends although nobody closed its input.
            let ended = tokio::time::timeout(Duration::from_secs(10), pipe.wait()).await;
            assert!(
                ended
                    .expect("the pipe ends with the server")
                    .unwrap()
                    .success()
            );
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.0 200"), "{head}");
            Some(body.to_owned())
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(work)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        drop(self.docker(&["rm", "--force", "agent", "camera"]));
        let folder = self.path("engine");
        drop(
            Command::new(root().join("ci/parts/docker"))
                .args(["remove", folder.as_str()])
                .status(),
        );
    }
}

/// By rename, as everybody who replaces a file that is in use does it.
fn write(path: &Utf8Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o400)).unwrap();
    chown(&new, Some(USER), Some(USER)).unwrap();
    fs::rename(&new, path).unwrap();
}

/// Certificate in PEM and DER, and its key.
fn pair() -> (String, CertificateDer<'static>, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["agent".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (
        certificate.pem(),
        certificate.der().clone(),
        key.serialize_pem(),
    )
}

fn config() -> AgentConfig {
    let camera = CameraConfig {
        name: "gate".into(),
        rtsp: "rtsp://camera:8554/main".parse().unwrap(),
        sub: None,
        credentials_file: Some("/config/login".into()),
        record: RecordPolicy {
            // The scene moves all the time: whoever sees motion here has a decoder that lives.
            when: When::Both,
            pre_ms: 0,
            post_ms: 0,
            longest_ms: 2000,
        },
    };
    AgentConfig {
        version: 1,
        site: "container".into(),
        data: "/data".into(),
        http: HttpConfig {
            listen: "0.0.0.0:8443".parse().unwrap(),
            token_file: "/config/token".into(),
            tls: Some(TlsFiles {
                certificate: "/config/tls.crt".into(),
                key: "/config/tls.key".into(),
            }),
        },
        cameras: vec![camera],
        retention: Retention::default(),
        upload: None,
    }
}

fn metric(text: &str, name: &str) -> u64 {
    let line = text
        .lines()
        .find(|l| l.starts_with(&format!("stakeout_agent_{name}{{")));
    line.and_then(|l| l.rsplit_once(' '))
        .unwrap()
        .1
        .parse()
        .unwrap()
}

#[test]
fn it_records_sees_motion_rotates_and_ends_cleanly() {
    drop(rustls::crypto::ring::default_provider().install_default());
    let engine = Engine::start();
    let (settings, data) = (engine.volume("settings"), engine.volume("data"));
    let (first, second) = (pair(), pair());
    write(&settings.join("login"), "viewer\na-password-nobody-sees\n");
    write(&settings.join("token"), TOKEN);
    write(&settings.join("tls.crt"), &first.0);
    write(&settings.join("tls.key"), &first.2);
    write(
        &settings.join("agent.json"),
        &serde_json::to_string(&config()).unwrap(),
    );
    let settings_mount = format!("{settings}:/config:ro");
    let data_mount = format!("{data}:/data");

    let scene = [
        "test-camera",
        "--source",
        "scene",
        "--listen",
        "0.0.0.0",
        "--port",
        "8554",
    ];
    let login = ["--login-file", "/config/login"];
    engine.run(
        "camera",
        &["-v", &settings_mount],
        &[&scene[..], &login[..]].concat(),
    );
    engine.until_healthy("camera");
    let arguments = ["run", "--config", "/config/agent.json"];
    engine.run(
        "agent",
        &["-v", &settings_mount, "-v", &data_mount],
        &arguments,
    );
    engine.until_healthy("agent");

    let status = || {
        let body = engine.call(&first.1, "/api/cameras").unwrap();
        serde_json::from_str::<Vec<CameraStatus>>(&body)
            .unwrap()
            .remove(0)
    };
    let receives = || status().state == CameraState::Receiving;
    wait_until(PATIENCE, "the camera is received", receives);
    let metrics = || engine.call(&first.1, "/metrics").unwrap();
    let moves = || metric(&metrics(), "motion_events_total") > 0;
    wait_until(PATIENCE, "motion is seen, so the decoder runs", moves);
    assert_eq!(metric(&metrics(), "decoder_restarts_total"), 0);

    // A rotation costs no restart and no footage.
    write(&settings.join("tls.crt"), &second.0);
    write(&settings.join("tls.key"), &second.2);
    let rotated = || engine.call(&second.1, "/api/cameras").is_some();
    let took = wait_until(PATIENCE, "the new certificate is served", rotated);
    println!("rotated after {took:.1?}");
    assert!(engine.call(&first.1, "/api/cameras").is_none());
    engine.until_healthy("agent");
    let started = engine.good(&["inspect", "-f", "{{.RestartCount}}", "agent"]);
    assert_eq!(started, "0");
    let memory = engine.good(&["stats", "--no-stream", "--format", "{{.MemUsage}}", "agent"]);
    println!("the agent takes {memory}");

    let begun = Instant::now();
    engine.good(&["stop", "agent"]);
    println!("stopped after {:.1?}", begun.elapsed());
    assert_eq!(
        engine.good(&["inspect", "-f", "{{.State.ExitCode}}", "agent"]),
        "0"
    );
    let listed = fs::read_dir(data.join("gate")).unwrap();
    let files: Vec<_> = listed
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        !files.is_empty()
            && files
                .iter()
                .all(|f| Utf8Path::new(f).extension() == Some("mp4")),
        "{files:?}"
    );
    let logs = engine.docker(&["logs", "agent"]);
    let gaps = fs::read_to_string(data.join("gaps.jsonl")).unwrap_or_default();
    assert_eq!(gaps, "", "nothing was missed");
    let logs = String::from_utf8(logs.stderr).unwrap();
    assert!(logs.contains("the API has a new certificate"), "{logs}");
    for hidden in [
        TOKEN,
        "a-password-nobody-sees",
        "PRIVATE KEY",
        "others can read",
    ] {
        assert!(!logs.contains(hidden), "{hidden}");
    }
}
