//! `stakeout plan`: what would change, and nothing else.

use camino::Utf8PathBuf;
use installer_plan::{Plan, Severity, show};
use serde::{Deserialize, Serialize};

use crate::args;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::site::{MayAsk, Site, absolute};

/// A plan in a file: what `stakeout apply` needs to find out whether it still holds.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedPlan {
    pub(super) profile: Utf8PathBuf,
    pub(super) digest: String,
    pub(super) plan: Plan,
}

#[derive(Serialize)]
struct Planned<'a> {
    changes: usize,
    digest: String,
    #[serde(flatten)]
    plan: &'a Plan,
}

pub(super) async fn run(arguments: &args::Plan, context: &Context) -> Result<Exit, CommandError> {
    let mut site = Site::read(context)?;
    site.answer_conflicts(arguments.conflicts)?;
    site.print_warnings();
    let logins = site.logins(context, MayAsk::No);
    let mut survey = site.survey(&logins).await?;
    let mut plan = site.plan(&survey)?;
    if !plan.is_empty() {
        site.size_up(&mut survey, &logins, context).await;
        plan = site.plan_closely(&survey).await?;
    }
    print(&plan, context);
    if let Some(path) = &arguments.out {
        save(&site, &plan, path, context)?;
    }
    Ok(judge(&plan, context.strict))
}

/// Shows a plan as the result of a command.
pub(super) fn print(plan: &Plan, context: &Context) {
    let planned = Planned {
        changes: plan.steps.len(),
        digest: plan.digest(),
        plan,
    };
    context.printer.result(&show(plan), &planned);
}

fn judge(plan: &Plan, strict: bool) -> Exit {
    let worst = plan.findings.iter().map(|finding| finding.severity).max();
    match worst {
        Some(Severity::Error) => Exit::CheckFailed,
        Some(Severity::Warning) if strict => Exit::Warnings,
        _ if plan.is_empty() => Exit::Done,
        _ => Exit::Pending,
    }
}

fn save(
    site: &Site,
    plan: &Plan,
    path: &Utf8PathBuf,
    context: &Context,
) -> Result<(), CommandError> {
    let saved = SavedPlan {
        profile: site.path.clone(),
        digest: plan.digest(),
        plan: plan.clone(),
    };
    let mut text = serde_json::to_vec_pretty(&saved).expect("invariant: plain data serialises");
    text.push(b'\n');
    context
        .effects()
        .write_file(&absolute(path)?, 0o600, None, &text)
        .map_err(|error| CommandError::from_error(Exit::Usage, &error))?;
    context
        .printer
        .note(&format!("saved; do it with `stakeout apply {path}`"));
    Ok(())
}
