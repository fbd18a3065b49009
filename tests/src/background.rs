//! Runs in the background, and what happens to them and beside them.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

/// A run in the background, with what it has said so far in a file.
#[derive(Debug)]
pub struct Run {
    child: Child,
    said: tempfile::NamedTempFile,
}

impl Run {
    pub fn start(mut command: Command) -> Self {
        let said = tempfile::NamedTempFile::new().expect("a file in /tmp");
        let out = said.reopen().expect("a file in /tmp");
        let err = out.try_clone().expect("a file in /tmp");
        let child = command
            .stdout(out)
            .stderr(err)
            .spawn()
            .expect("it can be started");
        Self { child, said }
    }

    pub fn said(&self) -> String {
        fs::read_to_string(self.said.path()).expect("a file in /tmp")
    }

    #[track_caller]
    pub fn says(&self, words: &str, seconds: u64) {
        let deadline = Duration::from_secs(seconds);
        let begin = Instant::now();
        while !self.said().contains(words) {
            assert!(begin.elapsed() < deadline, "not `{words}`: {}", self.said());
            thread::park_timeout(Duration::from_millis(50));
        }
    }

    /// Its exit code and everything that it said.
    pub fn end(mut self) -> (Option<i32>, String) {
        let status = self.child.wait().expect("it was started");
        (status.code(), self.said())
    }

    /// Asks it to stop, as Ctrl-C does.
    #[track_caller]
    pub fn interrupt(self) -> String {
        assert!(crate::send(self.child.id(), Signal::INT));
        let (code, said) = self.end();
        assert_eq!(code, Some(130), "{said}");
        said
    }
}

/// The same command as on another machine: with its own name, and none of this one's locks.
pub fn elsewhere(command: &Command) -> Command {
    const SCRIPT: &str = "mkdir -p /run/stakeout && mount -t tmpfs none /run/stakeout && \
                          hostname elsewhere && exec \"$@\"";
    let mut other = Command::new("unshare");
    other
        .args(["--mount", "--uts", "sh", "-c", SCRIPT, "sh"])
        .arg(command.get_program())
        .args(command.get_args())
        .envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .stdin(Stdio::null());
    other
}

/// A process that is stopped; it goes on when this is dropped.
#[derive(Debug)]
pub struct Stopped(u32);

impl Stopped {
    pub fn new(id: u32) -> Self {
        assert!(crate::send(id, Signal::STOP));
        Self(id)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        crate::send(self.0, Signal::CONT);
    }
}
