//! A private container engine, and a witness between it and whoever talks to it.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::{fs, thread};

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::Value;

use crate::root;
use crate::shipped::run;

/// A real Docker Engine of its own; it and all that it has go when this is dropped.
#[derive(Debug)]
pub struct Engine {
    folder: tempfile::TempDir,
}

impl Engine {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Also at a port of 127.0.0.1, with TLS.
    pub fn start_on_tcp() -> Self {
        Self::start_with(&["--tcp"])
    }

    fn start_with(arguments: &[&str]) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("engine-")
            .tempdir_in("/tmp")
            .expect("a folder in /tmp");
        let engine = Self { folder };
        engine.part("start", arguments);
        engine
    }

    fn part(&self, verb: &str, arguments: &[&str]) -> String {
        let script = root().join("ci/parts/docker");
        run(Command::new("bash")
            .arg(script)
            .arg(verb)
            .arg(self.folder())
            .args(arguments))
    }

    /// The variables that lead a client here: by TCP where the engine has that.
    pub fn environment(&self) -> Vec<(String, String)> {
        let told = self.part("env", &[]);
        let pairs = told.lines().filter_map(|line| line.split_once('='));
        pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    pub fn folder(&self) -> &Utf8Path {
        Utf8Path::from_path(self.folder.path()).expect("a folder in /tmp has a plain name")
    }

    pub fn socket(&self) -> Utf8PathBuf {
        self.folder().join("docker.sock")
    }

    /// What `DOCKER_HOST` is set to.
    pub fn address(&self) -> String {
        format!("unix://{}", self.socket())
    }

    /// SIGTERM and a new start; containers come back by their restart policy.
    pub fn restart(&self) {
        self.part("restart", &[]);
    }

    /// `docker ARGUMENTS` at this engine.
    #[track_caller]
    pub fn docker(&self, arguments: &[&str]) -> String {
        run(Command::new("/usr/bin/docker")
            .args(arguments)
            .env("DOCKER_HOST", self.address()))
    }

    /// What the engine tells about a container.
    #[track_caller]
    pub fn inspect(&self, name: &str) -> Value {
        let mut all: Vec<Value> =
            serde_json::from_str(&self.docker(&["inspect", name])).expect("docker writes JSON");
        all.remove(0)
    }

    /// Brings stand-ins of other people's images.
    pub fn load_stand_ins(&self, names: &[&str]) {
        let script = root().join("ci/parts/stand-ins");
        run(Command::new("bash")
            .arg(script)
            .args(["load", self.folder().as_str()])
            .args(names));
    }

    /// Names of all containers and networks that begin with `prefix`, sorted.
    pub fn objects(&self, prefix: &str) -> Vec<String> {
        let containers = self.docker(&["ps", "--all", "--format", "container {{.Names}}"]);
        let networks = self.docker(&["network", "ls", "--format", "network {{.Name}}"]);
        let ours = |line: &&str| {
            let name = line.split(' ').nth(1).unwrap_or_default();
            name.starts_with(prefix)
        };
        let mut names: Vec<_> = containers
            .lines()
            .chain(networks.lines())
            .filter(ours)
            .map(str::to_owned)
            .collect();
        names.sort();
        names
    }
}

impl Engine {
    /// What a site looks like from outside, without all that differs from one installation to the
    /// next: its objects and the files that govern it.
    pub fn shape(&self, site: &str, data: &Utf8Path) -> Vec<String> {
        let mut found = Vec::new();
        for object in self.objects(&format!("stakeout.{site}.")) {
            let Some(name) = object.strip_prefix("container ") else {
                found.push(object);
                continue;
            };
            let seen = self.inspect(name);
            let running = &seen["State"]["Running"];
            let networks = seen["NetworkSettings"]["Networks"].as_object();
            let networks: Vec<_> = networks.into_iter().flat_map(|all| all.keys()).collect();
            found.push(format!("{object} running={running} {networks:?}"));
        }
        let control = data.join("control");
        if control.exists() {
            let listed =
                run(Command::new("find").args([control.as_str(), "-printf", "%P %m %U\n"]));
            let mut files: Vec<_> = listed.lines().map(str::to_owned).collect();
            files.sort();
            found.extend(files);
        }
        found
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let script = root().join("ci/parts/docker");
        let removed = Command::new("bash")
            .arg(script)
            .arg("stop")
            .arg(self.folder())
            .status();
        drop(removed);
    }
}

/// Stands between a client and the engine's socket and notes the first line of each request.
#[derive(Debug)]
pub struct Witness {
    socket: Utf8PathBuf,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Witness {
    pub fn stand(before: &Engine) -> Self {
        let socket = before.folder().join("witness.sock");
        fs::remove_file(&socket).ok();
        let listener = UnixListener::bind(&socket).expect("a socket can be made");
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let (noted, to) = (Arc::clone(&seen), before.socket());
        thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                let (noted, to) = (Arc::clone(&noted), to.clone());
                thread::spawn(move || carry(client, &to, &noted));
            }
        });
        Self { socket, seen }
    }

    pub fn address(&self) -> String {
        format!("unix://{}", self.socket)
    }

    /// Requests since the last time, as `METHOD PATH`.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock().expect("no holder panics"))
    }
}

impl Witness {
    /// Whether a request, as [`Witness::requests`] tells it, changes something.
    pub fn is_write(request: &str) -> bool {
        !request.starts_with("GET ") && !request.starts_with("HEAD ")
    }
}

/// One connection is one request here: the client keeps none open.
fn carry(client: UnixStream, to: &Utf8Path, noted: &Mutex<Vec<String>>) -> Option<()> {
    let mut client = client;
    let mut server = UnixStream::connect(to).ok()?;
    let mut begin = vec![0; 16 * 1024];
    let n = client.read(&mut begin).ok()?;
    let begin = begin.get(..n)?;
    let line: Vec<_> = begin.split(|byte| *byte == b'\r').next()?.to_vec();
    let line = String::from_utf8_lossy(&line).into_owned();
    let words: Vec<_> = line.split(' ').take(2).collect();
    noted.lock().ok()?.push(words.join(" "));
    server.write_all(begin).ok()?;
    let (mut from, mut into) = (client.try_clone().ok()?, server.try_clone().ok()?);
    let up = thread::spawn(move || {
        copy(&mut from, &mut into);
        into.shutdown(Shutdown::Write).ok();
    });
    copy(&mut server, &mut client);
    client.shutdown(Shutdown::Write).ok();
    up.join().ok()
}

fn copy(from: &mut UnixStream, to: &mut UnixStream) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(n) = from.read(&mut buffer) {
        let Some(piece) = buffer.get(..n).filter(|piece| !piece.is_empty()) else {
            return;
        };
        if to.write_all(piece).is_err() {
            return;
        }
    }
}
