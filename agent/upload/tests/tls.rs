//! Uploads by body over HTTPS, to a real TLS server that goes away and changes its issuer.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_config::UploadConfig;
use agent_store::{Policy, Store};
use agent_upload::{Calls, Outcome, Uploader};
use camino::{Utf8Path, Utf8PathBuf};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

const PATIENCE: Duration = Duration::from_secs(20);
const FOOTAGE: usize = 3_000_000;

struct Issuer(CertifiedIssuer<'static, KeyPair>);

impl Issuer {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap());
        Self(issuer.unwrap())
    }

    fn server(&self, name: &str) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key);
        TlsAcceptor::from(Arc::new(config.unwrap()))
    }
}

type Taken = Arc<Mutex<Vec<(String, usize)>>>;

/// A vault as far as the wire goes: reads a whole request, then answers 200.
fn serve(listener: TcpListener, acceptor: TlsAcceptor, taken: Taken) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let taken = Arc::clone(&taken);
            if let Ok(stream) = acceptor.accept(stream).await {
                tokio::spawn(take(stream, taken));
            }
        }
    })
}

async fn take(mut stream: tokio_rustls::server::TlsStream<TcpStream>, taken: Taken) {
    let mut bytes = Vec::new();
    loop {
        let head = bytes.windows(4).position(|w| w == b"\r\n\r\n");
        if let Some(end) = head {
            let text = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let value = |name: &str| {
                let lines = text.lines().filter_map(|line| line.split_once(": "));
                let mut found = lines.filter(|(n, _)| n.eq_ignore_ascii_case(name));
                found.next().map(|(_, v)| v.to_owned())
            };
            let length: usize = value("content-length").unwrap().parse().unwrap();
            while bytes.len() < end + 4 + length {
                if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                    return;
                }
            }
            assert!(text.starts_with("POST /api/storage HTTP/1.1"), "{text}");
            assert_eq!(
                value("x-kerberos-storage-secretaccesskey").unwrap(),
                "secret"
            );
            let file = value("x-kerberos-storage-filename").unwrap();
            taken.lock().unwrap().push((file, length));
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            stream.write_all(answer).await.unwrap();
            stream.shutdown().await.unwrap();
            return;
        }
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
    }
}

struct Site {
    _temp: tempfile::TempDir,
    root: Utf8PathBuf,
    taken: Taken,
    failures: Arc<Mutex<Vec<String>>>,
}

impl Site {
    fn new() -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let temp = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(temp.path()).unwrap().to_owned();
        std::fs::create_dir_all(root.join("data/gate")).unwrap();
        std::fs::write(root.join("access"), "access\n").unwrap();
        std::fs::write(root.join("secret"), "secret\n").unwrap();
        Self {
            _temp: temp,
            root,
            taken: Arc::default(),
            failures: Arc::default(),
        }
    }

    fn record(&self, second: u64) -> Utf8PathBuf {
        let file = format!("{second}_1-0_gate_0-0-0-0_-1_2000.mp4");
        let path = self.root.join("data/gate").join(file);
        std::fs::write(&path, vec![7; FOOTAGE]).unwrap();
        path
    }

    fn trust(&self, issuers: &[&Issuer]) {
        let text: String = issuers.iter().map(|i| i.0.pem()).collect();
        // By rename, as everybody who rotates does it.
        std::fs::write(self.root.join("ca.new"), text).unwrap();
        std::fs::rename(self.root.join("ca.new"), self.bundle()).unwrap();
    }

    fn start(&self, vault: SocketAddr, ca_file: Option<Utf8PathBuf>) -> JoinHandle<()> {
        let policy = |_| Policy {
            age_ms: None,
            quota_bytes: None,
            reserve_bytes: 0,
            vault: agent_store::Vault::Present,
        };
        let store = Store::open(&self.root.join("data"), &["gate".into()], policy).unwrap();
        let config = UploadConfig {
            url: format!("https://{vault}/api").parse().unwrap(),
            access_key_file: self.root.join("access"),
            secret_key_file: self.root.join("secret"),
            directory: "site".into(),
            handoff: false,
            ca_file,
        };
        let failures = Arc::clone(&self.failures);
        let report = move |outcome: Outcome<'_>| {
            if let Outcome::Failed(_, error) = outcome {
                let mut text = error.to_string();
                let mut source = std::error::Error::source(error);
                while let Some(error) = source {
                    text = format!("{text}: {error}");
                    source = error.source();
                }
                failures.lock().unwrap().push(text);
            }
        };
        let calls = Arc::new(Calls::default());
        let uploader = Uploader::new(config, Arc::new(store), calls, Box::new(report));
        tokio::spawn(uploader.run())
    }

    fn bundle(&self) -> Utf8PathBuf {
        self.root.join("ca.pem")
    }

    async fn until(&self, what: &str, wanted: impl Fn() -> bool) {
        let wait = async {
            while !wanted() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let failures = || self.failures.lock().unwrap().clone();
        assert!(
            tokio::time::timeout(PATIENCE, wait).await.is_ok(),
            "{what}; failures: {:?}",
            failures()
        );
    }

    fn failed(&self, cause: &str) -> bool {
        self.failures
            .lock()
            .unwrap()
            .iter()
            .any(|f| f.contains(cause))
    }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[tokio::test]
async fn footage_goes_by_body_and_leaves_the_disk_and_outages_are_outlasted() {
    let (site, issuer) = (Site::new(), Issuer::new());
    site.trust(&[&issuer]);
    let (listener, address) = listen().await;
    let files = [site.record(1_700_000_000), site.record(1_700_000_001)];
    // The vault takes a connection and dies in the middle of the body.
    let acceptor = issuer.server("127.0.0.1");
    let task = site.start(address, Some(site.bundle()));
    let (stream, _) = listener.accept().await.unwrap();
    let mut stream = acceptor.accept(stream).await.unwrap();
    let mut some = vec![0; 500_000];
    stream.read_exact(&mut some).await.unwrap();
    drop((stream, listener));
    site.until("an outage", || site.failed("cannot be reached"))
        .await;
    assert!(files.iter().all(|f| f.exists()), "nothing is acknowledged");

    let listener = TcpListener::bind(address).await.unwrap();
    let vault = serve(listener, acceptor, Arc::clone(&site.taken));
    site.until("both away", || files.iter().all(|f| !f.exists()))
        .await;
    let names = files.map(|f| (f.file_name().unwrap().to_owned(), FOOTAGE));
    assert_eq!(*site.taken.lock().unwrap(), names);
    task.abort();
    vault.abort();
}

#[tokio::test]
async fn a_stranger_gets_nothing_until_the_bundle_names_its_issuer() {
    let (site, old, new) = (Site::new(), Issuer::new(), Issuer::new());
    site.trust(&[&old]);
    let (listener, address) = listen().await;
    let vault = serve(listener, new.server("127.0.0.1"), Arc::clone(&site.taken));
    let file = site.record(1_700_000_000);
    let task = site.start(address, Some(site.bundle()));
    site.until("a refusal", || site.failed("invalid peer certificate"))
        .await;
    assert!(file.exists() && site.taken.lock().unwrap().is_empty());

    // A broken bundle changes nothing, a good one is taken up without a restart.
    std::fs::write(site.bundle(), "no certificate").unwrap();
    let before = site.failures.lock().unwrap().len();
    site.until("another refusal", || {
        site.failures.lock().unwrap().len() > before
    })
    .await;
    assert!(file.exists() && !site.failed("holds no certificate"));
    site.trust(&[&old, &new]);
    site.until("taken", || !file.exists()).await;
    task.abort();
    vault.abort();
}

#[tokio::test]
async fn another_host_s_certificate_is_refused_and_a_missing_bundle_is_named() {
    let (site, issuer) = (Site::new(), Issuer::new());
    let (listener, address) = listen().await;
    let vault = serve(
        listener,
        issuer.server("elsewhere"),
        Arc::clone(&site.taken),
    );
    let file = site.record(1_700_000_000);
    let task = site.start(address, Some(site.bundle()));
    site.until("a missing bundle", || {
        site.failed("cannot read trust bundle")
    })
    .await;
    site.trust(&[&issuer]);
    site.until("a wrong name", || site.failed("not valid for name"))
        .await;
    assert!(file.exists());
    task.abort();
    vault.abort();
}

#[tokio::test]
async fn without_a_bundle_only_public_issuers_are_trusted() {
    let (site, issuer) = (Site::new(), Issuer::new());
    let (listener, address) = listen().await;
    let vault = serve(
        listener,
        issuer.server("127.0.0.1"),
        Arc::clone(&site.taken),
    );
    let file = site.record(1_700_000_000);
    let task = site.start(address, None);
    site.until("a refusal", || !site.failures.lock().unwrap().is_empty())
        .await;
    assert!(file.exists() && site.taken.lock().unwrap().is_empty());
    task.abort();
    vault.abort();
}
