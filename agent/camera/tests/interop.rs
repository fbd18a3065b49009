//! Other people's clients against our camera: ffprobe and ffmpeg, when they are there.

mod clients;

use std::time::Duration;

use agent_camera::{Login, Options, SourceChoice, Start};
use clients::{Camera, clip, packets, probe, tools_present};

const LOGIN: &str = "viewer:s3cret";

fn options(source: SourceChoice) -> Options {
    Options {
        start: Start::Beginning,
        ..Options::new(source)
    }
}

#[test]
fn the_scene_is_seen_over_tcp_and_udp() {
    if !tools_present() {
        return;
    }
    let camera = Camera::start(options(SourceChoice::Scene));
    for transport in ["tcp", "udp"] {
        assert_eq!(
            probe(&camera.url("/"), transport).unwrap(),
            "h264,640,360",
            "{transport}"
        );
        let seen = packets(
            &camera.url("/any/path?query=1"),
            transport,
            Duration::from_secs(3),
        );
        seen.expect_steady(25.0, 3.0);
    }
}
