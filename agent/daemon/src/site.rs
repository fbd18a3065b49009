//! The running agent, as the API sees it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use agent_api::{CameraState, CameraStatus, Health, Proof};
use agent_http::{CameraMetrics, ProofError};
use agent_store::Store;
use agent_upload::Calls;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{broadcast, mpsc};
use tokio::time::timeout;

use crate::events::Event;
use crate::status::Board;

/// For two key frames, each at most 20 s apart on real cameras, on top of the asked span.
const RECORD_PATIENCE: Duration = Duration::from_mins(1);
const UPLOAD_PATIENCE: Duration = Duration::from_mins(1);
/// A vault that is down is asked this often while somebody waits.
const HURRY_EVERY: Duration = Duration::from_secs(1);

/// Asks a camera's task for a recording.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProofOrder {
    pub(crate) id: u64,
    pub(crate) span: Duration,
}

#[derive(Debug)]
pub(crate) struct Camera {
    pub(crate) board: Arc<Board>,
    pub(crate) proofs: mpsc::Sender<ProofOrder>,
}

/// In the configuration's names.
pub(crate) struct Site {
    pub(crate) cameras: BTreeMap<String, Camera>,
    pub(crate) store: Arc<Store>,
    pub(crate) events: broadcast::Sender<Event>,
    /// Present with a vault.
    pub(crate) uploads: Option<Arc<Calls>>,
    pub(crate) next_proof: AtomicU64,
}

impl agent_http::Site for Site {
    fn health(&self) -> Health {
        let receiving = |c: &&Camera| c.board.read().state == CameraState::Receiving;
        Health {
            // Whoever answers here works: the one network thread is not stuck.
            status: "ok".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            recording: self.cameras.values().filter(receiving).count(),
            cameras: self.cameras.len(),
        }
    }

    fn cameras(&self) -> Vec<CameraStatus> {
        let totals = self.store.totals();
        let describe = |(name, camera): (&String, &Camera)| {
            let status = camera.board.read();
            let live = self.store.live(name);
            CameraStatus {
                name: name.clone(),
                state: status.state,
                error: status.error,
                codec: status.video.map(|(codec, _, _)| codec.to_owned()),
                width: status.video.map(|(_, width, _)| width),
                height: status.video.map(|(_, _, height)| height),
                last_frame_ms: status.last_frame.map(|at| millis(at.elapsed())),
                frames: status.frames,
                bytes: status.bytes,
                reconnects: status.sessions.saturating_sub(1),
                pending_uploads: self.pending(totals.get(name)),
                newest_recording: live.newest,
                newest_footage_ms: live.footage_ms,
            }
        };
        self.cameras.iter().map(describe).collect()
    }

    fn metrics(&self) -> Vec<CameraMetrics> {
        let totals = self.store.totals();
        let measure = |(name, camera): (&String, &Camera)| {
            let status = camera.board.read();
            let sums = totals.get(name).copied().unwrap_or_default();
            CameraMetrics {
                camera: name.clone(),
                receiving: status.state == CameraState::Receiving,
                frames: status.frames,
                bytes: status.bytes,
                lost_packets: status.lost_packets,
                reconnects: status.sessions.saturating_sub(1),
                motion_events: status.motion_events,
                decoder_restarts: status.decoder_restarts,
                last_frame_age: status.last_frame.map(|at| at.elapsed().as_secs_f64()),
                queued_bytes: status.queued_bytes,
                pending_uploads: self.pending(Some(&sums)),
                uploads: status.uploads,
                upload_failures: status.upload_failures,
                gaps: sums.gaps,
                recordings: sums.recordings,
                recording_bytes: sums.bytes,
            }
        };
        self.cameras.iter().map(measure).collect()
    }

    fn prove(&self, camera: &str, span: Duration) -> BoxFuture<'static, Result<Proof, ProofError>> {
        let Some(found) = self.cameras.get(camera) else {
            return futures::future::ready(Err(ProofError::NoCamera(camera.to_owned()))).boxed();
        };
        let order = ProofOrder {
            id: self.next_proof.fetch_add(1, Ordering::Relaxed),
            span,
        };
        let called = Instant::now();
        // Before the order is given, so that nothing is missed.
        let events = self.events.subscribe();
        let proofs = found.proofs.clone();
        let camera = camera.to_owned();
        let uploads = self.uploads.clone();
        async move {
            let seconds = (span + RECORD_PATIENCE).as_secs();
            let recorded = async {
                proofs.send(order).await.map_err(|_| ProofError::Stopping)?;
                follow(events, order.id, called, camera.clone()).await
            };
            let Ok(recorded) = timeout(span + RECORD_PATIENCE, recorded).await else {
                return Err(ProofError::NoRecording { camera, seconds });
            };
            let (mut proof, finished, events) = recorded?;
            if let Some(calls) = uploads {
                let uploaded = hurried(&calls, events, &proof.recording);
                let Ok(at) = timeout(UPLOAD_PATIENCE, uploaded).await else {
                    let seconds = UPLOAD_PATIENCE.as_secs();
                    return Err(ProofError::NotUploaded {
                        recording: proof.recording,
                        seconds,
                    });
                };
                proof.uploaded_ms = Some(millis(at?.duration_since(finished)));
            }
            Ok(proof)
        }
        .boxed()
    }
}

impl Site {
    /// Without a vault nothing waits, whatever is not uploaded.
    fn pending(&self, totals: Option<&agent_store::Totals>) -> u64 {
        totals
            .filter(|_| self.uploads.is_some())
            .map_or(0, |t| t.pending)
    }
}

/// Waits for the ordered recording to begin and to be finished.
async fn follow(
    mut events: broadcast::Receiver<Event>,
    order: u64,
    called: Instant,
    camera: String,
) -> Result<(Proof, Instant, broadcast::Receiver<Event>), ProofError> {
    let mut first = called;
    let mut proven = None;
    loop {
        match next(&mut events).await? {
            // Again, if the session broke meanwhile.
            Event::Begun { id, at } if id == order => first = at,
            Event::Proven { id, start_ms } if id == order => proven = Some(start_ms),
            Event::Finished {
                recording,
                frames,
                at,
            } if recording.camera == camera && Some(recording.start_ms) == proven => {
                let proof = Proof {
                    camera,
                    recording: recording.file,
                    first_frame_ms: millis(first.duration_since(called)),
                    recorded_ms: millis(at.duration_since(first)),
                    uploaded_ms: None,
                    bytes: recording.bytes,
                    frames,
                };
                return Ok((proof, at, events));
            }
            _ => {}
        }
    }
}

/// Asks for the upload until it is done: a vault that starts together with the agent is not there
/// at the first attempt.
async fn hurried(
    calls: &Calls,
    events: broadcast::Receiver<Event>,
    wanted: &str,
) -> Result<Instant, ProofError> {
    let mut ask = tokio::time::interval(HURRY_EVERY);
    let uploaded = uploaded(events, wanted);
    tokio::pin!(uploaded);
    loop {
        tokio::select! {
            at = &mut uploaded => return at,
            _ = ask.tick() => calls.hurry(wanted),
        }
    }
}

async fn uploaded(
    mut events: broadcast::Receiver<Event>,
    wanted: &str,
) -> Result<Instant, ProofError> {
    loop {
        if let Event::Uploaded { file, at } = next(&mut events).await?
            && file == wanted
        {
            return Ok(at);
        }
    }
}

async fn next(events: &mut broadcast::Receiver<Event>) -> Result<Event, ProofError> {
    loop {
        match events.recv().await {
            Ok(event) => return Ok(event),
            // Missing some is found out by the deadline.
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return Err(ProofError::Stopping),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
