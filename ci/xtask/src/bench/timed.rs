//! One run of a program: how long it took, what it used.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use camino::Utf8Path;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use super::usage::{peak, processor};
use crate::process::{pause, show};

/// The kernel keeps the highest mark, so only what is added in the very last moment is missed.
const LOOK: Duration = Duration::from_millis(5);

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Run {
    pub(super) seconds: f64,
    /// Of user and system, in seconds.
    pub(super) processor: f64,
    /// The most that was resident, in MiB.
    pub(super) memory: f64,
    /// What it wrote to standard output.
    pub(super) output: String,
}

/// Runs `command` to its end; what it says goes to files in `folder`.
pub(super) fn timed(command: &mut Command, folder: &Utf8Path) -> anyhow::Result<Run> {
    let shown = show(command);
    let (output, errors) = (folder.join("output"), folder.join("errors"));
    let file =
        |path: &Utf8Path| File::create(path).with_context(|| format!("cannot make `{path}`"));
    command
        .stdin(Stdio::null())
        .stdout(file(&output)?)
        .stderr(file(&errors)?);
    let begin = Instant::now();
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start `{shown}`"))?;
    let used = watch(&child, begin);
    let status = child
        .wait()
        .with_context(|| format!("cannot wait for `{shown}`"))?;
    let told = |path: &Utf8Path| fs::read_to_string(path).unwrap_or_default();
    if !status.success() {
        let all = [told(&output), told(&errors)].concat();
        let lines: Vec<_> = all.lines().collect();
        let last = lines.split_at(lines.len().saturating_sub(20)).1;
        bail!("`{shown}` failed: {status}:\n{}", last.join("\n"));
    }
    let (took, processor, memory) = used.with_context(|| format!("cannot watch `{shown}`"))?;
    Ok(Run {
        seconds: took.as_secs_f64(),
        processor: processor.as_secs_f64(),
        memory: memory as f64 / f64::from(1 << 20),
        output: told(&output),
    })
}

/// Until it has ended, and is still there to be asked what it used.
fn watch(child: &Child, begin: Instant) -> anyhow::Result<(Duration, Duration, u64)> {
    let id = child.id();
    let ended = AtomicBool::new(false);
    let (waited, memory) = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut most = 0;
            while !ended.load(Ordering::Relaxed) {
                most = peak(id).unwrap_or(most);
                pause(LOOK);
            }
            most
        });
        let pid = Pid::from_raw(id.cast_signed());
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        let waited = waitid(Id::Pid(pid), flags).map(|_| begin.elapsed());
        ended.store(true, Ordering::Relaxed);
        (waited, watcher.join().unwrap_or(0))
    });
    Ok((waited?, processor(id)?, memory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_measured_and_a_failure_says_what_was_said() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(folder.path()).unwrap();
        let script = "for n in $(seq 20000); do :; done; sleep 0.1; echo done";
        let run = timed(Command::new("sh").args(["-c", script]), folder).unwrap();
        assert_eq!(run.output, "done\n");
        assert!(
            run.seconds >= 0.1 && run.processor > 0.0 && run.memory > 0.1,
            "{run:?}"
        );
        let error = timed(
            Command::new("sh").args(["-c", "echo no >&2; exit 3"]),
            folder,
        );
        assert!(error.unwrap_err().to_string().ends_with("\nno"));
    }
}
