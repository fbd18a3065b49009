//! What a process and its children have used, from `/proc` (proc(5)).

use std::fs;
use std::time::Duration;

use anyhow::{Context, ensure};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) processor: Duration,
    /// Resident, in bytes, now.
    pub(super) memory: u64,
}

/// Sums up the process and everything below it. Children that ended count for their parent.
pub(super) fn usage(id: u32) -> anyhow::Result<Usage> {
    let processes = processes()?;
    let mut family = vec![id];
    let mut sum = Usage {
        processor: Duration::ZERO,
        memory: 0,
    };
    let mut seen = 0;
    while let Some(id) = family.pop() {
        family.extend(processes.iter().filter(|p| p.parent == id).map(|p| p.id));
        for process in processes.iter().filter(|process| process.id == id) {
            seen += 1;
            sum.processor += process.processor;
            sum.memory += resident(id);
        }
    }
    ensure!(seen > 0, "process {id} is gone");
    Ok(sum)
}

struct Process {
    id: u32,
    parent: u32,
    processor: Duration,
}

fn processes() -> anyhow::Result<Vec<Process>> {
    let ticks = rustix::param::clock_ticks_per_second();
    let entries = fs::read_dir("/proc").context("cannot list /proc")?;
    // A process that ended since it was listed cannot be read any more.
    let read = |entry: fs::DirEntry| {
        let id = entry.file_name().to_str()?.parse().ok()?;
        let (parent, used) = parse(&fs::read_to_string(entry.path().join("stat")).ok()?)?;
        let processor = Duration::from_millis(used * 1000 / ticks);
        Some(Process {
            id,
            parent,
            processor,
        })
    };
    Ok(entries.flatten().filter_map(read).collect())
}

/// Parent, and ticks of the process and its ended children, of a line of `/proc/PID/stat`.
fn parse(line: &str) -> Option<(u32, u64)> {
    // The name before it may hold anything, even parentheses and spaces.
    let (_, fields) = line.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let parent = fields.get(1)?.parse().ok()?;
    // utime, stime, cutime, cstime: fields 14 to 17 in proc(5), where the first here is 3.
    let mut used = 0;
    for field in fields.get(11..15)? {
        used += field.parse::<u64>().ok()?;
    }
    Some((parent, used))
}

fn resident(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let kibibytes = status.lines().find_map(|line| {
        line.strip_prefix("VmRSS:")?
            .trim()
            .strip_suffix(" kB")?
            .parse()
            .ok()
    });
    kibibytes.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_stat_is_read_whatever_the_name() {
        let line = "7 (a) b (c) S 5 7 7 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0 99 0 0";
        assert_eq!(parse(line), Some((5, 100)));
        assert_eq!(parse("7 (a) S 5"), None);
    }

    #[test]
    fn this_process_has_used_memory() {
        assert!(usage(std::process::id()).unwrap().memory > 100_000);
        assert!(usage(u32::MAX).is_err());
    }
}
