//! The chores of this repository: `cargo xtask COMMAND`, one file or folder per command.
//!
//! Invariant: what a check finds is decided by functions of text; this crate's rim reads the
//! repository, starts programs and prints. It knows nothing that a user of stakeout needs.
//! Start at `ci`: it calls everything else.

mod bench;
mod campaign;
mod ci;
mod cluster;
mod dist;
mod engine;
mod generate;
mod image;
mod part;
mod process;
mod prune;
mod recorder;
mod repository;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::repository::Repository;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Chores of the stakeout repository")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Every check and test, in order, up to the first failure.
    Ci(ci::Arguments),
    /// The rules of this repository that no compiler knows.
    Tidy,
    /// Write the files that are made from code.
    Gen(generate::Arguments),
    /// Make a release: archives, checksums, signature, and the script that installs it.
    Dist(dist::Arguments),
    /// Make the images that we ship.
    #[command(subcommand)]
    Image(image::Command),
    /// Measure ours beside another's program, as ratios with limits.
    Bench(bench::Arguments),
    /// Look for failures with random input, from a printed seed.
    Campaign(campaign::Arguments),
}

fn main() -> ExitCode {
    match perform(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            process::say(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn perform(command: Command) -> anyhow::Result<()> {
    let repository = Repository::find()?;
    match command {
        Command::Ci(arguments) => ci::run(&repository, &arguments),
        Command::Tidy => tidy::run(&repository),
        Command::Gen(arguments) => generate::run(&repository, &arguments),
        Command::Dist(arguments) => dist::run(&repository, &arguments),
        Command::Image(command) => image::run(&repository, &command),
        Command::Bench(arguments) => bench::run(&repository, &arguments),
        Command::Campaign(arguments) => campaign::run(&repository, &arguments),
    }
}
