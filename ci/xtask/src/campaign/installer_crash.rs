//! `installer-crash`: the suite that kills `stakeout` after its effects; the long form after each of
//! them. It leaves nothing to chance, so the seed changes nothing.

use super::{Length, Random};
use crate::process::{cargo, run};
use crate::repository::Repository;

pub(super) fn perform(
    repository: &Repository,
    length: Length,
    _: &mut Random,
) -> anyhow::Result<()> {
    let mut command = cargo();
    command
        .args(["test", "--locked", "-p", "e2e", "--test", "crash"])
        .args(["--", "--nocapture", "--test-threads=1"])
        .current_dir(&repository.root);
    if length == Length::Long {
        command.env("STAKEOUT_LONG", "1");
    }
    run(&mut command)
}
