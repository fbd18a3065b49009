//! The stand-ins for other people's images: each starts as a site starts it (read-only root, no
//! capability, no new privileges, its own user) in a private engine and does its real work.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and tells what it measured"
)]

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use std::{collections::BTreeMap, fs};

use camino::{Utf8Path, Utf8PathBuf};
use e2e::{root, wait_until};

/// RabbitMQ takes a quarter of a minute on two busy cores.
const PATIENCE: Duration = Duration::from_mins(2);
const ANSWER: Duration = Duration::from_secs(5);

/// A private Docker Engine with the stand-ins in it; goes with the test.
struct Engine {
    temp: tempfile::TempDir,
    images: BTreeMap<String, String>,
}

impl Engine {
    fn start() -> Self {
        let temp = tempfile::Builder::new().prefix("stk-").tempdir().unwrap();
        // The containers' users pass through it to their folders.
        fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut engine = Self {
            temp,
            images: BTreeMap::new(),
        };
        let begun = Instant::now();
        part("docker", &["start", engine.folder().as_str()]);
        let started = begun.elapsed();
        let begun = Instant::now();
        let lines = part("stand-ins", &["load", engine.folder().as_str()]);
        for line in lines.lines() {
            let (name, rest) = line.split_once(' ').unwrap();
            let reference = rest.split_once(' ').unwrap().0;
            engine.images.insert(name.to_owned(), reference.to_owned());
        }
        let loaded = begun.elapsed();
        println!("engine up after {started:.1?}, stand-ins built and loaded in {loaded:.1?}");
        engine
    }

    fn folder(&self) -> Utf8PathBuf {
        Utf8Path::from_path(self.temp.path())
            .unwrap()
            .join("engine")
    }

    /// A folder that only `user` may use.
    fn volume(&self, name: &str, user: u32) -> Utf8PathBuf {
        let path = Utf8Path::from_path(self.temp.path()).unwrap().join(name);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        chown(&path, Some(user), Some(user)).unwrap();
        path
    }

    fn docker(&self, words: &[&str]) -> Output {
        let host = format!("unix://{}/docker.sock", self.folder());
        let mut docker = Command::new("docker");
        docker.args(["--host", &host]).args(words).output().unwrap()
    }

    /// Starts a stand-in the hardened way.
    #[track_caller]
    fn run(&self, name: &str, options: &[&str], arguments: &[&str]) {
        let mut words = vec!["run", "--detach", "--name", name, "--hostname", name];
        words.extend(["--read-only", "--cap-drop", "ALL"]);
        words.extend(["--security-opt", "no-new-privileges", "--pids-limit", "256"]);
        words.extend(["--memory", "512m"]);
        words.extend(options);
        words.push(&self.images[name]);
        words.extend(arguments);
        let output = self.docker(&words);
        assert!(output.status.success(), "{words:?}: {output:?}");
    }

    fn exec(&self, name: &str, words: &[&str]) -> Output {
        self.docker(&[&["exec", name], words].concat())
    }

    fn inspect(&self, name: &str, format: &str) -> String {
        let output = self.docker(&["inspect", "--format", format, name]);
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn address(&self, name: &str, port: u16) -> String {
        let ip = self.inspect(name, "{{.NetworkSettings.IPAddress}}");
        format!("{ip}:{port}")
    }

    #[track_caller]
    fn until(&self, name: &str, mut ready: impl FnMut() -> bool) {
        let answers = || {
            let running = self.inspect(name, "{{.State.Running}}") == "true";
            let logs = || self.docker(&["logs", "--tail", "20", name]);
            assert!(running, "{name} has ended: {:?}", logs());
            ready()
        };
        let took = wait_until(PATIENCE, name, answers);
        println!("{name} answers after {took:.1?}");
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let names = self.images.keys().map(String::as_str).collect::<Vec<_>>();
        // Some do not end by themselves within the engine's patience.
        drop(self.docker(&[&["rm", "--force"], &names[..]].concat()));
        let folder = self.folder();
        drop(
            Command::new(root().join("ci/parts/docker"))
                .args(["remove", folder.as_str()])
                .status(),
        );
    }
}

/// A file that only the owner of `volume` may read.
fn write(volume: &Utf8Path, name: &str, text: &str) {
    let path = volume.join(name);
    let id = fs::metadata(volume).unwrap().uid();
    fs::write(&path, text).unwrap();
    chown(&path, Some(id), Some(id)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
}

/// What a part says when it is done.
#[track_caller]
fn part(name: &str, words: &[&str]) -> String {
    let part = root().join("ci/parts").join(name);
    let output = Command::new(part).args(words).output().unwrap();
    assert!(output.status.success(), "{name} {words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn connect(address: &str) -> Option<TcpStream> {
    let stream = TcpStream::connect_timeout(&address.parse().ok()?, ANSWER).ok()?;
    stream.set_read_timeout(Some(ANSWER)).unwrap();
    Some(stream)
}

/// Answer of a plain HTTP GET.
fn http(address: &str, path: &str) -> Option<String> {
    let mut stream = connect(address)?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

/// First bytes that come back for `request`.
fn ask(address: &str, request: &[u8]) -> Option<Vec<u8>> {
    let mut stream = connect(address)?;
    stream.write_all(request).ok()?;
    let mut answer = vec![0; 4096];
    let length = stream.read(&mut answer).ok()?;
    answer.truncate(length);
    Some(answer)
}

/// `{hello: 1, $db: "admin"}` as one OP_MSG of MongoDB's wire protocol.
fn hello() -> Vec<u8> {
    let mut document: Vec<u8> = Vec::new();
    document.extend(b"\x10hello\0\x01\0\0\0\x02$db\0\x06\0\0\0admin\0\0");
    let mut message = Vec::new();
    let length = u32::try_from(16 + 4 + 1 + 4 + document.len()).unwrap();
    for number in [length, 7, 0, 2013, 0] {
        message.extend(number.to_le_bytes());
    }
    message.push(0);
    message.extend(u32::try_from(4 + document.len()).unwrap().to_le_bytes());
    message.extend(document);
    message
}

fn minio(engine: &Engine) {
    let (data, secrets) = (
        engine.volume("minio", 1000),
        engine.volume("minio-secrets", 1000),
    );
    write(&secrets, "user", "site-admin");
    write(&secrets, "password", "a-long-enough-password");
    let (data, secrets) = (
        format!("{data}:/data"),
        format!("{secrets}:/run/secrets:ro"),
    );
    let options = [
        "--user",
        "1000:1000",
        "--volume",
        &data,
        "--volume",
        &secrets,
    ];
    let environment = [
        "-e",
        "MINIO_ROOT_USER_FILE=user",
        "-e",
        "MINIO_ROOT_PASSWORD_FILE=password",
    ];
    engine.run(
        "minio",
        &[&options[..], &environment[..]].concat(),
        &["server", "/data"],
    );
}

fn minio_works(engine: &Engine) {
    let address = engine.address("minio", 9000);
    let ready = || http(&address, "/minio/health/ready").is_some_and(|a| a.contains(" 200 OK"));
    engine.until("minio", ready);
    let refused = http(&address, "/").unwrap();
    assert!(
        refused.contains("AccessDenied"),
        "strangers get nothing: {refused}"
    );
    let config = engine.inspect("minio", "{{json .Config}}");
    assert!(
        !config.contains("a-long-enough-password"),
        "a secret is no variable"
    );
}

fn mosquitto(engine: &Engine) {
    let (config, data) = (
        engine.volume("mosquitto", 1883),
        engine.volume("mosquitto-data", 1883),
    );
    let text = "listener 1883 0.0.0.0\nallow_anonymous true\npersistence true\n\
                persistence_location /mosquitto/data/\n";
    write(&config, "mosquitto.conf", text);
    let (config, data) = (
        format!("{config}:/mosquitto/config:ro"),
        format!("{data}:/mosquitto/data"),
    );
    engine.run(
        "mosquitto",
        &["--user", "1883:1883", "-v", &config, "-v", &data],
        &[],
    );
}

fn mosquitto_works(engine: &Engine) {
    let publish = [
        "mosquitto_pub",
        "-t",
        "site/gate",
        "-m",
        "motion",
        "-r",
        "-q",
        "1",
    ];
    engine.until("mosquitto", || {
        engine.exec("mosquitto", &publish).status.success()
    });
    let heard = engine.exec(
        "mosquitto",
        &["mosquitto_sub", "-t", "site/#", "-C", "1", "-W", "5"],
    );
    assert_eq!(heard.stdout, b"motion\n");
}

fn rabbitmq(engine: &Engine) {
    let data = format!("{}:/var/lib/rabbitmq", engine.volume("rabbitmq", 999));
    // Of the real image's folders it writes to this one besides its volume.
    let options = [
        "--user",
        "999:999",
        "-v",
        &data,
        "--tmpfs",
        "/var/log/rabbitmq",
    ];
    engine.run("rabbitmq", &options, &[]);
}

fn rabbitmq_works(engine: &Engine) {
    let address = engine.address("rabbitmq", 5672);
    // AMQP 0-9-1: the protocol header is answered with Connection.Start, class 10, method 10.
    let start = || {
        let answer = ask(&address, b"AMQP\x00\x00\x09\x01").unwrap_or_default();
        answer.first() == Some(&1) && answer.get(7..11) == Some(&[0, 10, 0, 10])
    };
    engine.until("rabbitmq", start);
    let user = engine.exec(
        "rabbitmq",
        &["rabbitmqctl", "add_user", "site", "a-long-enough-password"],
    );
    assert!(user.status.success(), "{user:?}");
    let status = engine.exec("rabbitmq", &["rabbitmqctl", "status"]);
    assert!(status.status.success(), "{status:?}");
}

fn ferretdb(engine: &Engine) {
    let data = format!("{}:/state", engine.volume("ferretdb", 1000));
    let options = [
        "-v",
        &data,
        "-e",
        "FERRETDB_HANDLER=sqlite",
        "--health-interval",
        "1s",
    ];
    engine.run("ferretdb", &options, &[]);
}

fn ferretdb_works(engine: &Engine) {
    let address = engine.address("ferretdb", 27017);
    let greeted = || {
        let answer = ask(&address, &hello()).unwrap_or_default();
        answer.windows(14).any(|w| w == b"maxWireVersion")
    };
    engine.until("ferretdb", greeted);
    let healthy = || engine.inspect("ferretdb", "{{.State.Health.Status}}") == "healthy";
    wait_until(PATIENCE, "FerretDB's own check says so", healthy);
}

fn coturn(engine: &Engine) {
    let arguments = [
        "-n",
        "--log-file=stdout",
        "--realm=site",
        "--lt-cred-mech",
        "--user=a:b",
    ];
    engine.run("coturn", &["--cap-add", "NET_BIND_SERVICE"], &arguments);
}

fn coturn_works(engine: &Engine) {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let address = engine.address("coturn", 3478);
    // RFC 5389: a binding request, answered with success and the same transaction.
    let request = [&[0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42], &[7; 12][..]].concat();
    let bound = || {
        let mut answer = [0; 512];
        socket.send_to(&request, &address).is_ok()
            && socket.recv(&mut answer).is_ok_and(|length| length > 20)
            && answer[..2] == [1, 1]
            && answer[8..20] == [7; 12]
    };
    engine.until("coturn", bound);
    // The program has this capability on its file, here as in the real image: without it in the
    // container's bounds the kernel refuses to start it.
    let image = &engine.images["coturn"];
    let refused = engine.docker(&["run", "--rm", "--cap-drop", "ALL", image, "-n"]);
    assert_eq!(refused.status.code(), Some(126), "{refused:?}");
}

#[test]
fn every_stand_in_starts_hardened_and_does_its_work() {
    let engine = Engine::start();
    // All at once: the slowest decides how long this takes.
    rabbitmq(&engine);
    minio(&engine);
    mosquitto(&engine);
    ferretdb(&engine);
    coturn(&engine);
    minio_works(&engine);
    mosquitto_works(&engine);
    ferretdb_works(&engine);
    coturn_works(&engine);
    rabbitmq_works(&engine);
    for name in engine.images.keys() {
        let label = engine.inspect(name, "{{index .Config.Labels \"stakeout.stand-in\"}}");
        assert_eq!(label, "true", "{name} says what it is");
    }
}
