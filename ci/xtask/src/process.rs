//! Starting programs, waiting for them, and telling the person what goes on.

use std::fmt::Arguments;
use std::io::Write as _;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// One line of progress. A person who closed the terminal does not stop the work.
pub(crate) fn say(line: Arguments<'_>) {
    drop(writeln!(std::io::stderr().lock(), "{line}"));
}

/// One line of a result.
pub(crate) fn tell(line: Arguments<'_>) {
    drop(writeln!(std::io::stdout().lock(), "{line}"));
}

/// A cargo that does not know that cargo started us. Build scripts (ring's) look at what `cargo
/// run` says about our own package, and would build again whenever somebody else calls cargo.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new("cargo");
    let about_us = |name: &str| {
        let prefixes = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"];
        prefixes.iter().any(|prefix| name.starts_with(prefix)) || name == "CARGO_CRATE_NAME"
    };
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(about_us) {
            command.env_remove(name);
        }
    }
    command
}

/// Runs `command` with our own streams until it ends; fails when it does.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let shown = show(command);
    let status = command
        .status()
        .with_context(|| format!("cannot start `{shown}`"))?;
    ensure!(status.success(), "`{shown}` failed: {status}");
    Ok(())
}

/// Standard output of `command`; its errors go to ours.
pub(crate) fn read(command: &mut Command) -> anyhow::Result<String> {
    let shown = show(command);
    let output = command
        .stderr(std::process::Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{shown}`"))?;
    ensure!(
        output.status.success(),
        "`{shown}` failed: {}",
        output.status
    );
    String::from_utf8(output.stdout).with_context(|| format!("`{shown}` wrote no UTF-8"))
}

/// The command as a person would type it.
pub(crate) fn show(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}

/// Waits until `condition` holds; fails naming `what` when `limit` has passed.
pub(crate) fn wait_until(
    limit: Duration,
    what: &str,
    mut condition: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let end = Instant::now() + limit;
    while !condition()? {
        if Instant::now() > end {
            bail!("waited {limit:?} in vain for: {what}");
        }
        pause(LOOK);
    }
    Ok(())
}

/// Lets time pass while something else is measured.
pub(crate) fn pause(time: Duration) {
    let end = Instant::now() + time;
    while let Some(left) = end
        .checked_duration_since(Instant::now())
        .filter(|t| !t.is_zero())
    {
        // May wake early; the loop goes on.
        std::thread::park_timeout(left);
    }
}

/// A program that must not outlive us.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    name: String,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let name = show(command);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start `{name}`"))?;
        Ok(Self { child, name })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Fails when the program has ended by itself.
    pub(crate) fn ensure_alive(&mut self) -> anyhow::Result<()> {
        match self
            .child
            .try_wait()
            .with_context(|| format!("cannot wait for `{}`", self.name))?
        {
            None => Ok(()),
            Some(status) => bail!("`{}` ended: {status}", self.name),
        }
    }

    /// SIGKILL, and the wait for its end.
    pub(crate) fn kill(&mut self) -> anyhow::Result<ExitStatus> {
        self.child
            .kill()
            .with_context(|| format!("cannot kill `{}`", self.name))?;
        self.child
            .wait()
            .with_context(|| format!("cannot wait for `{}`", self.name))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to do.
        if let Ok(None) = self.child.try_wait() {
            drop(self.kill());
        }
    }
}
