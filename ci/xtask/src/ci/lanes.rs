//! Suites that go on beside each other: they mostly wait for cameras, engines and clusters.
//!
//! What two suites may both want, one after the other has it: a lane. Whoever installs on the
//! machine itself takes the lowest free ports, so all of those are in one.

use std::fmt;
use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use camino::Utf8Path;

use crate::process::{run, say};

/// How every suite's step begins.
pub(super) const SUITE: &str = "e2e-";

/// Suites of clusters, by how they begin.
const CLUSTERS: &str = "e2e-kubernetes";

/// Suites of container engines that install nothing on the machine itself.
const ENGINES: [&str; 6] = [
    "e2e-docker",
    "e2e-docker_faults",
    "e2e-docker_stores",
    "e2e-engine",
    "e2e-image",
    "e2e-stand_ins",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    Machine,
    Engines,
    Clusters,
}

impl Lane {
    pub(super) fn of(step: &str) -> Self {
        if step.starts_with(CLUSTERS) {
            Self::Clusters
        } else if ENGINES.contains(&step) {
            Self::Engines
        } else {
            Self::Machine
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Machine => "machine",
            Self::Engines => "engines",
            Self::Clusters => "clusters",
        })
    }
}

/// How a step went.
pub(super) struct Ran {
    pub(super) name: String,
    pub(super) time: Duration,
    pub(super) result: anyhow::Result<()>,
}

/// A suite, and what runs it.
pub(super) struct Suite {
    pub(super) name: String,
    pub(super) command: Command,
}

/// Runs all, each lane's one after the other, up to the first that fails; what runs then ends by
/// itself. Output goes to `folder`, and is shown when its suite has ended.
pub(super) fn run_all(folder: &Utf8Path, suites: Vec<Suite>) -> anyhow::Result<Vec<Ran>> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make `{folder}`"))?;
    let failed = AtomicBool::new(false);
    let shown = Mutex::new(());
    let mut lanes: Vec<(Lane, Vec<Suite>)> = Vec::new();
    for suite in suites {
        let lane = Lane::of(&suite.name);
        match lanes.iter_mut().find(|(known, _)| *known == lane) {
            Some((_, suites)) => suites.push(suite),
            None => lanes.push((lane, vec![suite])),
        }
    }
    let follow = &|lane: Lane, suites: Vec<Suite>| {
        let mut ran = Vec::new();
        for mut suite in suites {
            if failed.load(Ordering::Relaxed) {
                break;
            }
            say(format_args!("=== {} goes on, in lane {lane}", suite.name));
            // What they build in the target folder has a name of its own, too.
            suite.command.env("STAKEOUT_LANE", lane.to_string());
            let begin = Instant::now();
            let log = folder.join(format!("{}.log", suite.name));
            let result = run_into(&log, &mut suite.command);
            let time = begin.elapsed();
            failed.fetch_or(result.is_err(), Ordering::Relaxed);
            let _one_at_a_time = shown.lock().unwrap_or_else(PoisonError::into_inner);
            let text = fs::read(&log).unwrap_or_default();
            say(format_args!(
                "\n=== {}, in lane {lane}\n{}=== {}: {} after {:.1} s",
                suite.name,
                String::from_utf8_lossy(&text),
                suite.name,
                super::word(&result),
                time.as_secs_f64()
            ));
            ran.push(Ran {
                name: suite.name,
                time,
                result,
            });
        }
        ran
    };
    thread::scope(|scope| {
        let threads: Vec<_> = lanes
            .into_iter()
            .map(|(lane, suites)| scope.spawn(move || follow(lane, suites)))
            .collect();
        let mut all = Vec::new();
        for thread in threads {
            all.extend(thread.join().map_err(|_| anyhow!("a lane panicked"))?);
        }
        Ok(all)
    })
}

fn run_into(log: &Utf8Path, command: &mut Command) -> anyhow::Result<()> {
    let output = File::create(log).with_context(|| format!("cannot write `{log}`"))?;
    let errors = output.try_clone().context("cannot share a log")?;
    run(command.stdin(Stdio::null()).stdout(output).stderr(errors))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(name: &str, script: &str) -> Suite {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Suite {
            name: name.to_owned(),
            command,
        }
    }

    #[test]
    fn who_installs_on_the_machine_shares_a_lane() {
        assert_eq!(Lane::of("e2e-host"), Lane::of("e2e-docker_move"));
        assert_eq!(Lane::of("e2e-docker"), Lane::Engines);
        assert_eq!(Lane::of("e2e-docker_faults"), Lane::Engines);
        assert_eq!(Lane::of("e2e-kubernetes_faults"), Lane::Clusters);
    }

    #[test]
    fn lanes_go_on_beside_each_other_and_none_after_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(folder.path()).unwrap();
        let met = folder.join("met");
        let wait = format!("until [ -e {met} ]; do sleep 0.01; done; echo $STAKEOUT_LANE; false");
        let suites = vec![
            shell("e2e-host", &wait),
            shell("e2e-systemd", "true"),
            shell("e2e-docker", &format!("touch {met}; sleep 1")),
            shell("e2e-docker_faults", "true"),
        ];
        let ran = run_all(folder, suites).unwrap();
        let names: Vec<_> = ran
            .iter()
            .map(|ran| (ran.name.as_str(), ran.result.is_ok()))
            .collect();
        assert_eq!(names, [("e2e-host", false), ("e2e-docker", true)]);
        let log = fs::read_to_string(folder.join("e2e-host.log")).unwrap();
        assert_eq!(log, "machine\n");
    }
}
