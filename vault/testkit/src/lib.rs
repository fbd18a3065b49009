//! Runs the real parts that tests need: the scripts of `ci/parts`.
//!
//! Invariant: a part ends with the test that started it, however that ends. It must not know the
//! vault. Start at [`Part`].
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// A server that runs.
#[derive(Debug)]
pub struct Part {
    child: Child,
    /// Where it answers.
    pub url: String,
    /// What it printed before that.
    pub said: Vec<String>,
    server: Pid,
}

impl Part {
    /// Runs `ci/parts/NAME` until its server answers.
    pub fn start(name: &str, arguments: &[String]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ci/parts");
        let mut child = Command::new(script.join(name))
            // A test that is killed closes it, and the part ends.
            .arg("--until-eof")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run ci/parts/{name}: {error}"));
        let (mut url, mut server, mut said) = (None, None, Vec::new());
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            if let Some(pid) = line.strip_prefix("pid ") {
                server = Pid::from_raw(pid.parse().unwrap());
            }
            url = line.strip_prefix("ready ").map(str::to_owned);
            if url.is_some() {
                break;
            }
            said.push(line);
        }
        Self {
            url: url.unwrap_or_else(|| panic!("ci/parts/{name} failed and said why above")),
            server: server.unwrap(),
            said,
            child,
        }
    }

    pub fn port(&self) -> u16 {
        self.url.rsplit(':').next().unwrap().parse().unwrap()
    }

    /// Kills the server as a power cut does; its data stays where it was told to keep it.
    pub fn kill(self) {
        kill_process(self.server, Signal::KILL).unwrap();
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
    }
}

/// Files that a part is given.
#[derive(Debug)]
pub struct Files {
    folder: tempfile::TempDir,
}

impl Default for Files {
    fn default() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }
}

impl Files {
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file that only its owner may read, and returns its path.
    pub fn write(&self, name: &str, text: &str) -> String {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Writes a self-signed certificate of 127.0.0.1 and its key, and returns their paths.
    pub fn certificate(&self, name: &str) -> (String, String) {
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let certificate = self.write(&format!("{name}.crt"), &made.cert.pem());
        let key = self.write(&format!("{name}.key"), &made.signing_key.serialize_pem());
        (certificate, key)
    }

    /// Writes an authority's certificate, and certificates of 127.0.0.1 that it issued with their
    /// keys; returns their paths. They serve both ends of a connection.
    pub fn issued<const N: usize>(&self, names: [&str; N]) -> (String, [(String, String); N]) {
        let mut root = rcgen::CertificateParams::default();
        root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let root_key = rcgen::KeyPair::generate().unwrap();
        let authority = root.self_signed(&root_key).unwrap();
        let issuer = rcgen::Issuer::new(root, root_key);
        let issued = names.map(|name| {
            let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
            let key = rcgen::KeyPair::generate().unwrap();
            let issued = rcgen::CertificateParams::new(names).unwrap();
            let issued = issued.signed_by(&key, &issuer).unwrap();
            (
                self.write(&format!("{name}.crt"), &issued.pem()),
                self.write(&format!("{name}.key"), &key.serialize_pem()),
            )
        });
        (self.write("ca.crt", &authority.pem()), issued)
    }
}

/// A real S3 server, MinIO.
#[derive(Debug)]
pub struct Minio {
    pub part: Part,
    pub files: Files,
}

impl Minio {
    pub const USER: &str = "stakeout-test";
    pub const PASSWORD: &str = "stakeout-test-0123456789";

    pub fn start() -> Self {
        Self::start_with(Files::default(), 0, None)
    }

    /// With a certificate and its key: HTTPS.
    pub fn start_with(files: Files, port: u16, tls: Option<(&str, &str)>) -> Self {
        let user = files.write("user", Self::USER);
        let password = files.write("password", Self::PASSWORD);
        let data = files.path("data").to_str().unwrap().to_owned();
        let port = port.to_string();
        let mut arguments = vec![
            ("--port", port.as_str()),
            ("--data", &data),
            ("--user-file", &user),
            ("--password-file", &password),
        ];
        if let Some((certificate, key)) = tls {
            arguments.extend([("--certificate", certificate), ("--key", key)]);
        }
        let part = Part::start("minio", &flat(&arguments));
        Self { part, files }
    }

    /// Ends it, and returns what starts it again with the same data at the same port.
    pub fn stop(self) -> impl FnOnce() -> Self {
        let (port, files) = (self.part.port(), self.files);
        drop(self.part);
        move || Self::start_with(files, port, None)
    }
}

/// Options and their values, one after the other.
pub fn flat(arguments: &[(&str, &str)]) -> Vec<String> {
    let pairs = arguments.iter().flat_map(|(name, value)| [name, value]);
    pairs.map(|text| (*text).to_owned()).collect()
}

/// A real broker: `mosquitto` or `rabbitmq`.
#[derive(Debug)]
pub struct RealBroker {
    pub part: Part,
    pub files: Files,
    kind: &'static str,
    more: Vec<String>,
}

impl RealBroker {
    pub const USER: &str = "vault";
    pub const PASSWORD: &str = "broker-0123456789abcdef";

    /// `more` are arguments of the part.
    pub fn start(kind: &'static str, files: Files, more: &[(&str, &str)]) -> Self {
        Self::start_at(kind, files, 0, flat(more))
    }

    fn start_at(kind: &'static str, files: Files, port: u16, more: Vec<String>) -> Self {
        let password = files.write("password", Self::PASSWORD);
        let data = files.path("data").to_str().unwrap().to_owned();
        let port = port.to_string();
        let mut arguments = flat(&[
            ("--port", &port),
            ("--data", &data),
            ("--user", Self::USER),
            ("--password-file", &password),
        ]);
        arguments.extend(more.iter().cloned());
        let part = Part::start(kind, &arguments);
        Self {
            part,
            files,
            kind,
            more,
        }
    }

    /// Ends it in order, and returns what starts it again with the same data at the same port.
    pub fn stop(self) -> impl FnOnce() -> Self {
        let (port, files) = (self.part.port(), self.files);
        drop(self.part);
        move || Self::start_at(self.kind, files, port, self.more)
    }

    /// The same, without any order.
    pub fn kill(self) -> impl FnOnce() -> Self {
        let (port, files) = (self.part.port(), self.files);
        self.part.kill();
        move || Self::start_at(self.kind, files, port, self.more)
    }
}

/// A real server of MongoDB's protocol: FerretDB.
#[derive(Debug)]
pub struct Ferretdb {
    pub part: Part,
    pub files: Files,
}

impl Ferretdb {
    pub fn start() -> Self {
        Self::start_with(Files::default(), &[])
    }

    /// `more` are arguments of the part.
    pub fn start_with(files: Files, more: &[(&str, &str)]) -> Self {
        Self::start_at(files, 0, flat(more))
    }

    fn start_at(files: Files, port: u16, mut arguments: Vec<String>) -> Self {
        let data = files.path("data").to_str().unwrap().to_owned();
        arguments.extend(flat(&[("--port", &port.to_string()), ("--data", &data)]));
        let part = Part::start("ferretdb", &arguments);
        Self { part, files }
    }

    /// Kills it, and returns what starts it again with the same data at the same port.
    pub fn kill(self) -> impl FnOnce() -> Self {
        let (port, files) = (self.part.port(), self.files);
        self.part.kill();
        move || Self::start_at(files, port, Vec::new())
    }
}
