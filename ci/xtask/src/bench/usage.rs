//! What a process and its children have used: the kernel's clock of each process, and `/proc`
//! (proc(5)).
//!
//! The times in `/proc/PID/stat` are whole ticks of 10 ms; a recorder at 0.3 % of a core uses nine of
//! them in 30 s, and a ratio of two such numbers says little.

use std::fs;
use std::time::Duration;

use anyhow::{Context, ensure};
use nix::time::ClockId;
use nix::unistd::Pid;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Usage {
    /// Of all threads, also of those that ended.
    pub(super) processor: Duration,
    /// Resident, in bytes, now.
    pub(super) memory: u64,
}

/// Sums up the process and everything below it that runs now.
pub(super) fn usage(id: u32) -> anyhow::Result<Usage> {
    let parents = parents()?;
    let mut family = vec![id];
    let mut sum = Usage {
        processor: Duration::ZERO,
        memory: 0,
    };
    while let Some(member) = family.pop() {
        family.extend(
            parents
                .iter()
                .filter(|(_, parent)| *parent == member)
                .map(|(id, _)| id),
        );
        match processor(member) {
            Ok(used) => {
                sum.processor += used;
                sum.memory += resident(member);
            }
            // A child may have ended since it was listed.
            Err(error) => ensure!(member != id, "process {id} is gone: {error}"),
        }
    }
    Ok(sum)
}

/// Of all threads; of a process that has ended, too, until somebody has waited for it.
pub(super) fn processor(id: u32) -> nix::Result<Duration> {
    let pid = Pid::from_raw(i32::try_from(id).map_err(|_| nix::errno::Errno::ESRCH)?);
    ClockId::pid_cpu_clock_id(pid)?.now().map(Duration::from)
}

/// Every process with its parent.
fn parents() -> anyhow::Result<Vec<(u32, u32)>> {
    let entries = fs::read_dir("/proc").context("cannot list /proc")?;
    // A process that ended since it was listed cannot be read any more.
    let read = |entry: fs::DirEntry| {
        let id = entry.file_name().to_str()?.parse().ok()?;
        Some((
            id,
            parent(&fs::read_to_string(entry.path().join("stat")).ok()?)?,
        ))
    };
    Ok(entries.flatten().filter_map(read).collect())
}

/// Out of a line of `/proc/PID/stat`.
fn parent(line: &str) -> Option<u32> {
    // The name before it may hold anything, even parentheses and spaces.
    let (_, fields) = line.rsplit_once(") ")?;
    fields.split_whitespace().nth(1)?.parse().ok()
}

fn resident(id: u32) -> u64 {
    status(id, "VmRSS:").unwrap_or(0)
}

/// The most that has been resident, in bytes; nothing of a process that has ended.
pub(super) fn peak(id: u32) -> Option<u64> {
    status(id, "VmHWM:")
}

fn status(id: u32, key: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let kibibytes = status.lines().find_map(|line| {
        line.strip_prefix(key)?
            .trim()
            .strip_suffix(" kB")?
            .parse::<u64>()
            .ok()
    });
    Some(kibibytes? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_stat_is_read_whatever_the_name() {
        assert_eq!(parent("7 (a) b (c) S 5 7 7 0 -1"), Some(5));
        assert_eq!(parent("7 (a) S"), None);
    }

    #[test]
    fn work_and_memory_of_this_process_are_seen() {
        let before = usage(std::process::id()).unwrap();
        let sum = (0..200_000_u64).fold(0, |sum, n| std::hint::black_box(sum ^ n));
        let after = usage(std::process::id()).unwrap();
        assert!(
            after.processor > before.processor && after.memory > 100_000,
            "{sum} {after:?}"
        );
        assert!(usage(u32::MAX).is_err());
        assert!(peak(std::process::id()).unwrap() > 100_000);
    }
}
