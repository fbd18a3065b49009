//! What clients may ask, rightly and wrongly, and what faults do.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::net::SocketAddr;
use std::time::Duration;

use agent_camera::{Faults, Options, Server, SourceChoice};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

const TCP: &str = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";

/// A client that speaks the protocol by hand.
struct Client {
    stream: TcpStream,
    address: SocketAddr,
    buffer: Vec<u8>,
    session: String,
}

async fn camera(options: Options) -> SocketAddr {
    let server = Server::bind(options).await.unwrap();
    let address = server.local_addr();
    tokio::spawn(server.run(std::future::pending()));
    address
}

fn scene() -> Options {
    Options::new(SourceChoice::Scene)
}

impl Client {
    async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        Self {
            stream,
            address,
            buffer: Vec::new(),
            session: String::new(),
        }
    }

    /// Sends a request and returns the answer, its session noted.
    async fn ask(&mut self, method: &str, path: &str, headers: &str) -> String {
        let session = match self.session.as_str() {
            "" => String::new(),
            id => format!("Session: {id}\r\n"),
        };
        let url = format!("rtsp://{}{path}", self.address);
        let request = format!("{method} {url} RTSP/1.0\r\nCSeq: 7\r\n{session}{headers}\r\n");
        self.stream.write_all(request.as_bytes()).await.unwrap();
        loop {
            if let Message::Answer(answer) = self.next().await.expect("an answer") {
                assert!(answer.contains("CSeq: 7\r\n"), "{answer}");
                if let Some((_, rest)) = answer.split_once("Session: ") {
                    let id = rest.split([';', '\r']).next().unwrap();
                    id.clone_into(&mut self.session);
                }
                return answer;
            }
        }
    }

    /// The status of the answer.
    async fn status(&mut self, method: &str, path: &str, headers: &str) -> String {
        let answer = self.ask(method, path, headers).await;
        answer.split(' ').nth(1).unwrap().to_owned()
    }

    async fn play(&mut self) -> String {
        assert_eq!(self.status("SETUP", "/trackID=0", TCP).await, "200");
        self.ask("PLAY", "/", "").await
    }

    /// The next message; `None` at the end of the connection, however it ends.
    async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some((message, used)) = Message::parse(&self.buffer) {
                self.buffer.drain(..used);
                return Some(message);
            }
            let mut bytes = [0; 4096];
            let read = timeout(Duration::from_secs(5), self.stream.read(&mut bytes));
            match read.await.expect("something within 5 s") {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.buffer.extend_from_slice(&bytes[..count]),
            }
        }
    }

    /// The next packet on `channel`.
    async fn packet(&mut self, wanted: u8) -> Vec<u8> {
        loop {
            match self.next().await.expect("a packet") {
                Message::Packet(channel, packet) if channel == wanted => return packet,
                _ => {}
            }
        }
    }
}

#[derive(Debug)]
enum Message {
    Answer(String),
    Packet(u8, Vec<u8>),
}

impl Message {
    fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        if let Some(&[b'$', channel, high, low]) = bytes.first_chunk() {
            let end = 4 + usize::from(u16::from_be_bytes([high, low]));
            return Some((Self::Packet(channel, bytes.get(4..end)?.to_vec()), end));
        }
        let text = String::from_utf8_lossy(bytes);
        let head = text.find("\r\n\r\n")? + 4;
        let length = text.get(..head)?.split_once("Content-Length: ");
        let length = length.map_or(0, |(_, rest)| {
            rest.split('\r').next().unwrap().parse::<usize>().unwrap()
        });
        let message = bytes.get(..head + length)?;
        Some((
            Self::Answer(String::from_utf8_lossy(message).into_owned()),
            head + length,
        ))
    }
}

#[tokio::test]
async fn a_session_begins_with_its_parameter_sets_as_announced() {
    let address = camera(scene()).await;
    let mut client = Client::connect(address).await;
    let description = client
        .ask("DESCRIBE", "/", "Accept: application/sdp\r\n")
        .await;
    assert!(
        description.contains("a=rtpmap:96 H264/90000\r\n"),
        "{description}"
    );
    assert!(
        description.contains("sprop-parameter-sets=Z"),
        "{description}"
    );
    let answer = client.play().await;
    let sequence = answer
        .split_once("seq=")
        .unwrap()
        .1
        .split(';')
        .next()
        .unwrap();
    let first = client.packet(0).await;
    assert_eq!(first[2..4], sequence.parse::<u16>().unwrap().to_be_bytes());
    assert_eq!(first[12] & 0x1f, 24, "an aggregation of SPS and PPS");
    // The sender report came before it; the next media packets are the key frame.
    let second = client.packet(0).await;
    assert_eq!(first[4..8], second[4..8], "one timestamp");
}

#[tokio::test]
async fn a_sender_report_comes_first() {
    let mut client = Client::connect(camera(scene()).await).await;
    client.play().await;
    let report = client.packet(1).await;
    assert_eq!((report[1], report.len()), (200, 48));
}

#[tokio::test]
async fn wrong_requests_get_their_own_status() {
    let address = camera(Options {
        path: "/gate".to_owned(),
        ..scene()
    })
    .await;
    let mut client = Client::connect(address).await;
    let accept = "Accept: text/plain\r\n";
    for (method, path, headers, status) in [
        ("OPTIONS", "/", "", "200"),
        ("DESCRIBE", "/", "", "404"),
        ("DESCRIBE", "/gate/x", "", "404"),
        ("DESCRIBE", "/gate/", "", "200"),
        ("DESCRIBE", "/gate", accept, "406"),
        ("DESCRIBE", "/gate", "Require: wonders\r\n", "551"),
        ("SETUP", "/gate/trackID=1", TCP, "404"),
        ("SETUP", "/gate/trackID=0", "", "461"),
        (
            "SETUP",
            "/gate/trackID=0",
            "Transport: RTP/SAVP;client_port=2-3\r\n",
            "461",
        ),
        (
            "SETUP",
            "/gate/trackID=0",
            "Session: 1234\r\nTransport: RTP/AVP/TCP\r\n",
            "454",
        ),
        ("PLAY", "/gate", "", "454"),
        ("TEARDOWN", "/gate", "Session: 1234\r\n", "454"),
        ("GET_PARAMETER", "/gate", "", "200"),
        ("ANNOUNCE", "/gate", "", "405"),
        ("DANCE", "/gate", "", "501"),
        ("SETUP", "/gate/trackID=0", TCP, "200"),
        (
            "SETUP",
            "/gate/trackID=0",
            "Transport: RTP/AVP;client_port=2-3\r\n",
            "461",
        ),
        ("PAUSE", "/gate", "", "455"),
        ("PLAY", "/gate", "", "200"),
        ("SETUP", "/gate/trackID=0", TCP, "455"),
        ("PAUSE", "/gate", "", "200"),
        ("PLAY", "/gate", "", "200"),
        ("TEARDOWN", "/gate", "", "200"),
        ("PLAY", "/gate", "", "454"),
    ] {
        assert_eq!(
            client.status(method, path, headers).await,
            status,
            "{method} {path} {headers}"
        );
    }
}

#[tokio::test]
async fn two_tracks_are_set_up_one_by_one_and_torn_down_together() {
    let clip = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../shared/media/car-detection.mp4"
    );
    if !std::path::Path::new(clip).exists() {
        return;
    }
    let address = camera(Options::new(SourceChoice::File(clip.into()))).await;
    let mut client = Client::connect(address).await;
    for (method, path, status) in [
        ("SETUP", "/", "459"),
        ("SETUP", "/trackID=0", "200"),
        ("SETUP", "/trackID=1", "200"),
        ("PLAY", "/", "200"),
        ("TEARDOWN", "/trackID=1", "460"),
        ("TEARDOWN", "/", "200"),
    ] {
        // Both ask for channels 0 and 1: the second gets others.
        assert_eq!(
            client.status(method, path, TCP).await,
            status,
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn teardown_ends_the_media_and_frees_the_session() {
    let mut client = Client::connect(camera(scene()).await).await;
    client.play().await;
    client.packet(0).await;
    assert_eq!(client.status("TEARDOWN", "/", "").await, "200");
    assert_eq!(client.status("GET_PARAMETER", "/", "").await, "454");
    let silence = timeout(Duration::from_millis(300), client.next()).await;
    assert!(silence.is_err(), "no packet after TEARDOWN");
    client.session.clear();
    client.play().await;
    client.packet(0).await;
}

#[tokio::test]
async fn a_udp_session_lives_as_long_as_reports_come() {
    let options = Options {
        session_timeout: Duration::from_millis(1500),
        ..scene()
    };
    let address = camera(options).await;
    for reports in [true, false] {
        let rtp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let rtcp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = |socket: &UdpSocket| socket.local_addr().unwrap().port();
        let transport = format!(
            "Transport: RTP/AVP;unicast;client_port={}-{}\r\n",
            port(&rtp),
            port(&rtcp)
        );
        let mut client = Client::connect(address).await;
        let answer = client.ask("SETUP", "/trackID=0", &transport).await;
        let server = answer
            .split_once("server_port=")
            .unwrap()
            .1
            .split(';')
            .next()
            .unwrap();
        let (_, server) = server.split_once('-').unwrap();
        rtcp.connect(("127.0.0.1", server.parse::<u16>().unwrap()))
            .await
            .unwrap();
        client.ask("PLAY", "/", "").await;
        let mut packet = [0; 1500];
        for _ in 0..22 {
            let received = timeout(Duration::from_secs(1), rtp.recv(&mut packet));
            assert!(received.await.expect("media within 1 s").unwrap() > 12);
            tokio::time::sleep(Duration::from_millis(100)).await;
            if reports {
                rtcp.send(&[0x80, 201, 0, 1, 0, 0, 0, 1]).await.unwrap();
            } else {
                break;
            }
        }
        if !reports {
            tokio::time::sleep(Duration::from_millis(2600)).await;
        }
        let wanted = if reports { "200" } else { "454" };
        assert_eq!(client.status("GET_PARAMETER", "/", "").await, wanted);
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_dropped() {
    let address = camera(scene()).await;
    let mut client = Client::connect(address).await;
    let request = format!("DESCRIBE rtsp://{address}/ RTSP/1.0\r\nCSeq: 1\r\n\r\n").repeat(1000);
    let flood = async { while client.stream.write_all(request.as_bytes()).await.is_ok() {} };
    timeout(Duration::from_secs(20), flood)
        .await
        .expect("dropped");
    assert_eq!(
        Client::connect(address)
            .await
            .status("DESCRIBE", "/", "")
            .await,
        "200"
    );
}

#[tokio::test]
async fn faults_stall_lose_and_reset() {
    let ms = Duration::from_millis;
    let faults = Faults {
        stall_after: Some(ms(300)),
        ..Faults::default()
    };
    let mut client = Client::connect(camera(Options { faults, ..scene() }).await).await;
    client.play().await;
    let stalled = async { while client.next().await.is_some() {} };
    assert!(
        timeout(ms(1500), stalled).await.is_err(),
        "connected, but silent"
    );
    assert_eq!(client.status("GET_PARAMETER", "/", "").await, "200");
    assert!(
        timeout(ms(200), client.next()).await.is_err(),
        "silent still"
    );

    let faults = Faults {
        reset_after: Some(ms(300)),
        ..Faults::default()
    };
    let mut client = Client::connect(camera(Options { faults, ..scene() }).await).await;
    client.play().await;
    let ended = async { while client.next().await.is_some() {} };
    timeout(ms(4000), ended)
        .await
        .expect("the connection is reset");

    let faults = Faults {
        lose_every: Some(5),
        ..Faults::default()
    };
    let mut client = Client::connect(camera(Options { faults, ..scene() }).await).await;
    client.play().await;
    for _ in 0..30 {
        let packet = client.packet(0).await;
        assert_ne!(u16::from_be_bytes([packet[2], packet[3]]) % 5, 0);
    }
}

/// Requests with pieces exchanged: each is answered or ends its connection, and nothing more.
#[test]
fn nonsense_harms_nobody() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let address = runtime.block_on(camera(scene()));
    let piece = prop_oneof![
        "(OPTIONS|DESCRIBE|SETUP|PLAY|PAUSE|TEARDOWN|GET_PARAMETER|X) (rtsp://h/(trackID=[0-9])?|\\*|http:) RTSP/[12]\\.0\r\n",
        "(CSeq|Session|Transport|Authorization|Content-Length|Require|Accept|Range): [ -~]{0,30}\r\n",
        "Transport: RTP/AVP(/TCP)?;unicast;(interleaved|client_port)=[0-9]{1,5}-[0-9]{1,5}\r\n",
        "CSeq: 1\r\n",
        "\r\n",
        "\\$[\u{0}-\u{3}]{3}",
        "\\PC{0,20}",
    ];
    let strategy = proptest::collection::vec(piece, 1..12);
    let mut runner = TestRunner::new(Config {
        cases: 200,
        failure_persistence: None,
        ..Config::default()
    });
    runner
        .run(&strategy, |pieces| {
            runtime.block_on(async {
                let mut stream = TcpStream::connect(address).await.unwrap();
                let _ended_early = stream.write_all(pieces.concat().as_bytes()).await.is_err();
                stream.shutdown().await.ok();
                let mut answers = Vec::new();
                let read = timeout(Duration::from_secs(3), stream.read_to_end(&mut answers));
                let ended = read.await.is_ok();
                prop_assert!(ended, "the connection ends");
                Ok(())
            })
        })
        .unwrap();
    runtime.block_on(async {
        let mut client = Client::connect(address).await;
        client.play().await;
        client.packet(0).await;
    });
}
