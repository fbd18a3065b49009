//! `stakeout`: one file describes a camera site, one command makes it so.
//!
//! Invariant: this crate decides nothing about a site; it parses, asks, calls and prints.
//! Start at [`command`], one file per verb.

mod access;
mod args;
mod cluster;
mod command;
mod context;
mod error;
mod eyes;
mod images;
mod output;
mod peers;
mod probe;
mod progress;
mod site;
mod site_status;
mod target;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::args::Arguments;
use crate::context::Context;

/// In what we ship: musl's own takes one lock for all threads.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    rustls::crypto::ring::default_provider()
        .install_default()
        .expect("invariant: no other provider was installed before");
    // Requests that fail are told by those who asked, in words of their own.
    let filter = EnvFilter::try_from_env("STAKEOUT_LOG")
        .unwrap_or_else(|_| EnvFilter::new("error,kube_client=off"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let arguments = Arguments::parse();
    let context = Context::new(&arguments.options);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("invariant: the system gives a process its event queue");
    let result = runtime.block_on(command::run(arguments.command, &context));
    // A probe's thread that still reads must not hold the terminal.
    runtime.shutdown_background();
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            context.printer.error(&error);
            error.exit.into()
        }
    }
}
