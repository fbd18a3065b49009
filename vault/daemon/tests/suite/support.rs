//! The real program in a folder of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use camino::Utf8PathBuf;
use reqwest::{Client, RequestBuilder, StatusCode};
use vault_api::{
    AccountConfig, CatalogueConfig, ProviderConfig, Retention, VaultConfig, WebhookConfig, header,
};

pub(crate) const ACCESS: &str = "access-0123456789abcdef";
pub(crate) const SECRET: &str = "secret-0123456789abcdef";
pub(crate) const ADMIN: &str = "admintoken-0123456789abcdef";

pub(crate) struct Vault {
    _folder: tempfile::TempDir,
    pub(crate) root: Utf8PathBuf,
    pub(crate) config: VaultConfig,
    pub(crate) client: Client,
    pub(crate) process: Option<Child>,
}

impl Vault {
    pub(crate) fn new(webhook: Option<&str>) -> Self {
        // Another test may have been first.
        drop(rustls::crypto::ring::default_provider().install_default());
        let folder = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(folder.path().canonicalize().unwrap()).unwrap();
        let secret = |name: &str, value: &str| {
            let path = root.join(name);
            fs::write(&path, value).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            path
        };
        fs::create_dir(root.join("agents")).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let config = VaultConfig {
            version: 1,
            site: "site".into(),
            listen: port,
            tls: None,
            public: None,
            data: root.join("data"),
            admin_token_file: secret("admin", ADMIN),
            account: AccountConfig {
                name: "site".into(),
                directory: "site".into(),
                access_key_file: secret("access", ACCESS),
                secret_key_file: secret("secret", SECRET),
                handoff: vec![root.join("agents")],
            },
            provider: ProviderConfig::Filesystem {
                path: root.join("recordings"),
            },
            catalogue: CatalogueConfig::Sqlite,
            retention: Retention {
                reserve_bytes: Some(0),
                ..Retention::default()
            },
            webhooks: webhook
                .map(|url| WebhookConfig {
                    name: "hook".into(),
                    url: url.parse().unwrap(),
                    secret_file: secret("hook", "hookkey-0123456789abcdef"),
                })
                .into_iter()
                .collect(),
            mqtt: Vec::new(),
            amqp: Vec::new(),
        };
        let client = Client::builder().no_proxy().build().unwrap();
        Self {
            _folder: folder,
            root,
            config,
            client,
            process: None,
        }
    }

    pub(crate) fn command(&self, verb: &str) -> Command {
        let path = self.root.join("vault.json");
        fs::write(&path, serde_json::to_vec(&self.config).unwrap()).unwrap();
        let mut command = program();
        command.args([verb, "--config", path.as_str()]);
        command
    }

    /// Writes a file that only its owner may read.
    pub(crate) fn secret(&self, name: &str, value: &str) -> Utf8PathBuf {
        let path = self.root.join(name);
        fs::write(&path, value).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    pub(crate) fn spawn(&mut self) {
        let mut command = self.command("run");
        self.process = Some(command.env("RUST_LOG", "warn").spawn().unwrap());
    }

    pub(crate) async fn start(&mut self) {
        self.spawn();
        self.until(StatusCode::OK).await;
    }

    /// Starts it where something that it needs is not right.
    pub(crate) async fn start_unwell(&mut self) {
        self.spawn();
        self.until(StatusCode::SERVICE_UNAVAILABLE).await;
    }

    async fn until(&self, wanted: StatusCode) {
        for _ in 0..500 {
            let health = self.client.get(self.url("healthz")).send().await;
            if health.is_ok_and(|answer| answer.status() == wanted) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the vault does not answer");
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        let scheme = if self.config.tls.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}/{path}", self.config.listen)
    }

    pub(crate) fn upload(&self, name: &str) -> RequestBuilder {
        self.client
            .post(self.url("api/storage"))
            .header(header::ACCESS_KEY, ACCESS)
            .header(header::SECRET_KEY, SECRET)
            .header(header::DIRECTORY, "site")
            .header(header::FILE_NAME, name)
    }

    pub(crate) fn admin(&self, path: &str) -> RequestBuilder {
        self.client.get(self.url(path)).bearer_auth(ADMIN)
    }
}

pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stakeout-vault"));
    command.stdin(Stdio::null());
    command
}

impl Drop for Vault {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A six-field name: camera, second of its start.
pub(crate) fn name(camera: &str, second: u64) -> String {
    format!("{second}_1-5_{camera}_0-0-0-0_-1_5000.mp4")
}
