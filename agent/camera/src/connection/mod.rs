//! One client's connection: reads requests, keeps its session, answers.

mod answer;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rtsp_types::{Response, StatusCode, Version};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use crate::clip::Clip;
use crate::digest::Gate;
use crate::message::{self, Incoming};
use crate::options::Options;
use crate::player::{Player, PlayerError};
use crate::queue::{Queue, queue};
use crate::session::{Carried, Session, State};

/// A connection without a session that asks nothing for so long is closed.
const LONGEST_IDLE: Duration = Duration::from_mins(1);

/// For what is already queued to reach the client when the connection ends.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What all connections of a camera share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) clip: Arc<Clip>,
    pub(crate) options: Options,
    pub(crate) gate: Gate,
    /// When the camera's clock began.
    pub(crate) epoch: Instant,
}

#[derive(Debug)]
struct Connection {
    shared: Arc<Shared>,
    local: SocketAddr,
    peer: SocketAddr,
    queue: Queue,
    session: Option<Session>,
    tasks: JoinSet<Ended>,
    last_request: Instant,
    reset_at: Option<Instant>,
}

/// A task of the connection has ended by itself.
#[derive(Debug)]
enum Ended {
    Writer,
    Player(Result<(), PlayerError>),
    Listener,
}

/// What follows an answer, once it is queued.
#[derive(Debug)]
enum Then {
    Nothing,
    Start(Box<Player>),
    Close,
}

/// Whether the connection goes on.
#[derive(Debug, PartialEq, Eq)]
enum Flow {
    Continue,
    Close,
}

/// Serves one client until either side ends it.
pub(crate) async fn serve(shared: Arc<Shared>, stream: TcpStream, peer: SocketAddr) {
    let Ok(local) = stream.local_addr() else {
        return;
    };
    let reset = shared.options.faults.reset_after.is_some();
    // Small answers and packets go out at once; with a planned reset, closing sends RST.
    if stream.set_nodelay(true).is_err() || reset && stream.set_zero_linger().is_err() {
        return;
    }
    let (mut reader, writing_half) = tokio::io::split(stream);
    let (queue, writer) = queue();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        if let Err(error) = writer.run(writing_half).await {
            tracing::debug!(%peer, %error, "client cannot be written to");
        }
        Ended::Writer
    });
    let mut connection = Connection {
        shared,
        local,
        peer,
        queue,
        session: None,
        tasks,
        last_request: Instant::now(),
        reset_at: None,
    };
    let mut buffer = BytesMut::with_capacity(4096);
    let mut tick = tokio::time::interval(Duration::from_millis(500));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let flow = tokio::select! {
            read = reader.read_buf(&mut buffer) => match read {
                Ok(0) | Err(_) => Flow::Close,
                Ok(_) => connection.receive(&mut buffer),
            },
            Some(ended) = connection.tasks.join_next() => match ended {
                Ok(Ended::Writer) => Flow::Close,
                Ok(Ended::Player(result)) => {
                    if let Err(error) = result {
                        tracing::warn!(%peer, %error, "client dropped");
                    }
                    Flow::Close
                }
                // A session that has been torn down leaves cancelled tasks behind.
                Ok(Ended::Listener) | Err(_) => Flow::Continue,
            },
            _ = tick.tick() => connection.check_time(Instant::now()),
        };
        if flow == Flow::Close {
            break;
        }
    }
    connection.close(reset).await;
}

impl Connection {
    /// Answers every complete message in `buffer`.
    fn receive(&mut self, buffer: &mut BytesMut) -> Flow {
        loop {
            let request = match message::next(buffer) {
                Ok(None) => return Flow::Continue,
                Ok(Some(Incoming::Other)) => continue,
                Ok(Some(Incoming::Request(request))) => request,
                Err(error) => {
                    tracing::debug!(peer = %self.peer, %error, "connection closed");
                    let response = Response::builder(Version::V1_0, StatusCode::BadRequest);
                    self.send(&response.build(Vec::new()));
                    return Flow::Close;
                }
            };
            let now = Instant::now();
            self.last_request = now;
            if let Some(session) = &self.session {
                session.seen.send_replace(now);
            }
            let (response, then) = self.answer(&request, now);
            if self.send(&response) == Flow::Close {
                return Flow::Close;
            }
            match then {
                Then::Nothing => {}
                Then::Close => return Flow::Close,
                Then::Start(player) => {
                    let task = self
                        .tasks
                        .spawn(async { Ended::Player(player.run().await) });
                    if let Some(session) = &mut self.session {
                        session.tasks.push(task);
                    }
                    self.reset_at = self.shared.options.faults.reset_after.map(|d| now + d);
                }
            }
        }
    }

    fn send(&self, response: &Response<Vec<u8>>) -> Flow {
        let mut bytes = Vec::new();
        if response.write(&mut bytes).is_err() || self.queue.push(bytes.into()).is_err() {
            return Flow::Close;
        }
        Flow::Continue
    }

    /// Ends what has shown no life for too long.
    fn check_time(&mut self, now: Instant) -> Flow {
        if self.reset_at.is_some_and(|at| now >= at) {
            return Flow::Close;
        }
        let timeout = self.shared.options.session_timeout;
        match &self.session {
            // Interleaved, the writer notices a client that is gone.
            Some(session) if session.carried == Carried::Interleaved && session.is_playing() => {}
            Some(session) => {
                let seen = *session.seen.borrow();
                if now.saturating_duration_since(seen) > timeout {
                    tracing::info!(peer = %self.peer, "session timed out");
                    self.session = None;
                }
            }
            None if now.saturating_duration_since(self.last_request) > LONGEST_IDLE => {
                return Flow::Close;
            }
            None => {}
        }
        Flow::Continue
    }

    async fn close(self, reset: bool) {
        let Self {
            queue,
            session,
            mut tasks,
            ..
        } = self;
        drop(session);
        drop(queue);
        if !reset {
            let drained = async { while tasks.join_next().await.is_some() {} };
            if tokio::time::timeout(LAST_WORDS, drained).await.is_err() {
                tracing::debug!("client did not take the last bytes");
            }
        }
        tasks.shutdown().await;
    }
}

impl Session {
    fn is_playing(&self) -> bool {
        matches!(self.state, State::Playing { .. })
    }
}
