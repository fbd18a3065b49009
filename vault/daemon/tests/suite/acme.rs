//! A certificate from a real ACME authority, Pebble.

use std::fs;
use std::time::{Duration, Instant};

use reqwest::{Certificate, Client};
use vault_api::TlsConfig;
use vault_testkit::{Files, Part, flat};

use crate::support::Vault;

const DOMAIN: &str = "vault.example";
/// What is issued is valid for so many seconds, and renewed when a third of them is left.
const VALIDITY: &str = "19";

struct Pebble {
    part: Part,
    /// Trusts what it issued, and finds the vault by its domain.
    client: Client,
}

impl Pebble {
    async fn start(vault: &Vault, files: &Files, port: u16) -> Self {
        let (certificate, key) = (files.path("api.crt"), files.path("api.key"));
        let arguments = flat(&[
            ("--tls-port", &vault.config.listen.port().to_string()),
            ("--certificate", certificate.to_str().unwrap()),
            ("--key", key.to_str().unwrap()),
            ("--validity", VALIDITY),
            ("--port", &port.to_string()),
        ]);
        let part = Part::start("pebble", &arguments);
        let roots = part
            .said
            .iter()
            .find_map(|line| line.strip_prefix("roots "));
        let api = Certificate::from_pem(&fs::read(certificate).unwrap()).unwrap();
        let asking = Client::builder().no_proxy().tls_certs_only([api]);
        let root = asking.build().unwrap().get(roots.unwrap()).send().await;
        let root = root.unwrap().bytes().await.unwrap();
        let client = Client::builder()
            .no_proxy()
            .pool_max_idle_per_host(0)
            .resolve(DOMAIN, vault.config.listen)
            .tls_certs_only([Certificate::from_pem(&root).unwrap()]);
        let client = client.build().unwrap();
        Self { part, client }
    }

    fn port(&self) -> u16 {
        let (address, _) = self.part.url.rsplit_once('/').unwrap();
        address.rsplit(':').next().unwrap().parse().unwrap()
    }

    /// Whether the vault shows what this authority issued.
    async fn trusts(&self, vault: &Vault) -> bool {
        let url = format!("https://{DOMAIN}:{}/healthz", vault.config.listen.port());
        let answer = self.client.get(url).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    async fn comes_to_trust(&self, vault: &Vault, patience: Duration) {
        let deadline = Instant::now() + patience;
        while !self.trusts(vault).await {
            assert!(Instant::now() < deadline, "no certificate was got");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test]
async fn a_certificate_is_got_kept_and_renewed() {
    let files = Files::default();
    let (api, _) = files.certificate("api");
    let mut vault = Vault::new(None);
    let pebble = Pebble::start(&vault, &files, 0).await;
    let cache = vault.root.join("acme");
    vault.config.tls = Some(TlsConfig::Acme {
        directory: pebble.part.url.parse().unwrap(),
        domains: vec![DOMAIN.to_owned()],
        contact: vec!["mailto:owner@vault.example".to_owned()],
        cache: cache.clone(),
        ca_file: Some(api.into()),
    });
    vault.spawn();
    pebble.comes_to_trust(&vault, Duration::from_secs(20)).await;
    let issued = Instant::now();
    let first = fs::read(cache.join("certificate.pem")).unwrap();
    let health = vault.command("health").output().unwrap();
    assert!(health.status.success(), "{health:?}");
    for name in ["certificate.pem", "key.pem"] {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(cache.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }

    // The next start needs no authority: what was got is on disk.
    vault.kill();
    let port = pebble.port();
    let Pebble { part, client } = pebble;
    drop(part);
    vault.spawn();
    let url = format!("https://{DOMAIN}:{}/healthz", vault.config.listen.port());
    while client.get(&url).send().await.is_err() {
        assert!(issued.elapsed() < Duration::from_secs(8), "it is not kept");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(fs::read(cache.join("certificate.pem")).unwrap(), first);

    // It is renewed by itself, although the authority has forgotten the account and has new roots;
    // until then the old one is shown.
    let pebble = Pebble::start(&vault, &files, port).await;
    assert!(!pebble.trusts(&vault).await && client.get(&url).send().await.is_ok());
    pebble.comes_to_trust(&vault, Duration::from_secs(40)).await;
    assert_ne!(fs::read(cache.join("certificate.pem")).unwrap(), first);
    assert!(
        issued.elapsed() > Duration::from_secs(5),
        "nothing was renewed early"
    );
}
