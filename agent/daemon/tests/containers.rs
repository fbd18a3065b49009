//! What a container needs of the program: HTTPS, its health check, and the way in by `pipe`.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

use std::net::SocketAddr;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use agent_config::{
    AgentConfig, CameraConfig, HttpConfig, RecordPolicy, Retention, TlsFiles, When,
};
use camino::{Utf8Path, Utf8PathBuf};
use rcgen::{CertificateParams, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

const TOKEN: &str = "5f2b7c01d9e84a36";
const PATIENCE: Duration = Duration::from_secs(15);

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stakeout-agent"));
    command.kill_on_drop(true).stdin(Stdio::null());
    command
}

struct Place {
    _temp: tempfile::TempDir,
    root: Utf8PathBuf,
    api: SocketAddr,
}

impl Place {
    fn new() -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let temp = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(temp.path()).unwrap().to_owned();
        std::fs::write(root.join("token"), TOKEN).unwrap();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let api = free.local_addr().unwrap();
        let place = Self {
            _temp: temp,
            root,
            api,
        };
        place.configure(None);
        place
    }

    /// Nobody is where its camera should be; that is no illness of an agent.
    fn configure(&self, tls: Option<TlsFiles>) {
        let camera = CameraConfig {
            name: "gate".into(),
            rtsp: "rtsp://127.0.0.1:9/main".parse().unwrap(),
            sub: None,
            credentials_file: None,
            record: RecordPolicy {
                when: When::Continuous,
                pre_ms: 0,
                post_ms: 0,
                longest_ms: 2000,
            },
        };
        let config = AgentConfig {
            version: 1,
            site: "test".into(),
            data: self.root.join("data"),
            http: HttpConfig {
                listen: SocketAddr::new([0, 0, 0, 0].into(), self.api.port()),
                token_file: self.root.join("token"),
                tls,
            },
            cameras: vec![camera],
            retention: Retention::default(),
            upload: None,
        };
        std::fs::write(self.config(), serde_json::to_vec(&config).unwrap()).unwrap();
    }

    fn config(&self) -> Utf8PathBuf {
        self.root.join("agent.json")
    }

    fn files(&self) -> TlsFiles {
        TlsFiles {
            certificate: self.root.join("tls.crt"),
            key: self.root.join("tls.key"),
        }
    }

    fn start(&self) -> Child {
        let log = std::fs::File::create(self.root.join("log")).unwrap();
        let mut agent = program();
        agent
            .args(["run", "--config"])
            .arg(self.config())
            .stderr(log);
        agent.spawn().unwrap()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.root.join("log")).unwrap_or_default()
    }

    /// Exit code and what it printed.
    async fn health(&self) -> (i32, String) {
        let mut health = program();
        answer(
            health
                .args(["health", "--config"])
                .arg(self.config())
                .output()
                .await
                .unwrap(),
        )
    }

    async fn until_healthy(&self) {
        self.until("healthy", async || self.health().await.0 == 0)
            .await;
    }

    async fn until(&self, what: &str, wanted: impl AsyncFn() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !wanted().await {
            assert!(
                Instant::now() < end,
                "{what}; {:?}; log:\n{}",
                self.health().await,
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Answers by a client that trusts one certificate only.
    async fn speaks_with(&self, certificate: &str) -> bool {
        let trusted = reqwest::Certificate::from_pem(certificate.as_bytes()).unwrap();
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([trusted]);
        let url = format!("https://localhost:{}/api/cameras", self.api.port());
        let call = client.build().unwrap().get(url).bearer_auth(TOKEN);
        call.send().await.is_ok_and(|answer| answer.status() == 200)
    }
}

fn answer(output: Output) -> (i32, String) {
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(text.lines().count() <= 1, "one line of reason: {text}");
    (output.status.code().unwrap(), text)
}

/// Certificate and key in PEM.
fn pair() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

#[tokio::test]
async fn a_rotated_certificate_is_served_without_a_restart_and_a_broken_one_is_not() {
    let place = Place::new();
    let files = place.files();
    place.configure(Some(files.clone()));
    let (first, second) = (pair(), pair());
    std::fs::write(&files.certificate, &first.0).unwrap();
    std::fs::write(&files.key, &first.1).unwrap();
    let mut agent = place.start();
    place.until_healthy().await;
    assert!(place.speaks_with(&first.0).await && !place.speaks_with(&second.0).await);
    let plain = reqwest::Client::builder().no_proxy().build().unwrap();
    let plain = plain
        .get(format!("http://{}/healthz", place.api))
        .send()
        .await;
    assert!(plain.is_err(), "nothing is told without TLS");

    // Those who connect and say nothing hold up nobody.
    let mut mute = Vec::new();
    for _ in 0..20 {
        mute.push(tokio::net::TcpStream::connect(place.api).await.unwrap());
    }
    assert_eq!(place.health().await, (0, String::new()));

    // Half a rotation: the old pair serves on, and the check says that the disk has another.
    std::fs::write(&files.certificate, &second.0).unwrap();
    place
        .until("a complaint", async || {
            place.log().contains("keeps its old certificate")
        })
        .await;
    assert!(place.speaks_with(&first.0).await);
    let (code, reason) = place.health().await;
    assert_eq!(code, 1);
    assert!(
        reason.contains("serves another certificate than the configured one"),
        "{reason}"
    );

    std::fs::write(&files.key, &second.1).unwrap();
    place
        .until("the new one", async || place.speaks_with(&second.0).await)
        .await;
    assert!(!place.speaks_with(&first.0).await);
    assert_eq!(place.health().await, (0, String::new()));
    assert!(agent.try_wait().unwrap().is_none());
    assert!(!place.log().contains("BEGIN"), "no key in the log");
}

#[tokio::test]
async fn an_agent_without_its_certificate_does_not_start_and_says_which() {
    let place = Place::new();
    place.configure(Some(place.files()));
    let status = place.start().wait().await.unwrap();
    assert_eq!(status.code(), Some(1));
    assert!(place.log().contains("tls.crt"), "{}", place.log());
}

#[tokio::test]
async fn health_says_in_one_line_and_in_time_what_is_wrong() {
    let place = Place::new();
    let (code, reason) = place.health().await;
    assert!(
        code == 1 && reason.contains("cannot connect to 127.0.0.1"),
        "{reason}"
    );

    // One that accepts and never answers.
    let mute = TcpListener::bind(place.api).await.unwrap();
    let asked = Instant::now();
    let (code, reason) = place.health().await;
    assert!(
        code == 1 && reason.contains("did not answer within 3 s"),
        "{reason}"
    );
    assert!(asked.elapsed() < Duration::from_secs(5));
    drop(mute);

    let mut agent = place.start();
    place.until_healthy().await;
    agent.kill().await.unwrap();

    let sick = TcpListener::bind(place.api).await.unwrap();
    let (health, ()) = tokio::join!(place.health(), async {
        let (mut stream, _) = sick.accept().await.unwrap();
        let answer = b"HTTP/1.1 503 Service Unavailable\r\n\r\n{\"status\":\"failing\"}";
        stream.write_all(answer).await.unwrap();
    });
    assert_eq!(
        health,
        (
            1,
            "the agent answered 503: {\"status\":\"failing\"}\n".to_owned()
        )
    );
}

#[tokio::test]
async fn health_of_an_address_is_whether_something_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("localhost:{}", listener.local_addr().unwrap().port());
    let check = async || {
        let mut health = program();
        answer(
            health
                .args(["health", "--address", &address])
                .output()
                .await
                .unwrap(),
        )
    };
    assert_eq!(check().await, (0, String::new()));
    drop(listener);
    let (code, reason) = check().await;
    assert!(
        code == 1 && reason.starts_with("cannot connect to localhost"),
        "{reason}"
    );
}

fn pipe(address: &str) -> Command {
    let mut pipe = program();
    pipe.args(["pipe", address]).stdin(Stdio::piped());
    pipe.stdout(Stdio::piped()).stderr(Stdio::piped());
    pipe
}

#[tokio::test]
async fn a_pipe_passes_on_the_end_of_either_direction_and_keeps_the_other() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();

    // The client ends first: the server sees it and still answers, all of a megabyte.
    let mut child = pipe(&address).spawn().unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"ask").await.unwrap();
    let mut three = [0; 3];
    server.read_exact(&mut three).await.unwrap();
    assert_eq!(&three, b"ask", "bytes go at once, not at the end");
    let mut output = child.stdout.take().unwrap();
    for _ in 0..3 {
        server.write_all(&three).await.unwrap();
        output.read_exact(&mut three).await.unwrap();
        input.write_all(&three).await.unwrap();
        server.read_exact(&mut three).await.unwrap();
        assert_eq!(&three, b"ask", "there and back");
    }
    drop(input);
    assert_eq!(server.read(&mut three).await.unwrap(), 0);
    let long = vec![5; 1_000_000];
    let sent = long.clone();
    tokio::spawn(async move { server.write_all(&sent).await });
    let mut received = Vec::new();
    output.read_to_end(&mut received).await.unwrap();
    assert!(child.wait().await.unwrap().success() && received == long);

    // The server ends first: the client sees it and can still send.
    let mut child = pipe(&address).spawn().unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    server.write_all(b"bye").await.unwrap();
    server.shutdown().await.unwrap();
    let mut output = Vec::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_end(&mut output)
        .await
        .unwrap();
    assert_eq!(output, b"bye");
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"last words").await.unwrap();
    drop(input);
    let mut heard = Vec::new();
    server.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"last words");
    assert!(child.wait().await.unwrap().success());

    // Nor does it wait for a client that knows nothing of the end yet.
    let mut child = pipe(&address).spawn().unwrap();
    let (server, _) = listener.accept().await.unwrap();
    drop(server);
    let open = child.stdin.take();
    let ended = tokio::time::timeout(PATIENCE, child.wait()).await;
    assert!(ended.expect("in time").unwrap().success());
    drop(open);
}

#[tokio::test]
async fn a_pipe_goes_nowhere_but_to_loopback() {
    for (address, complaint) in [
        ("192.0.2.1:80", "not a loopback address"),
        ("127.0.0.1:9", "cannot connect"),
    ] {
        let output = pipe(address)
            .spawn()
            .unwrap()
            .wait_with_output()
            .await
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.contains(complaint), "{error}");
    }
}

#[tokio::test]
async fn secrets_that_others_can_read_are_warned_of_and_recorded_with() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let token = place.root.join("token");
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o644)).unwrap();
    let _agent = place.start();
    place.until_healthy().await;
    assert!(
        place.log().contains("others can read this secret"),
        "{}",
        place.log()
    );
    assert!(!place.log().contains(TOKEN));
}
