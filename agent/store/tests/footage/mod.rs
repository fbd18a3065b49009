//! Footage for tests: frames of a 10 fps stream with a key frame a second.

use std::sync::Arc;

use agent_media::{Frame, StreamParameters, Track, VideoCodec, nal};
use agent_store::{Command, Fragment, Policy, Store, Vault, Writer};
use bytes::Bytes;
use camino::Utf8Path;

pub(crate) const CAMERA: &str = "gate";

pub(crate) fn parameters() -> StreamParameters {
    // What x264 writes for 320x240.
    let sps = hex("6742c00bd90141fb011000000300100000030140f142a480");
    let pps = hex("68cb83cb20");
    let video = nal::video_parameters(VideoCodec::H264, [sps, pps]).expect("valid sets");
    StreamParameters { video, audio: None }
}

fn hex(text: &str) -> Bytes {
    let digit = |c: u8| {
        char::from(c)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
            .expect("hex")
    };
    text.as_bytes()
        .chunks(2)
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}

pub(crate) fn frame(number: u32, bytes: usize) -> Frame {
    let key = number.is_multiple_of(10);
    let mut data = u32::try_from(bytes - 4)
        .expect("small")
        .to_be_bytes()
        .to_vec();
    data.push(if key { 0x65 } else { 0x41 });
    data.resize(bytes, 7);
    Frame {
        track: Track::Video,
        pts: i64::from(number) * 9_000,
        arrival_ms: 1_700_000_000_000 + u64::from(number) * 100,
        key,
        lost: 0,
        data: data.into(),
    }
}

pub(crate) fn store(root: &Utf8Path, reserve_bytes: u64) -> Arc<Store> {
    let policy = |_| Policy {
        age_ms: None,
        quota_bytes: None,
        reserve_bytes,
        vault: Vault::Absent,
    };
    Arc::new(Store::open(root, &[CAMERA.to_owned()], policy).expect("opened"))
}

pub(crate) fn name(second: u64, duration_ms: u64) -> String {
    format!("{second}_1-0_{CAMERA}_0-0-0-0_-1_{duration_ms}.mp4")
}

/// Writes one file of `frames` frames that begins at `second`; calls `after` with each fragment's end.
pub(crate) fn record(
    writer: &Writer,
    second: u64,
    frames: u32,
    bytes: usize,
    mut after: impl FnMut(u64),
) {
    let mut file = agent_media::Writer::new(&parameters());
    let mut open = false;
    let mut push = |fragment: agent_media::Fragment| {
        let (header, rest) = agent_store::split_header(&fragment.head);
        if !open {
            writer.push(Command::Open {
                name: name(second, 0),
                header,
            });
            open = true;
        }
        let mut slices = vec![rest];
        slices.extend(fragment.frames);
        writer.push(Command::Fragment(Fragment {
            slices,
            frames: fragment.video_frames as u64,
            key: true,
            from_ms: second * 1000,
            to_ms: second * 1000,
        }));
    };
    for number in 0..frames {
        if let Some(fragment) = file.push(frame(number, bytes)) {
            push(fragment);
            after(u64::from(number));
        }
    }
    let expected = file.bytes();
    let tail = file.finish();
    let expected = expected + tail.fragment.as_ref().map_or(0, |f| f.bytes);
    if let Some(fragment) = tail.fragment {
        push(fragment);
    }
    let name = name(second, tail.duration_ms);
    writer.push(Command::Close {
        name,
        index: tail.index,
        expected,
    });
}
