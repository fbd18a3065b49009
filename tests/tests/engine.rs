//! The private Docker Engines that other suites use: two at once, neither in the other's way, and
//! nothing of them left on the machine.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and tells what it measured"
)]

use std::fs;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use e2e::{root, wait_until};

const PATIENCE: Duration = Duration::from_secs(30);

struct Engine {
    temp: tempfile::TempDir,
    environment: Vec<(String, String)>,
}

impl Engine {
    fn start(options: &[&str]) -> Self {
        let temp = tempfile::Builder::new().prefix("stk-").tempdir().unwrap();
        let mut engine = Self {
            temp,
            environment: Vec::new(),
        };
        let begun = Instant::now();
        let said = engine.part("start", options);
        println!("an engine answers after {:.1?}", begun.elapsed());
        let pair = |line: &str| {
            line.split_once('=')
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
        };
        engine.environment = said.lines().filter_map(pair).collect();
        engine
    }

    fn folder(&self) -> Utf8PathBuf {
        Utf8Path::from_path(self.temp.path())
            .unwrap()
            .join("engine")
    }

    #[track_caller]
    fn part(&self, verb: &str, options: &[&str]) -> String {
        let mut part = Command::new(root().join("ci/parts/docker"));
        let output = part
            .args([verb, self.folder().as_str()])
            .args(options)
            .output()
            .unwrap();
        assert!(output.status.success(), "{verb}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn docker(&self, words: &[&str]) -> Output {
        let mut docker = Command::new("docker");
        docker
            .envs(self.environment.iter().cloned())
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

    /// An image with busybox, a web server `web` in a network `one`, and a network `two`.
    fn furnish(&self) {
        let image = self.folder().join("busybox.tar");
        let make = format!(
            "set -e; . {}; root=$(mktemp -d); add_busybox sh sleep nc httpd; \
             tar -C $root -cf {image} .; rm -r $root",
            root().join("ci/images/assemble"),
        );
        let made = Command::new("bash").args(["-c", &make]).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        self.good(&["import", image.as_str(), "busybox:test"]);
        self.good(&["network", "create", "one"]);
        self.good(&["network", "create", "two"]);
        let web = [
            "run",
            "-d",
            "--name",
            "web",
            "--network",
            "one",
            "--restart",
            "always",
        ];
        // Signals do not reach a process 1 that does not ask for them: `sh` does.
        let serve = "trap 'exit 0' TERM; httpd -p 8080 -h /bin; while :; do sleep 0.1; done";
        let port = [
            "-p",
            "127.0.0.1::8080",
            "busybox:test",
            "/bin/sh",
            "-c",
            serve,
        ];
        self.good(&[&web[..], &port[..]].concat());
    }

    /// Whether the web server's published port answers.
    fn serves(&self) -> bool {
        let port = self.docker(&["port", "web", "8080/tcp"]);
        let address = String::from_utf8(port.stdout).unwrap();
        let url = format!("http://{}/busybox", address.trim());
        let curl = [
            "--silent",
            "--fail",
            "--max-time",
            "2",
            "--output",
            "/dev/null",
            &url,
        ];
        Command::new("curl").args(curl).status().unwrap().success()
    }

    /// Whether a container in `network` reaches the web server by its address.
    fn reaches(&self, network: &str) -> bool {
        let ip = "{{(index .NetworkSettings.Networks \"one\").IPAddress}}";
        let ip = self.good(&["inspect", "-f", ip, "web"]);
        let ask = format!("echo GET / | nc -w 2 {ip} 8080");
        let run = [
            "run",
            "--rm",
            "--network",
            network,
            "busybox:test",
            "/bin/sh",
            "-c",
            &ask,
        ];
        self.docker(&run).status.success()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        drop(self.docker(&["rm", "--force", "web"]));
        let folder = self.folder();
        drop(
            Command::new(root().join("ci/parts/docker"))
                .args(["remove", folder.as_str()])
                .status(),
        );
    }
}

/// Lines of the machine's mounts, links, firewall rules and processes that name `mark`.
fn traces(marks: &[&str]) -> Vec<String> {
    let tables = ["filter", "nat"].map(|table| {
        Command::new("iptables")
            .args(["-w", "-t", table, "-S"])
            .output()
    });
    let links = Command::new("ip").args(["-o", "link"]).output();
    let processes = Command::new("pgrep")
        .args(["-af", "dockerd|containerd"])
        .output();
    let mut text = fs::read_to_string("/proc/mounts").unwrap();
    for output in tables.into_iter().chain([links, processes]) {
        text.push_str(&String::from_utf8(output.unwrap().stdout).unwrap());
    }
    let named = |line: &&str| marks.iter().any(|mark| line.contains(mark));
    text.lines().filter(named).map(str::to_owned).collect()
}

#[test]
fn two_engines_leave_each_other_alone_and_nothing_behind() {
    let first = Engine::start(&[]);
    first.furnish();
    wait_until(PATIENCE, "the first one serves", || first.serves());
    assert!(
        first.reaches("one") && !first.reaches("two"),
        "networks are apart"
    );

    // The second is spoken to by TCP and TLS, and starts while the first one's rules are in use.
    let second = Engine::start(&["--tcp"]);
    let keys: Vec<_> = second.environment.iter().map(|(k, _)| k.as_str()).collect();
    assert_eq!(
        keys,
        ["DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"]
    );
    second.furnish();
    wait_until(PATIENCE, "the second one serves", || second.serves());
    assert!(first.serves() && first.reaches("one") && !first.reaches("two"));
    assert!(second.reaches("one") && !second.reaches("two"));
    let stranger = Command::new("curl")
        .args(["--silent", "--insecure", "--max-time", "5"])
        .arg(second.environment[0].1.replace("tcp://", "https://") + "/_ping")
        .output()
        .unwrap();
    assert!(
        !stranger.status.success(),
        "nobody without a certificate is answered"
    );

    for (verb, again) in [("restart", None), ("kill", Some("start"))] {
        first.part(verb, &[]);
        if let Some(verb) = again {
            first.part(verb, &[]);
        }
        let took = wait_until(PATIENCE, "the web server is back", || first.serves());
        println!("after `{verb}` the container serves again after {took:.1?}");
        assert!(!first.reaches("two") && second.serves());
    }

    let net = |engine: &Engine| {
        let number = fs::read_to_string(engine.folder().join("net")).unwrap();
        let bridges = ["one", "two"].map(|network| {
            let id = engine.good(&["network", "inspect", "-f", "{{.Id}}", network]);
            format!("br-{}", id.get(..12).unwrap())
        });
        let bridge = format!("stk{}", number.trim());
        let folder = engine.folder().into_string();
        [
            vec![bridge.to_uppercase(), bridge, folder],
            bridges.to_vec(),
        ]
        .concat()
    };
    let (mine, others) = (net(&first), net(&second));
    let marks: Vec<_> = mine.iter().map(String::as_str).collect();
    assert!(!traces(&marks).is_empty());
    let begun = Instant::now();
    first.part("stop", &[]);
    println!("stopped after {:.1?}", begun.elapsed());
    assert_eq!(traces(&marks), Vec::<String>::new());
    assert!(
        second.serves() && !second.reaches("two"),
        "the other one has not noticed"
    );
    drop(second);
    let marks: Vec<_> = others.iter().map(String::as_str).collect();
    assert_eq!(traces(&marks), Vec::<String>::new());
}
