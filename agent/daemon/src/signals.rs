//! When to end.

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

/// Under a supervisor that was killed an agent would record on, twice after a restart.
pub(crate) fn die_with_supervisor() -> anyhow::Result<()> {
    if std::env::var_os("STAKEOUT_SUPERVISED").is_none() {
        return Ok(());
    }
    let parent = rustix::process::getppid();
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))
        .context("cannot ask to end with the supervisor")?;
    // It may have ended before the kernel was asked; then there is a new parent.
    if rustix::process::getppid() != parent {
        anyhow::bail!("the supervisor has ended");
    }
    Ok(())
}

/// Resolves at SIGTERM or SIGINT.
pub(crate) async fn ended() -> anyhow::Result<()> {
    let mut term = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut int = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    Ok(())
}
