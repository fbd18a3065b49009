//! The vault as PID 1 of a container that holds nothing else: another root, read-only, without
//! `/tmp`, `/proc`, `/dev` and users, as another user. Made by `unshare` and `chroot`, which need root.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use vault_api::{ProviderConfig, TlsConfig, WebhookConfig, header};
use vault_testkit::Files;

use crate::support::{self, Vault, name};

/// Nobody that the machine knows.
const USER: u32 = 65532;

struct Container {
    root: PathBuf,
    process: Child,
}

impl Drop for Container {
    fn drop(&mut self) {
        // With the init of its namespace everything in it ends.
        drop(self.process.kill());
        self.process.wait().unwrap();
    }
}

fn copy(root: &Path, file: &str) {
    let to = root.join(file.trim_start_matches('/'));
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(file, &to).unwrap();
}

/// The program and what a test build of it is linked to; a shipped one is static.
fn fill(root: &Path) {
    let program = env!("CARGO_BIN_EXE_stakeout-vault");
    fs::create_dir_all(root).unwrap();
    fs::copy(program, root.join("stakeout-vault")).unwrap();
    let libraries = Command::new("ldd").arg(program).output().unwrap();
    for word in String::from_utf8(libraries.stdout)
        .unwrap()
        .split_whitespace()
    {
        if word.starts_with('/') {
            copy(root, word);
        }
    }
    copy(root, "/etc/ssl/certs/ca-certificates.crt");
}

fn inside(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("chroot");
    command.arg(format!("--userspec={USER}:{USER}")).arg(root);
    command.arg("/stakeout-vault").args(arguments).env_clear();
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
}

fn start(root: PathBuf, data: &Path) -> Container {
    let script = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" &&
        mount --bind \"$1\" \"$0/data\" && shift && exec \"$@\"";
    let run = inside(&root, &["run", "--config", "/config/vault.json"]);
    let process = Command::new("unshare")
        .args([
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "sh",
            "-c",
            script,
        ])
        .arg(&root)
        .arg(data)
        .arg(run.get_program())
        .args(run.get_args())
        .spawn()
        .unwrap();
    Container { root, process }
}

impl Container {
    /// The vault, as it is called outside of its namespace.
    fn init(&self) -> Pid {
        let children = format!("/proc/{0}/task/{0}/children", self.process.id());
        let children = fs::read_to_string(children).unwrap();
        let pid = children.split_whitespace().next().unwrap();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert!(
            status.contains("\nNSpid:\t") && status.contains("\t1\n"),
            "{status}"
        );
        assert!(
            status.contains(&format!("\nUid:\t{USER}\t{USER}\t")),
            "{status}"
        );
        Pid::from_raw(pid.parse().unwrap()).unwrap()
    }
}

#[tokio::test]
async fn it_is_the_only_thing_in_a_container() {
    assert!(
        rustix::process::getuid().is_root(),
        "this test makes namespaces: run it as root"
    );
    let mut vault = Vault::new(None);
    let root = vault.root.join("root").into_std_path_buf();
    let data = vault.root.join("volume").into_std_path_buf();
    fill(&root);
    let files = Files::default();
    let (certificate, key) = files.certificate("vault");
    for folder in ["config", "data"] {
        fs::create_dir(root.join(folder)).unwrap();
    }
    let secrets = [
        ("admin", support::ADMIN),
        ("access", support::ACCESS),
        ("secret", support::SECRET),
        ("hook", "hookkey-0123456789abcdef"),
        ("tls.crt", &fs::read_to_string(&certificate).unwrap()),
        ("tls.key", &fs::read_to_string(&key).unwrap()),
    ];
    for (name, text) in secrets {
        let path = root.join("config").join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        chown(&path, Some(USER), Some(USER)).unwrap();
    }
    let config = &mut vault.config;
    config.listen = format!("0.0.0.0:{}", config.listen.port()).parse().unwrap();
    config.data = "/data/vault".into();
    config.provider = ProviderConfig::Filesystem {
        path: "/data/recordings".into(),
    };
    config.admin_token_file = "/config/admin".into();
    config.account.access_key_file = "/config/access".into();
    config.account.secret_key_file = "/config/secret".into();
    config.tls = Some(TlsConfig::Files {
        certificate: "/config/tls.crt".into(),
        key: "/config/tls.key".into(),
    });
    // Public TLS takes its roots from the image.
    config.webhooks.push(WebhookConfig {
        name: "hook".into(),
        url: "https://127.0.0.1:9/".parse().unwrap(),
        secret_file: "/config/hook".into(),
    });
    let text = serde_json::to_vec(config).unwrap();
    fs::write(root.join("config/vault.json"), text).unwrap();
    config.listen = format!("127.0.0.1:{}", config.listen.port())
        .parse()
        .unwrap();
    fs::create_dir(&data).unwrap();
    chown(&data, Some(USER), Some(USER)).unwrap();

    let mut container = start(root, &data);
    let health = || {
        inside(
            &container.root,
            &["health", "--config", "/config/vault.json"],
        )
        .output()
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let said = health().unwrap();
        if said.status.success() {
            break;
        }
        assert!(Instant::now() < deadline, "{said:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let init = container.init();
    let trusted = reqwest::Certificate::from_pem(&fs::read(certificate).unwrap()).unwrap();
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([trusted]);
    vault.client = client.build().unwrap();
    let answer = vault
        .upload(&name("gate", 1_700_000_000))
        .body("film")
        .send()
        .await;
    assert!(answer.unwrap().status().is_success());
    let hand = vault
        .upload(&name("gate", 2))
        .header(header::HANDOFF, "/config/admin");
    assert_eq!(hand.send().await.unwrap().status().as_u16(), 409);
    let page = vault.admin("api/recordings").send().await.unwrap();
    assert!(
        page.text()
            .await
            .unwrap()
            .contains("/data/recordings/site/2023-11-14/")
    );

    // The first signal that a container's engine sends is enough.
    let began = Instant::now();
    kill_process(init, Signal::TERM).unwrap();
    let ended = loop {
        if let Some(ended) = container.process.try_wait().unwrap() {
            break ended;
        }
        assert!(began.elapsed() < Duration::from_secs(6), "it does not stop");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(ended.code(), Some(0));
}
