//! What the end-to-end suites share: a site in a folder of its own, driven by the real programs.
//!
//! Invariant: whatever a test does, its site's processes and files are gone when its [`Site`] is.
//! It must not know how the programs do their work, only what a person can see.
//! Start at [`Site`].

pub mod admission;
pub mod apiserver_proxy;
pub mod background;
pub mod cluster;
pub mod engine;
pub mod prometheus;
pub mod registry;
pub mod shipped;

use std::ffi::OsStr;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

use camino::{Utf8Path, Utf8PathBuf};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Installs without a question, proves with two seconds, answers with JSON.
pub const INSTALL: &[&str] = &[
    "install",
    "--yes",
    "--output",
    "json",
    "--proof-seconds",
    "2",
];

/// One test camera.
pub const DEMO: &str =
    "cameras: [ { name: gate, test: scene } ]\nstorage: { provider: filesystem, quota: 1GiB }\n";

/// One test camera, with every store and broker that a site may have of its own.
pub const STORES: &str = "cameras: [ { name: gate, test: scene, record: { longest: 5s } } ]\n\
                          storage: { provider: minio, quota: 1GiB }\n\
                          catalogue: { mongodb: deploy }\n\
                          events: [ { mqtt: deploy, topic: site/news }, { amqp: deploy, queue: news } ]\n";

/// [`INSTALL`], with stand-ins for images whose digest nobody could look up.
pub fn install_stores() -> Vec<&'static str> {
    [INSTALL, &["--allow-unverified-images"]].concat()
}

/// A profile for a container engine.
pub fn docker_profile(site: &str, rest: &str) -> String {
    format!("version: 1\nsite: {site}\ntarget: docker\n{rest}")
}

/// A profile for this machine.
pub fn profile(site: &str, rest: &str) -> String {
    format!("version: 1\nsite: {site}\ntarget: host\n{rest}")
}

/// The repository that cargo runs the tests for; several checkouts may share a target folder.
pub fn root() -> Utf8PathBuf {
    let here = env::var("CARGO_MANIFEST_DIR");
    let here = here.unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
    Utf8Path::new(&here)
        .parent()
        .expect("tests/ has a parent")
        .to_owned()
}

/// Where the release programs are; `cargo build --release --locked` makes them.
pub fn programs() -> Utf8PathBuf {
    let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let folder = match (set("STAKEOUT_BIN_DIR"), set("CARGO_TARGET_DIR")) {
        (Some(folder), _) => folder.into(),
        (None, Some(target)) => root().join(target).join("release"),
        (None, None) => root().join("target/release"),
    };
    assert!(
        folder.join("stakeout").exists(),
        "`{folder}/stakeout` is absent; run `cargo build --release --locked`"
    );
    folder
}

/// What a run of `stakeout` left behind.
#[derive(Debug)]
pub struct Output {
    /// `None` when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl Output {
    /// Standard output as one JSON value.
    #[track_caller]
    pub fn json(&self) -> Value {
        let value = serde_json::from_str(&self.stdout);
        assert!(value.is_ok(), "standard output is not JSON: {self:#?}");
        value.unwrap_or_default()
    }

    #[expect(clippy::return_self_not_must_use, reason = "the check is the point")]
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }
}

/// A site below a folder in `/tmp`; both go when it is dropped.
#[derive(Debug)]
pub struct Site {
    folder: tempfile::TempDir,
    pub programs: Utf8PathBuf,
    environment: Vec<(String, String)>,
}

impl Site {
    /// A folder with this profile; nothing is installed yet.
    pub fn new(profile: &str) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("stakeout-")
            // Paths of sockets must be short.
            .tempdir_in("/tmp")
            .expect("a folder in /tmp");
        let site = Self {
            folder,
            programs: programs(),
            environment: Vec::new(),
        };
        site.write_profile(profile);
        site
    }

    /// One for the engine at `address`, with the images of this machine; the profile says the rest.
    pub fn at_engine(profile: &str, address: &str) -> Self {
        let mut site = Self::new(profile);
        site.set("DOCKER_HOST", address);
        site.set("STAKEOUT_IMAGES", shipped::local_images().as_str());
        site
    }

    /// One whose profile is of target `docker` and goes on with `rest`.
    pub fn on_docker(name: &str, rest: &str, address: &str) -> Self {
        Self::at_engine(&docker_profile(name, rest), address)
    }

    pub fn folder(&self) -> &Utf8Path {
        Utf8Path::from_path(self.folder.path()).expect("a folder in /tmp has a plain name")
    }

    pub fn profile(&self) -> Utf8PathBuf {
        self.folder().join("stakeout.yaml")
    }

    pub fn data(&self) -> Utf8PathBuf {
        self.folder().join("data")
    }

    pub fn write_profile(&self, text: &str) {
        fs::write(self.profile(), text).expect("the profile is written");
    }

    /// Sets a variable for every run from now on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Takes a variable back.
    pub fn unset(&mut self, name: &str) {
        self.environment.retain(|(known, _)| known != name);
    }

    /// `stakeout ARGUMENTS` for this site, not started.
    pub fn command<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Command {
        let mut command = Command::new(self.programs.join("stakeout"));
        command
            .args(arguments)
            .arg("--profile")
            .arg(self.profile())
            .arg("--data-dir")
            .arg(self.data())
            .envs(self.environment.iter().cloned())
            .current_dir(self.folder())
            .stdin(Stdio::null());
        command
    }

    /// Kills `stakeout ARGUMENTS` after so many effects; returns whether it came that far.
    pub fn is_killed_after<A: AsRef<OsStr>>(&self, arguments: &[A], effects: u64) -> bool {
        let output = self
            .command(arguments)
            .env("STAKEOUT_TEST_CRASH_AFTER", effects.to_string())
            .output()
            .expect("stakeout starts");
        output.status.code().is_none()
    }

    /// Runs `stakeout ARGUMENTS` to its end.
    pub fn run<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Output {
        let begin = Instant::now();
        let output = self.command(arguments).output().expect("stakeout starts");
        Output {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            took: begin.elapsed(),
        }
    }

    /// Processes that run a program of this site's data folder: number and command line.
    pub fn processes(&self) -> Vec<(u32, String)> {
        let data = self.data();
        let command_line = |entry: fs::DirEntry| {
            let id = entry.file_name().to_str()?.parse().ok()?;
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            line.starts_with(data.as_str())
                .then(|| (id, line.trim().to_owned()))
        };
        let entries = fs::read_dir("/proc").expect("/proc is mounted");
        entries.flatten().filter_map(command_line).collect()
    }
}

impl Site {
    /// The process whose command line holds `part`.
    pub fn process(&self, part: &str) -> Option<u32> {
        let mut processes = self.processes().into_iter();
        processes.find_map(|(id, line)| line.contains(part).then_some(id))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // A panic in here would hide the test's own: what is wrong is only told.
        let mut told = Vec::new();
        if self.data().exists() {
            let output = self.run(&["uninstall", "--data", "--yes"]);
            if output.code != Some(0) {
                told.push(format!("uninstall: {output:#?}\n"));
            }
        }
        for (id, line) in self.processes() {
            let killed = send(id, Signal::KILL);
            told.push(format!("left over: {id} {line}; killed: {killed}\n"));
        }
        std::io::stderr().write_all(told.concat().as_bytes()).ok();
    }
}

/// Sends a signal; false when the process is gone.
pub fn send(id: u32, signal: Signal) -> bool {
    let id = i32::try_from(id).ok().and_then(Pid::from_raw);
    id.is_some_and(|id| kill_process(id, signal).is_ok())
}

/// Waits for a condition and returns how long that took; panics with `what` at the deadline.
#[track_caller]
pub fn wait_until(deadline: Duration, what: &str, mut condition: impl FnMut() -> bool) -> Duration {
    const LOOK: Duration = Duration::from_millis(20);
    let begin = Instant::now();
    while !condition() {
        assert!(
            begin.elapsed() < deadline,
            "not within {deadline:?}: {what}"
        );
        std::thread::park_timeout(LOOK);
    }
    begin.elapsed()
}

/// What ffprobe says of format and streams; panics when it finds anything wrong.
#[track_caller]
pub fn ffprobe(path: &Utf8Path) -> Value {
    let output = Command::new("ffprobe")
        .args([
            "-v",
            "error",
            "-of",
            "json",
            "-count_packets",
            "-show_format",
            "-show_streams",
        ])
        .arg(path)
        .output()
        .expect("ffprobe is installed by ci/parts/install");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && errors.is_empty(),
        "`{path}`: {errors}"
    );
    serde_json::from_slice(&output.stdout).expect("ffprobe writes JSON")
}

/// Every MP4 below a folder, oldest first.
pub fn recordings(folder: &Utf8Path) -> Vec<Utf8PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        let Ok(entries) = folder.read_dir_utf8() else {
            continue;
        };
        for entry in entries.flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path().to_owned());
            } else if entry.path().extension() == Some("mp4") {
                found.push(entry.path().to_owned());
            }
        }
    }
    found.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
    found
}

/// A port of 127.0.0.1 that nobody listened on a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .expect("127.0.0.1 has a free port")
        .port()
}

/// Real footage beside the repository, where it is present.
pub fn media(name: &str) -> Option<Utf8PathBuf> {
    let path = root().join("../shared/media").join(name);
    path.exists().then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_waited_for() {
        let mut looks = 0;
        wait_until(Duration::from_secs(5), "three looks", || {
            looks += 1;
            looks == 3
        });
    }

    #[test]
    #[should_panic(expected = "not within 0ns: never")]
    fn a_deadline_ends_the_wait() {
        wait_until(Duration::ZERO, "never", || false);
    }

    #[test]
    fn a_free_port_can_be_listened_on() {
        TcpListener::bind((Ipv4Addr::LOCALHOST, free_port())).unwrap();
    }
}
