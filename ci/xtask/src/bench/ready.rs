//! How soon `stakeout install` knows that everything runs, on nodes of kwok, which say of each pod
//! that it does.
//!
//! When the cluster said so is read in its audit log, to the microsecond: conditions have whole
//! seconds.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use anyhow::{Context, ensure};
use jiff::Timestamp;
use serde_json::Value;

use super::Row;
use super::kubernetes::Bench;
use crate::cluster::Cluster;
use crate::process::say;
use crate::repository::Repository;

/// What was promised.
const SECONDS: f64 = 1.0;

const SITE: &str = "ready";

/// Each holds a thousand pods.
const NODES: usize = 3;

pub(super) fn measure(repository: &Repository, cameras: usize) -> anyhow::Result<Row> {
    let nodes = NODES.to_string();
    let cluster = Cluster::start(repository, &["--control-plane-only", "--kwok", &nodes])?;
    let bench = Bench::new(repository, &cluster)?;
    bench.make_storage()?;
    bench.write(SITE, cameras, None)?;
    let mark = cluster.mark()?;
    let known = install(&bench)?;
    let asked = cluster.all_requests_since(mark)?;
    let said = asked.iter().filter(|one| {
        let object = one.object();
        object.resource == "pods" && object.subresource == "status" && one.writes()
    });
    let before = said.map(|one| one.answered).filter(|at| *at <= known);
    let ready = before.max().context("no pod was said to be ready")?;
    let seconds = known.duration_since(ready).as_secs_f64();
    say(format_args!(
        "{cameras} cameras: known {seconds:.2} s after the last pod was ready"
    ));
    Ok(Row::new(
        "ready after the last pod",
        "s",
        seconds,
        SECONDS,
        "what was promised",
        1.0,
    ))
}

/// When it said that everything runs.
fn install(bench: &Bench<'_>) -> anyhow::Result<Timestamp> {
    let mut command = bench.command(SITE, &["install", "--no-verify", "--yes"]);
    let mut child = command
        .args(["--output", "jsonl"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start `stakeout`")?;
    let output = child.stdout.take().context("its output was asked for")?;
    let (mut known, mut last) = (None, String::new());
    for line in BufReader::new(output).lines() {
        last = line.context("cannot read what `stakeout` says")?;
        let event: Value = serde_json::from_str(&last).unwrap_or_default();
        if event["event"] == "applied" {
            known = Some(Timestamp::now());
        }
    }
    let status = child.wait().context("cannot wait for `stakeout`")?;
    ensure!(
        status.success(),
        "`stakeout install` failed: {status}: {last}"
    );
    known.context("`stakeout install` does not say when it was done")
}
