//! `agent-kill`: a recording agent is killed at random moments and started again. Every file under
//! a final name is one that ffprobe reads without a word.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use camino::{Utf8Path, Utf8PathBuf};

use super::{Length, Random};
use crate::process::{Running, pause, say, wait_until};
use crate::recorder::{Recorder, TestCamera};
use crate::repository::Repository;

/// Short files, so that a kill meets their beginning and end as often as their middle.
const LONGEST: Duration = Duration::from_secs(3);
/// Long enough for one file and a half.
const LIFE_MS: usize = 4500;
const RESTART: Duration = Duration::from_secs(15);

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
    while done < kills && begin.elapsed() < time {
        let mut agent = recorder.start()?;
        wait_for_footage(&recorder, &mut agent)?;
        let life = Duration::from_millis(random.below(LIFE_MS) as u64);
        pause(life);
        agent.ensure_alive()?;
        agent.kill()?;
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
        "{done} kills, {} recordings, all good",
        probed.len()
    ));
    Ok(())
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

/// Reads every packet; a complaint is a failure.
fn probe(path: &Utf8Path) -> anyhow::Result<()> {
    let output = Command::new("ffprobe")
        .args([
            "-v",
            "error",
            "-count_packets",
            "-of",
            "csv=p=0",
            "-select_streams",
            "v:0",
        ])
        .args(["-show_entries", "stream=nb_read_packets", path.as_str()])
        .output()
        .context("cannot start ffprobe")?;
    let complaints = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success() && complaints.is_empty(),
        "ffprobe says of `{path}`: {complaints}"
    );
    let packets = String::from_utf8_lossy(&output.stdout);
    ensure!(
        packets
            .trim()
            .trim_end_matches(',')
            .parse()
            .is_ok_and(|packets: u64| packets > 0),
        "`{path}` holds no picture: {packets}"
    );
    Ok(())
}
