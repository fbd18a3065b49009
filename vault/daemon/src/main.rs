//! `stakeout-vault`: takes recordings in, keeps them, tells of them.
//!
//! Invariant: it does not start with a default, empty or readable secret. Start at [`run::run`].

mod check;
mod health;
mod integrations;
mod judge;
mod pipe;
mod public;
mod rebuild;
mod run;
mod secret;
mod tls;

use std::net::SocketAddr;
use std::process::ExitCode;

use camino::Utf8PathBuf;
use clap::{Parser, Subcommand};

/// Takes recordings in, keeps them, and tells of them.
#[derive(Debug, Parser)]
#[command(name = "stakeout-vault", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until told to stop.
    Run {
        #[arg(long)]
        config: Utf8PathBuf,
    },
    /// Compare catalogue and objects; exit 4 when they differ.
    Check {
        #[arg(long)]
        config: Utf8PathBuf,
    },
    /// Make a damaged catalogue anew from the recordings; the old one is kept beside it.
    Rebuild {
        #[arg(long)]
        config: Utf8PathBuf,
    },
    /// Ask the vault that runs with this configuration how it is; exit 1 when it is not well.
    Health {
        #[arg(long)]
        config: Utf8PathBuf,
    },
    /// Join standard input and output to a TCP port of this machine.
    Pipe {
        /// Loopback address and port.
        address: SocketAddr,
    },
    /// Try to connect to HOST:PORT: exit 0 where somebody takes the connection, 3 where the name has no
    /// address, else 1.
    Reach { address: String },
    /// Print the version.
    Version,
}

/// A configuration that cannot be used.
const USAGE: u8 = 2;
const CHECK_FAILED: u8 = 4;

/// In what we ship: musl's own takes one lock for all threads.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the program's rim"
)]
fn main() -> ExitCode {
    rustls::crypto::ring::default_provider()
        .install_default()
        .expect("invariant: no other provider was installed before");
    start_log();
    let command = Arguments::parse().command;
    // A container's engine knows two answers.
    let asked_for_health = matches!(command, Command::Health { .. });
    let result = match command {
        Command::Run { config } => run::run(&config).map(|()| ExitCode::SUCCESS),
        Command::Check { config } => check::check(&config).map(|report| {
            println!("{report}");
            if report.sound() {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(CHECK_FAILED)
            }
        }),
        Command::Rebuild { config } => rebuild::rebuild(&config).map(|recordings| {
            println!("{recordings} recordings");
            ExitCode::SUCCESS
        }),
        Command::Health { config } => health::health(&config).map(|()| ExitCode::SUCCESS),
        Command::Pipe { address } => pipe::pipe(address).map(|()| ExitCode::SUCCESS),
        Command::Reach { address } => agent_reach::try_to(&address)
            .map(|()| ExitCode::SUCCESS)
            .map_err(Into::into),
        Command::Version => {
            println!("stakeout-vault {}", env!("CARGO_PKG_VERSION"));
            Ok(ExitCode::SUCCESS)
        }
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        if asked_for_health {
            return ExitCode::FAILURE;
        }
        if let Some(unreached) = error.downcast_ref::<agent_reach::Unreached>() {
            return ExitCode::from(unreached.exit());
        }
        let usage = error.is::<vault_api::ConfigError>()
            || error.is::<secret::SecretError>()
            || error.is::<judge::Fault>();
        ExitCode::from(if usage { USAGE } else { 1 })
    })
}

fn start_log() {
    let level = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(level);
    if std::env::var("STAKEOUT_LOG").is_ok_and(|form| form == "json") {
        log.json().init();
    } else {
        log.with_ansi(false).init();
    }
}
