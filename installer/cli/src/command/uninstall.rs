//! `stakeout uninstall`: the way back out.

use camino::{Utf8Path, Utf8PathBuf};
use installer_docker::{Origin, Wanted, connect};
use installer_engine::{Event, Logins, apply};
use installer_host::{Lock, default_parent, observe, programs_folder, read_receipt};
use installer_plan::host::{Level, plan_uninstall};
use installer_plan::{Plan, docker, human_bytes, kubernetes, show};
use installer_render::Layout;
use serde::Serialize;

use crate::args;
use crate::cluster;
use crate::command::install::lease;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::images::{self, ImagePlaces};
use crate::progress::Progress;
use crate::site::{Site, absolute};
use crate::target::{OnEngine, Seen, Target};

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
    let place = locate(context)?;
    let (site, data) = (&place.site, &place.data);
    let seen = place.look().await?;
    if let Some(other) = place.target.other()
        && seen.is_here()
        && place.target.lies_at(data)
        && other.lies_at(data)
    {
        let message = format!(
            "site `{site}` is on its way between {} and {}",
            other.words(),
            place.target.words(),
        );
        let name = place.target.name();
        return Err(CommandError::new(Exit::CheckFailed, message).hint(format!(
            "finish that first: `stakeout install --target {name}`"
        )));
    }
    let plan = place.plan(level, &seen);
    if plan.is_empty() && place.is_clean(level, &seen) {
        let removed = Removed {
            result: "unchanged",
            site,
            changed: 0,
            footage: footage(data),
            footage_bytes: 0,
        };
        context
            .printer
            .result(&format!("Nothing of site {site} is installed."), &removed);
        return Ok(Exit::Done);
    }
    let _lock = Lock::take(&seen.lock_key(data), "uninstall")?;
    let lease = lease(&seen, context).await?;
    let removed = remove(&place, level, context).await;
    cluster::release(lease, removed).await
}

async fn remove(place: &Place, level: Level, context: &Context) -> Result<Exit, CommandError> {
    let (site, data) = (&place.site, &place.data);
    // Whatever was true before the lock may have been another run's half.
    let seen = place.look().await?;
    let plan = place.plan(level, &seen);
    context.printer.note(&show(&plan));
    consent(level, place.target, seen.footage_bytes(), context)?;
    context.catch_interrupt();
    let progress = Progress::new(context.printer);
    let mut world = crate::site::world(site, data, context, Logins::new(), &seen);
    let mut report = |event: Event| progress.show(&event);
    let applied = apply(&plan, env!("CARGO_PKG_VERSION"), &mut world, &mut report).await;
    progress.finish();
    world.end().await;
    let changed = applied?.changed;
    let footage = footage(data);
    let bytes = if level == Level::Data {
        0
    } else {
        seen.footage_bytes()
    };
    let text = match footage.as_slice() {
        [] if place.target == Target::Kubernetes && level < Level::Data => format!(
            "Site {site} is gone; its footage stays in the claims of namespace {data} (up to {}).",
            human_bytes(bytes)
        ),
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
        site,
        changed,
        footage,
        footage_bytes: bytes,
    };
    context.printer.result(&text, &removed);
    Ok(Exit::Done)
}

/// A site that is to go.
struct Place {
    site: String,
    data: Utf8PathBuf,
    target: Target,
    images: ImagePlaces,
    cluster: installer_kubernetes::Choice,
}

impl Place {
    async fn look(&self) -> Result<Seen, CommandError> {
        let programs = programs_folder().unwrap_or_default();
        let logins = Logins::new();
        match self.target {
            Target::Host => {
                let seen = observe(
                    &self.site,
                    None,
                    Utf8Path::new(""),
                    &logins,
                    &self.data,
                    &programs,
                )?;
                Ok(Seen::Host(Box::new(seen)))
            }
            Target::Docker => {
                let connection = connect(Origin::read()).await?;
                let images = images::find(&self.images, &connection.platform);
                let wanted = Wanted {
                    site: &self.site,
                    profile: None,
                    folder: Utf8Path::new(""),
                    logins: &logins,
                    data: &self.data,
                    images: &images,
                };
                let observed = installer_docker::observe(&connection, wanted).await?;
                Ok(Seen::Docker(Box::new(OnEngine {
                    connection,
                    observed,
                })))
            }
            Target::Kubernetes => {
                let wanted = cluster::Wanted {
                    site: &self.site,
                    profile: None,
                    folder: Utf8Path::new(""),
                    logins: &logins,
                    images: &self.images,
                };
                let seen = cluster::look(&self.cluster, wanted).await?;
                Ok(Seen::Kubernetes(Box::new(seen)))
            }
        }
    }

    fn plan(&self, level: Level, seen: &Seen) -> Plan {
        match seen {
            Seen::Host(seen) => plan_uninstall(&self.site, level, &seen.facts),
            Seen::Docker(seen) => docker::plan_uninstall(&self.site, level, &seen.observed.facts),
            Seen::Kubernetes(seen) => {
                kubernetes::plan_uninstall(&self.site, level, &seen.observed.facts)
            }
        }
    }

    /// Nothing is left that this level takes.
    fn is_clean(&self, level: Level, seen: &Seen) -> bool {
        match seen {
            Seen::Host(_) => {
                let leftover = level == Level::Data && self.data.exists();
                !leftover && !Layout::new(&*self.data).receipt().exists()
            }
            Seen::Docker(seen) => {
                let facts = &seen.observed.facts;
                let files = docker::object_name(&self.site, docker::FILES);
                !facts.containers.contains_key(&files)
            }
            Seen::Kubernetes(seen) => seen.observed.facts.receipt.is_none(),
        }
    }
}

/// Folders of sites where they are when nobody says.
fn sites_here() -> Vec<String> {
    let entries = default_parent().read_dir_utf8();
    let folders = entries.into_iter().flatten().flatten();
    let folders = folders.map(|entry| entry.path().to_owned());
    let mut sites: Vec<_> = folders
        .filter(|path| Target::Host.lies_at(path) || Target::Docker.lies_at(path))
        .map(|path| format!("`{path}`"))
        .collect();
    sites.sort();
    sites
}

/// From the profile, or from what lies in `--data-dir`.
fn locate(context: &Context) -> Result<Place, CommandError> {
    if context.profile.exists() {
        let site = Site::read(context)?;
        return Ok(Place {
            images: site.images.clone(),
            cluster: site.cluster.clone(),
            site: site.profile.site,
            data: site.data,
            target: site.target,
        });
    }
    let unknown = || {
        let failed = CommandError::new(Exit::Usage, "which site? there is no profile here")
            .hint("name it with --profile FILE, or its folder with --data-dir FOLDER");
        let sites = sites_here();
        if sites.is_empty() {
            return failed;
        }
        failed.hint(format!("there is a site in {}", sites.join(" and in ")))
    };
    let data = absolute(context.data_dir.as_ref().ok_or_else(unknown)?)?;
    let (layout, target) = if Target::Docker.lies_at(&data) {
        (Layout::with_control(data.clone()), Target::Docker)
    } else {
        (Layout::new(data.clone()), Target::Host)
    };
    let receipt = read_receipt(&layout.receipt())?;
    Ok(Place {
        site: receipt.ok_or_else(unknown)?.site,
        data,
        target,
        images: context.image_places(Utf8Path::new(""))?,
        cluster: context.cluster.clone(),
    })
}

/// Footage that goes is asked for by size, and typed.
fn consent(
    level: Level,
    target: Target,
    footage_bytes: u64,
    context: &Context,
) -> Result<(), CommandError> {
    if level < Level::Data {
        return context.confirm("Take the site away? Footage stays.");
    }
    let mut size = human_bytes(footage_bytes);
    if target == Target::Kubernetes {
        size = format!("up to {size}");
    }
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
