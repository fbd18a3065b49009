//! What we ship, built once and shared by the suites that look at it.

use std::process::Command;
use std::sync::OnceLock;
use std::{env, fs};

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::Value;

use crate::root;

/// Where cargo builds.
pub fn target() -> Utf8PathBuf {
    match env::var("CARGO_TARGET_DIR") {
        Ok(folder) if !folder.is_empty() => root().join(folder),
        _ => root().join("target"),
    }
}

/// A key pair of this machine's tests; private and public half.
pub fn key() -> (Utf8PathBuf, Utf8PathBuf) {
    let folder = target().join("shipped");
    let (private, public) = (folder.join("key.pem"), folder.join("key.pub"));
    if !public.exists() {
        fs::create_dir_all(&folder).expect("the target folder can be written");
        let generate = ["genpkey", "-algorithm", "ed25519", "-out", private.as_str()];
        let take = [
            "pkey",
            "-pubout",
            "-in",
            private.as_str(),
            "-out",
            public.as_str(),
        ];
        run(Command::new("openssl").args(generate));
        run(Command::new("openssl").args(take));
    }
    (private, public)
}

/// A layout of the images for both platforms, signed. Cargo builds only what has changed.
pub fn images() -> &'static Utf8Path {
    static FOLDER: OnceLock<Utf8PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = target().join("shipped/images");
        let key = key().0;
        let words = [
            "image",
            "build",
            "--output",
            folder.as_str(),
            "--key",
            key.as_str(),
        ];
        xtask(&words);
        folder
    })
}

/// A layout of the images for this machine alone, which takes half the time.
pub fn local_images() -> &'static Utf8Path {
    static FOLDER: OnceLock<Utf8PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        // Suites that run beside others have theirs.
        let lane = env::var("STAKEOUT_LANE").map(|lane| format!("-{lane}"));
        let lane = lane.unwrap_or_default();
        let folder = target().join(format!("shipped/local-images{lane}"));
        let platform = match env::consts::ARCH {
            "aarch64" => "linux/arm64",
            _ => "linux/amd64",
        };
        let words = [
            "image",
            "build",
            "--output",
            folder.as_str(),
            "--platform",
            platform,
        ];
        xtask(&words);
        folder
    })
}

/// The release's files.
pub fn release() -> &'static Utf8Path {
    static FOLDER: OnceLock<Utf8PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = target().join("shipped/release");
        let key = key().0;
        let words = ["dist", "--output", folder.as_str(), "--key", key.as_str()];
        xtask(&words);
        folder
    })
}

/// `cargo xtask WORDS` in this repository.
pub fn xtask(words: &[&str]) {
    let mut command = Command::new("cargo");
    // What cargo says about the suite is no business of what is built.
    for (name, _) in env::vars_os() {
        let about_us = |name: &str| {
            let prefixes = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"];
            prefixes.iter().any(|prefix| name.starts_with(prefix)) || name == "CARGO_CRATE_NAME"
        };
        if name.to_str().is_some_and(about_us) {
            command.env_remove(name);
        }
    }
    command
        .args(["run", "--quiet", "--locked", "--package", "xtask", "--"])
        .args(words)
        .current_dir(root())
        .env("CARGO_TARGET_DIR", target());
    run(&mut command);
}

/// A JSON file.
#[track_caller]
pub fn json(path: &Utf8Path) -> Value {
    let text = fs::read(path);
    assert!(text.is_ok(), "`{path}`: {text:?}");
    serde_json::from_slice(&text.unwrap_or_default()).expect("it is JSON")
}

/// Runs a command to its end and returns its standard output; panics when it fails.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    let output = command.output();
    assert!(output.is_ok(), "{command:?}: {output:?}");
    let output = output.expect("checked before");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A server that ends with the test.
#[derive(Debug)]
pub struct Server(std::process::Child);

impl Server {
    /// Starts it with its log in a file.
    pub fn start(command: &mut Command, log: &Utf8Path) -> Self {
        let log = fs::File::create(log).expect("a log can be written");
        let errors = log.try_clone().expect("a log can be written twice");
        let child = command.stdout(log).stderr(errors).spawn();
        Self(child.expect("the server starts"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        crate::send(self.0.id(), rustix::process::Signal::TERM);
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while let Ok(None) = self.0.try_wait() {
            if std::time::Instant::now() > end {
                self.0.kill().ok();
            }
            std::thread::park_timeout(std::time::Duration::from_millis(50));
        }
    }
}
