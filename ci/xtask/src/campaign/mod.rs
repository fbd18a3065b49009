//! `campaign`: random input or random faults, for as long as one has time. Each run prints the
//! seed that it can be repeated with.

mod agent_kill;
mod installer_crash;
mod profile_fuzz;
mod random;
mod reproducible;

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};

use self::random::Random;
use crate::process::say;
use crate::repository::Repository;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Which one: `profile-fuzz`, `agent-kill`, `reproducible` or `installer-crash`.
    name: String,
    /// Half an hour or more instead of a minute.
    #[arg(long)]
    long: bool,
    /// Repeat the run that printed this.
    #[arg(long)]
    seed: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    Short,
    Long,
}

struct Campaign {
    name: &'static str,
    /// `ci` runs its short form; the others are there in a step of their own.
    in_ci: bool,
    perform: fn(&Repository, Length, &mut Random) -> anyhow::Result<()>,
}

const CAMPAIGNS: [Campaign; 4] = [
    Campaign {
        name: "profile-fuzz",
        in_ci: true,
        perform: profile_fuzz::perform,
    },
    Campaign {
        name: "agent-kill",
        in_ci: true,
        perform: agent_kill::perform,
    },
    Campaign {
        name: "reproducible",
        in_ci: true,
        perform: reproducible::perform,
    },
    // The step `e2e-crash` is its short form.
    Campaign {
        name: "installer-crash",
        in_ci: false,
        perform: installer_crash::perform,
    },
];

pub(crate) fn run(repository: &Repository, arguments: &Arguments) -> anyhow::Result<()> {
    let Some(campaign) = CAMPAIGNS
        .iter()
        .find(|campaign| campaign.name == arguments.name)
    else {
        let names: Vec<_> = CAMPAIGNS.iter().map(|campaign| campaign.name).collect();
        bail!(
            "there is no campaign `{}`; there are: {}",
            arguments.name,
            names.join(", ")
        );
    };
    let length = if arguments.long {
        Length::Long
    } else {
        Length::Short
    };
    start(repository, campaign, length, arguments.seed)
}

/// The short form of every campaign that has no step of its own.
pub(crate) fn run_short(repository: &Repository) -> anyhow::Result<()> {
    for campaign in CAMPAIGNS.iter().filter(|campaign| campaign.in_ci) {
        start(repository, campaign, Length::Short, None)?;
    }
    Ok(())
}

fn start(
    repository: &Repository,
    campaign: &Campaign,
    length: Length,
    seed: Option<u64>,
) -> anyhow::Result<()> {
    let name = campaign.name;
    let seed = match seed {
        Some(seed) => seed,
        None => fresh_seed()?,
    };
    say(format_args!("campaign {name}: seed {seed}"));
    (campaign.perform)(repository, length, &mut Random::new(seed))
        .with_context(|| format!("campaign `{name}` with `--seed {seed}` found something"))
}

fn fresh_seed() -> anyhow::Result<u64> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock is before 1970")?;
    // Microseconds: different for every run, short enough to type.
    u64::try_from(now.as_micros()).context("the clock is too far ahead")
}
