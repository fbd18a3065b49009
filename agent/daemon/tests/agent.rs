//! The program itself: a test camera, an agent, real files, real signals.

use std::process::Stdio;
use std::time::{Duration, Instant};

use agent_api::{CameraState, CameraStatus, Health, ProbeReport, ProbeRequest, Proof, Recording};
use agent_config::{AgentConfig, CameraConfig, HttpConfig, RecordPolicy, Retention, When};
use camino::{Utf8Path, Utf8PathBuf};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

const TOKEN: &str = "5f2b7c01d9e84a36";
const PASSWORD: &str = "a-password-nobody-sees";
const PATIENCE: Duration = Duration::from_secs(15);

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stakeout-agent"));
    command.kill_on_drop(true).stdin(Stdio::null());
    command
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound").port()
}

struct Place {
    _temp: tempfile::TempDir,
    root: Utf8PathBuf,
    camera: u16,
    api: u16,
    client: reqwest::Client,
}

impl Place {
    fn new() -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let temp = tempfile::tempdir().expect("a directory");
        let root = Utf8Path::from_path(temp.path()).expect("UTF-8").to_owned();
        std::fs::write(root.join("token"), TOKEN).expect("written");
        std::fs::write(root.join("password"), PASSWORD).expect("written");
        std::fs::write(root.join("login"), format!("viewer\n{PASSWORD}\n")).expect("written");
        let client = reqwest::Client::builder()
            .no_proxy()
            .build()
            .expect("a client");
        Self {
            _temp: temp,
            root,
            camera: free_port(),
            api: free_port(),
            client,
        }
    }

    fn start_camera(&self) -> Child {
        let mut camera = program();
        camera.args(["test-camera", "--source", "scene"]);
        camera.args(["--port", &self.camera.to_string(), "--login-file"]);
        camera.arg(self.root.join("login")).stderr(Stdio::null());
        camera.spawn().expect("started")
    }

    fn start_agent(&self, when: When) -> Child {
        let camera = CameraConfig {
            name: "gate".into(),
            rtsp: format!("rtsp://127.0.0.1:{}/main", self.camera)
                .parse()
                .expect("a URL"),
            sub: None,
            credentials_file: Some(self.root.join("login")),
            record: RecordPolicy {
                when,
                pre_ms: 1000,
                post_ms: 1000,
                longest_ms: 2000,
            },
        };
        let config = AgentConfig {
            version: 1,
            site: "test".into(),
            data: self.root.join("data"),
            http: HttpConfig {
                listen: ([127, 0, 0, 1], self.api).into(),
                token_file: self.root.join("token"),
                tls: None,
            },
            cameras: vec![camera],
            retention: Retention::default(),
            upload: None,
        };
        let path = self.root.join("agent.json");
        std::fs::write(&path, serde_json::to_vec(&config).expect("JSON")).expect("written");
        let log = self.root.join("log");
        let log = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(log)
            .expect("opened");
        program()
            .args(["run", "--config"])
            .arg(path)
            .stderr(log)
            .spawn()
            .expect("started")
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.api)
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Option<T> {
        let answer = self
            .client
            .get(self.url(path))
            .bearer_auth(TOKEN)
            .send()
            .await
            .ok()?;
        answer.json().await.ok()
    }

    async fn status(&self) -> Option<CameraStatus> {
        self.get::<Vec<CameraStatus>>("/api/cameras").await?.pop()
    }

    async fn until(&self, what: &str, wanted: impl AsyncFn() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !wanted().await {
            assert!(
                Instant::now() < end,
                "{what} within {PATIENCE:?}; log:\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn until_receiving(&self) {
        let receiving = async || {
            self.status()
                .await
                .is_some_and(|s| s.state == CameraState::Receiving && s.frames > 5)
        };
        self.until("receiving", receiving).await;
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.root.join("log")).unwrap_or_default()
    }

    fn files(&self) -> Vec<String> {
        let listed = self.root.join("data/gate").read_dir_utf8().expect("listed");
        let mut files: Vec<_> = listed.flatten().map(|e| e.file_name().to_owned()).collect();
        files.sort();
        files
    }

    /// Video frames of a recording.
    fn frames(&self, file: &str) -> u64 {
        let mut file = std::fs::File::open(self.root.join("data/gate").join(file)).expect("there");
        let found = agent_media::scan(&mut file).expect("readable");
        assert!(found.is_whole());
        found.video_frames
    }
}

fn finished(file: &str) -> bool {
    Utf8Path::new(file).extension() == Some("mp4")
}

fn terminate(child: &Child) {
    let id = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .expect("running");
    let id = rustix::process::Pid::from_raw(id).expect("an id");
    rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("signalled");
}

#[tokio::test]
async fn it_records_proves_and_ends_cleanly() {
    let place = Place::new();
    let _camera = place.start_camera();
    let mut agent = place.start_agent(When::Continuous);
    place.until_receiving().await;
    let health: Health = place.get("/healthz").await.expect("healthy");
    assert_eq!(
        (health.status.as_str(), health.recording, health.cameras),
        ("ok", 1, 1)
    );
    let proof = place
        .client
        .post(place.url("/api/cameras/gate/proof?seconds=1"));
    let proof: Proof = proof
        .bearer_auth(TOKEN)
        .send()
        .await
        .expect("answered")
        .json()
        .await
        .expect("a proof");
    assert!(proof.frames >= 25 && proof.recorded_ms >= 950, "{proof:?}");
    assert_eq!(proof.uploaded_ms, None);
    let listed: Vec<Recording> = place
        .get("/api/recordings?camera=gate")
        .await
        .expect("listed");
    assert!(
        listed
            .iter()
            .any(|r| r.file == proof.recording && r.bytes == proof.bytes)
    );
    assert_eq!(place.frames(&proof.recording), proof.frames);
    let longer = async || {
        let listed = place.get::<Vec<Recording>>("/api/recordings").await;
        listed.is_some_and(|listed| listed.iter().any(|r| r.duration_ms == 2000))
    };
    place
        .until("a recording of the longest length", longer)
        .await;

    terminate(&agent);
    let asked = Instant::now();
    let status = tokio::time::timeout(PATIENCE, agent.wait())
        .await
        .expect("ended");
    assert!(status.expect("waited").success(), "{}", place.log());
    assert!(asked.elapsed() < Duration::from_secs(2));
    let files = place.files();
    assert!(files.iter().all(|f| finished(f)), "{files:?}");
    let frames: u64 = files.iter().map(|f| place.frames(f)).sum();
    assert!(frames >= 50);
    assert!(!place.log().contains(PASSWORD) && !place.log().contains(TOKEN));
}

#[tokio::test]
async fn a_killed_agent_repairs_and_goes_on_and_a_lost_camera_is_found_again() {
    let place = Place::new();
    let mut camera = place.start_camera();
    let mut agent = place.start_agent(When::Continuous);
    place.until_receiving().await;
    let footage = async || place.status().await.is_some_and(|s| s.frames > 40);
    place.until("footage", footage).await;
    agent.kill().await.expect("killed");
    assert!(place.files().iter().any(|f| f.ends_with(".mp4.part")));

    let _agent = place.start_agent(When::Continuous);
    place.until_receiving().await;
    camera.kill().await.expect("killed");
    let failing = async || {
        let status = place.status().await;
        status.is_some_and(|s| s.state == CameraState::Failing && s.error.is_some())
    };
    place.until("failing", failing).await;
    let health: Health = place
        .get("/healthz")
        .await
        .expect("healthy without its camera");
    assert_eq!((health.status.as_str(), health.recording), ("ok", 0));
    let _camera = place.start_camera();
    let back = async || {
        place
            .status()
            .await
            .is_some_and(|s| s.state == CameraState::Receiving && s.reconnects == 1)
    };
    place.until("the camera again", back).await;
    let gaps = std::fs::read_to_string(place.root.join("data/gaps.jsonl")).expect("there");
    assert!(gaps.contains("\"disconnected\""), "{gaps}");
    for file in place.files().iter().filter(|f| finished(f)) {
        assert!(place.frames(file) > 0, "{file}");
    }
}

#[tokio::test]
async fn it_does_not_start_with_a_token_that_can_be_guessed() {
    let place = Place::new();
    for (token, complaint) in [
        ("", "is empty"),
        ("short", "shorter than 16"),
        ("changemechangeme", "well-known"),
    ] {
        std::fs::write(place.root.join("token"), token).expect("written");
        let mut agent = place.start_agent(When::Continuous);
        let status = tokio::time::timeout(PATIENCE, agent.wait())
            .await
            .expect("ended");
        assert!(!status.expect("waited").success());
        assert!(place.log().contains(complaint), "{}", place.log());
    }
}

#[tokio::test]
async fn a_probe_reads_json_and_writes_json() {
    let place = Place::new();
    let request = ProbeRequest {
        rtsp: format!("rtsp://127.0.0.1:{}/main", place.camera),
        user: Some("viewer".into()),
        password: Some(PASSWORD.into()),
        measure_ms: 1000,
    };
    let mut probe = program();
    probe
        .arg("probe")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = probe.spawn().expect("started");
    let mut input = child.stdin.take().expect("piped");
    input
        .write_all(&serde_json::to_vec(&request).expect("JSON"))
        .await
        .expect("written");
    drop(input);
    let output = child.wait_with_output().await.expect("ended");
    assert!(
        output.status.success(),
        "the report says what failed, not the exit code"
    );
    let report: ProbeReport = serde_json::from_slice(&output.stdout).expect("a report");
    let ProbeReport::Failed(failure) = report else {
        panic!("{report:?}")
    };
    assert_eq!(failure.kind, agent_api::ProbeFailureKind::Refused);
    assert!(!String::from_utf8_lossy(&output.stderr).contains(PASSWORD));
}
