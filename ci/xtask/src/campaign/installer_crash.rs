//! `installer-crash`: the suite that kills `stakeout` after each step, with more of everything.

use std::process::Command;

use super::{Length, Random};
use crate::process::run;
use crate::repository::Repository;

pub(super) fn perform(
    repository: &Repository,
    length: Length,
    random: &mut Random,
) -> anyhow::Result<()> {
    let mut command = Command::new("cargo");
    command
        .args(["test", "--locked", "-p", "e2e", "--test", "crash"])
        .args(["--", "--nocapture", "--test-threads=1"])
        .env("STAKEOUT_SEED", random.next().to_string())
        .current_dir(&repository.root);
    if length == Length::Long {
        command.env("STAKEOUT_LONG", "1");
    }
    run(&mut command)
}
