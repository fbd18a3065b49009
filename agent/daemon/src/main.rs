//! `stakeout-agent`: records cameras and takes the recordings to a vault.
//!
//! Responsibility: puts the agent's crates together, one task per camera, and runs them until a
//! signal. Invariant: a camera, the disk or the vault may fail in any way without stopping the
//! others. Start at `run`, then `camera`.

mod camera;
mod decoder;
mod events;
mod logging;
mod motion;
mod run;
mod signals;
mod site;
mod status;
mod tape;
mod test_camera;

use std::io::{Read, Write};
use std::process::ExitCode;

use agent_api::ProbeRequest;
use anyhow::Context;
use camino::Utf8PathBuf;
use clap::{Parser, Subcommand};

/// A request is a URL and a login; more is a mistake.
const LARGEST_REQUEST: u64 = 64 * 1024;

#[derive(Parser)]
#[command(
    name = "stakeout-agent",
    version,
    about = "Records cameras, proves it, and takes the footage to a vault"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Record the cameras of a configuration file.
    Run {
        #[arg(long)]
        config: Utf8PathBuf,
    },
    /// Ask a camera what it offers: request as JSON on standard input, report on standard output.
    Probe,
    /// Be a camera: serve an MP4 file or the built-in scene over RTSP.
    TestCamera(test_camera::Arguments),
    /// Decode key frames for motion; started by `run`, talks over standard input and output.
    #[command(hide = true)]
    Decode,
    /// Finish recordings that a crash left open in a camera's directory.
    Repair { directory: Utf8PathBuf },
    /// Print the version.
    Version,
}

/// In what we ship: musl's own takes one lock for all threads.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    logging::start();
    match perform(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Run { config } => {
            signals::die_with_supervisor()?;
            block_on(run::run(&config))
        }
        Command::Probe => block_on(probe()),
        Command::TestCamera(arguments) => {
            signals::die_with_supervisor()?;
            block_on(test_camera::serve(arguments))
        }
        Command::Decode => decoder::serve(),
        Command::Repair { directory } => {
            let done = agent_store::repair(&directory)
                .with_context(|| format!("cannot repair `{directory}`"))?;
            let mut out = std::io::stdout().lock();
            for repair in done {
                writeln!(out, "{repair}")?;
            }
            Ok(())
        }
        Command::Version => {
            writeln!(
                std::io::stdout(),
                "stakeout-agent {}",
                env!("CARGO_PKG_VERSION")
            )?;
            Ok(())
        }
    }
}

/// One thread for the network serves every camera: eight 1080p streams take 8 % of a core.
fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let done = runtime.block_on(work);
    // A disk that hangs does not keep the process from ending.
    runtime.shutdown_background();
    done
}

async fn probe() -> anyhow::Result<()> {
    let mut text = String::new();
    std::io::stdin()
        .take(LARGEST_REQUEST)
        .read_to_string(&mut text)
        .context("cannot read the probe request from standard input")?;
    // serde's own message could repeat a value of the request, and so a password.
    let request: ProbeRequest = serde_json::from_str(&text)
        .map_err(|e| anyhow::anyhow!("the probe request is not valid at column {}", e.column()))?;
    let report = agent_capture::probe(request).await;
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, &report).context("cannot write the report")?;
    writeln!(out)?;
    Ok(())
}
