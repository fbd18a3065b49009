//! Other people's clients against our camera: ffprobe and ffmpeg, when they are there.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod clients;

use std::thread;
use std::time::Duration;

use agent_camera::{Login, Options, SourceChoice, Start};
use camino::Utf8PathBuf;
use clients::{Camera, clip, convert, packets, pictures, probe, tools_present};

const SCENE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/scene.mp4");

fn from_beginning(source: SourceChoice) -> Options {
    Options {
        start: Start::Beginning,
        ..Options::new(source)
    }
}

fn file(path: &std::path::Path) -> SourceChoice {
    SourceChoice::File(Utf8PathBuf::from_path_buf(path.to_owned()).unwrap())
}

#[test]
fn the_scene_is_seen_over_tcp_and_udp() {
    if !tools_present() {
        return;
    }
    let camera = Camera::start(from_beginning(SourceChoice::Scene));
    for transport in ["tcp", "udp"] {
        assert_eq!(
            probe(&camera.url("/"), transport).unwrap(),
            "h264,640,360",
            "{transport}"
        );
        let seen = packets(
            &camera.url("/any/path?query=1"),
            transport,
            Duration::from_secs(2),
        );
        seen.expect_steady(25.0, 2.0);
    }
}

#[test]
fn a_late_client_begins_with_a_key_frame() {
    if !tools_present() {
        return;
    }
    let camera = Camera::start(Options::new(SourceChoice::Scene));
    thread::park_timeout(Duration::from_millis(1700));
    let seen = packets(&camera.url("/"), "tcp", Duration::from_secs(1));
    seen.expect_steady(25.0, 1.0);
}

#[test]
fn pictures_arrive_as_they_are_in_the_file() {
    if !tools_present() {
        return;
    }
    let camera = Camera::start(from_beginning(SourceChoice::Scene));
    let sent = pictures(&["-i", SCENE], 50);
    assert_eq!(sent.len(), 50);
    for transport in ["tcp", "udp"] {
        let input = ["-rtsp_transport", transport, "-i", &camera.url("/")];
        assert_eq!(pictures(&input, 50), sent, "{transport}");
    }
}

/// Two seconds of the scene as H.265 with B-frames, so that the seam comes early.
#[test]
fn h265_with_b_frames_is_steady_across_the_seam() {
    if !tools_present() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("short.mp4");
    let x265 = "open-gop=0:keyint=25:bframes=2:log-level=none";
    convert(&[
        "-ss",
        "3",
        "-i",
        SCENE,
        "-frames:v",
        "50",
        "-c:v",
        "libx265",
        "-preset",
        "ultrafast",
        "-x265-params",
        x265,
        "-tag:v",
        "hvc1",
        path.to_str().unwrap(),
    ]);
    let camera = Camera::start(from_beginning(file(&path)));
    for transport in ["tcp", "udp"] {
        assert_eq!(
            probe(&camera.url("/"), transport).unwrap(),
            "hevc,640,360",
            "{transport}"
        );
        packets(&camera.url("/"), transport, Duration::from_secs(3)).expect_steady(25.0, 3.0);
    }
    let received = pictures(&["-rtsp_transport", "tcp", "-i", &camera.url("/")], 60);
    let sent = pictures(&["-stream_loop", "1", "-i", path.to_str().unwrap()], 60);
    assert_eq!(received, sent, "fragments and the seam lose nothing");
}

#[test]
fn real_footage_with_sound_is_steady_across_the_seam() {
    let Some(clip) = clip("h264-aac-360p.mp4").filter(|_| tools_present()) else {
        return;
    };
    let camera = Camera::start(from_beginning(file(&clip)));
    let streams = probe(&camera.url("/"), "tcp").unwrap();
    assert_eq!(
        streams.lines().collect::<Vec<_>>(),
        ["h264,640,360", "aac,48000,2"]
    );
    let seen = packets(&camera.url("/"), "tcp", Duration::from_secs(5));
    seen.expect_steady(30000.0 / 1001.0, 5.0);
    seen.expect_sound(1024.0 / 48000.0, 5.0);
}

#[test]
fn real_footage_is_served() {
    for (name, streams) in [
        ("car-detection.mp4", &["h264,768,432", "aac,48000,2"][..]),
        ("one-by-one-person.mp4", &["h264,768,432"]),
    ] {
        let Some(clip) = clip(name).filter(|_| tools_present()) else {
            return;
        };
        let camera = Camera::start(from_beginning(file(&clip)));
        let seen = probe(&camera.url("/"), "udp").unwrap();
        assert_eq!(seen.lines().collect::<Vec<_>>(), streams, "{name}");
    }
}

#[test]
fn only_the_right_login_sees_the_picture() {
    if !tools_present() {
        return;
    }
    let login = Login {
        user: "viewer".to_owned(),
        password: "s3cret".to_owned(),
    };
    let camera = Camera::start(Options {
        login: Some(login),
        ..from_beginning(SourceChoice::Scene)
    });
    let seen = probe(&camera.url_with_login("viewer:s3cret"), "tcp").unwrap();
    assert_eq!(seen, "h264,640,360");
    for url in [camera.url_with_login("viewer:guess"), camera.url("/")] {
        assert!(probe(&url, "tcp").unwrap_err().contains("401"), "{url}");
    }
}

#[test]
fn several_clients_at_once_each_get_everything() {
    if !tools_present() {
        return;
    }
    let camera = Camera::start(Options::new(SourceChoice::Scene));
    thread::scope(|scope| {
        for transport in ["tcp", "udp", "tcp", "udp"] {
            let url = camera.url("/");
            scope.spawn(move || {
                packets(&url, transport, Duration::from_secs(3)).expect_steady(25.0, 3.0);
            });
        }
    });
}
