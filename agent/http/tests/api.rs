//! The API over a real socket.

use std::sync::Arc;
use std::time::Duration;

use agent_api::{CameraState, CameraStatus, Health, Proof, Recording};
use agent_http::{CameraMetrics, ProofError, Site, read_token, router};

use agent_store::{Policy, Store, Vault};
use camino::Utf8Path;
use futures::FutureExt;
use futures::future::BoxFuture;

const TOKEN: &str = "5f2b7c01d9e84a36";
const FILE: &str = "1700000000_1-0_gate_0-0-0-0_-1_2000.mp4";

struct One;

impl Site for One {
    fn health(&self) -> Health {
        Health {
            status: "ok".into(),
            version: "1".into(),
            recording: 1,
            cameras: 1,
        }
    }

    fn cameras(&self) -> Vec<CameraStatus> {
        vec![CameraStatus {
            name: "gate".into(),
            state: CameraState::Receiving,
            error: None,
            codec: Some("h264".into()),
            width: None,
            height: None,
            last_frame_ms: Some(12),
            frames: 7,
            bytes: 9,
            reconnects: 0,
            pending_uploads: 0,
            newest_recording: None,
            newest_footage_ms: None,
        }]
    }

    fn metrics(&self) -> Vec<CameraMetrics> {
        vec![CameraMetrics {
            camera: "gate".into(),
            frames: 7,
            ..CameraMetrics::default()
        }]
    }

    fn prove(&self, camera: &str, _: Duration) -> BoxFuture<'static, Result<Proof, ProofError>> {
        futures::future::ready(Err(ProofError::NoCamera(camera.to_owned()))).boxed()
    }
}

async fn serve() -> (String, reqwest::Client, tempfile::TempDir) {
    drop(rustls::crypto::ring::default_provider().install_default());
    let temp = tempfile::tempdir().expect("a directory");
    let root = Utf8Path::from_path(temp.path()).expect("UTF-8");
    std::fs::create_dir_all(root.join("data/gate")).expect("made");
    let bytes: Vec<u8> = (0..=255).collect();
    std::fs::write(root.join("data/gate").join(FILE), bytes).expect("written");
    std::fs::write(root.join("token"), TOKEN).expect("written");
    let policy = |_| Policy {
        age_ms: None,
        quota_bytes: None,
        reserve_bytes: 0,
        vault: Vault::Absent,
    };
    let store = Store::open(&root.join("data"), &["gate".into()], policy).expect("opened");
    let token = read_token(&root.join("token")).expect("good enough");
    let router = router(Arc::new(One), Arc::new(store), token);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let base = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let client = reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client");
    (base, client, temp)
}

#[tokio::test]
async fn health_and_metrics_are_open_and_the_rest_is_closed() {
    let (base, client, _temp) = serve().await;
    let get = |path: &str, token: Option<&str>| {
        let mut request = client.get(format!("{base}{path}"));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        request.send()
    };
    assert_eq!(get("/healthz", None).await.expect("answered").status(), 200);
    let metrics = get("/metrics", None)
        .await
        .expect("answered")
        .text()
        .await
        .expect("text");
    assert!(
        metrics.contains("stakeout_agent_frames_total{camera=\"gate\"} 7"),
        "{metrics}"
    );
    assert!(
        metrics.contains("stakeout_agent_disk_free_bytes "),
        "{metrics}"
    );
    // What clusters draw and warn of has to be among them.
    let watched = [
        include_str!("../../../manifests/kubernetes/alerts.yaml"),
        include_str!("../../../manifests/kubernetes/dashboard.json"),
    ];
    let words = watched
        .iter()
        .flat_map(|text| text.split(|c: char| !c.is_ascii_lowercase() && c != '_'));
    let words: Vec<_> = words
        .filter(|word| word.starts_with("stakeout_agent_"))
        .collect();
    assert!(words.len() > 10, "{words:?}");
    for word in words {
        let told = metrics.contains(&format!("# TYPE {word} "));
        assert!(told, "{word} is not told:\n{metrics}");
    }
    for path in [
        "/api/cameras",
        "/api/recordings",
        &format!("/api/recordings/{FILE}"),
    ] {
        assert_eq!(
            get(path, None).await.expect("answered").status(),
            401,
            "{path}"
        );
        let wrong = get(path, Some("5f2b7c01d9e84a37")).await.expect("answered");
        assert_eq!(wrong.status(), 401, "{path}");
        assert_eq!(
            get(path, Some(TOKEN)).await.expect("answered").status(),
            200,
            "{path}"
        );
    }
    let proof = client
        .post(format!("{base}/api/cameras/yard/proof?seconds=2"))
        .bearer_auth(TOKEN);
    assert_eq!(proof.send().await.expect("answered").status(), 404);
}

#[tokio::test]
async fn recordings_are_listed_and_sent_whole_and_in_parts() {
    let (base, client, _temp) = serve().await;
    let list = client
        .get(format!("{base}/api/recordings?camera=gate"))
        .bearer_auth(TOKEN);
    let list: Vec<Recording> = list
        .send()
        .await
        .expect("answered")
        .json()
        .await
        .expect("recordings");
    assert_eq!(list.len(), 1);
    assert_eq!(
        (list[0].start_ms, list[0].duration_ms),
        (1_700_000_000_000, 2_000)
    );
    let media = |range: Option<&str>| {
        let mut request = client
            .get(format!("{base}/api/recordings/{FILE}"))
            .bearer_auth(TOKEN);
        if let Some(range) = range {
            request = request.header("range", range);
        }
        request.send()
    };
    let whole = media(None).await.expect("answered");
    assert_eq!(
        (whole.status().as_u16(), whole.content_length()),
        (200, Some(256))
    );
    let part = media(Some("bytes=250-")).await.expect("answered");
    assert_eq!(part.status(), 206);
    assert_eq!(part.headers()["content-range"], "bytes 250-255/256");
    assert_eq!(
        part.bytes().await.expect("a body").as_ref(),
        [250, 251, 252, 253, 254, 255]
    );
    let suffix = media(Some("bytes=-2")).await.expect("answered");
    assert_eq!(suffix.bytes().await.expect("a body").as_ref(), [254, 255]);
    let beyond = media(Some("bytes=256-")).await.expect("answered");
    assert_eq!(beyond.status(), 416);
    assert_eq!(beyond.headers()["content-range"], "bytes */256");
}

#[tokio::test]
async fn no_path_leads_out_of_the_recordings() {
    let (base, client, _temp) = serve().await;
    for name in [
        "..%2F..%2Ftoken",
        "%2e%2e%2ftoken",
        "..%2Fgaps.jsonl",
        "token",
        "%00",
    ] {
        let request = client
            .get(format!("{base}/api/recordings/{name}"))
            .bearer_auth(TOKEN);
        assert_eq!(
            request.send().await.expect("answered").status(),
            404,
            "{name}"
        );
    }
}
