//! Sessions and probes against the test camera, and against servers that misbehave.

use std::net::SocketAddr;
use std::time::Duration;

use agent_api::{ProbeFailureKind, ProbeReport, ProbeRequest};
use agent_camera::{Faults, Login, Options, Server, SourceChoice};
use agent_capture::{CaptureError, Credentials, Event, Session, Target};
use agent_media::{Track, VideoCodec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

async fn camera(change: impl FnOnce(&mut Options)) -> SocketAddr {
    let mut options = Options::new(SourceChoice::Scene);
    change(&mut options);
    let server = Server::bind(options).await.expect("a camera");
    let address = server.local_addr();
    tokio::spawn(server.run(std::future::pending()));
    address
}

/// Answers every connection with `answer`, or keeps it in silence.
async fn scripted(answer: Option<&'static [u8]>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while let Ok(1..) = stream.read(&mut buffer).await {
                    if let Some(answer) = answer {
                        stream.write_all(answer).await.expect("sent");
                    }
                }
            });
        }
    });
    address
}

fn login() -> Login {
    Login {
        user: "viewer".into(),
        password: "hunter2".into(),
    }
}

fn target(address: SocketAddr, login: Option<(&str, &str)>) -> Target {
    let url = format!("rtsp://{address}/main").parse().expect("a URL");
    let credentials = login.map(|(user, password)| Credentials {
        user: user.into(),
        password: password.into(),
    });
    Target::new(url, credentials).expect("usable")
}

async fn probed(rtsp: String, login: Option<(&str, &str)>) -> ProbeReport {
    agent_capture::probe(ProbeRequest {
        rtsp,
        user: login.map(|(user, _)| user.to_owned()),
        password: login.map(|(_, password)| password.to_owned()),
        measure_ms: 2_500,
    })
    .await
}

async fn failed(rtsp: String, login: Option<(&str, &str)>) -> ProbeFailureKind {
    let report = probed(rtsp, login).await;
    let ProbeReport::Failed(failure) = report else {
        unreachable!("it worked: {report:?}")
    };
    assert!(!failure.message.is_empty() && !failure.help.is_empty());
    assert!(!format!("{failure:?}").contains("hunter2"), "{failure:?}");
    failure.kind
}

#[tokio::test]
async fn frames_come_with_digest_on_one_timeline_from_a_key_frame() {
    let address = camera(|o| o.login = Some(login())).await;
    let mut session = Session::open(&target(address, Some(("viewer", "hunter2"))))
        .await
        .expect("playing");
    let Event::Parameters(parameters) = session.next().await.expect("parameters") else {
        panic!("parameters come first");
    };
    assert_eq!(parameters.video.codec, VideoCodec::H264);
    assert_eq!(
        (parameters.video.width, parameters.video.height),
        (640, 360)
    );
    assert_eq!(
        parameters.video.sample_entry.get(4..8),
        Some(b"avc1".as_slice())
    );
    assert_eq!(parameters.video.parameter_sets.len(), 2);
    let mut times = Vec::new();
    while times.len() < 60 {
        match session.next().await.expect("a frame") {
            Event::Frame(frame) if frame.track == Track::Video => {
                assert_eq!(frame.lost, 0);
                times.push((frame.pts, frame.key));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(times.first(), Some(&(0, true)));
    assert!(
        times.windows(2).all(|w| w[1].0 - w[0].0 == 3_600),
        "{times:?}"
    );
    assert_eq!(
        times.iter().filter(|(_, key)| *key).count(),
        3,
        "one a second"
    );
}

#[tokio::test]
async fn a_probe_tells_what_a_camera_offers() {
    let address = camera(|o| o.login = Some(login())).await;
    let report = probed(
        format!("rtsp://{address}/main"),
        Some(("viewer", "hunter2")),
    )
    .await;
    let ProbeReport::Ok(offer) = report else {
        panic!("{report:?}")
    };
    assert_eq!(
        (offer.codec.as_str(), offer.width, offer.height),
        ("h264", 640, 360)
    );
    assert!((offer.fps - 25.0).abs() < 0.1, "{offer:?}");
    assert_eq!(offer.gop_seconds, Some(1.0));
    assert_eq!(offer.auth, "digest");
    assert!(offer.bits_per_second > 10_000, "{offer:?}");
}

#[tokio::test]
async fn every_failure_has_its_kind() {
    let closed = camera(|o| o.login = Some(login())).await;
    let strict = camera(|o| o.path = "/main".into()).await;
    assert_eq!(
        failed(format!("rtsp://{closed}/main"), None).await,
        ProbeFailureKind::Unauthorized
    );
    let wrong = Some(("viewer", "wrong"));
    assert_eq!(
        failed(format!("rtsp://{closed}/main"), wrong).await,
        ProbeFailureKind::Unauthorized
    );
    assert_eq!(
        failed(format!("rtsp://{strict}/other"), None).await,
        ProbeFailureKind::NotFound
    );
    let unused = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port")
        .local_addr()
        .expect("one");
    assert_eq!(
        failed(format!("rtsp://{unused}/"), None).await,
        ProbeFailureKind::Refused
    );
    let name = "rtsp://camera.invalid/main".to_owned();
    assert_eq!(failed(name, None).await, ProbeFailureKind::Dns);
    assert_eq!(
        failed("http://viewer:hunter2@127.0.0.1/".into(), None).await,
        ProbeFailureKind::Url
    );
    assert_eq!(
        failed("rtsp://[hunter2".into(), None).await,
        ProbeFailureKind::Url
    );
}

#[tokio::test]
async fn servers_that_speak_something_else_are_named_so() {
    let garbage = scripted(Some(b"\x16\x03\x01 whatever\r\n\r\n")).await;
    assert_eq!(
        failed(format!("rtsp://{garbage}/"), None).await,
        ProbeFailureKind::Protocol
    );
    let web = scripted(Some(b"HTTP/1.1 400 Bad Request\r\n\r\n")).await;
    assert_eq!(
        failed(format!("rtsp://{web}/"), None).await,
        ProbeFailureKind::Protocol
    );
    let sdp = "RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Type: application/sdp\r\nContent-Length: 97\r\n\r\nv=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\na=control:t\r\n";
    let vp8 = scripted(Some(sdp.as_bytes())).await;
    let url = format!("rtsp://{vp8}/");
    assert_eq!(failed(url, None).await, ProbeFailureKind::UnsupportedCodec);
}

#[tokio::test]
async fn silence_is_not_waited_for_for_ever() {
    let silent = scripted(None).await;
    assert_eq!(
        failed(format!("rtsp://{silent}/"), None).await,
        ProbeFailureKind::Protocol
    );
}

#[tokio::test]
async fn a_stall_is_noticed_though_the_connection_lives() {
    let stall_after = Some(Duration::from_millis(400));
    let address = camera(|o| {
        o.faults = Faults {
            stall_after,
            ..Faults::default()
        }
    })
    .await;
    let mut session = Session::open(&target(address, None))
        .await
        .expect("playing");
    let started = std::time::Instant::now();
    let error = loop {
        if let Err(error) = session.next().await {
            break error;
        }
    };
    assert!(matches!(error, CaptureError::NoPackets { .. }), "{error}");
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_reset_ends_the_session_at_once_and_loss_is_counted() {
    let reset_after = Some(Duration::from_millis(1_200));
    let faults = Faults {
        reset_after,
        lose_every: Some(40),
        ..Faults::default()
    };
    let address = camera(|o| o.faults = faults).await;
    let mut session = Session::open(&target(address, None))
        .await
        .expect("playing");
    let mut lost = 0;
    let error = loop {
        match session.next().await {
            Ok(Event::Frame(frame)) => lost += frame.lost,
            Ok(Event::Parameters(_)) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ProbeFailureKind::Protocol, "{error}");
    assert!(lost > 0);
}
