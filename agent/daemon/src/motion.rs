//! Motion of one camera: key frames go to a decoder in a child process, its pictures to the detector.
//!
//! Whatever a picture does to the decoder, crash or hang, costs a child and nothing else. Pictures
//! never queue: a slow decoder sees the newest.

use std::sync::Arc;
use std::time::Instant;

use agent_capture::{Event, Session, Target};
use agent_media::{Frame, StreamParameters, Track};
use agent_pipeline::{Backoff, Detector, MotionEvent};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::decoder::Decoder;
use crate::status::Board;

/// Motion that nobody took yet; the recorder takes it at once.
const MOST_SEEN: usize = 16;

/// The stream that motion looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watched {
    Main,
    Sub,
}

/// Motion, and where it was.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    /// Session and presentation time of the picture; absent when another stream than the recorded
    /// one was looked at.
    pub(crate) place: Option<Place>,
    pub(crate) event: MotionEvent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Number of the main stream's session, because times of different sessions do not compare.
    pub(crate) session: u64,
    pub(crate) pts: i64,
}

#[derive(Debug)]
struct Picture {
    parameters: Arc<StreamParameters>,
    frame: Frame,
    place: Option<Place>,
}

type Slot = Option<Arc<Picture>>;

/// Ends with its last handle.
#[derive(Debug)]
pub(crate) struct Motion {
    watched: Watched,
    slot: Arc<watch::Sender<Slot>>,
    seen: mpsc::Receiver<Seen>,
    _tasks: JoinSet<()>,
}

impl Motion {
    /// With a sub stream, motion looks at that one, in a session of its own.
    pub(crate) fn start(camera: &str, board: Arc<Board>, sub: Option<Target>) -> Self {
        let (slot, pictures) = watch::channel(None);
        let (out, seen) = mpsc::channel(MOST_SEEN);
        let slot = Arc::new(slot);
        let watched = if sub.is_some() {
            Watched::Sub
        } else {
            Watched::Main
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(look(camera.to_owned(), board, pictures, out));
        if let Some(sub) = sub {
            tasks.spawn(receive_sub(camera.to_owned(), sub, Arc::clone(&slot)));
        }
        Self {
            watched,
            slot,
            seen,
            _tasks: tasks,
        }
    }

    /// Shows a key frame of the recorded stream.
    pub(crate) fn show_main(
        &self,
        parameters: &Arc<StreamParameters>,
        frame: &Frame,
        session: u64,
    ) {
        if self.watched == Watched::Main {
            show(
                &self.slot,
                parameters,
                frame,
                Some(Place {
                    session,
                    pts: frame.pts,
                }),
            );
        }
    }

    /// Motion, as it happens. Safe to cancel.
    pub(crate) async fn next(&mut self) -> Option<Seen> {
        self.seen.recv().await
    }
}

fn show(
    slot: &watch::Sender<Slot>,
    parameters: &Arc<StreamParameters>,
    frame: &Frame,
    place: Option<Place>,
) {
    let (parameters, frame) = (Arc::clone(parameters), frame.clone());
    slot.send_replace(Some(Arc::new(Picture {
        parameters,
        frame,
        place,
    })));
}

/// Receives the sub stream for ever; its loss never disturbs the main one.
async fn receive_sub(camera: String, target: Target, slot: Arc<watch::Sender<Slot>>) {
    let mut backoff = Backoff::default();
    let epoch = Instant::now();
    let mut last_error = None;
    loop {
        let error = async {
            let mut session = Session::open(&target).await?;
            let mut parameters = None;
            loop {
                match session.next().await? {
                    Event::Parameters(fresh) => parameters = Some(Arc::new(fresh)),
                    Event::Frame(frame) if frame.track == Track::Video && frame.key => {
                        backoff.frame(u64::try_from(epoch.elapsed().as_millis()).unwrap_or(0));
                        if let Some(parameters) = &parameters {
                            show(&slot, parameters, &frame, None);
                        }
                    }
                    Event::Frame(_) => {}
                }
            }
        };
        let result: Result<std::convert::Infallible, agent_capture::CaptureError> = error.await;
        let Err(error) = result;
        let text = error.to_string();
        if last_error.as_ref() != Some(&text) {
            tracing::warn!(%camera, %error, "no sub stream for motion");
        }
        last_error = Some(text);
        tokio::time::sleep(backoff.failed(getrandom::u32().unwrap_or(u32::MAX))).await;
    }
}

/// Decodes what is shown and tells what moved, until nobody shows anything any more.
async fn look(
    camera: String,
    board: Arc<Board>,
    mut pictures: watch::Receiver<Slot>,
    out: mpsc::Sender<Seen>,
) {
    let mut backoff = Backoff::default();
    let mut detector = Detector::default();
    let epoch = Instant::now();
    loop {
        let failure = match Decoder::start() {
            Err(error) => error,
            Ok(mut decoder) => loop {
                if pictures.changed().await.is_err() {
                    return;
                }
                let Some(picture) = pictures.borrow_and_update().clone() else {
                    continue;
                };
                let frame = picture.frame.clone();
                match decoder.grid(Arc::clone(&picture.parameters), frame).await {
                    Err(error) if error.is_fatal() => break error,
                    Err(error) => tracing::debug!(%camera, %error, "a key frame shows nothing"),
                    Ok(grid) => {
                        backoff.frame(u64::try_from(epoch.elapsed().as_millis()).unwrap_or(0));
                        if let Some(event) = detector.look(&grid, picture.frame.arrival_ms) {
                            tracing::debug!(%camera, cells = event.cells, "motion");
                            let seen = Seen {
                                place: picture.place,
                                event,
                            };
                            if out.try_send(seen).is_err() {
                                tracing::debug!(%camera, "the recorder knows of motion already");
                            }
                        }
                    }
                }
            },
        };
        board.change().decoder_restarts += 1;
        tracing::warn!(%camera, error = %failure, "the motion decoder is started again");
        tokio::time::sleep(backoff.failed(getrandom::u32().unwrap_or(u32::MAX))).await;
    }
}
