//! A release as a person meets it: one line from a server to a recording, and nothing unverified.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and tells what it measured"
)]

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use e2e::shipped::{Server, json, key, release, run, xtask};
use e2e::{free_port, root, wait_until};

/// From nothing to a verified recording, download included.
const LIMIT: Duration = Duration::from_mins(1);

fn folder() -> (tempfile::TempDir, Utf8PathBuf) {
    let folder = tempfile::Builder::new()
        .prefix("stakeout-")
        .tempdir_in("/tmp")
        .unwrap();
    let path = Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap();
    (folder, path)
}

fn version() -> String {
    json(&release().join("images/release.json"))["version"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn archive(machine: &str) -> Utf8PathBuf {
    release().join(format!("stakeout-{}-{machine}-linux.tar.gz", version()))
}

fn is_root() -> bool {
    let is = rustix::process::geteuid().is_root();
    if !is {
        println!("skipped: another user's view needs root");
    }
    is
}

/// A server of some files on loopback.
struct Files {
    url: String,
    _server: Server,
    _folder: tempfile::TempDir,
}

impl Files {
    fn serve(files: &Utf8Path) -> Self {
        let (folder, at) = folder();
        let port = free_port();
        let mut command = Command::new("python3");
        command.args(["-m", "http.server", "--bind", "127.0.0.1"]);
        command.args(["--directory", files.as_str(), &port.to_string()]);
        let server = Server::start(&mut command, &at.join("log"));
        let listens = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        wait_until(Duration::from_secs(20), "the server listens", listens);
        Self {
            url: format!("http://127.0.0.1:{port}"),
            _server: server,
            _folder: folder,
        }
    }
}

/// The script as it is piped: `sh < install.sh`.
fn install(url: &str, prefix: &Utf8Path) -> Command {
    let mut command = Command::new("sh");
    command
        .stdin(fs::File::open(release().join("install.sh")).unwrap())
        .env("STAKEOUT_URL", url)
        .env("STAKEOUT_PREFIX", prefix);
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn one_line_in_a_bare_debian_gives_a_verified_recording() {
    if !is_root() {
        return;
    }
    run(Command::new(root().join("ci/parts/nspawn")).arg("prepare"));
    let cache = match std::env::var("STAKEOUT_CACHE") {
        Ok(cache) if !cache.is_empty() => cache,
        _ => format!("{}/.cache/stakeout", std::env::var("HOME").unwrap()),
    };
    let line = "curl -fsSL http://127.0.0.1:8000/install.sh | STAKEOUT_URL=http://127.0.0.1:8000 sh && \
                stakeout install --profile /usr/local/lib/stakeout/*/profiles/demo.yaml --yes --output json";
    // A network with nothing but loopback, for the server and the machine; both end with the line.
    let script = r#"
        ip link set lo up
        python3 -m http.server --bind 127.0.0.1 --directory "$1" 8000 >/dev/null 2>&1 &
        server=$!
        until curl -fs -o /dev/null http://127.0.0.1:8000/SHA256SUMS; do :; done
        date +%s%N >&2
        systemd-nspawn --quiet --directory "$2" --volatile=overlay --register=no --keep-unit --pipe sh -c "$3"
        code=$?
        date +%s%N >&2
        kill "$server"
        exit "$code"
    "#;
    let release = release();
    let mut machine = Command::new("unshare");
    machine.args(["--net", "bash", "-c", script, "bash"]);
    machine.args([release.as_str(), &format!("{cache}/bookworm-systemd"), line]);
    let begin = Instant::now();
    let output = machine.output().unwrap();
    let took = begin.elapsed();
    assert!(
        output.status.success(),
        "{}\n{}",
        said(&output),
        String::from_utf8_lossy(&output.stdout)
    );
    let errors = said(&output);
    assert!(
        errors.contains("checksum good, signature NOT checked (no OpenSSL 3 here)"),
        "{errors}"
    );
    let installed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let frames = installed["verified"]["frames"].as_u64().unwrap();
    assert!(frames >= 50, "{installed}");
    println!(
        "from nothing to a verified recording of {frames} frames: {:.1} s",
        took.as_secs_f64()
    );
    assert!(took < LIMIT, "{took:?}");
}

#[test]
fn what_was_changed_on_the_server_is_not_installed() {
    let (_folder, at) = folder();
    let (served, prefix) = (at.join("served"), at.join("prefix"));
    fs::create_dir(&served).unwrap();
    let archive = archive("x86_64");
    let name = archive.file_name().unwrap();
    for file in [name, "SHA256SUMS", "SHA256SUMS.sig"] {
        fs::copy(release().join(file), served.join(file)).unwrap();
    }
    let files = Files::serve(&served);
    let refused = |wanted: &str| {
        let output = install(&files.url, &prefix).output().unwrap();
        assert!(!output.status.success(), "{output:?}");
        assert!(said(&output).contains(wanted), "{output:?}");
        assert!(!prefix.join("bin/stakeout").exists());
        let left = prefix.join("lib/stakeout").read_dir_utf8().unwrap().count();
        assert_eq!(left, 0, "nothing stays behind");
    };
    // A byte of the archive, as a bad line or disk would.
    let mut content = fs::read(&archive).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    fs::write(served.join(name), &content).unwrap();
    refused(&format!("the checksum of {name} is WRONG"));
    // The list of checksums fits the bad archive, as somebody who owns the server would make it.
    let sum = run(Command::new("sha256sum").arg(served.join(name)));
    let sum = sum.split_whitespace().next().unwrap();
    fs::write(served.join("SHA256SUMS"), format!("{sum}  {name}\n")).unwrap();
    refused("the signature of SHA256SUMS is WRONG");
    // And a signature by another key.
    let other = at.join("other.pem");
    run(Command::new("openssl").args(["genpkey", "-algorithm", "ed25519", "-out", other.as_str()]));
    let mut sign = Command::new("openssl");
    sign.args(["pkeyutl", "-sign", "-rawin", "-inkey", other.as_str()]);
    sign.args(["-in", served.join("SHA256SUMS").as_str()]);
    run(sign.args(["-out", served.join("SHA256SUMS.sig").as_str()]));
    refused("the signature of SHA256SUMS is WRONG");
    fs::remove_file(served.join("SHA256SUMS")).unwrap();
    refused("cannot download");
}

/// Links to the programs that a small system has, and no more.
fn small_path(at: &Utf8Path, downloader: &str) -> Utf8PathBuf {
    let folder = at.join("bin-of-a-small-system");
    fs::create_dir(&folder).unwrap();
    let needed = [
        "sh",
        "uname",
        "id",
        "mkdir",
        "mktemp",
        "rm",
        "mv",
        "ln",
        "readlink",
        "tar",
        "gzip",
        "grep",
        "cut",
        "sha256sum",
        downloader,
    ];
    for name in needed {
        let found = ["/usr/bin", "/bin"].map(|place| Utf8Path::new(place).join(name));
        let found = found.iter().find(|path| path.exists()).unwrap();
        std::os::unix::fs::symlink(found, folder.join(name)).unwrap();
    }
    folder
}

#[test]
fn a_user_without_root_openssl_or_curl_installs_once_and_again() {
    if !is_root() {
        return;
    }
    let (_folder, at) = folder();
    let home = at.join("home");
    fs::create_dir(&home).unwrap();
    for path in [&at, &home] {
        std::os::unix::fs::chown(path, Some(65534), Some(65534)).unwrap();
    }
    let path = small_path(&at, "wget");
    let files = Files::serve(release());
    let nobody = |require: bool| {
        let mut command = Command::new("setpriv");
        command.args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--reset-env",
            "env",
        ]);
        command
            .arg(format!("PATH={path}"))
            .arg(format!("HOME={home}"));
        command.arg(format!("STAKEOUT_URL={}", files.url));
        if require {
            command.arg("STAKEOUT_VERIFY=require");
        }
        command
            .arg("sh")
            .stdin(fs::File::open(release().join("install.sh")).unwrap());
        command.output().unwrap()
    };
    let required = nobody(true);
    assert!(
        !required.status.success() && said(&required).contains("OpenSSL 3"),
        "{required:?}"
    );
    let first = nobody(false);
    assert!(first.status.success(), "{first:?}");
    assert!(said(&first).contains("signature NOT checked"), "{first:?}");
    assert!(said(&first).contains("to take it away"), "{first:?}");
    let program = home.join(".local/bin/stakeout");
    let inode = |path: &Utf8Path| fs::metadata(path).unwrap().ino();
    let before = inode(&program);
    let said_version = run(Command::new(&program).arg("--version"));
    assert_eq!(said_version, format!("stakeout {}", version()));
    let again = nobody(false);
    assert!(again.status.success(), "{again:?}");
    assert_eq!(inode(&program), before, "the same program, not a copy");
    let entries = home
        .join(".local/lib/stakeout")
        .read_dir_utf8()
        .unwrap()
        .count();
    assert_eq!(entries, 1);
}

#[test]
fn the_signature_is_checked_where_openssl_is_and_an_older_version_stays_for_a_way_back() {
    let (_folder, at) = folder();
    let files = Files::serve(release());
    // A program that somebody else put there is left alone.
    fs::create_dir_all(at.join("bin")).unwrap();
    fs::write(at.join("bin/stakeout"), "mine").unwrap();
    let refused = install(&files.url, &at).output().unwrap();
    assert!(
        !refused.status.success() && said(&refused).contains("move it away"),
        "{refused:?}"
    );
    assert_eq!(fs::read_to_string(at.join("bin/stakeout")).unwrap(), "mine");
    fs::remove_file(at.join("bin/stakeout")).unwrap();
    let library = at.join("lib/stakeout");
    for old in ["0.0.1-aaaaaaaaaaaa", "0.0.2-bbbbbbbbbbbb"] {
        fs::create_dir_all(library.join(old)).unwrap();
    }
    let before = library.join("0.0.2-bbbbbbbbbbbb/stakeout");
    std::os::unix::fs::symlink(&before, at.join("bin/stakeout")).unwrap();
    let output = install(&files.url, &at)
        .env("STAKEOUT_VERIFY", "require")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(
        said(&output).contains("checksum good, signature good"),
        "{output:?}"
    );
    let mut left: Vec<_> = library
        .read_dir_utf8()
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_owned())
        .collect();
    left.sort();
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(
        left[0].starts_with("0.0.2") && left[1].starts_with(&version()),
        "{left:?}"
    );

    // It knows its release, and has its images beside it.
    let program = at.join("bin/stakeout");
    let listed = run(Command::new(&program).args(["catalogue", "list", "--output", "json"]));
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(
        listed["release"],
        json(&release().join("images/release.json"))
    );
    pushes_its_platform(&program, &listed["release"]);
}

/// An archive has the images of its own platform: a registry takes that under the tag, and no index
/// with holes.
fn pushes_its_platform(program: &Utf8Path, release: &serde_json::Value) {
    let (_folder, at) = folder();
    let port = free_port();
    let mut command = Command::new(root().join("ci/parts/registry"));
    command.arg(at.join("registry")).arg(port.to_string());
    let _registry = Server::start(&mut command, &at.join("log"));
    let listens = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
    wait_until(Duration::from_secs(20), "the registry listens", listens);
    let address = format!("127.0.0.1:{port}");
    let mut push = Command::new(program);
    let pushed = run(push.args(["image", "push", &address, "--output", "json"]));
    let pushed: serde_json::Value = serde_json::from_str(&pushed).unwrap();
    let manifest = &release["agent"]["platforms"]["linux/amd64"]["manifest"];
    assert_eq!(pushed[0]["digest"], *manifest);
    // A signature and a list of parts.
    assert_eq!(pushed[0]["attached"], 2);
}

#[test]
fn an_archive_is_made_the_same_again_and_holds_nothing_of_this_machine() {
    let (_folder, at) = folder();
    let again = at.join("again");
    let words = ["dist", "--output", again.as_str(), "--key"];
    let private = key().0;
    xtask(&[&words[..], &[private.as_str()]].concat());
    for file in ["SHA256SUMS", "SHA256SUMS.sig"] {
        let read = |folder: &Utf8Path| fs::read(folder.join(file)).unwrap();
        let (ours, theirs) = (read(release()), read(&again));
        let readable = [&ours, &theirs].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        assert!(ours == theirs, "{file}: {readable:#?}");
    }
    for machine in ["x86_64", "aarch64"] {
        let mut list = Command::new("tar");
        list.args([
            "--list",
            "--verbose",
            "--numeric-owner",
            "-zf",
            archive(machine).as_str(),
        ]);
        let listed = run(&mut list);
        assert!(
            listed.lines().all(|line| line.contains(" 0/0 ")),
            "{listed}"
        );
        let mut names: Vec<_> = listed
            .lines()
            .filter_map(|line| line.split_whitespace().last())
            .collect();
        let made = names.clone();
        names.sort_unstable();
        assert_eq!(made, names);
        println!(
            "{}: {:.1} MB",
            archive(machine),
            fs::metadata(archive(machine)).unwrap().len() as f64 / 1e6
        );
    }
}

#[test]
fn the_arm64_installer_runs_and_knows_its_release() {
    let (_folder, at) = folder();
    let archive = archive("aarch64");
    run(Command::new("tar").args(["-xzf", archive.as_str(), "-C", at.as_str()]));
    let program = at.join(format!("stakeout-{}-aarch64-linux/stakeout", version()));
    let mut list = Command::new("qemu-aarch64-static");
    let listed = run(list
        .arg(program)
        .args(["catalogue", "list", "--output", "json"]));
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(
        listed["release"],
        json(&release().join("images/release.json"))
    );
}

#[test]
fn a_list_of_parts_names_every_program_and_crate() {
    let path = release().join(format!("stakeout-{}-x86_64-linux.cdx.json", version()));
    let bom = json(&path);
    assert_eq!(
        (&bom["bomFormat"], &bom["specVersion"]),
        (&"CycloneDX".into(), &"1.5".into())
    );
    let parts = bom["components"].as_array().unwrap();
    let has = |name: &str| parts.iter().any(|part| part["name"] == name);
    for name in [
        "installer-cli",
        "agent-daemon",
        "vault-daemon",
        "ring",
        "retina",
        "mimalloc",
    ] {
        assert!(has(name), "{name}");
    }
    // Tools of tests and builds are no parts.
    for name in ["e2e", "xtask", "proptest", "cc"] {
        assert!(!has(name), "{name}");
    }
    println!("{} parts", parts.len());
}
