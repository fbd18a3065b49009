//! `stakeout-agent run`: everything together, until a signal.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use agent_capture::{Target, read_credentials};
use agent_config::{AgentConfig, CameraConfig, HttpConfig};
use agent_http::TlsListener;
use agent_pipeline::names::sanitised;
use agent_store::{Disk, Policy, Store, Vault};
use agent_upload::{Calls, Outcome, Uploader};
use anyhow::Context;
use camino::Utf8Path;
use rustix::fs::{FlockOperation, flock};
use tokio::net::TcpListener;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;

use crate::camera::{self, Surroundings};
use crate::events::Event;
use crate::secrets;
use crate::signals;
use crate::site::{Camera, Site};
use crate::status::Board;

/// Age, quota and reserve are looked after this often; a full disk is handled at once besides.
const ENFORCE_EVERY: Duration = Duration::from_secs(10);
/// After the signal; a supervisor kills after more.
const END_WITHIN: Duration = Duration::from_millis(1_800);
/// Listeners are proofs, which read at once; an event is small.
const EVENTS: usize = 256;

/// One process at a time owns the folder: it repairs whatever file stands open there.
fn lock(data: &Utf8Path) -> anyhow::Result<std::fs::File> {
    std::fs::create_dir_all(data).with_context(|| format!("cannot make `{data}`"))?;
    let path = data.join("agent.lock");
    let mut options = std::fs::File::options();
    let file = options.create(true).truncate(false).write(true).open(&path);
    let file = file.with_context(|| format!("cannot open `{path}`"))?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)
        .with_context(|| format!("another agent keeps `{data}`"))?;
    Ok(file)
}

pub(crate) async fn run(path: &Utf8Path) -> anyhow::Result<()> {
    // The one process-wide choice of a TLS implementation; a second call cannot happen.
    drop(rustls::crypto::ring::default_provider().install_default());
    let config = agent_config::read_config(path)?;
    secrets::warn_of_readable(&config);
    let token = agent_http::read_token(&config.http.token_file)?;
    let targets = config
        .cameras
        .iter()
        .map(targets)
        .collect::<anyhow::Result<Vec<_>>>()?;
    let _lock = lock(&config.data)?;
    let store = Arc::new(open_store(&config)?);
    let api = listen(&config.http).await?;
    let (events, _) = broadcast::channel(EVENTS);
    let calls = Arc::new(Calls::default());
    let (stop, stopped) = watch::channel(false);

    let mut cameras = BTreeMap::new();
    let mut recording = JoinSet::new();
    for (camera, (main, sub)) in config.cameras.iter().zip(targets) {
        let board = Arc::new(Board::default());
        let (proofs, orders) = mpsc::channel(8);
        let surroundings = Surroundings {
            name: camera.name.clone(),
            policy: camera.record,
            store: Arc::clone(&store),
            board: Arc::clone(&board),
            events: events.clone(),
            calls: Arc::clone(&calls),
            stop: stopped.clone(),
        };
        recording.spawn(camera::supervise(surroundings, main, sub, orders));
        cameras.insert(camera.name.clone(), Camera { board, proofs });
    }
    let site = Arc::new(Site {
        cameras,
        store: Arc::clone(&store),
        events: events.clone(),
        uploads: config.upload.is_some().then(|| Arc::clone(&calls)),
        next_proof: AtomicU64::new(1),
    });

    let mut services = JoinSet::new();
    services.spawn(expire(Arc::clone(&store)));
    if let Some(upload) = config.upload.clone() {
        let report = reporter(Arc::clone(&site), events);
        services.spawn(Uploader::new(upload, Arc::clone(&store), calls, report).run());
    }
    let router = agent_http::router(site, store, token);
    services.spawn(async move {
        let served = match api {
            Api::Plain(listener) => axum::serve(listener, router).await,
            Api::Tls(listener) => axum::serve(listener, router).await,
        };
        if let Err(error) = served {
            tracing::error!(%error, "the API ended");
        }
    });
    tracing::info!(site = %config.site, cameras = config.cameras.len(),
        api = %config.http.listen, "recording");

    signals::ended().await?;
    let since = Instant::now();
    stop.send_replace(true);
    let finished = async { while recording.join_next().await.is_some() {} };
    if tokio::time::timeout(END_WITHIN, finished).await.is_err() {
        // What is still open is repaired at the next start.
        tracing::warn!("the disk is slow, a recording stays open");
    }
    services.shutdown().await;
    tracing::info!(
        ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(0),
        "ended"
    );
    Ok(())
}

/// Where the API is served.
enum Api {
    Plain(TcpListener),
    Tls(TlsListener),
}

async fn listen(http: &HttpConfig) -> anyhow::Result<Api> {
    let listener = TcpListener::bind(http.listen)
        .await
        .with_context(|| format!("cannot listen on {}", http.listen))?;
    Ok(match &http.tls {
        None => Api::Plain(listener),
        Some(files) => Api::Tls(TlsListener::new(listener, files)?),
    })
}

/// Main and sub stream, with the credentials of the camera.
fn targets(camera: &CameraConfig) -> anyhow::Result<(Target, Option<Target>)> {
    let name = &camera.name;
    // It becomes a directory.
    anyhow::ensure!(
        !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0']),
        "camera name `{name}` is not one that a directory can have"
    );
    let credentials = camera
        .credentials_file
        .as_ref()
        .map(|path| read_credentials(path.as_str()))
        .transpose()
        .with_context(|| format!("camera `{name}`"))?;
    let open = |url: &url::Url| {
        Target::new(url.clone(), credentials.clone()).with_context(|| format!("camera `{name}`"))
    };
    Ok((
        open(&camera.rtsp)?,
        camera.sub.as_ref().map(open).transpose()?,
    ))
}

fn open_store(config: &AgentConfig) -> anyhow::Result<Store> {
    let names: Vec<_> = config.cameras.iter().map(|c| c.name.clone()).collect();
    let in_files: BTreeSet<_> = names.iter().map(|name| sanitised(name)).collect();
    anyhow::ensure!(
        in_files.len() == names.len(),
        "two camera names become the same in file names, where only letters, digits, `-` and `.` stay"
    );
    let keep = config.retention;
    let vault = if config.upload.is_some() {
        Vault::Present
    } else {
        Vault::Absent
    };
    let policy = move |disk: Disk| Policy {
        age_ms: keep.age_seconds.map(|s| s.saturating_mul(1000)),
        quota_bytes: keep.quota_bytes,
        reserve_bytes: keep.reserve_bytes.unwrap_or_else(|| disk.default_reserve()),
        vault,
    };
    Ok(Store::open(&config.data, &names, policy)?)
}

async fn expire(store: Arc<Store>) {
    let mut tick = tokio::time::interval(ENFORCE_EVERY);
    loop {
        tick.tick().await;
        let store = Arc::clone(&store);
        // Removing waits for the disk, which the network thread must not.
        let done = tokio::task::spawn_blocking(move || store.enforce(camera::unix_ms())).await;
        if let Err(error) = done {
            tracing::error!(%error, "retention failed");
        }
    }
}

/// Counts uploads and tells proofs of them.
fn reporter(
    site: Arc<Site>,
    events: broadcast::Sender<Event>,
) -> Box<dyn Fn(Outcome<'_>) + Send + Sync> {
    Box::new(move |outcome| match outcome {
        Outcome::Uploaded(recording) => {
            if let Some(camera) = site.cameras.get(&recording.camera) {
                camera.board.change().uploads += 1;
            }
            // Fails when nobody listens.
            drop(events.send(Event::Uploaded {
                file: recording.file.clone(),
                at: Instant::now(),
            }));
        }
        Outcome::Failed(recording, _) => {
            if let Some(camera) = site.cameras.get(&recording.camera) {
                camera.board.change().upload_failures += 1;
            }
        }
    })
}
