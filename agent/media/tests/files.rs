//! Files made of real clips, read back by others: shiguredo_mp4 always, ffprobe and ffmpeg where installed.

#[cfg(test)]
mod clips;

use std::io::Cursor;
use std::process::Command;

use agent_media::{Frame, Track, VideoCodec, scan};
use clips::{Clip, demux, load, record};

fn of(frames: &[Frame], track: Track) -> Vec<&Frame> {
    frames.iter().filter(|frame| frame.track == track).collect()
}

#[test]
fn another_reader_finds_every_frame_at_its_time() {
    for path in clips::all() {
        let Clip { parameters, frames } = load(path);
        let seen = demux(&record(&parameters, &frames).concat());
        let origin = frames.iter().map(|frame| frame.pts).min().unwrap();
        let (video, found) = (
            of(&frames, Track::Video),
            seen.iter().filter(|s| s.video).collect::<Vec<_>>(),
        );
        assert_eq!(found.len(), video.len(), "{}", path.display());
        // The edit list takes this away again.
        let delay = found[0].pts - (video[0].pts - origin);
        for (frame, found) in video.iter().zip(&found) {
            assert_eq!(
                (found.pts - delay, found.key),
                (frame.pts - origin, frame.key)
            );
            assert_eq!(found.data, frame.data);
            assert!(
                found.pts >= i64::try_from(found.dts).unwrap(),
                "no frame is shown before it is decoded"
            );
        }
        for pair in found.windows(2) {
            assert_eq!(
                pair[0].dts + u64::from(pair[0].duration),
                pair[1].dts,
                "no hole, no overlap"
            );
        }
        let (audio, found) = (
            of(&frames, Track::Audio),
            seen.iter().filter(|s| !s.video).collect::<Vec<_>>(),
        );
        assert_eq!(found.len(), audio.len());
        assert!(
            found
                .iter()
                .zip(&audio)
                .all(|(found, frame)| found.data == frame.data)
        );
        assert!(
            found.iter().all(|found| found.duration == 1024),
            "audio is sample-exact"
        );
    }
}

#[test]
fn fragments_are_short_and_the_scan_agrees_with_the_input() {
    for path in clips::all() {
        let Clip { parameters, frames } = load(path);
        let parts = record(&parameters, &frames);
        let whole = parts.concat();
        let scan = scan(&mut Cursor::new(&whole)).unwrap();
        let video = of(&frames, Track::Video);
        assert_eq!(scan.codec, VideoCodec::H264);
        assert_eq!(
            (scan.width, scan.height),
            (parameters.video.width, parameters.video.height)
        );
        assert_eq!(scan.video_frames, video.len() as u64);
        assert_eq!(scan.audio_frames, of(&frames, Track::Audio).len() as u64);
        assert_eq!(
            scan.key_frames,
            video.iter().filter(|frame| frame.key).count() as u64
        );
        assert!(scan.is_whole() && scan.indexed);
        assert_eq!(
            scan.index().to_vec(),
            *parts.last().unwrap(),
            "a repaired file gets the same index"
        );
        let seconds = scan.duration_ms / 1000;
        assert!(
            scan.fragments >= seconds,
            "{} fragments in {seconds} s",
            scan.fragments
        );
    }
}

#[test]
fn a_cut_anywhere_leaves_everything_before_the_last_fragment() {
    for path in clips::all() {
        let Clip { parameters, frames } = load(path);
        let parts = record(&parameters, &frames[..frames.len().min(400)]);
        let whole = parts.concat();
        let mut ends = vec![0];
        for part in &parts {
            ends.push(ends.last().unwrap() + part.len());
        }
        // Every fragment's ends and insides, and a prime's worth of other places.
        let mut cuts: Vec<usize> = ends
            .iter()
            .flat_map(|end| [*end, end + 1, end + 9, end + 100])
            .collect();
        cuts.extend((0..whole.len()).step_by(10_007));
        for cut in cuts.into_iter().filter(|&cut| cut <= whole.len()) {
            let kept = *ends.iter().rfind(|&&end| end <= cut).unwrap();
            if kept == 0 {
                continue;
            }
            let found = scan(&mut Cursor::new(&whole[..cut])).unwrap();
            assert_eq!(
                found.valid_len,
                kept as u64,
                "cut at {cut} of {}",
                path.display()
            );
            let mut repaired = whole[..kept].to_vec();
            if !found.indexed {
                repaired.extend_from_slice(&found.index());
            }
            assert_eq!(
                demux(&repaired).iter().filter(|s| s.video).count() as u64,
                found.video_frames
            );
        }
    }
}

#[test]
fn ffprobe_sees_the_same_times_as_in_the_clip() {
    if !clips::has("ffprobe") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for path in clips::all() {
        let Clip { parameters, frames } = load(path);
        let file = folder.path().join("recording.mp4");
        std::fs::write(&file, record(&parameters, &frames).concat()).unwrap();
        let origin = frames.iter().map(|frame| frame.pts).min().unwrap();
        let (ours, video) = (clips::ffprobe(&file, "v"), of(&frames, Track::Video));
        assert_eq!(ours.len(), video.len(), "{}", path.display());
        for (frame, (pts, _, key)) in video.iter().zip(&ours) {
            let wanted = (frame.pts - origin) as f64 / 90_000.0;
            assert!(
                (pts - wanted).abs() < 0.000_1,
                "{pts} for {wanted} in {}",
                path.display()
            );
            assert_eq!(*key, frame.key);
        }
        assert!(
            ours.windows(2).all(|pair| pair[0].1 < pair[1].1),
            "dts rise"
        );
        assert_eq!(
            clips::ffprobe(&file, "a").len(),
            of(&frames, Track::Audio).len()
        );
    }
}

#[test]
fn ffmpeg_decodes_and_seeks() {
    if !clips::has("ffmpeg") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for path in clips::all() {
        let Clip { parameters, frames } = load(path);
        let file = folder.path().join("recording.mp4");
        std::fs::write(&file, record(&parameters, &frames).concat()).unwrap();
        for seek in [&[][..], &["-ss", "1.5"]] {
            let mut ffmpeg = Command::new("ffmpeg");
            ffmpeg
                .args(["-v", "warning", "-xerror"])
                .args(seek)
                .arg("-i")
                .arg(&file);
            let out = ffmpeg.args(["-f", "null", "-"]).output().unwrap();
            assert!(
                out.status.success() && out.stderr.is_empty(),
                "{}",
                String::from_utf8_lossy(&out.stderr)
            );
        }
    }
}

/// H.265 with an open GOP: CRA key frames with leading pictures.
#[test]
fn h265_with_open_gops_survives_the_round() {
    if !clips::has("ffmpeg") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (source, file) = (
        folder.path().join("source.mp4"),
        folder.path().join("recording.mp4"),
    );
    let made = Command::new("ffmpeg")
        .args([
            "-v",
            "error",
            "-f",
            "lavfi",
            "-i",
            "testsrc2=size=320x184:rate=25:duration=6",
            "-pix_fmt",
            "yuv420p",
        ])
        .args(["-c:v", "libx265", "-preset", "ultrafast", "-tag:v", "hvc1"])
        .args([
            "-x265-params",
            "log-level=none:keyint=40:min-keyint=40:bframes=4:b-adapt=0:open-gop=1",
        ])
        .arg(&source)
        .output()
        .unwrap();
    if !made.status.success() {
        return;
    }
    let Clip { parameters, frames } = load(&source);
    assert_eq!(
        (parameters.video.codec, parameters.video.width),
        (VideoCodec::H265, 320)
    );
    std::fs::write(&file, record(&parameters, &frames).concat()).unwrap();
    let seen = clips::ffprobe(&file, "v");
    assert_eq!(seen.len(), 150);
    assert!(
        seen.windows(2).all(|pair| pair[0].1 < pair[1].1),
        "dts rise"
    );
    let digest = |path| {
        let out = Command::new("ffmpeg")
            .args(["-v", "error", "-i"])
            .arg(path)
            .args(["-f", "md5", "-"])
            .output();
        String::from_utf8(out.unwrap().stdout).unwrap()
    };
    assert_eq!(digest(&source), digest(&file), "the same pictures");
    let found = scan(&mut Cursor::new(std::fs::read(&file).unwrap())).unwrap();
    assert_eq!(
        (found.codec, found.height, found.key_frames),
        (VideoCodec::H265, 184, 4)
    );
    // From the second key frame: its leading pictures come before it in time.
    let second = frames.iter().skip(1).position(|frame| frame.key).unwrap() + 1;
    std::fs::write(&file, record(&parameters, &frames[second..]).concat()).unwrap();
    assert_eq!(clips::ffprobe(&file, "v").len(), 150 - second);
}
