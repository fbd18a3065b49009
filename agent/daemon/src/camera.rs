//! One camera: sessions, frames, files.
//!
//! What is recorded decides `agent-pipeline`'s recorder; this task feeds it and performs what it says.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use agent_api::CameraState;
use agent_capture::{CaptureError, Event as SessionEvent, Session, Target};
use agent_config::RecordPolicy;
use agent_media::{Frame, StreamParameters, Track};
use agent_pipeline::recorder::{GapCause as Cause, Summary};
use agent_pipeline::{Backoff, Command, FileName, Input, Policy, Recorder, When, names};
use agent_store::{Gap, GapCause, Store, Writer, Written};
use agent_upload::Calls;
use tokio::sync::{broadcast, mpsc, watch};

use crate::events::Event;
use crate::motion::{Motion, Seen};
use crate::site::ProofOrder;
use crate::status::Board;
use crate::tape::Tape;

/// Frames that may wait for a slow or full disk: a minute of a 4 Mbit/s camera.
const DISK_BUDGET: u64 = 32 << 20;
/// How often the recorder hears of time that passes.
const TICK: Duration = Duration::from_secs(1);

/// What a camera's task needs of the rest of the agent.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) name: String,
    pub(crate) policy: RecordPolicy,
    pub(crate) store: Arc<Store>,
    pub(crate) board: Arc<Board>,
    pub(crate) events: broadcast::Sender<Event>,
    /// Wakes the uploader.
    pub(crate) calls: Arc<Calls>,
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
    sub: Option<Target>,
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
    let motion = (around.policy.when != agent_config::When::Continuous)
        .then(|| Motion::start(&name, Arc::clone(&around.board), sub));
    let mut camera = Camera::new(around, Tape::new(disk), orders, motion);
    let mut backoff = Backoff::default();
    loop {
        let error = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            error = camera.session(&main, &mut backoff) => error,
        };
        camera.handle(Input::Ended);
        let wait = backoff.failed(getrandom::u32().unwrap_or(u32::MAX));
        camera.fail(&error, wait);
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            () = tokio::time::sleep(wait) => {}
        }
    }
    camera.handle(Input::Stop);
    let tape = camera.tape;
    // The last file is finished off the network thread, which still serves the API.
    if let Err(error) = tokio::task::spawn_blocking(move || tape.stop()).await {
        tracing::error!(camera = %name, %error, "the last file could not be finished");
    }
}

/// Passes on what the writer thread says.
fn told(around: &Surroundings) -> Box<dyn Fn(Written) + Send> {
    let (events, calls) = (around.events.clone(), Arc::clone(&around.calls));
    Box::new(move |written| {
        if let Written::Finished { recording, frames } = written {
            tracing::info!(recording = %recording.file, frames, bytes = recording.bytes, "recorded");
            // Fails when nobody listens.
            drop(events.send(Event::Finished {
                recording,
                frames,
                at: Instant::now(),
            }));
            calls.finished();
        }
    })
}

struct Camera {
    around: Surroundings,
    recorder: Recorder,
    tape: Tape,
    orders: mpsc::Receiver<ProofOrder>,
    motion: Option<Motion>,
    parameters: Option<Arc<StreamParameters>>,
    /// Counts sessions that played.
    session: u64,
    /// Unix milliseconds at which the open file begins.
    start_ms: u64,
    /// Origin of the recorder's monotonic clock.
    epoch: Instant,
}

impl Camera {
    fn new(
        around: Surroundings,
        tape: Tape,
        orders: mpsc::Receiver<ProofOrder>,
        motion: Option<Motion>,
    ) -> Self {
        let RecordPolicy {
            when,
            pre_ms,
            post_ms,
            longest_ms,
        } = around.policy;
        let when = match when {
            agent_config::When::Continuous => When::Continuous,
            agent_config::When::Motion => When::Motion,
            agent_config::When::Both => When::Both,
        };
        let most_bytes = Policy::MOST_BYTES;
        Self {
            recorder: Recorder::new(Policy {
                when,
                pre_ms,
                post_ms,
                longest_ms,
                most_bytes,
            }),
            around,
            tape,
            orders,
            motion,
            parameters: None,
            session: 0,
            start_ms: 0,
            epoch: Instant::now(),
        }
    }

    /// Plays the camera until that fails.
    async fn session(&mut self, target: &Target, backoff: &mut Backoff) -> CaptureError {
        let mut session = match Session::open(target).await {
            Ok(session) => session,
            Err(error) => return error,
        };
        let mut first = true;
        let mut tick = tokio::time::interval(TICK);
        loop {
            let event = tokio::select! {
                event = session.next() => event,
                Some(order) = self.orders.recv() => {
                    let milliseconds = u64::try_from(order.span.as_millis()).unwrap_or(u64::MAX);
                    self.handle(Input::Proof { id: order.id, milliseconds });
                    continue;
                }
                Some(seen) = next_motion(self.motion.as_mut()) => {
                    self.note_motion(seen);
                    continue;
                }
                _ = tick.tick() => {
                    self.handle(Input::Tick);
                    continue;
                }
            };
            match event {
                Err(error) => return error,
                Ok(SessionEvent::Parameters(parameters)) => {
                    self.around.board.note_parameters(&parameters);
                    let parameters = Arc::new(parameters);
                    self.parameters = Some(Arc::clone(&parameters));
                    self.handle(Input::Parameters(parameters));
                }
                Ok(SessionEvent::Frame(frame)) => {
                    if std::mem::take(&mut first) {
                        self.begin_session();
                    }
                    backoff.frame(self.now_ms());
                    self.take(frame);
                }
            }
        }
    }

    fn note_motion(&mut self, seen: Seen) {
        self.around.board.change().motion_events += 1;
        // A picture of the session before says that something moves, and nothing of now's times.
        let place = seen.place.filter(|place| place.session == self.session);
        self.handle(Input::Motion {
            pts: place.map(|place| place.pts),
            event: seen.event,
        });
    }

    fn begin_session(&mut self) {
        self.session += 1;
        let mut board = self.around.board.change();
        board.state = CameraState::Receiving;
        board.error = None;
        board.sessions += 1;
        drop(board);
        tracing::info!(camera = %self.around.name, "receiving");
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
        if frame.track == Track::Video
            && frame.key
            && let (Some(motion), Some(parameters)) = (&self.motion, &self.parameters)
        {
            motion.show_main(parameters, &frame, self.session);
        }
        self.handle(Input::Frame(frame));
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn handle(&mut self, input: Input) {
        for command in self.recorder.handle(self.now_ms(), input) {
            self.perform(command);
        }
    }

    fn perform(&mut self, command: Command) {
        let camera = &self.around.name;
        match command {
            Command::Open {
                start_ms,
                parameters,
                proofs,
            } => {
                self.start_ms = start_ms;
                let at = Instant::now();
                for id in proofs {
                    self.tell(Event::Begun { id, at });
                }
                let name = FileName::new(start_ms, camera).to_string();
                self.tape.begin(name, &parameters, start_ms);
            }
            Command::Write(frame) => self.tape.write(frame),
            Command::Flush => self.tape.flush(),
            Command::Close { reason, summary } => {
                let mut name = FileName::new(self.start_ms, camera);
                for id in &summary.proofs {
                    self.tell(Event::Proven {
                        id: *id,
                        start_ms: self.start_ms,
                    });
                }
                tracing::debug!(%camera, ?reason, frames = summary.frames, "file ends");
                self.describe(&mut name, &summary);
                self.tape.end(|duration_ms| {
                    name.duration_ms = duration_ms;
                    name.to_string()
                });
            }
            Command::Gap(gap) => {
                let (cause, packets) = match gap.cause {
                    Cause::Disconnected => (GapCause::Disconnected, 0),
                    Cause::PacketLoss { packets } => (GapCause::PacketLoss, u64::from(packets)),
                    Cause::ParametersChanged => (GapCause::ParametersChanged, 0),
                    Cause::ClockJump => (GapCause::ClockJump, 0),
                };
                self.around.store.note_gap(&Gap {
                    camera: camera.clone(),
                    cause,
                    from_ms: gap.from_ms,
                    to_ms: gap.from_ms.saturating_add(gap.duration_ms),
                    frames: 0,
                    packets,
                });
            }
        }
    }

    /// Why the file was made, in the fields of its name.
    fn describe(&self, name: &mut FileName, summary: &Summary) {
        let alone = self.around.policy.when == agent_config::When::Motion;
        if let Some(motion) = summary.motion {
            name.region = motion.region;
            name.changes = i64::from(motion.cells);
        } else if summary.manual || (alone && !summary.proofs.is_empty()) {
            name.changes = names::MANUAL;
        }
    }

    fn tell(&self, event: Event) {
        // Fails when nobody listens.
        drop(self.around.events.send(event));
    }

    fn fail(&mut self, error: &CaptureError, wait: Duration) {
        self.parameters = None;
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
}

async fn next_motion(motion: Option<&mut Motion>) -> Option<Seen> {
    match motion {
        Some(motion) => motion.next().await,
        None => std::future::pending().await,
    }
}
