//! `bench`: ours beside another's program in the same minute, as ratios with limits.

mod compose;
mod docker;
mod record;
mod usage;

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;

use crate::process::tell;
use crate::repository::Repository;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Which one: `record` or `docker`.
    name: String,
    /// Where the rows go, as a JSON array.
    #[arg(long)]
    json: Utf8PathBuf,
    /// How long to measure.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

/// One measured pair. Absolute numbers move with the machine; the ratio is what is judged.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Row {
    name: &'static str,
    unit: &'static str,
    ours: f64,
    peer: f64,
    peer_name: &'static str,
    /// `ours / peer`; less is better.
    ratio: f64,
    limit: f64,
}

impl Row {
    fn fits(&self) -> bool {
        // A ratio that is not a number fits no limit.
        self.ratio <= self.limit
    }
}

struct Bench {
    name: &'static str,
    /// Long enough to be told from noise, short enough for every change.
    short: Duration,
    measure: fn(&Repository, Duration) -> anyhow::Result<Vec<Row>>,
}

const BENCHES: [Bench; 2] = [
    Bench {
        name: "record",
        short: Duration::from_secs(30),
        measure: record::measure,
    },
    Bench {
        name: "docker",
        // One turn.
        short: Duration::from_secs(1),
        measure: docker::measure,
    },
];

pub(crate) fn run(repository: &Repository, arguments: &Arguments) -> anyhow::Result<()> {
    let Some(bench) = BENCHES.iter().find(|bench| bench.name == arguments.name) else {
        let names: Vec<_> = BENCHES.iter().map(|bench| bench.name).collect();
        bail!(
            "there is no bench `{}`; there are: {}",
            arguments.name,
            names.join(", ")
        );
    };
    perform(
        repository,
        bench,
        Duration::from_secs(arguments.seconds),
        &arguments.json,
    )
}

/// Every bench in its short form.
pub(crate) fn run_short(repository: &Repository) -> anyhow::Result<()> {
    for bench in &BENCHES {
        let json = repository
            .target()
            .join(format!("bench-{}.json", bench.name));
        perform(repository, bench, bench.short, &json)?;
    }
    Ok(())
}

fn perform(
    repository: &Repository,
    bench: &Bench,
    time: Duration,
    json: &Utf8Path,
) -> anyhow::Result<()> {
    let rows = (bench.measure)(repository, time)
        .with_context(|| format!("bench `{}` could not measure", bench.name))?;
    let text = serde_json::to_string_pretty(&rows).context("cannot print rows")? + "\n";
    std::fs::write(json, text).with_context(|| format!("cannot write `{json}`"))?;
    let (name, ours, peer, ratio, limit) = ("name", "ours", "peer", "ratio", "limit");
    tell(format_args!(
        "{name:<20} {ours:>12} {peer:>12} {ratio:>7} {limit:>6}"
    ));
    for row in &rows {
        let Row {
            name,
            unit,
            ours,
            peer,
            peer_name,
            ratio,
            limit,
        } = row;
        tell(format_args!(
            "{name:<20} {ours:>12.4} {peer:>12.4} {ratio:>7.3} {limit:>6}  {unit}; peer: {peer_name}"
        ));
    }
    let past: Vec<_> = rows
        .iter()
        .filter(|row| !row.fits())
        .map(|row| row.name)
        .collect();
    ensure!(
        past.is_empty(),
        "bench `{}` is past its limit: {}",
        bench.name,
        past.join(", ")
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ratio: f64) -> Row {
        Row {
            name: "a",
            unit: "s",
            ours: 1.0,
            peer: 1.0,
            peer_name: "b",
            ratio,
            limit: 0.5,
        }
    }

    #[test]
    fn a_ratio_past_its_limit_or_without_a_number_does_not_fit() {
        assert!(row(0.5).fits());
        assert!(!row(0.51).fits());
        assert!(!row(f64::NAN).fits());
    }
}
