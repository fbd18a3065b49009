//! `bench`: ours beside another's program in the same minute, as ratios with limits.

mod compose;
mod docker;
mod kubernetes;
mod peers;
mod ready;
mod record;
mod timed;
mod usage;

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;

use crate::process::tell;
use crate::repository::Repository;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Which one: `record`, `docker` or `kubernetes`.
    ///
    /// `record`: one stream into files, beside ffmpeg. `docker`: a site on an engine, beside Docker
    /// Compose. `kubernetes`: a site of 1,000 cameras at a real API server, beside helm and kubectl,
    /// and how soon it is known that all pods run; needs root, and Go the first time. It takes some
    /// ten minutes; with --seconds 600 or more 10,000 cameras come on top, with less than 60 it is
    /// what CI runs: 200 cameras, helm only.
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
    fn new(
        name: &'static str,
        unit: &'static str,
        ours: f64,
        peer: f64,
        peer_name: &'static str,
        limit: f64,
    ) -> Self {
        Self {
            name,
            unit,
            ours,
            peer,
            peer_name,
            ratio: ours / peer,
            limit,
        }
    }

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

const BENCHES: [Bench; 3] = [
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
    Bench {
        name: "kubernetes",
        // One turn.
        short: Duration::from_secs(1),
        measure: kubernetes::measure,
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

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ours: f64) -> Row {
        Row::new("a", "s", ours, 1.0, "b", 0.5)
    }

    #[test]
    fn a_median_is_in_the_middle_and_none_fits_no_limit() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn a_ratio_past_its_limit_or_without_a_number_does_not_fit() {
        assert!(row(0.5).fits());
        assert!(!row(0.51).fits());
        assert!(!row(f64::NAN).fits());
    }
}
