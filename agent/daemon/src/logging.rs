//! Logs on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// `STAKEOUT_LOG=json` writes JSON lines; `RUST_LOG` chooses levels (default `info`).
pub(crate) fn start() {
    // retina notes every odd packet; what matters of it, `agent-capture` says itself.
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,retina=error"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if std::env::var("STAKEOUT_LOG").is_ok_and(|kind| kind == "json") {
        builder.json().init();
    } else {
        builder
            .with_target(false)
            .with_ansi(std::io::stderr().is_terminal())
            .init();
    }
}
