//! One client's session: the tracks it has set up and how each is carried.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use agent_media::Track;
use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::queue::{NotTaken, Queue};
use crate::rtp::{Payload, RtpStream};

/// Tries for two neighbouring free ports; each succeeds unless the second is taken.
const PORT_TRIES: usize = 64;

/// After so many UDP packets in a row the sender pauses for [`BURST_PAUSE`], since a key frame at
/// once would overflow a receiver's default socket buffer (208 KiB on Linux).
const BURST: usize = 32;
const BURST_PAUSE: Duration = Duration::from_millis(1);

/// From SETUP to TEARDOWN, or the end of the connection. Dropping it stops its tasks.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) state: State,
    /// When the client last showed life; what ends a UDP session.
    pub(crate) seen: watch::Sender<Instant>,
    pub(crate) carried: Carried,
    pub(crate) tasks: Vec<AbortHandle>,
}

#[derive(Debug)]
pub(crate) enum State {
    /// Before the first PLAY.
    Ready(Vec<Outlet>),
    Playing {
        paused: watch::Sender<bool>,
    },
}

/// What carries the packets; a session does not mix them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carried {
    Interleaved,
    Udp,
}

impl Drop for Session {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// A track on its way to the client.
#[derive(Debug)]
pub(crate) struct Outlet {
    pub(crate) track: Track,
    pub(crate) stream: RtpStream,
    pub(crate) delivery: Delivery,
}

#[derive(Debug)]
pub(crate) enum Delivery {
    /// Channels for RTP and RTCP (RFC 2326 section 10.12).
    Interleaved {
        rtp: u8,
        rtcp: u8,
        queue: Queue,
    },
    Udp(UdpPair),
}

/// Two neighbouring ports of ours, each connected to one of the client's.
#[derive(Debug, Clone)]
pub(crate) struct UdpPair {
    rtp: Arc<tokio::net::UdpSocket>,
    rtcp: Arc<tokio::net::UdpSocket>,
    /// Ours for RTP; RTCP has the next.
    pub(crate) port: u16,
}

impl Outlet {
    /// Sends one frame, leaving out every `lose_every`-th packet.
    pub(crate) async fn send(
        &mut self,
        ticks: u64,
        payloads: &[Payload<'_>],
        lose_every: Option<u32>,
    ) -> Result<(), NotTaken> {
        let mut out = Vec::new();
        for (index, payload) in payloads.iter().enumerate() {
            if lose_every.is_some_and(|n| u32::from(self.stream.sequence).is_multiple_of(n.max(1)))
            {
                self.stream.lose();
                continue;
            }
            match &self.delivery {
                Delivery::Interleaved { rtp, .. } => {
                    let at = out.len();
                    out.extend_from_slice(&[b'$', *rtp, 0, 0]);
                    self.stream.write(ticks, payload, &mut out);
                    set_length(&mut out, at);
                }
                Delivery::Udp(pair) => {
                    out.clear();
                    self.stream.write(ticks, payload, &mut out);
                    pair.send(&pair.rtp, &out).await;
                    if index % BURST == BURST - 1 {
                        tokio::time::sleep(BURST_PAUSE).await;
                    }
                }
            }
        }
        match &self.delivery {
            Delivery::Interleaved { queue, .. } => queue.push(out.into()),
            Delivery::Udp(_) => Ok(()),
        }
    }

    /// Sends a sender report; arguments as for [`RtpStream::report`].
    pub(crate) async fn report(&self, unix: Duration, ticks: u64) -> Result<(), NotTaken> {
        let report = self.stream.report(unix, ticks);
        match &self.delivery {
            Delivery::Interleaved { rtcp, queue, .. } => {
                let mut out = vec![b'$', *rtcp, 0, 0];
                out.extend_from_slice(&report);
                set_length(&mut out, 0);
                queue.push(Bytes::from(out))
            }
            Delivery::Udp(pair) => {
                pair.send(&pair.rtcp, &report).await;
                Ok(())
            }
        }
    }
}

/// Fills in the length of the interleaved packet that begins at `at`.
fn set_length(out: &mut [u8], at: usize) {
    let length = u16::try_from(out.len() - at - 4).unwrap_or(u16::MAX);
    out[at + 2..at + 4].copy_from_slice(&length.to_be_bytes());
}

impl UdpPair {
    /// Binds an even port and the next on `local`, connected to the client's two.
    pub(crate) fn bind(local: IpAddr, peer: IpAddr, ports: (u16, u16)) -> io::Result<Self> {
        for _ in 0..PORT_TRIES {
            let rtp = UdpSocket::bind((local, 0))?;
            let port = rtp.local_addr()?.port();
            if !port.is_multiple_of(2) {
                continue;
            }
            let Ok(rtcp) = UdpSocket::bind((local, port + 1)) else {
                continue;
            };
            let connect = |socket: UdpSocket, port| {
                socket.connect(SocketAddr::new(peer, port))?;
                socket.set_nonblocking(true)?;
                tokio::net::UdpSocket::from_std(socket).map(Arc::new)
            };
            return Ok(Self {
                rtp: connect(rtp, ports.0)?,
                rtcp: connect(rtcp, ports.1)?,
                port,
            });
        }
        Err(io::ErrorKind::AddrInUse.into())
    }

    /// A client that has closed its port is found by the session's timeout, not here.
    async fn send(&self, socket: &tokio::net::UdpSocket, packet: &[u8]) {
        if let Err(error) = socket.send(packet).await {
            tracing::debug!(port = self.port, %error, "packet not sent");
        }
    }

    /// Notes every receiver report as a sign of life. Never ends.
    pub(crate) async fn listen(self, seen: watch::Sender<Instant>) {
        let mut packet = [0; 1500];
        loop {
            match self.rtcp.recv(&mut packet).await {
                Ok(_) => {
                    seen.send_replace(Instant::now());
                }
                // Refused by a port that the client has not opened yet, or has closed.
                Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
            }
        }
    }
}
