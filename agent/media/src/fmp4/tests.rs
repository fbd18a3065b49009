use std::io::Cursor;

use proptest::prelude::*;

use super::*;
use crate::nal::{g711_sample_entry, video_parameters};
use crate::{AudioParameters, VideoCodec, scan};

fn parameters() -> StreamParameters {
    let sps = [
        0x67, 0x64, 0x00, 0x1e, 0xac, 0xd9, 0x40, 0xa0, 0x2f, 0xf9, 0x70, 0x11, 0x00, 0x00, 0x03,
        0x00, 0x01, 0x00, 0x00, 0x03, 0x00, 0x32, 0x0f, 0x16, 0x2d, 0x96,
    ];
    let sets = [
        Bytes::copy_from_slice(&sps),
        Bytes::from_static(&[0x68, 0xeb, 0xe3, 0xcb]),
    ];
    let (codec, sample_rate, channels) = ("pcmu".to_owned(), 8000, 1);
    let sample_entry = g711_sample_entry(&codec, sample_rate, channels);
    let audio = Some(AudioParameters {
        codec,
        sample_rate,
        channels,
        sample_entry,
    });
    StreamParameters {
        video: video_parameters(VideoCodec::H264, sets).unwrap(),
        audio,
    }
}

fn frame(track: Track, pts: i64, bytes: usize) -> Frame {
    let data = Bytes::from(vec![1; bytes]);
    Frame {
        track,
        pts,
        arrival_ms: 0,
        key: track == Track::Audio || pts == 0,
        lost: 0,
        data,
    }
}

fn bytes(fragment: &Fragment) -> Vec<u8> {
    let mut out = fragment.head.to_vec();
    for frame in &fragment.frames {
        out.extend_from_slice(frame);
    }
    out
}

#[test]
fn a_fragment_is_full_within_a_second_at_any_usual_rate() {
    for fps in [5, 10, 25, 30, 60] {
        let mut writer = Writer::new(&parameters());
        let mut waited: i64 = 0;
        for n in 0..fps * 10 {
            if writer
                .push(frame(Track::Video, n * 90_000 / fps, 10))
                .is_some()
            {
                waited = 0;
            }
            waited += 90_000 / fps;
            assert!(
                waited <= 90_000 + 90_000 / fps,
                "{fps} fps: {waited} ticks are not on disk"
            );
        }
    }
}

#[test]
fn a_pause_is_flushed_and_time_goes_on_behind_it() {
    let mut writer = Writer::new(&parameters());
    let mut file = Vec::new();
    for pts in [0, 3600, 7200] {
        assert!(writer.push(frame(Track::Video, pts, 10)).is_none());
    }
    file.extend(bytes(&writer.flush().unwrap()));
    assert!(writer.flush().is_none());
    writer.push(frame(Track::Video, 900_000, 10));
    let tail = writer.finish();
    file.extend(bytes(&tail.fragment.unwrap()));
    file.extend_from_slice(&tail.index);
    let found = scan(&mut Cursor::new(file)).unwrap();
    assert_eq!(
        (found.video_frames, found.duration_ms, tail.duration_ms),
        (4, 10_040, 10_040)
    );
}

#[test]
fn g711_takes_its_length_from_its_bytes() {
    let mut writer = Writer::new(&parameters());
    writer.push(frame(Track::Video, 0, 10));
    for n in 0..50 {
        // 20 ms each, the clock of the camera trembles by 3 ms.
        writer.push(frame(Track::Audio, n * 1800 + (n % 3) * 135, 160));
    }
    let fragment = writer.finish().fragment.unwrap();
    assert_eq!((fragment.video_frames, fragment.audio_frames), (1, 50));
    // Every sample of the second run: duration 160, size 160.
    let run = [0, 0, 0, 160, 0, 0, 0, 160].repeat(50);
    assert!(fragment.head.windows(run.len()).any(|window| window == run));
}

#[test]
fn nothing_in_nothing_out() {
    let tail = Writer::new(&parameters()).finish();
    assert_eq!(
        tail,
        Tail {
            fragment: None,
            index: Bytes::new(),
            duration_ms: 0
        }
    );
}

fn any_time() -> impl Strategy<Value = i64> {
    prop_oneof![20 => 0i64..900_000, 1 => any::<i64>()]
}

proptest! {
    /// Whatever times a camera sends, every frame is in the file and the file is whole.
    #[test]
    fn no_time_can_break_a_file(
        frames in prop::collection::vec((any_time(), 0usize..40, prop::bool::weighted(0.7)), 1..200),
        flushes in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
    ) {
        let mut writer = Writer::new(&parameters());
        let mut file = Vec::new();
        let flushes: Vec<_> = flushes.iter().map(|at| at.index(frames.len())).collect();
        let video = frames.iter().filter(|(_, _, video)| *video).count() as u64;
        for (n, &(pts, size, video)) in frames.iter().enumerate() {
            let track = if video { Track::Video } else { Track::Audio };
            let full = writer.push(frame(track, pts, size));
            let flushed = flushes.contains(&n).then(|| writer.flush()).flatten();
            for fragment in full.iter().chain(&flushed) {
                file.extend(bytes(fragment));
            }
        }
        let tail = writer.finish();
        if let Some(fragment) = &tail.fragment {
            file.extend(bytes(fragment));
        }
        file.extend_from_slice(&tail.index);
        let found = scan(&mut Cursor::new(&file)).unwrap();
        prop_assert!(found.is_whole() && found.indexed);
        prop_assert_eq!(found.video_frames, video);
        prop_assert_eq!(found.audio_frames, frames.len() as u64 - video);
    }
}
