//! `ci`: every check and test, in order, up to the first failure.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use camino::{Utf8Path, Utf8PathBuf};

use crate::process::{cargo, run as run_program, say};
use crate::repository::Repository;
use crate::{bench, campaign, generate, prune, tidy};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Run this step only; may be given again. `e2e` means every end-to-end suite.
    #[arg(long, value_name = "STEP")]
    only: Vec<String>,
    /// Leave this step out; may be given again.
    #[arg(long, value_name = "STEP")]
    skip: Vec<String>,
    /// Print the steps and run none.
    #[arg(long)]
    list: bool,
}

/// Variables that would make our programs look at somebody's real site.
const FOREIGN: [&str; 2] = ["STAKEOUT_PROFILE", "STAKEOUT_DATA_DIR"];

/// The suite that has a step of its own, early: it is quick and says most.
const GOLDEN: &str = "golden";

/// What Debian has of what the tests need.
const PARTS: &str = "parts";

struct Step {
    name: String,
    action: Action,
}

enum Action {
    /// `cargo` and its arguments, separated by spaces.
    Cargo(String),
    /// The script, once it is there.
    Script(&'static str),
    Tidy,
    Gen,
    Bench,
    Campaign,
}

pub(crate) fn run(repository: &Repository, arguments: &Arguments) -> anyhow::Result<()> {
    let steps = choose(
        steps(&suites(&repository.root)?),
        &arguments.only,
        &arguments.skip,
    )?;
    if arguments.list {
        for step in &steps {
            say(format_args!("{}", step.name));
        }
        return Ok(());
    }
    prune::prune(&repository.target(), prune::LARGEST)?;
    let begin = Instant::now();
    let mut times = Times::new();
    let mut outcome = Ok(());
    let mut ahead = None;
    let (steps, beside) = part(steps);
    let planned = steps.len() + beside.len();
    let mut beside = Beside::Waits(beside);
    for (index, step) in steps.iter().enumerate() {
        if step.name.starts_with(ENGINES) {
            beside.start(repository)?;
        } else if !step.name.starts_with(SUITES) {
            outcome = beside.end(&mut times);
            if outcome.is_err() {
                break;
            }
        }
        say(format_args!(
            "\n=== [{}/{}] {}",
            index + 1,
            planned,
            step.name
        ));
        let start = Instant::now();
        let result = perform(repository, &step.action);
        let time = start.elapsed();
        let word = word(&result);
        say(format_args!(
            "=== {}: {word} after {:.1} s",
            step.name,
            time.as_secs_f64()
        ));
        times.push((step.name.clone(), time, word));
        if step.name == PARTS && planned > 1 {
            ahead = Ahead::start(repository);
        }
        if let Err(error) = result {
            outcome = Err(error.context(format!("step `{}` failed", step.name)));
            break;
        }
    }
    let ended = beside.end(&mut times);
    outcome = outcome.and(ended);
    if outcome.is_ok() && times.len() < planned {
        outcome = Err(anyhow!("not every step was run"));
    }
    drop(ahead);
    say(format_args!(
        "\n{}",
        table(&times, planned, begin.elapsed())
    ));
    outcome
}

/// Suites, those of container engines, and those of clusters.
const SUITES: &str = "e2e-";
const ENGINES: &str = "e2e-docker";
const CLUSTERS: &str = "e2e-kubernetes";

/// Takes out what goes on beside the rest: suites of clusters, where there are some of engines. Both
/// mostly wait, and neither has anything that the other has.
fn part(steps: Vec<Step>) -> (Vec<Step>, Vec<Step>) {
    if !steps.iter().any(|step| step.name.starts_with(ENGINES)) {
        return (steps, Vec::new());
    }
    let is_alone = |step: &Step| !step.name.starts_with(CLUSTERS);
    steps.into_iter().partition(is_alone)
}

/// How long each step took, and how it went in a word.
type Times = Vec<(String, Duration, &'static str)>;

fn word(result: &anyhow::Result<()>) -> &'static str {
    match result {
        Ok(()) => "ok",
        Err(_) => "FAILED",
    }
}

/// Steps that run one after the other beside the others. What they print is shown when they have ended.
enum Beside {
    Waits(Vec<Step>),
    Runs {
        logs: Vec<Utf8PathBuf>,
        thread: JoinHandle<Vec<(String, Duration, anyhow::Result<()>)>>,
    },
}

impl Beside {
    fn start(&mut self, repository: &Repository) -> anyhow::Result<()> {
        let Self::Waits(steps) = self else {
            return Ok(());
        };
        let folder = repository.target().join("ci");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make `{folder}`"))?;
        let mut logs = Vec::new();
        let mut commands = Vec::new();
        for step in std::mem::take(steps) {
            let Action::Cargo(line) = &step.action else {
                bail!("step `{}` is no command of cargo", step.name);
            };
            let path = folder.join(format!("{}.log", step.name));
            let log = File::create(&path).with_context(|| format!("cannot write `{path}`"))?;
            let errors = log.try_clone().context("cannot share a log")?;
            let mut command = cargo_line(repository, line);
            // What they build in the target folder has a name of its own, too.
            command.env("STAKEOUT_LANE", "beside");
            command.stdin(Stdio::null()).stdout(log).stderr(errors);
            say(format_args!("=== {} goes on beside", step.name));
            commands.push((step.name, command));
            logs.push(path);
        }
        let thread = thread::spawn(move || {
            let timed = |(name, mut command): (String, Command)| {
                let begin = Instant::now();
                let result = run_program(&mut command);
                (name, begin.elapsed(), result)
            };
            commands.into_iter().map(timed).collect()
        });
        *self = Self::Runs { logs, thread };
        Ok(())
    }

    /// Waits for them, and shows what they printed. The first that failed is the error.
    fn end(&mut self, times: &mut Times) -> anyhow::Result<()> {
        let (logs, thread) = match std::mem::replace(self, Self::Waits(Vec::new())) {
            Self::Runs { logs, thread } => (logs, thread),
            waits @ Self::Waits(_) => {
                *self = waits;
                return Ok(());
            }
        };
        let results = thread
            .join()
            .map_err(|_| anyhow!("the steps beside panicked"))?;
        let mut outcome = Ok(());
        for ((name, time, result), log) in results.into_iter().zip(logs) {
            say(format_args!("\n=== {name}, which went on beside"));
            let text = fs::read(&log).with_context(|| format!("cannot read `{log}`"))?;
            say(format_args!("{}", String::from_utf8_lossy(&text)));
            times.push((name.clone(), time, word(&result)));
            let failed = result.with_context(|| format!("step `{name}` failed"));
            outcome = outcome.and(failed);
        }
        outcome
    }
}

/// A cluster's programs, and helm for its bench, take ten minutes of two processors to make, once on a
/// machine. They are made while suites before theirs wait for cameras; whoever needs them sooner
/// waits for them.
struct Ahead(Child);

impl Ahead {
    fn start(repository: &Repository) -> Option<Self> {
        let script = repository.root.join("ci/parts/kubernetes");
        let mut command = Command::new("nice");
        command
            .args(["-n", "19", "bash", "-c"])
            .arg(r#"bash "$0" build && bash "$0" tool helm"#)
            .arg(script)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // What goes wrong is told by the suite, which makes them, too.
        command.spawn().ok().map(Self)
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn cargo_line(repository: &Repository, line: &str) -> Command {
    let mut command = cargo();
    command
        .args(line.split(' ').skip(1))
        .current_dir(&repository.root);
    for name in FOREIGN {
        command.env_remove(name);
    }
    command
}

fn perform(repository: &Repository, action: &Action) -> anyhow::Result<()> {
    match action {
        Action::Cargo(line) => {
            say(format_args!("$ {line}"));
            run_program(&mut cargo_line(repository, line))
        }
        Action::Script(path) if !repository.root.join(path).exists() => {
            say(format_args!("skipped: `{path}` is absent"));
            Ok(())
        }
        Action::Script(path) => {
            run_program(Command::new("bash").arg(path).current_dir(&repository.root))
        }
        Action::Tidy => tidy::run(repository),
        Action::Gen => generate::run(repository, &generate::Arguments { check: true }),
        Action::Bench => bench::run_short(repository),
        Action::Campaign => campaign::run_short(repository),
    }
}

fn steps(suites: &[String]) -> Vec<Step> {
    let cargo = |name: &str, line: &str| Step {
        name: name.to_owned(),
        action: Action::Cargo(line.to_owned()),
    };
    let own = |name: &str, action| Step {
        name: name.to_owned(),
        action,
    };
    let mut steps = vec![
        own(PARTS, Action::Script("ci/parts/install")),
        own("tidy", Action::Tidy),
        cargo("fmt", "cargo fmt --all --check"),
        cargo(
            "clippy",
            "cargo clippy --workspace --all-targets --locked -- -D warnings",
        ),
        cargo("build", "cargo build --release --locked"),
        cargo("test", "cargo test --workspace --exclude e2e --locked"),
        own("gen", Action::Gen),
    ];
    if suites.iter().any(|suite| suite == GOLDEN) {
        steps.push(cargo(
            GOLDEN,
            "cargo test -p e2e --lib --test golden --locked",
        ));
    }
    for suite in suites.iter().filter(|suite| *suite != GOLDEN) {
        // One after the other: installations on one machine share ports and the two cores.
        steps.push(cargo(
            &format!("e2e-{suite}"),
            &format!("cargo test -p e2e --locked --test {suite} -- --nocapture --test-threads=1"),
        ));
    }
    steps.push(own("bench", Action::Bench));
    steps.push(own("campaign", Action::Campaign));
    steps
}

/// The end-to-end suites: `tests/tests/NAME.rs` or `tests/tests/NAME/main.rs`, in name order.
fn suites(root: &Utf8Path) -> anyhow::Result<Vec<String>> {
    let folder = root.join("tests/tests");
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for entry in folder
        .read_dir_utf8()
        .with_context(|| format!("cannot list `{folder}`"))?
    {
        let path = entry
            .with_context(|| format!("cannot list `{folder}`"))?
            .into_path();
        if path.extension() == Some("rs") || path.join("main.rs").exists() {
            names.extend(path.file_stem().map(str::to_owned));
        }
    }
    names.sort();
    Ok(names)
}

fn choose(steps: Vec<Step>, only: &[String], skip: &[String]) -> anyhow::Result<Vec<Step>> {
    let named = |step: &Step, list: &[String]| {
        list.iter()
            .any(|name| *name == step.name || name == "e2e" && step.name.starts_with("e2e-"))
    };
    for name in only.iter().chain(skip) {
        if !steps
            .iter()
            .any(|step| named(step, std::slice::from_ref(name)))
        {
            let all: Vec<_> = steps.iter().map(|step| step.name.as_str()).collect();
            bail!("there is no step `{name}`; there are: {}", all.join(", "));
        }
    }
    Ok(steps
        .into_iter()
        .filter(|step| (only.is_empty() || named(step, only)) && !named(step, skip))
        .collect())
}

fn table(times: &Times, planned: usize, total: Duration) -> String {
    let mut lines: Vec<String> = times
        .iter()
        .map(|(name, time, word)| format!("{name:<24} {:>8.1} s  {word}", time.as_secs_f64()))
        .collect();
    let left = match planned - times.len() {
        0 => String::new(),
        left => format!("  {left} not run"),
    };
    lines.push(format!(
        "{:<24} {:>8.1} s{left}",
        "all",
        total.as_secs_f64()
    ));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(only: &[&str], skip: &[&str]) -> anyhow::Result<String> {
        let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let all = steps(&own(&["crash", "golden", "host"]));
        let chosen = choose(all, &own(only), &own(skip))?;
        Ok(chosen
            .iter()
            .map(|step| step.name.as_str())
            .collect::<Vec<_>>()
            .join(" "))
    }

    #[test]
    fn every_suite_on_disk_is_a_step_and_golden_comes_first() {
        assert_eq!(
            names(&[], &[]).unwrap(),
            "parts tidy fmt clippy build test gen golden e2e-crash e2e-host bench campaign"
        );
    }

    #[test]
    fn steps_are_chosen_by_name() {
        assert_eq!(
            names(&["fmt", "e2e"], &["e2e-host"]).unwrap(),
            "fmt e2e-crash"
        );
        let error = names(&["frob"], &[]).unwrap_err().to_string();
        assert!(
            error.contains("no step `frob`") && error.contains("e2e-host"),
            "{error}"
        );
    }

    #[test]
    fn clusters_go_beside_engines() {
        let parted = |suites: &[&str]| {
            let suites: Vec<_> = suites.iter().map(|s| (*s).to_owned()).collect();
            let (steps, beside) = part(steps(&suites));
            let has = |name: &str| steps.iter().any(|step| step.name == name);
            (has("e2e-kubernetes_faults"), beside.len())
        };
        assert_eq!(
            parted(&["docker", "kubernetes", "kubernetes_faults"]),
            (false, 2)
        );
        assert_eq!(parted(&["host", "kubernetes_faults"]), (true, 0));
    }

    #[test]
    fn the_table_tells_what_was_not_run() {
        let times = vec![("fmt".to_owned(), Duration::from_millis(1500), "FAILED")];
        assert!(table(&times, 3, Duration::from_secs(2)).ends_with("2.0 s  2 not run"));
    }
}
