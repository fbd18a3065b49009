//! One camera: sessions, frames, files.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use agent_api::CameraState;
use agent_capture::{CaptureError, Event as SessionEvent, Session, Target};
use agent_config::RecordPolicy;
use agent_media::{Frame, StreamParameters, Track};
use agent_store::{Gap, GapCause, Store, Writer, Written};
use tokio::sync::{Notify, broadcast, mpsc, watch};

use crate::events::Event;
use crate::site::ProofOrder;
use crate::status::Board;
use crate::tape::{Tape, can_begin};

/// Frames that may wait for a slow or full disk: a minute of a 4 Mbit/s camera.
const DISK_BUDGET: u64 = 32 << 20;

/// What a camera's task needs of the rest of the agent.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) name: String,
    pub(crate) policy: RecordPolicy,
    pub(crate) store: Arc<Store>,
    pub(crate) board: Arc<Board>,
    pub(crate) events: broadcast::Sender<Event>,
    /// Wakes the uploader.
    pub(crate) wake: Arc<Notify>,
    /// True when the agent is to end.
    pub(crate) stop: watch::Receiver<bool>,
}

pub(crate) fn unix_ms() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// Records one camera until the agent ends; never gives up.
pub(crate) async fn supervise(
    around: Surroundings,
    main: Target,
    _sub: Option<Target>,
    orders: mpsc::Receiver<ProofOrder>,
) {
    let name = around.name.clone();
    let mut stop = around.stop.clone();
    let store = Arc::clone(&around.store);
    let disk = match Writer::start(store, &name, DISK_BUDGET, told(&around)) {
        Ok(disk) => disk,
        Err(error) => {
            tracing::error!(camera = %name, %error, "no thread for the disk");
            around.board.change().state = CameraState::Failing;
            return;
        }
    };
    let mut camera = Camera::new(around, Tape::new(disk), orders);
    let mut attempts = 0;
    loop {
        let before = camera.around.board.read().sessions;
        let error = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            error = camera.session(&main) => error,
        };
        camera.interrupt();
        if camera.around.board.read().sessions > before {
            attempts = 0;
        }
        let wait = backoff(attempts);
        attempts += 1;
        camera.fail(&error, wait);
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            () = tokio::time::sleep(wait) => {}
        }
    }
    camera.interrupt();
    // The last files are finished off the network thread, which still serves the API.
    if let Err(error) = tokio::task::spawn_blocking(move || camera.tape.stop()).await {
        tracing::error!(camera = %name, %error, "the last file could not be finished");
    }
}

fn backoff(attempts: u32) -> Duration {
    Duration::from_millis(500)
        .saturating_mul(1 << attempts.min(5))
        .min(Duration::from_secs(15))
}

/// Passes on what the writer thread says.
fn told(around: &Surroundings) -> Box<dyn Fn(Written) + Send> {
    let (events, wake) = (around.events.clone(), Arc::clone(&around.wake));
    Box::new(move |written| {
        if let Written::Finished { recording, frames } = written {
            tracing::info!(recording = %recording.file, frames, bytes = recording.bytes, "recorded");
            // Fails when nobody listens.
            drop(events.send(Event::Finished {
                recording,
                frames,
                at: Instant::now(),
            }));
            wake.notify_one();
        }
    })
}

struct Camera {
    around: Surroundings,
    tape: Tape,
    orders: mpsc::Receiver<ProofOrder>,
    parameters: Option<StreamParameters>,
    waiting: Option<ProofOrder>,
    proof: Option<(Duration, u64)>,
    open: Option<(u64, i64)>,
    /// Arrival of the last frame of the session before.
    lost_since: Option<u64>,
    last_arrival: u64,
}

impl Camera {
    fn new(around: Surroundings, tape: Tape, orders: mpsc::Receiver<ProofOrder>) -> Self {
        Self {
            around,
            tape,
            orders,
            parameters: None,
            waiting: None,
            proof: None,
            open: None,
            lost_since: None,
            last_arrival: 0,
        }
    }

    /// Plays the camera until that fails.
    async fn session(&mut self, target: &Target) -> CaptureError {
        self.around.board.change().state = CameraState::Connecting;
        let mut session = match Session::open(target).await {
            Ok(session) => session,
            Err(error) => return error,
        };
        let mut first = true;
        loop {
            let event = tokio::select! {
                event = session.next() => event,
                Some(order) = self.orders.recv() => {
                    self.waiting = Some(order);
                    continue;
                }
            };
            match event {
                Err(error) => return error,
                Ok(SessionEvent::Parameters(parameters)) => {
                    self.around.board.note_parameters(&parameters);
                    self.end_file();
                    self.parameters = Some(parameters);
                }
                Ok(SessionEvent::Frame(frame)) => {
                    if std::mem::take(&mut first) {
                        self.begin_session(&frame);
                    }
                    self.take(frame);
                }
            }
        }
    }

    fn begin_session(&mut self, frame: &Frame) {
        let mut board = self.around.board.change();
        board.state = CameraState::Receiving;
        board.error = None;
        board.sessions += 1;
        drop(board);
        tracing::info!(camera = %self.around.name, "receiving");
        if let Some(from_ms) = self.lost_since.take() {
            self.gap(GapCause::Disconnected, from_ms, frame.arrival_ms, 0);
        }
    }

    fn take(&mut self, frame: Frame) {
        let queued = self.tape.queued_bytes();
        let mut board = self.around.board.change();
        board.bytes += frame.data.len() as u64;
        board.lost_packets += u64::from(frame.lost);
        board.queued_bytes = queued;
        if frame.track == Track::Video {
            board.frames += 1;
            board.last_frame = Some(Instant::now());
        }
        drop(board);
        if frame.lost > 0 && self.last_arrival > 0 {
            self.gap(GapCause::PacketLoss, self.last_arrival, frame.arrival_ms, 0);
        }
        self.last_arrival = frame.arrival_ms;
        if can_begin(&frame) {
            self.cut(&frame);
        }
        self.tape.write(frame);
    }

    fn cut(&mut self, frame: &Frame) {
        let Some(parameters) = self.parameters.clone() else {
            return;
        };
        let elapsed = self
            .open
            .map(|(_, pts)| (frame.pts - pts) / 90)
            .unwrap_or(0);
        let proof_done = self
            .proof
            .is_some_and(|(span, _)| elapsed >= span.as_millis() as i64);
        let due = elapsed >= self.around.policy.longest_ms as i64;
        if self.open.is_some() && !proof_done && !due && self.waiting.is_none() {
            return;
        }
        self.end_file();
        let start_ms = frame.arrival_ms;
        self.open = Some((start_ms, frame.pts));
        if let Some(order) = self.waiting.take() {
            self.proof = Some((order.span, order.id));
            drop(self.around.events.send(Event::Begun {
                id: order.id,
                start_ms,
                at: Instant::now(),
            }));
        }
        let name = name(&self.around.name, start_ms, 0);
        self.tape.begin(name, &parameters, start_ms);
    }

    fn end_file(&mut self) {
        if let Some((start_ms, _)) = self.open.take() {
            let camera = self.around.name.clone();
            self.tape.end(|duration| name(&camera, start_ms, duration));
        }
        self.proof = None;
    }

    /// The session is over; what it brought is finished.
    fn interrupt(&mut self) {
        self.end_file();
        self.parameters = None;
        if self.last_arrival > 0 && self.lost_since.is_none() {
            self.lost_since = Some(self.last_arrival);
        }
        self.last_arrival = 0;
    }

    fn fail(&self, error: &CaptureError, wait: Duration) {
        let mut board = self.around.board.change();
        board.state = CameraState::Failing;
        let text = error.to_string();
        // A camera that stays away is not worth a line every few seconds.
        let news = board.error.as_ref() != Some(&text);
        board.error = Some(text);
        drop(board);
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        if news {
            tracing::warn!(camera = %self.around.name, %error, wait_ms, "no frames");
        } else {
            tracing::debug!(camera = %self.around.name, %error, wait_ms, "no frames");
        }
    }

    fn gap(&self, cause: GapCause, from_ms: u64, to_ms: u64, frames: u64) {
        let camera = self.around.name.clone();
        self.around.store.note_gap(&Gap {
            camera,
            cause,
            from_ms,
            to_ms,
            frames,
        });
    }
}

fn name(camera: &str, start_ms: u64, duration_ms: u64) -> String {
    let ms = (start_ms % 1000).to_string();
    format!(
        "{}_{}-{ms}_{camera}_0-0-0-0_-1_{duration_ms}.mp4",
        start_ms / 1000,
        ms.len()
    )
}
