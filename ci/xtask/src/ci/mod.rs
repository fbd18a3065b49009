//! `ci`: every check and test, in order, up to the first failure.

mod lanes;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use camino::Utf8Path;

use self::lanes::{Ran, SUITE, Suite};
use crate::process::{cargo, run as run_program, say};
use crate::repository::{Repository, list};
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

impl Step {
    fn is_suite(&self) -> bool {
        self.name.starts_with(SUITE)
    }
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
    let outcome = perform_all(repository, &steps, &mut times);
    say(format_args!(
        "\n{}",
        table(&times, steps.len(), begin.elapsed())
    ));
    outcome
}

/// One after the other, up to the first that fails; suites beside each other, where there are several.
fn perform_all(repository: &Repository, steps: &[Step], times: &mut Times) -> anyhow::Result<()> {
    let suites = steps.iter().filter(|step| step.is_suite()).count();
    let mut ahead = None;
    let mut lanes = (suites > 1).then(Vec::new);
    for (index, step) in steps.iter().enumerate() {
        if let Some(waiting) = &mut lanes {
            if let (true, Action::Cargo(line)) = (step.is_suite(), &step.action) {
                waiting.push(Suite {
                    name: step.name.clone(),
                    command: cargo_line(repository, line),
                });
                continue;
            }
            run_suites(repository, std::mem::take(waiting), times)?;
        }
        say(format_args!(
            "\n=== [{}/{}] {}",
            index + 1,
            steps.len(),
            step.name
        ));
        let start = Instant::now();
        let result = perform(repository, &step.action);
        let time = start.elapsed();
        say(format_args!(
            "=== {}: {} after {:.1} s",
            step.name,
            word(&result),
            time.as_secs_f64()
        ));
        times.push((step.name.clone(), time, word(&result)));
        result.with_context(|| format!("step `{}` failed", step.name))?;
        if step.name == PARTS && steps.len() > 1 {
            ahead = Ahead::start(repository);
        }
    }
    let left = lanes.unwrap_or_default();
    let outcome = run_suites(repository, left, times);
    drop(ahead);
    outcome
}

fn run_suites(
    repository: &Repository,
    suites: Vec<Suite>,
    times: &mut Times,
) -> anyhow::Result<()> {
    if suites.is_empty() {
        return Ok(());
    }
    let mut outcome = Ok(());
    for Ran { name, time, result } in lanes::run_all(&repository.target().join("ci"), suites)? {
        times.push((name.clone(), time, word(&result)));
        outcome = outcome.and(result.with_context(|| format!("step `{name}` failed")));
    }
    outcome
}

/// How long each step took, and how it went in a word.
type Times = Vec<(String, Duration, &'static str)>;

fn word(result: &anyhow::Result<()>) -> &'static str {
    match result {
        Ok(()) => "ok",
        Err(_) => "FAILED",
    }
}

/// A cluster's programs, and helm for its bench, take twelve minutes of two processors to make, once on a
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
        steps.push(cargo(
            &format!("{SUITE}{suite}"),
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
    for path in list(&folder)? {
        if path.extension() == Some("rs") || path.join("main.rs").exists() {
            names.extend(path.file_stem().map(str::to_owned));
        }
    }
    Ok(names)
}

fn choose(steps: Vec<Step>, only: &[String], skip: &[String]) -> anyhow::Result<Vec<Step>> {
    let named = |step: &Step, list: &[String]| {
        list.iter()
            .any(|name| *name == step.name || name == "e2e" && step.is_suite())
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
    fn the_table_tells_what_was_not_run() {
        let times = vec![("fmt".to_owned(), Duration::from_millis(1500), "FAILED")];
        assert!(table(&times, 3, Duration::from_secs(2)).ends_with("2.0 s  2 not run"));
    }
}
