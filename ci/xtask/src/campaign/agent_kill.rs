//! `agent-kill`: a recording agent is killed at random moments and started again. Every file under
//! a final name is one that ffprobe reads without a word, and no kill costs more than the fragment
//! that was being written.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use camino::{Utf8Path, Utf8PathBuf};
use serde_json::Value;

use super::{Length, Random};
use crate::process::{Running, pause, say, wait_until};
use crate::recorder::{Recorder, TestCamera};
use crate::repository::Repository;

/// Short files, so that a kill meets their beginning and end as often as their middle.
const LONGEST: Duration = Duration::from_secs(3);
/// Long enough for one file and a half.
const LIFE_MS: usize = 4500;
const RESTART: Duration = Duration::from_secs(15);
/// A fragment holds at most 1 s; a frame's time on the wire and the two clocks come on top.
const MOST_LOST_MS: u64 = 1250;

/// A kill, and the file that was newest then.
#[derive(Debug, Clone, Copy)]
struct Kill {
    /// Unix milliseconds.
    at: u64,
    /// First frame of the newest file.
    start: u64,
}

pub(super) fn perform(
    repository: &Repository,
    length: Length,
    random: &mut Random,
) -> anyhow::Result<()> {
    let (kills, time) = match length {
        Length::Short => (12, Duration::from_secs(45)),
        Length::Long => (200, Duration::from_hours(1)),
    };
    let program = repository.program("stakeout-agent")?;
    let temporary = tempfile::tempdir().context("cannot make a temporary folder")?;
    let folder = Utf8PathBuf::try_from(temporary.path().to_owned())
        .context("the temporary folder's name is not UTF-8")?;
    let mut camera = TestCamera::start(&program, "scene", &folder)?;
    let recorder = Recorder::prepare(&program, &camera.url, &folder, LONGEST)?;

    let begin = Instant::now();
    let mut probed = BTreeSet::new();
    let mut done = 0;
    let mut last: Option<Kill> = None;
    let mut most_lost = 0;
    while done < kills && begin.elapsed() < time {
        let mut agent = recorder.start()?;
        wait_for_footage(&recorder, &mut agent)?;
        // That start has repaired what the last kill left open.
        if let Some(kill) = last {
            most_lost = most_lost.max(lost(&recorder, kill)?);
        }
        let life = Duration::from_millis(random.below(LIFE_MS) as u64);
        pause(life);
        agent.ensure_alive()?;
        let at = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
        agent.kill()?;
        let start = newest_start(&recorder)?.context("the agent was killed without a file")?;
        last = Some(Kill { at, start });
        done += 1;
        camera.process.ensure_alive()?;
        // Before the repair: what has its final name is whole already.
        probe_new(&recorder, &mut probed)?;
        say(format_args!(
            "kill {done} after {life:?}: {} files are good",
            probed.len()
        ));
    }
    // The last kill's open file is repaired by this start.
    let mut agent = recorder.start()?;
    wait_for_footage(&recorder, &mut agent)?;
    agent.kill()?;
    if let Some(kill) = last {
        most_lost = most_lost.max(lost(&recorder, kill)?);
    }
    probe_new(&recorder, &mut probed)?;
    ensure!(
        probed.len() > done / 2,
        "{done} lives left only {} recordings",
        probed.len()
    );
    let quarantine = folder
        .join("data")
        .join(crate::recorder::CAMERA)
        .join("quarantine");
    let unreadable = quarantine.read_dir_utf8().map_or(0, Iterator::count);
    ensure!(unreadable == 0, "{unreadable} files could not be repaired");
    say(format_args!(
        "{done} kills, {} recordings, all good, at most {most_lost} ms lost",
        probed.len()
    ));
    Ok(())
}

/// Milliseconds of footage that a kill has cost, now that its file is repaired.
fn lost(recorder: &Recorder, kill: Kill) -> anyhow::Result<u64> {
    let file = |path: &&Utf8PathBuf| start_of(path) == Some(kill.start);
    let end = match recorder.files("mp4")?.iter().find(file) {
        Some(path) => kill.start + probe(path)?,
        // Killed before its first fragment was whole; nothing of it is left.
        None => kill.start,
    };
    let lost = kill.at.saturating_sub(end);
    ensure!(
        lost <= MOST_LOST_MS,
        "a kill has cost {lost} ms of footage; {MOST_LOST_MS} are the most"
    );
    Ok(lost)
}

/// The newest file's first frame; the newest may be open or finished.
fn newest_start(recorder: &Recorder) -> anyhow::Result<Option<u64>> {
    let files = recorder
        .files("mp4")?
        .into_iter()
        .chain(recorder.files("part")?);
    Ok(files.filter_map(|path| start_of(&path)).max())
}

/// Unix milliseconds out of a name, `<seconds>_<digits>-<milliseconds>_…`.
fn start_of(path: &Utf8Path) -> Option<u64> {
    let mut fields = path.file_name()?.split('_');
    let seconds: u64 = fields.next()?.parse().ok()?;
    let (_, milliseconds) = fields.next()?.split_once('-')?;
    Some(seconds * 1000 + milliseconds.parse::<u64>().ok()?)
}

/// Waits until this life of the agent has written.
fn wait_for_footage(recorder: &Recorder, agent: &mut Running) -> anyhow::Result<()> {
    let before = recorder.bytes()?;
    wait_until(RESTART, "the agent records", || {
        agent.ensure_alive()?;
        Ok(recorder.bytes()? > before && !recorder.files("part")?.is_empty())
    })
}

fn probe_new(recorder: &Recorder, probed: &mut BTreeSet<Utf8PathBuf>) -> anyhow::Result<()> {
    for path in recorder.files("mp4")? {
        if !probed.contains(&path) {
            probe(&path)?;
            probed.insert(path);
        }
    }
    Ok(())
}

/// Reads every packet and returns the file's milliseconds; a complaint is a failure.
fn probe(path: &Utf8Path) -> anyhow::Result<u64> {
    let output = Command::new("ffprobe")
        .args([
            "-v",
            "error",
            "-count_packets",
            "-of",
            "json",
            "-select_streams",
            "v:0",
        ])
        .args([
            "-show_entries",
            "stream=nb_read_packets:format=duration",
            path.as_str(),
        ])
        .output()
        .context("cannot start ffprobe")?;
    let complaints = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success() && complaints.is_empty(),
        "ffprobe says of `{path}`: {complaints}"
    );
    let answer: Value = serde_json::from_slice(&output.stdout).context("ffprobe wrote no JSON")?;
    let packets = answer["streams"][0]["nb_read_packets"]
        .as_str()
        .and_then(|n| n.parse().ok());
    ensure!(
        packets.is_some_and(|n: u64| n > 0),
        "`{path}` holds no picture: {answer}"
    );
    let seconds = answer["format"]["duration"]
        .as_str()
        .and_then(|text| text.parse().ok());
    let seconds: f64 = seconds.with_context(|| format!("`{path}` has no duration"))?;
    let length = Duration::try_from_secs_f64(seconds).context("a duration below zero")?;
    Ok(u64::try_from(length.as_millis())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_the_first_frame() {
        let start = |name: &str| start_of(Utf8Path::new(name));
        let name = "a/1700000000_1-5_camera_0-0-0-0_-1_0.mp4";
        assert_eq!(start(name), Some(1_700_000_000_005));
        assert_eq!(start(&format!("{name}.part")), Some(1_700_000_000_005));
        assert_eq!(start("a/scene.mp4"), None);
    }
}
