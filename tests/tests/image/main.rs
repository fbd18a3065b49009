//! The images that we ship: small, the same from every clone, and taken by every engine.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and tells what it measured"
)]

mod registry;

use std::fs;
use std::process::Command;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use e2e::shipped::{Server, images, json, key, run, target};
use e2e::{programs, root, wait_until};
use serde_json::Value;

/// Bytes that each image may have unpacked.
const LIMITS: [(&str, u64); 2] = [("agent", 20_000_000), ("vault", 30_000_000)];
const PLATFORMS: [&str; 2] = ["linux/amd64", "linux/arm64"];

fn blob(digest: &str) -> Utf8PathBuf {
    images()
        .join("blobs/sha256")
        .join(digest.strip_prefix("sha256:").unwrap())
}

fn release() -> Value {
    json(&images().join("release.json"))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn folder() -> (tempfile::TempDir, Utf8PathBuf) {
    // Paths of sockets must be short.
    let folder = tempfile::Builder::new()
        .prefix("stakeout-")
        .tempdir_in("/tmp")
        .unwrap();
    let path = Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap();
    (folder, path)
}

fn stakeout(words: &[&str]) -> Command {
    let mut command = Command::new(programs().join("stakeout"));
    command.args(words).env_remove("STAKEOUT_CATALOGUE");
    command
}

/// Bytes of all files below a folder.
fn bytes(folder: &Utf8Path) -> u64 {
    let entries = folder.read_dir_utf8().unwrap().map(Result::unwrap);
    let size = |entry: camino::Utf8DirEntry| {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            bytes(entry.path())
        } else {
            entry.metadata().unwrap().len()
        }
    };
    entries.map(size).sum()
}

#[test]
fn images_are_small_and_run_on_both_architectures() {
    for (image, limit) in LIMITS {
        for platform in PLATFORMS {
            let manifest = &release()[image]["platforms"][platform]["manifest"];
            let manifest = json(&blob(&text(manifest)));
            let (_folder, to) = folder();
            let mut unpack = Command::new("tar");
            let layer = blob(&text(&manifest["layers"][0]["digest"]));
            run(unpack.args(["-xzf", layer.as_str(), "-C", to.as_str()]));
            let size = bytes(&to);
            println!(
                "{image} for {platform}: {:.1} MB unpacked",
                size as f64 / 1e6
            );
            assert!(size <= limit, "{image} for {platform} has {size} bytes");
            let program = to.join("usr/bin").join(format!("stakeout-{image}"));
            let mut command = match platform {
                "linux/arm64" => {
                    let mut command = Command::new("qemu-aarch64-static");
                    command.arg(&program);
                    command
                }
                _ => Command::new(&program),
            };
            let said = run(command.arg("version").env_clear());
            let version = text(&release()["version"]);
            assert_eq!(said, format!("stakeout-{image} {version}"));
            let roots = fs::read_to_string(to.join("etc/ssl/certs/ca-certificates.crt")).unwrap();
            assert!(roots.matches("BEGIN CERTIFICATE").count() > 100);
        }
    }
}

#[test]
fn a_program_knows_no_folder_of_the_machine_that_made_it() {
    let home = std::env::var("HOME").unwrap();
    for triple in ["x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl"] {
        images();
        for name in ["stakeout-agent", "stakeout-vault"] {
            let path = target().join(triple).join("release").join(name);
            let program = fs::read(&path).unwrap();
            for trace in [
                format!("{home}/.cargo"),
                root().to_string(),
                target().to_string(),
            ] {
                let found = program
                    .windows(trace.len())
                    .any(|part| part == trace.as_bytes());
                assert!(!found, "`{path}` holds `{trace}`");
            }
        }
    }
}

#[test]
fn the_same_programs_packed_by_the_installer_give_the_same_layers() {
    let (_folder, to) = folder();
    let layout = to.join("images");
    images();
    let release_folder = target().join("x86_64-unknown-linux-musl/release");
    let programs = ["stakeout-agent", "stakeout-vault"].map(|name| release_folder.join(name));
    let mut words = vec!["image", "build", "--to", layout.as_str()];
    words.extend(programs.iter().map(|path| path.as_str()));
    run(&mut stakeout(&words));
    let theirs = json(&layout.join("release.json"));
    for (image, _) in LIMITS {
        let layer = |folder: &Utf8Path, release: &Value| {
            let manifest = text(&release[image]["platforms"]["linux/amd64"]["manifest"]);
            let path = folder
                .join("blobs/sha256")
                .join(manifest.replace("sha256:", ""));
            text(&json(&path)["layers"][0]["digest"])
        };
        assert_eq!(layer(images(), &release()), layer(&layout, &theirs));
    }
    let dynamic = run_failing(&mut stakeout(&[
        "image",
        "build",
        "--to",
        to.join("other").as_str(),
        programs_of_host().as_str(),
    ]));
    assert!(dynamic.contains("linked dynamically"), "{dynamic}");
}

/// An agent that needs the host's libraries.
fn programs_of_host() -> Utf8PathBuf {
    programs().join("stakeout-agent")
}

#[track_caller]
fn run_failing(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(!output.status.success(), "{command:?}: {output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A Docker Engine of its own, with the containerd that it starts.
struct Engine {
    host: String,
    containerd: Utf8PathBuf,
    _server: Server,
    _folder: tempfile::TempDir,
}

impl Engine {
    fn start() -> Self {
        let (folder, at) = folder();
        let host = format!("unix://{at}/docker.sock");
        let mut command = Command::new("dockerd");
        command.args(["--host", &host, "--bridge=none", "--iptables=false"]);
        for (flag, name) in [
            ("--data-root", "data"),
            ("--exec-root", "exec"),
            ("-p", "pid"),
        ] {
            command.arg(flag).arg(at.join(name));
        }
        let engine = Self {
            containerd: at.join("exec/containerd/containerd.sock"),
            _server: Server::start(&mut command, &at.join("log")),
            _folder: folder,
            host,
        };
        wait_until(Duration::from_mins(1), "Docker Engine answers", || {
            engine
                .docker(&["version"])
                .output()
                .unwrap()
                .status
                .success()
        });
        engine
    }

    fn docker(&self, words: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.args(["--host", &self.host]).args(words);
        command
    }

    fn ctr(&self, words: &[&str]) -> String {
        let mut command = Command::new("ctr");
        let address = [
            "--address",
            self.containerd.as_str(),
            "--namespace",
            "k8s.io",
        ];
        run(command.args(address).args(words))
    }
}

fn is_root() -> bool {
    let is = rustix::process::geteuid().is_root();
    if !is {
        println!("skipped: an engine needs root");
    }
    is
}

#[test]
fn docker_engine_and_containerd_load_the_images_and_run_them_hardened() {
    if !is_root() {
        return;
    }
    let engine = Engine::start();
    let load = ["image", "load", "--images", images().as_str()];
    run(stakeout(&load).args(["--host", &engine.host]));
    let containerd = ["--into", "containerd", "--host", engine.containerd.as_str()];
    run(stakeout(&load).args(containerd));
    let release = release();
    let version = text(&release["version"]);
    for (image, _) in LIMITS {
        let name = format!("stakeout/{image}:{version}");
        let digests = &release[image]["platforms"]["linux/amd64"];
        let id = [
            "image",
            "inspect",
            "--format",
            "{{.Id}} {{.Config.User}}",
            &name,
        ];
        let wanted = format!("{} 10001:10001", text(&digests["config"]));
        assert_eq!(run(&mut engine.docker(&id)), wanted);
        let hardened = [
            "run",
            "--rm",
            "--network=none",
            "--read-only",
            "--cap-drop=ALL",
            "--security-opt=no-new-privileges",
            &name,
            "version",
        ];
        let wanted = format!("stakeout-{image} {version}");
        assert_eq!(run(&mut engine.docker(&hardened)), wanted);

        let name = ["docker.io", &name].join("/");
        let listed = engine.ctr(&["images", "list", &format!("name=={name}")]);
        assert!(listed.contains(&text(&digests["manifest"])), "{listed}");
    }
}

#[test]
fn openssl_agrees_with_our_signatures() {
    let release = release();
    let index = text(&release["agent"]["index"]).replace("sha256:", "");
    let listed = json(&images().join("index.json"));
    let name = format!("stakeout/agent:sha256-{index}.sig");
    let named =
        |entry: &&Value| entry["annotations"]["org.opencontainers.image.ref.name"] == name.as_str();
    let entry = listed["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .find(named)
        .unwrap();
    let layer = &json(&blob(&text(&entry["digest"])))["layers"][0];
    let (_folder, at) = folder();
    let signature = text(&layer["annotations"]["dev.cosignproject.cosign/signature"]);
    fs::write(at.join("base64"), signature).unwrap();
    let decode = [
        "base64",
        "-d",
        "-A",
        "-in",
        at.join("base64").as_str(),
        "-out",
        at.join("raw").as_str(),
    ]
    .map(str::to_owned);
    run(Command::new("openssl").args(decode));
    let payload = blob(&text(&layer["digest"]));
    let public = key().1;
    let mut verify = Command::new("openssl");
    verify.args([
        "pkeyutl",
        "-verify",
        "-pubin",
        "-rawin",
        "-inkey",
        public.as_str(),
    ]);
    verify.args(["-in", payload.as_str(), "-sigfile", at.join("raw").as_str()]);
    assert!(run(&mut verify).contains("Verified Successfully"));
}
