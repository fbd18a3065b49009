//! The uploader against a vault that answers as it is told, over a real socket.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_config::UploadConfig;

use agent_store::{Policy, Store};
use agent_upload::{Calls, Uploader};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use camino::{Utf8Path, Utf8PathBuf};
use http::{HeaderMap, StatusCode};
use tokio::sync::Notify;
use vault_api::{Problem, header};

/// Seconds within which anything in these tests happens.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the vault does, and what it saw.
#[derive(Default)]
struct Vault {
    /// Answers by file name, used up front to back; then 200.
    script: Mutex<BTreeMap<String, Vec<(u16, &'static str)>>>,
    /// File name, handed path, body length; of what was taken.
    taken: Mutex<Vec<(String, Option<String>, usize)>>,
    attempts: Mutex<Vec<String>>,
    changed: Notify,
}

async fn storage(State(vault): State<Arc<Vault>>, headers: HeaderMap, body: Bytes) -> Response {
    let text = |name: &str| {
        headers
            .get(name)
            .map(|v| v.to_str().expect("text").to_owned())
    };
    assert_eq!(text(header::ACCESS_KEY).as_deref(), Some("access"));
    assert_eq!(text(header::SECRET_KEY).as_deref(), Some("secret"));
    assert_eq!(text(header::CAPTURE).as_deref(), Some("IPCamera"));
    assert_eq!(text(header::DIRECTORY).as_deref(), Some("site"));
    assert_eq!(text(header::DEVICE).as_deref(), Some("gate"));
    assert_eq!(text(header::DURATION).as_deref(), Some("2000"));
    let file = text(header::FILE_NAME).expect("a name");
    vault.attempts.lock().expect("lock").push(file.clone());
    let mut script = vault.script.lock().expect("lock");
    let answer = script
        .get_mut(&file)
        .filter(|s| !s.is_empty())
        .map(|s| s.remove(0));
    drop(script);
    vault.changed.notify_one();
    match answer {
        None | Some((200, _)) => {
            let handed = text(header::HANDOFF);
            if let Some(path) = &handed {
                // As a vault does: it takes the file by rename.
                match std::fs::rename(path, format!("{path}.taken")) {
                    Ok(()) => {}
                    Err(_) if answer.is_some() => {}
                    Err(_) => return (StatusCode::NOT_FOUND, "no file").into_response(),
                }
            }
            vault
                .taken
                .lock()
                .expect("lock")
                .push((file, handed, body.len()));
            vault.changed.notify_one();
            StatusCode::OK.into_response()
        }
        Some((status, word)) => {
            let problem = Problem {
                status: word.to_owned(),
                message: "as told".to_owned(),
            };
            let status = StatusCode::from_u16(status).expect("a status");
            (status, axum::Json(problem)).into_response()
        }
    }
}

struct Site {
    _temp: tempfile::TempDir,
    root: Utf8PathBuf,
    vault: Arc<Vault>,
    config: UploadConfig,
}

impl Site {
    async fn new(handoff: bool) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let temp = tempfile::tempdir().expect("a directory");
        let root = Utf8Path::from_path(temp.path()).expect("UTF-8").to_owned();
        std::fs::create_dir_all(root.join("data/gate")).expect("made");
        std::fs::write(root.join("access"), "access\n").expect("written");
        std::fs::write(root.join("secret"), "secret\n").expect("written");
        let vault = Arc::new(Vault::default());
        let router = Router::new()
            .route("/api/storage", post(storage))
            .with_state(Arc::clone(&vault));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let url = format!("http://{}/api/", listener.local_addr().expect("bound"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let config = UploadConfig {
            url: url.parse().expect("a URL"),
            access_key_file: root.join("access"),
            secret_key_file: root.join("secret"),
            directory: "site".into(),
            handoff,
            ca_file: None,
        };
        Self {
            _temp: temp,
            root,
            vault,
            config,
        }
    }

    fn record(&self, second: u64) -> String {
        let file = format!("{second}_1-0_gate_0-0-0-0_-1_2000.mp4");
        std::fs::write(self.path(&file), vec![7; 100_000]).expect("written");
        file
    }

    fn path(&self, file: &str) -> Utf8PathBuf {
        self.root.join("data/gate").join(file)
    }

    fn store(&self) -> Arc<Store> {
        let policy = |_| Policy {
            age_ms: None,
            quota_bytes: None,
            reserve_bytes: 0,
            vault: agent_store::Vault::Present,
        };
        Arc::new(Store::open(&self.root.join("data"), &["gate".into()], policy).expect("opened"))
    }

    fn start(&self) -> (Arc<Store>, tokio::task::JoinHandle<()>) {
        let store = self.store();
        let calls = Arc::new(Calls::default());
        let uploader = Uploader::new(
            self.config.clone(),
            Arc::clone(&store),
            calls,
            Box::new(|_| {}),
        );
        (store, tokio::spawn(uploader.run()))
    }

    /// Runs until the vault took `count` recordings and the agent noted it.
    async fn until_taken(&self, count: usize) -> Vec<(String, Option<String>, usize)> {
        let (store, task) = self.start();
        let wait = async {
            while self.vault.taken.lock().expect("lock").len() < count
                || store.totals().values().any(|t| t.pending > 0)
            {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait)
            .await
            .expect("taken in time");
        task.abort();
        self.vault.taken.lock().expect("lock").clone()
    }
}

#[tokio::test]
async fn recordings_go_oldest_first_and_leave_the_disk_after_the_acknowledgement() {
    let site = Site::new(false).await;
    let files = [
        site.record(1_700_000_002),
        site.record(1_700_000_000),
        site.record(1_700_000_001),
    ];
    let taken = site.until_taken(3).await;
    let wanted = [&files[1], &files[2], &files[0]].map(|f| (f.clone(), None, 100_000));
    assert_eq!(taken, wanted);
    assert!(files.iter().all(|f| !site.path(f).exists()));
}

#[tokio::test]
async fn an_outage_loses_nothing_and_keeps_the_order() {
    let site = Site::new(false).await;
    let files = [site.record(1_700_000_000), site.record(1_700_000_001)];
    let down = vec![(503, "down"), (401, "storage_account_not_found")];
    site.vault
        .script
        .lock()
        .expect("lock")
        .insert(files[0].clone(), down);
    let taken = site.until_taken(2).await;
    assert_eq!(
        taken.iter().map(|t| &t.0).collect::<Vec<_>>(),
        [&files[0], &files[1]]
    );
    assert_eq!(site.vault.attempts.lock().expect("lock").len(), 4);
}

#[tokio::test]
async fn a_recording_that_the_vault_refuses_lets_the_others_pass() {
    let site = Site::new(false).await;
    let files = [site.record(1_700_000_000), site.record(1_700_000_001)];
    let refusals = vec![(400, "file_empty"); 3];
    site.vault
        .script
        .lock()
        .expect("lock")
        .insert(files[0].clone(), refusals);
    let taken = site.until_taken(2).await;
    assert_eq!(
        taken.iter().map(|t| &t.0).collect::<Vec<_>>(),
        [&files[1], &files[0]]
    );
}

#[tokio::test]
async fn a_hand_over_names_the_path_and_sends_nothing() {
    let site = Site::new(true).await;
    let file = site.record(1_700_000_000);
    let taken = site.until_taken(1).await;
    let path = site
        .path(&file)
        .canonicalize_utf8()
        .unwrap_or(site.path(&file));
    assert_eq!(taken, [(file, Some(path.into_string()), 0)]);
}

#[tokio::test]
async fn a_refused_hand_over_becomes_a_body() {
    let site = Site::new(true).await;
    let file = site.record(1_700_000_000);
    let refusal = vec![(403, "handoff_refused")];
    site.vault
        .script
        .lock()
        .expect("lock")
        .insert(file.clone(), refusal);
    assert_eq!(site.until_taken(1).await, [(file, None, 100_000)]);
}

#[tokio::test]
async fn a_recording_taken_right_before_a_crash_is_asked_for_and_forgotten() {
    let site = Site::new(true).await;
    let file = site.record(1_700_000_000);
    let store = site.store();
    let recording = store.find(&file).expect("listed");
    store.note_offered(&recording).expect("noted");
    drop(store);
    std::fs::remove_file(site.path(&file)).expect("taken by the vault");
    site.vault
        .script
        .lock()
        .expect("lock")
        .insert(file.clone(), vec![(200, "")]);
    assert_eq!(site.until_taken(1).await.len(), 1);
    assert_eq!(site.store().lost_offers(), []);
}
