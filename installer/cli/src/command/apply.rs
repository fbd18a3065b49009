//! `stakeout apply FILE`: a saved plan, if it is still the one that would be made.

use std::fs;

use super::install::carry_out;
use super::plan::SavedPlan;
use crate::args;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::site::{MayAsk, Site};

pub(super) async fn run(arguments: &args::Apply, context: &Context) -> Result<Exit, CommandError> {
    let path = &arguments.plan;
    let text = fs::read_to_string(path).map_err(|error| {
        CommandError::new(
            Exit::Usage,
            format!("cannot read the plan `{path}`: {error}"),
        )
    })?;
    let saved: SavedPlan = serde_json::from_str(&text).map_err(|error| {
        CommandError::new(
            Exit::Usage,
            format!("`{path}` is not a saved plan: {error}"),
        )
        .hint("make one with `stakeout plan -o FILE`")
    })?;
    let context = &context.for_profile(&saved.profile, &saved.plan.data);
    let mut site = Site::read(context)?;
    if saved.plan.site != site.profile.site {
        let message = format!(
            "the plan is for site `{}`, its profile is now of site `{}`",
            saved.plan.site, site.profile.site
        );
        return Err(CommandError::new(Exit::WrongTarget, message));
    }
    let logins = site.logins(context, MayAsk::Yes);
    let mut observed = site.survey(&logins).await?;
    if observed.seen.machine() != saved.plan.machine {
        let message = format!("the plan `{path}` was made for another machine");
        return Err(CommandError::new(Exit::WrongTarget, message)
            .hint("run it there, or make a plan for this machine"));
    }
    if saved.plan.digest() != saved.digest {
        let message = format!("the plan `{path}` is not as it was saved");
        return Err(CommandError::new(Exit::Usage, message)
            .hint("make it again with `stakeout plan -o FILE`"));
    }
    site.bind(saved.plan);
    site.size_up(&mut observed, &logins, context).await;
    site.plan_closely(&observed).await?;
    carry_out(&site, logins, arguments.proof, context).await
}
