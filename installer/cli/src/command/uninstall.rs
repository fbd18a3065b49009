//! `stakeout uninstall`: the way back out.

use camino::{Utf8Path, Utf8PathBuf};
use installer_engine::{Event, apply};
use installer_host::{HostWorld, Lock, Logins, observe, programs_folder, read_receipt};
use installer_plan::host::{Level, plan_uninstall};
use installer_plan::{Facts, human_bytes, show};
use installer_render::Layout;
use serde::Serialize;

use crate::args;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::progress::Progress;
use crate::site::{Site, absolute};

#[derive(Serialize)]
struct Removed<'a> {
    result: &'static str,
    site: &'a str,
    changed: usize,
    /// Folders that still hold footage.
    footage: Vec<Utf8PathBuf>,
    footage_bytes: u64,
}

pub(super) async fn run(
    arguments: &args::Uninstall,
    context: &Context,
) -> Result<Exit, CommandError> {
    let level = match (arguments.config, arguments.data) {
        (_, true) => Level::Data,
        (true, false) => Level::Config,
        (false, false) => Level::Services,
    };
    let (site, data) = locate(context)?;
    let programs = programs_folder().unwrap_or_default();
    let look = || observe(&site, None, &Logins::new(), &data, &programs);
    let empty = plan_uninstall(&site, level, &look()?.facts).is_empty();
    let leftover = level == Level::Data && data.exists();
    if empty && !leftover && !Layout::new(&*data).receipt().exists() {
        let removed = Removed {
            result: "unchanged",
            site: &site,
            changed: 0,
            footage: footage(&data),
            footage_bytes: 0,
        };
        context
            .printer
            .result(&format!("Nothing of site {site} is installed."), &removed);
        return Ok(Exit::Done);
    }
    let _lock = Lock::take(&data, "uninstall")?;
    let observed = look()?;
    let plan = plan_uninstall(&site, level, &observed.facts);
    context.printer.note(&show(&plan));
    consent(level, &observed.facts, context)?;
    context.catch_interrupt();
    let progress = Progress::new(context.printer);
    let mut world = HostWorld::new(
        &site,
        &data,
        observed.facts.machine.manager,
        Logins::new(),
        context.effects(),
        context.interrupted.clone(),
    );
    let mut report = |event: Event| progress.show(&event);
    let applied = apply(&plan, env!("CARGO_PKG_VERSION"), &mut world, &mut report).await;
    progress.finish();
    let changed = applied?.changed;
    let footage = footage(&data);
    let bytes = if level == Level::Data {
        0
    } else {
        observed.facts.data.disk.footage_bytes
    };
    let text = match footage.as_slice() {
        [] => format!("Site {site} is gone."),
        folders => {
            let folders: Vec<_> = folders.iter().map(|folder| folder.as_str()).collect();
            let size = human_bytes(bytes);
            format!(
                "Site {site} is gone; {size} of footage stay in {}.",
                folders.join(" and ")
            )
        }
    };
    let removed = Removed {
        result: "removed",
        site: &site,
        changed,
        footage,
        footage_bytes: bytes,
    };
    context.printer.result(&text, &removed);
    Ok(Exit::Done)
}

/// The site's name and folder: from the profile, or from what lies in `--data-dir`.
fn locate(context: &Context) -> Result<(String, Utf8PathBuf), CommandError> {
    if context.profile.exists() {
        let site = Site::read(context)?;
        return Ok((site.profile.site, site.data));
    }
    let unknown = || {
        CommandError::new(Exit::Usage, "which site? there is no profile here")
            .hint("name it with --profile FILE, or its folder with --data-dir FOLDER")
    };
    let data = absolute(context.data_dir.as_ref().ok_or_else(unknown)?)?;
    let receipt = read_receipt(&Layout::new(data.clone()).receipt())?;
    Ok((receipt.ok_or_else(unknown)?.site, data))
}

/// Footage that goes is asked for by size, and typed.
fn consent(level: Level, facts: &Facts, context: &Context) -> Result<(), CommandError> {
    if level < Level::Data {
        return context.confirm("Take the site away? Footage stays.");
    }
    let size = human_bytes(facts.data.disk.footage_bytes);
    let question = format!("Delete {size} of footage for good?");
    if context.yes || !context.can_ask {
        return context.confirm(&question);
    }
    let typed = inquire::Text::new(&format!("{question} Type `delete {size}`:")).prompt();
    match typed {
        Ok(typed) if typed.trim() == format!("delete {size}") => Ok(()),
        Ok(_) => Err(CommandError::new(Exit::Interrupted, "nothing was deleted")),
        Err(error) => Err(crate::context::asking(&error)),
    }
}

fn footage(data: &Utf8Path) -> Vec<Utf8PathBuf> {
    let layout = Layout::new(data);
    [layout.recordings(), layout.agents()]
        .into_iter()
        .filter(|folder| holds_files(folder))
        .collect()
}

fn holds_files(folder: &Utf8Path) -> bool {
    let Ok(entries) = folder.read_dir_utf8() else {
        return false;
    };
    entries.flatten().any(|entry| {
        let path = entry.path();
        if path.is_dir() {
            holds_files(path)
        } else {
            true
        }
    })
}
