//! Bench `record`: one 1080p stream into files, by our agent and by ffmpeg at the same time.
//!
//! Motion is off: the bench is about receiving and writing. Both read the same camera, both write
//! fragmented MP4 without re-encoding.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use camino::Utf8PathBuf;

use super::Row;
use super::usage::{Usage, usage};
use crate::process::{Running, pause, run, say, wait_until};
use crate::recorder::{Recorder, TestCamera, quiet};
use crate::repository::Repository;

/// Ours against `ffmpeg -c copy`. The aim is 0.6; 0.59 to 0.64 is measured, the rest is room for a
/// busy machine.
const CPU_LIMIT: f64 = 0.7;
/// 8 MiB against ffmpeg's 53 are 0.15; twice that is a leak or a second allocator arena.
const MEMORY_LIMIT: f64 = 0.3;

/// Connecting, the first files and ffmpeg's probing are over by then.
const WARM_UP: Duration = Duration::from_secs(8);
const SAMPLE: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(1);

const PEER: &str = "ffmpeg -c copy";

pub(super) fn measure(repository: &Repository, time: Duration) -> anyhow::Result<Vec<Row>> {
    let program = repository.program("stakeout-agent")?;
    let clip = clip(repository)?;
    let temporary = tempfile::tempdir().context("cannot make a temporary folder")?;
    let folder = Utf8PathBuf::try_from(temporary.path().to_owned())
        .context("the temporary folder's name is not UTF-8")?;

    let mut camera = TestCamera::start(&program, clip.as_str(), &folder)?;
    let recorder = Recorder::prepare(&program, &camera.url, &folder, LONGEST)?;
    let mut ours = recorder.start()?;
    let file = folder.join("peer.mp4");
    let mut command = Command::new("ffmpeg");
    command
        .args([
            "-nostdin",
            "-v",
            "error",
            "-rtsp_transport",
            "tcp",
            "-i",
            &camera.url,
        ])
        .args(["-c", "copy", "-f", "mp4"])
        .args([
            "-movflags",
            "frag_keyframe+empty_moov+default_base_moof",
            "-y",
            file.as_str(),
        ]);
    let mut peer = Running::start(quiet(&mut command, &folder.join("peer.log"))?)?;
    let peer_bytes = || std::fs::metadata(&file).map_or(0, |metadata| metadata.len());

    wait_until(Duration::from_secs(30), "both write", || {
        ours.ensure_alive()?;
        peer.ensure_alive()?;
        Ok(recorder.bytes()? > 0 && peer_bytes() > 0)
    })?;
    pause(WARM_UP);
    say(format_args!("measuring for {time:?}"));

    let before = (
        usage(ours.id())?,
        usage(peer.id())?,
        recorder.bytes()?,
        peer_bytes(),
    );
    let begin = Instant::now();
    let mut memory = (0, 0);
    while let Some(left) = time.checked_sub(begin.elapsed()) {
        pause(left.min(SAMPLE));
        for process in [&mut camera.process, &mut ours, &mut peer] {
            process.ensure_alive()?;
        }
        memory.0 = memory.0.max(usage(ours.id())?.memory);
        memory.1 = memory.1.max(usage(peer.id())?.memory);
    }
    let took = begin.elapsed();
    let after = (
        usage(ours.id())?,
        usage(peer.id())?,
        recorder.bytes()?,
        peer_bytes(),
    );

    // A recorder that writes less is not a better one.
    let (ours_wrote, peer_wrote) = (after.2 - before.2, after.3 - before.3);
    say(format_args!(
        "wrote {} KiB, peer {} KiB",
        ours_wrote >> 10,
        peer_wrote >> 10
    ));
    ensure!(
        ours_wrote * 10 > peer_wrote * 8,
        "the agent wrote {ours_wrote} bytes while {PEER} wrote {peer_wrote}"
    );
    ensure!(peer_wrote > 0, "{PEER} wrote nothing");

    let percent = |before: &Usage, after: &Usage| {
        let used = after.processor.saturating_sub(before.processor);
        used.as_secs_f64() / took.as_secs_f64() * 100.0
    };
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    Ok(vec![
        row(
            "cpu",
            "% of a core",
            CPU_LIMIT,
            [percent(&before.0, &after.0), percent(&before.1, &after.1)],
        ),
        row(
            "memory",
            "MiB",
            MEMORY_LIMIT,
            [mebibytes(memory.0), mebibytes(memory.1)],
        ),
    ])
}

fn row(name: &'static str, unit: &'static str, limit: f64, [ours, peer]: [f64; 2]) -> Row {
    Row::new(name, unit, ours, peer, PEER, limit)
}

/// A stream as cameras send it: 1080p, 25 pictures a second, 4 Mbit/s, H.264 High without
/// B-frames, a key frame every 2 s. Made once.
fn clip(repository: &Repository) -> anyhow::Result<Utf8PathBuf> {
    let footage = repository.root.join("../shared/media/car-detection.mp4");
    let (name, input): (_, &[&str]) = if footage.exists() {
        ("car", &["-stream_loop", "-1", "-i", footage.as_str()])
    } else {
        (
            "pattern",
            &["-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=25"],
        )
    };
    let path = repository
        .cache()?
        .join(format!("bench-record-1-{name}.mp4"));
    if path.exists() {
        return Ok(path);
    }
    say(format_args!("making `{path}`, once"));
    let unfinished = path.with_extension("part");
    let mut command = Command::new("ffmpeg");
    command
        .args(["-nostdin", "-v", "error"])
        .args(input)
        .args(["-t", "40", "-an", "-vf"])
        .arg("framerate=fps=25,scale=1920:1080:flags=lanczos,noise=alls=6:allf=t,format=yuv420p")
        .args(["-c:v", "libx264", "-preset", "fast", "-profile:v", "high"])
        .args([
            "-b:v",
            "4M",
            "-maxrate",
            "4M",
            "-bufsize",
            "4M",
            "-x264-params",
        ])
        .arg("ref=1:bframes=0:keyint=50:min-keyint=50:scenecut=0:weightp=0")
        .args(["-f", "mp4", "-y", unfinished.as_str()]);
    run(&mut command)?;
    std::fs::rename(&unfinished, &path).with_context(|| format!("cannot write `{path}`"))?;
    Ok(path)
}
