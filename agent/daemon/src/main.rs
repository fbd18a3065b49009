//! `stakeout-agent`: records cameras and takes the recordings to a vault.
//!
//! Responsibility: puts the agent's crates together, one task per camera, and runs them until a
//! signal. Invariant: a camera, the disk or the vault may fail in any way without stopping the
//! others. Start at `run`, then `camera`.

mod camera;
mod decoder;
mod events;
mod files;
mod health;
mod logging;
mod motion;
mod pipe;
mod run;
mod secrets;
mod signals;
mod site;
mod status;
mod tape;
mod test_camera;

use std::io::{Read, Write};
use std::net::SocketAddr;
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
    /// Ask the agent of a configuration file whether it is well: exit 0, or 1 and one line why not.
    Health(HealthArguments),
    /// Join standard input and output to a TCP connection to a loopback address.
    Pipe { address: SocketAddr },
    /// Try to connect to HOST:PORT: exit 0 where somebody takes the connection, 3 where the name has no
    /// address, else 1.
    Reach { address: String },
    /// Decode key frames for motion; started by `run`, talks over standard input and output.
    #[command(hide = true)]
    Decode,
    /// Finish recordings that a crash left open in a camera's directory.
    Repair { directory: Utf8PathBuf },
    /// Change a site's folder, as requests on standard input say; used by the installer.
    #[command(hide = true)]
    Files { root: Utf8PathBuf },
    /// Print the version.
    Version,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct HealthArguments {
    #[arg(long)]
    config: Option<Utf8PathBuf>,
    /// Only whether something listens there.
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,
}

/// In what we ship: musl's own takes one lock for all threads.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    if let Command::Health(arguments) = command {
        return health(arguments);
    }
    logging::start();
    match perform(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            let unreached = error.downcast_ref::<agent_reach::Unreached>();
            unreached.map_or(ExitCode::FAILURE, |one| ExitCode::from(one.exit()))
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
        Command::Health(arguments) => block_on(check(arguments)),
        Command::Pipe { address } => pipe::join(address),
        Command::Reach { address } => Ok(agent_reach::try_to(&address)?),
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
        Command::Files { root } => files::serve(&root),
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

/// An engine keeps what a health check prints and shows it to people: one plain line.
fn health(arguments: HealthArguments) -> ExitCode {
    match block_on(check(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let line = format!("{error:#}").replace('\n', " ");
            // Without a reader the exit code says enough.
            drop(writeln!(std::io::stdout(), "{line}"));
            ExitCode::FAILURE
        }
    }
}

async fn check(arguments: HealthArguments) -> anyhow::Result<()> {
    match (arguments.config, arguments.address) {
        (Some(config), _) => health::agent(&config).await,
        (None, Some(address)) => health::listener(&address).await,
        (None, None) => anyhow::bail!("neither a configuration nor an address is given"),
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
