//! `stakeout doctor`: everything that is wrong at once, each with what to do.

use std::fmt::Write as _;

use installer_host::SiteStatus;
use installer_plan::{Plan, Severity};
use installer_watch::{Finding as Check, Outcome};

use super::cameras::{ProbeOutcome, probe_one};
use super::status;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::site::{MayAsk, Site};
use crate::site_status::{self, SiteReport};
use crate::target::Seen;

/// Continuous footage older than this means that a camera does not record: a file is flushed
/// every second, and a reconnect takes at most 15 s.
const FOOTAGE_AGE_MAX: f64 = 60.0;

fn check(id: &str, outcome: Outcome, message: impl Into<String>, help: &str) -> Check {
    Check {
        id: id.to_owned(),
        outcome,
        message: message.into(),
        help: help.to_owned(),
    }
}

pub(super) async fn run(context: &Context) -> Result<Exit, CommandError> {
    let site = Site::read(context)?;
    let note = |camera: &str| context.printer.note(&format!("asking camera {camera}"));
    let checks = examine(&site, context, note).await?;
    let worst = checks
        .iter()
        .map(|check| check.outcome)
        .max()
        .unwrap_or(Outcome::Pass);
    context.printer.result(&text(&checks), &checks);
    Ok(match worst {
        Outcome::Fail => Exit::CheckFailed,
        Outcome::Warning if context.strict => Exit::Warnings,
        _ => Exit::Done,
    })
}

/// Looks at everything; `asks` is told which camera is asked.
pub(super) async fn examine(
    site: &Site,
    context: &Context,
    asks: impl Fn(&str),
) -> Result<Vec<Check>, CommandError> {
    let mut checks = Vec::new();
    for warning in &site.warnings {
        checks.push(check("profile", Outcome::Warning, warning.to_string(), ""));
    }
    if site.warnings.is_empty() {
        checks.push(check("profile", Outcome::Pass, "the profile is sound", ""));
    }
    let logins = site.logins(context, MayAsk::No);
    let survey = site.survey(&logins).await?;
    let plan = site.plan(&survey)?;
    match &survey.seen {
        Seen::Host(_) => {
            let status = status::read(site)?;
            checks.extend(drift(&plan, status.installed, status.unfinished));
            checks.extend(services(&status));
            checks.extend(footage(site, &status));
        }
        Seen::Docker(seen) => {
            let status = site_status::on_engine(site, seen).await?;
            checks.extend(drift(&plan, status.installed, status.unfinished));
            checks.extend(reported(&status));
        }
        Seen::Kubernetes(seen) => {
            let status = site_status::in_cluster(site, seen).await?;
            checks.extend(drift(&plan, status.installed, status.unfinished));
            checks.extend(reported(&status));
        }
    }
    for camera in &site.profile.cameras {
        asks(&camera.name);
        if let Some(outcome) = probe_one(site, camera, &logins, 2).await? {
            checks.push(camera_check(&outcome));
        }
    }
    Ok(checks)
}

/// What planning found, and what differs from the profile.
fn drift(plan: &Plan, installed: bool, unfinished: bool) -> Vec<Check> {
    let mut checks: Vec<_> = plan
        .findings
        .iter()
        .map(|finding| {
            let outcome = match finding.severity {
                Severity::Info => Outcome::Info,
                Severity::Warning => Outcome::Warning,
                Severity::Error => Outcome::Fail,
            };
            check(&finding.id, outcome, finding.message.clone(), &finding.help)
        })
        .collect();
    checks.push(if !installed {
        check(
            "installed",
            Outcome::Fail,
            "the site is not installed",
            "run `stakeout install`",
        )
    } else if unfinished {
        let help = "run `stakeout install` again";
        check(
            "unfinished",
            Outcome::Fail,
            "a run began and did not end",
            help,
        )
    } else if plan.is_empty() {
        check(
            "drift",
            Outcome::Pass,
            "the machine is as the profile says",
            "",
        )
    } else {
        let message = format!("{} things differ from the profile", plan.steps.len());
        let help = "look at them with `stakeout plan`, mend them with `stakeout install`";
        check("drift", Outcome::Warning, message, help)
    });
    checks
}

/// Services with the chain of causes, and what agents say of their cameras.
fn reported(status: &SiteReport) -> Vec<Check> {
    let mut checks = Vec::new();
    for service in &status.services {
        let name = &service.name;
        checks.push(if service.well {
            let message = format!("service {name} runs and is well");
            check("service", Outcome::Pass, message, "")
        } else {
            let causes = service.causes.join(" → ");
            let message = format!("service {name} is not well: {causes}");
            check("service", Outcome::Fail, message, &service.help)
        });
    }
    if let Some(disk) = &status.disk {
        checks.push(if disk.is_full() {
            let message = format!("{}, at `{}`", disk.text(), status.data);
            let help = "make room, or lower `storage.quota` or `storage.retention`; until then the \
                        oldest footage goes for the newest";
            check("disk", Outcome::Fail, message, help)
        } else {
            check("disk", Outcome::Pass, disk.text(), "")
        });
    }
    for camera in &status.cameras {
        let name = &camera.name;
        checks.push(if camera.receiving {
            let message = format!("camera {name} gives frames");
            check("frames", Outcome::Pass, message, "")
        } else {
            let why = camera.error.as_deref().unwrap_or("no frame has come");
            let message = format!("camera {name} gives no frames: {why}");
            let help = "see whether the machine that it is recorded on reaches the camera";
            check("frames", Outcome::Fail, message, help)
        });
    }
    checks
}

fn services(status: &SiteStatus) -> Vec<Check> {
    let judge = |service: &installer_host::ServiceReport| {
        let name = &service.name;
        if !service.running {
            let message = format!("service {name} does not run: {}", service.state);
            let help = format!(
                "read {}/logs/{name}.log, or `journalctl -u '*{name}*'`",
                status.data
            );
            check("service", Outcome::Fail, message, &help)
        } else if !service.answers {
            let message = format!("service {name} runs and does not answer at its port");
            check(
                "service",
                Outcome::Fail,
                message,
                "`stakeout install` restarts it",
            )
        } else if service.restarts > 0 {
            let message = format!("service {name} was restarted {} times", service.restarts);
            check(
                "service",
                Outcome::Warning,
                message,
                "read its log for the reason",
            )
        } else {
            check(
                "service",
                Outcome::Pass,
                format!("service {name} runs and answers"),
                "",
            )
        }
    };
    status.services.iter().map(judge).collect()
}

fn footage(site: &Site, status: &SiteStatus) -> Vec<Check> {
    let judge = |camera: &installer_host::CameraReport| {
        let name = &camera.name;
        let always = site
            .profile
            .cameras
            .iter()
            .any(|c| c.name == *name && c.record.when != installer_spec::When::Motion);
        match camera.age_seconds {
            Some(age) if always && age > FOOTAGE_AGE_MAX => check(
                "footage",
                Outcome::Fail,
                format!("camera {name}: the newest footage is {age:.0} s old"),
                "`stakeout cameras probe` tells what the camera says",
            ),
            Some(age) => {
                let message = format!("camera {name}: the newest footage is {age:.0} s old");
                check("footage", Outcome::Pass, message, "")
            }
            None if always => check(
                "footage",
                Outcome::Fail,
                format!("camera {name}: there is no footage"),
                "`stakeout cameras probe` tells what the camera says",
            ),
            None => check(
                "footage",
                Outcome::Info,
                format!("camera {name}: no motion yet"),
                "",
            ),
        }
    };
    status.cameras.iter().map(judge).collect()
}

fn camera_check(outcome: &ProbeOutcome) -> Check {
    match &outcome.report {
        agent_api::ProbeReport::Ok(offer) => check(
            "camera",
            Outcome::Pass,
            format!(
                "camera {} gives {} {}x{}",
                outcome.camera, offer.codec, offer.width, offer.height
            ),
            "",
        ),
        agent_api::ProbeReport::Failed(failure) => check(
            "camera",
            Outcome::Fail,
            format!("camera {}: {}", outcome.camera, failure.message),
            &failure.help,
        ),
    }
}

fn text(checks: &[Check]) -> String {
    let mut text = String::new();
    for check in checks {
        let mark = match check.outcome {
            Outcome::Pass => "ok  ",
            Outcome::Info => "note",
            Outcome::Warning => "warn",
            Outcome::Fail => "FAIL",
        };
        writeln!(text, "{mark}  {} [{}]", check.message, check.id)
            .expect("invariant: a String takes any text");
        if check.outcome > Outcome::Pass && !check.help.is_empty() {
            writeln!(text, "      {}", check.help).expect("invariant: a String takes any text");
        }
    }
    text
}
