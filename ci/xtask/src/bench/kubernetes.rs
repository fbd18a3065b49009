//! Bench `kubernetes`: a site of many cameras on a real API server, by `stakeout install`, helm and
//! kubectl in turns.
//!
//! What is timed is the whole program, `stakeout install --no-wait`: it looks, plans and applies,
//! and like helm and kubectl by default it waits for nothing, since with controllers off nothing
//! ever runs. Peers get what `stakeout render` prints, a site each in a namespace of its own.
//! Certificates, the lock and the receipt are on our side of the ratio only. Requests are counted in
//! the API server's audit log. No agent's program lies beside ours, so cameras are not asked what
//! they send: that is not the cluster's time.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use camino::Utf8PathBuf;
use serde_json::{Value, json};

use super::peers::{Helm, Objects, helm};
use super::ready;
use super::timed::{Run, timed};
use super::usage::processor;
use super::{Row, median};
use crate::cluster::{Cluster, Request};
use crate::process::{read, say};
use crate::repository::Repository;

/// What was promised of 1,000 cameras, 10,000 where it is said.
const FIRST_LIMIT: f64 = 0.35;
const UNCHANGED_LIMIT: f64 = 0.03;
const CHANGE_SECONDS: f64 = 0.3;
const MEMORY_MIB: f64 = 120.0;
const MANY_MEMORY_MIB: f64 = 700.0;
/// Nothing was promised beside kubectl; slower than it would be a fault.
const KUBECTL_LIMIT: f64 = 1.0;
/// Ten times as many cameras may take twice as long each: LISTs and the receipt grow with them.
const GROWTH_LIMIT: f64 = 2.0;

/// How much is measured.
struct Form {
    cameras: usize,
    /// Of 1,000 and 100 the cost per camera is told; of as many as this, too.
    many: Option<usize>,
    limits: [f64; 3],
    whole: bool,
}

const WHOLE: Form = Form {
    cameras: 1_000,
    many: None,
    limits: [FIRST_LIMIT, UNCHANGED_LIMIT, CHANGE_SECONDS],
    whole: true,
};
/// Ten thousand cameras take minutes.
const LONG: Form = Form {
    many: Some(10_000),
    ..WHOLE
};
/// What does not grow with the cameras counts more here, and the machine may be busy, which is hard
/// on whoever keeps all processors busy: with ten others that compute, 0.6 to 0.9, 0.02 to 0.03 and
/// 0.2 s were measured. Requests are held to what was promised.
const SHORT: Form = Form {
    cameras: 200,
    many: None,
    limits: [1.2, 0.1, 2.0],
    whole: false,
};

const FEW_CAMERAS: usize = 100;

/// Each is quick; one would be noise.
const UNCHANGED_RUNS: usize = 3;

impl Form {
    fn of(time: Duration) -> &'static Self {
        if time < Duration::from_mins(1) {
            &SHORT
        } else if time < Duration::from_mins(10) {
            &WHOLE
        } else {
            &LONG
        }
    }
}

/// What turns took, in seconds, and used.
#[derive(Debug, Default)]
struct Times {
    first: Vec<f64>,
    peer_first: Vec<f64>,
    unchanged: Vec<f64>,
    peer_unchanged: Vec<f64>,
    change: Vec<f64>,
    /// LISTs of the kind that was asked for most often, in one run.
    lists: usize,
    writes: usize,
    /// Writes to something else than the camera's objects, lock and receipt.
    stray: usize,
    memory: f64,
}

pub(super) fn measure(repository: &Repository, time: Duration) -> anyhow::Result<Vec<Row>> {
    let form = Form::of(time);
    let helm = helm(repository);
    let helm = match (helm, form.whole) {
        (Err(error), false) => {
            say(format_args!("skipped, since helm cannot be had: {error:#}"));
            return Ok(Vec::new());
        }
        (helm, _) => helm?,
    };
    let cluster = Cluster::start(repository, &["--no-controllers"])?;
    let bench = Bench::new(repository, &cluster)?;
    bench.make_storage()?;
    let mut times = Times::default();
    let begin = Instant::now();
    while times.first.is_empty() || begin.elapsed() < time.min(Duration::from_mins(2)) {
        let turn = times.first.len();
        ours(&bench, &format!("ours-{turn}"), form.cameras, &mut times)?;
        let name = format!("helm-{turn}");
        bench.write(&name, form.cameras, None)?;
        let objects = bench.objects(&name)?;
        let helm = Helm::new(&helm, &cluster, &name, &objects, &bench.folder)?;
        let first = bench.told(
            &format!("helm install, {} objects", objects.count()),
            || helm.run("install"),
        )?;
        times.peer_first.push(first.seconds);
        let again = bench.told("helm upgrade", || helm.run("upgrade"))?;
        times.peer_unchanged.push(again.seconds);
    }
    let mut rows = rows(form, &times);
    if form.whole {
        rows.extend(kubectl(&bench, form.cameras, &times)?);
        rows.extend(growth(&bench, form)?);
    }
    drop(bench);
    drop(cluster);
    if form.whole {
        rows.push(ready::measure(repository, form.cameras)?);
    }
    Ok(rows)
}

/// One site of ours: made, left alone, and with one camera changed.
fn ours(bench: &Bench<'_>, name: &str, cameras: usize, times: &mut Times) -> anyhow::Result<()> {
    bench.write(name, cameras, None)?;
    let first = bench.told("install", || bench.install(name, "installed"))?;
    times.first.push(first.seconds);
    let mut memory = first.memory;
    for _ in 0..UNCHANGED_RUNS {
        let mark = bench.cluster.mark()?;
        let run = bench.told("install, unchanged", || bench.install(name, "unchanged"))?;
        let asked = bench.cluster.requests_since(mark)?;
        times.lists = times.lists.max(most_lists(&asked));
        times.writes += asked.iter().filter(|one| one.writes()).count();
        times.unchanged.push(run.seconds);
        memory = memory.max(run.memory);
    }
    let changed = cameras / 2;
    let named = camera_name(changed);
    let of_camera = |name: &str| name.ends_with(&named);
    // There, back, and there again.
    for now in [Some(changed), None, Some(changed)] {
        bench.write(name, cameras, now)?;
        let mark = bench.cluster.mark()?;
        let run = bench.told("install, one changed", || bench.install(name, "installed"))?;
        let asked = bench.cluster.requests_since(mark)?;
        let written: Vec<_> = asked.iter().filter(|one| one.writes()).collect();
        ensure!(
            written.iter().any(|one| of_camera(&one.object().name)),
            "a changed camera led to no write"
        );
        let stray = written.iter().filter(|one| {
            let object = one.object();
            let kept = object.resource == "leases" || object.name == "stakeout-receipt";
            !kept && !of_camera(&object.name)
        });
        times.stray += stray.count();
        times.change.push(run.seconds);
        memory = memory.max(run.memory);
    }
    times.memory = times.memory.max(memory);
    Ok(())
}

fn most_lists(requests: &[Request]) -> usize {
    let mut lists = BTreeMap::<String, usize>::new();
    for one in requests.iter().filter(|one| one.verb == "list") {
        *lists.entry(one.object().resource).or_default() += 1;
    }
    lists.into_values().max().unwrap_or(0)
}

/// The other peer, at once and again.
fn kubectl(bench: &Bench<'_>, cameras: usize, times: &Times) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    let sorts: [(&str, &[&str], _, _); 2] = [
        (
            "server",
            &["--server-side"],
            ["first, kubectl SSA", "unchanged, kubectl SSA"],
            "kubectl apply --server-side",
        ),
        (
            "client",
            &[],
            ["first, kubectl", "unchanged, kubectl"],
            "kubectl apply",
        ),
    ];
    for (name, flags, [first, unchanged], peer) in sorts {
        bench.write(name, cameras, None)?;
        let path = bench.folder.join(format!("{name}.json"));
        bench.objects(name)?.write(&path)?;
        let apply = || {
            let mut command = bench
                .cluster
                .kubectl(&["apply", "--filename", path.as_str()]);
            timed(command.args(flags), &bench.folder)
        };
        let ours = [
            (first, &times.first, KUBECTL_LIMIT),
            (unchanged, &times.unchanged, KUBECTL_LIMIT),
        ];
        for (name, ours, limit) in ours {
            let run = bench.told(peer, apply)?;
            rows.push(Row::new(
                name,
                "s",
                median(ours.clone()),
                run.seconds,
                peer,
                limit,
            ));
        }
    }
    Ok(rows)
}

/// What a camera costs where there are more or fewer of them.
fn growth(bench: &Bench<'_>, form: &Form) -> anyhow::Result<Vec<Row>> {
    let mut costs = Vec::new();
    let mut memory = 0.0_f64;
    for cameras in [FEW_CAMERAS, form.cameras].into_iter().chain(form.many) {
        let name = format!("of-{cameras}");
        bench.write(&name, cameras, None)?;
        let first = bench.told(&name, || bench.install(&name, "installed"))?;
        let again = bench.told(&name, || bench.install(&name, "unchanged"))?;
        let thousands = cameras as f64 / 1_000.0;
        let per_thousand = |seconds: f64| seconds / thousands;
        say(format_args!(
            "{cameras} cameras: {:.2} s per 1,000 at first, {:.2} s with nothing changed",
            per_thousand(first.seconds),
            per_thousand(again.seconds)
        ));
        // Of the processor: runs that are minutes apart do not find the same machine.
        costs.push((per_thousand(first.processor), per_thousand(again.processor)));
        memory = first.memory.max(again.memory);
    }
    let mut rows = Vec::new();
    if form.many.is_some() {
        rows.push(Row::new(
            "memory, 10,000",
            "MiB, peak",
            memory,
            MANY_MEMORY_MIB,
            "what was promised",
            1.0,
        ));
    }
    if let [.., (before, before_again), (after, after_again)] = costs.as_slice() {
        let peer = "with a tenth as many";
        let unit = "s of a processor per 1,000 cameras";
        let row = |name, ours, peer_has| Row::new(name, unit, ours, peer_has, peer, GROWTH_LIMIT);
        rows.push(row("growth, first", *after, *before));
        rows.push(row("growth, unchanged", *after_again, *before_again));
    }
    Ok(rows)
}

fn rows(form: &Form, times: &Times) -> Vec<Row> {
    let [first_limit, unchanged_limit, change_seconds] = form.limits;
    let unchanged = median(times.unchanged.clone());
    let promised = "what was promised";
    vec![
        Row::new(
            "first apply",
            "s",
            median(times.first.clone()),
            median(times.peer_first.clone()),
            "helm install",
            first_limit,
        ),
        Row::new(
            "nothing changed",
            "s",
            unchanged,
            median(times.peer_unchanged.clone()),
            "helm upgrade",
            unchanged_limit,
        ),
        Row::new(
            "lists, unchanged",
            "of one kind",
            times.lists as f64,
            1.0,
            promised,
            1.0,
        ),
        Row::new(
            "writes, unchanged",
            "requests",
            times.writes as f64,
            1.0,
            "a single one",
            0.0,
        ),
        Row::new(
            "one changed",
            "s",
            median(times.change.clone()),
            unchanged + change_seconds,
            "nothing changed, and what may come on top",
            1.0,
        ),
        Row::new(
            "writes elsewhere",
            "requests, one changed",
            times.stray as f64,
            1.0,
            "a single one",
            0.0,
        ),
        Row::new(
            "memory",
            "MiB, peak",
            times.memory,
            MEMORY_MIB,
            promised,
            1.0,
        ),
    ]
}

/// A cluster, our program, and where profiles lie.
pub(super) struct Bench<'a> {
    program: Utf8PathBuf,
    pub(super) cluster: &'a Cluster,
    pub(super) folder: Utf8PathBuf,
    _temporary: tempfile::TempDir,
}

impl<'a> Bench<'a> {
    pub(super) fn new(repository: &Repository, cluster: &'a Cluster) -> anyhow::Result<Self> {
        let temporary = tempfile::tempdir().context("cannot make a temporary folder")?;
        let folder: Utf8PathBuf = temporary
            .path()
            .to_owned()
            .try_into()
            .context("a plain folder")?;
        let built = repository.program("stakeout")?;
        let program = folder.join("stakeout");
        fs::copy(&built, &program).with_context(|| format!("cannot copy `{built}`"))?;
        let images = folder.join("images");
        fs::create_dir(&images).with_context(|| format!("cannot make `{images}`"))?;
        let path = images.join("release.json");
        fs::write(&path, release().to_string())
            .with_context(|| format!("cannot write `{path}`"))?;
        Ok(Self {
            program,
            cluster,
            folder,
            _temporary: temporary,
        })
    }

    /// A class, and a volume for each claim of it, where nobody makes volumes.
    pub(super) fn make_storage(&self) -> anyhow::Result<()> {
        let class = json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
            "metadata": {
                "name": "bench",
                "annotations": { "storageclass.kubernetes.io/is-default-class": "true" },
            },
            "provisioner": "kubernetes.io/no-provisioner",
        });
        let volume = json!({
            "apiVersion": "v1", "kind": "PersistentVolume",
            "metadata": { "name": "bench" },
            "spec": {
                "capacity": { "storage": "1Pi" }, "accessModes": ["ReadWriteOnce"],
                "storageClassName": "bench", "hostPath": { "path": "/nowhere" },
            },
        });
        let path = self.folder.join("storage.json");
        fs::write(&path, format!("{class}\n{volume}\n"))
            .with_context(|| format!("cannot write `{path}`"))?;
        let arguments = ["apply", "--filename", path.as_str()];
        read(&mut self.cluster.kubectl(&arguments)).map(drop)
    }

    /// Writes the profile of site `name`; the address of one camera may be another than before.
    pub(super) fn write(
        &self,
        name: &str,
        cameras: usize,
        changed: Option<usize>,
    ) -> anyhow::Result<()> {
        let folder = self.folder.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make `{folder}`"))?;
        let profile = format!(
            "version: 1\nsite: {name}\ntarget: kubernetes\n\
             storage: {{ provider: filesystem, quota: 1TiB }}\ncameras: [ {{ from: cameras.csv }} ]\n"
        );
        let line = |n: usize| {
            let path = if changed == Some(n) { "other" } else { "main" };
            let camera = camera_name(n);
            let [high, middle, low] = [n / 62_500, n / 250 % 250, n % 250 + 1];
            format!("{camera},rtsp://10.{high}.{middle}.{low}:554/{path},viewer,{camera}")
        };
        let mut list = vec!["name,rtsp,user,password".to_owned()];
        list.extend((0..cameras).map(line));
        for (file, text) in [("stakeout.yaml", profile), ("cameras.csv", list.join("\n"))] {
            let path = folder.join(file);
            fs::write(&path, text).with_context(|| format!("cannot write `{path}`"))?;
        }
        Ok(())
    }

    pub(super) fn command(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = self.cluster.command(self.program.as_str());
        command
            .args(arguments)
            .args([
                "--profile",
                self.folder.join(name).join("stakeout.yaml").as_str(),
            ])
            .args(["--images", self.folder.join("images").as_str()])
            // Nothing is pulled: no node runs anything.
            .args(["--registry", "registry.invalid"]);
        command
    }

    fn install(&self, name: &str, result: &str) -> anyhow::Result<Run> {
        let mut command =
            self.command(name, &["install", "--no-wait", "--yes", "--output", "json"]);
        let run = timed(&mut command, &self.folder)?;
        let told: Value = serde_json::from_str(&run.output)
            .context("`stakeout install` wrote no JSON at its end")?;
        ensure!(
            told["result"] == result,
            "`stakeout install` of `{name}` says {}, not `{result}`",
            told["result"]
        );
        Ok(run)
    }

    fn objects(&self, name: &str) -> anyhow::Result<Objects> {
        let mut command = self.command(name, &["render", "--output", "json"]);
        Objects::read(&timed(&mut command, &self.folder)?.output)
    }

    /// Says what a run took, and what it made the API server do.
    fn told(&self, what: &str, run: impl FnOnce() -> anyhow::Result<Run>) -> anyhow::Result<Run> {
        let server = self.cluster.id_of("apiserver")?;
        let before = processor(server)?;
        let run = run()?;
        let after = processor(server)?.saturating_sub(before);
        say(format_args!(
            "{what}: {:.2} s; processor {:.2} s, API server's {:.2} s; {:.0} MiB",
            run.seconds,
            run.processor,
            after.as_secs_f64(),
            run.memory
        ));
        Ok(run)
    }
}

fn camera_name(n: usize) -> String {
    format!("camera-{n:05}")
}

/// A release whose images nobody needs.
fn release() -> Value {
    let image = |name: &str, digit: &str| {
        let digest = format!("sha256:{}", digit.repeat(64));
        json!({ "repository": format!("stakeout/{name}"), "index": digest, "platforms": {} })
    };
    json!({
        "version": "0.0.0", "revision": "bench",
        "agent": image("agent", "a"), "vault": image("vault", "b"),
    })
}
