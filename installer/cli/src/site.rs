//! From the profile's file to a plan: the way that most commands share.

use std::fs;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use installer_docker::{DockerWorld, Origin, SiteOnEngine, Wanted, connect};
use installer_engine::{Logins, resolve_logins};
use installer_host::{HostWorld, default_data, observe, programs_folder};
use installer_plan::{Plan, Promise, docker, host};
use installer_render::docker::Component;
use installer_render::{RenderedFile, login_name};
use installer_spec::{Diagnostic, Lists, Login, Profile, SourceFile};

use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::images::{self, UnverifiedImages};
use crate::output::Printer;
use crate::target::{AnyWorld, OnEngine, Seen, Target};

/// A profile that was read, with everything that its commands need beside it.
pub(crate) struct Site {
    pub(crate) profile: Profile,
    /// Absolute path of the profile's file.
    pub(crate) path: Utf8PathBuf,
    /// Its folder: relative paths start there.
    pub(crate) folder: Utf8PathBuf,
    pub(crate) text: String,
    pub(crate) warnings: Vec<Diagnostic>,
    pub(crate) data: Utf8PathBuf,
    pub(crate) target: Target,
    promise: Promise,
    pub(crate) images: Utf8PathBuf,
    unverified_images: UnverifiedImages,
    choice: ImageChoice,
    /// Where the programs of this build lie.
    pub(crate) programs: Utf8PathBuf,
}

/// Which images a site is planned with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ImageChoice {
    /// Those of this release.
    Release,
    /// Those before the last change of images.
    Previous,
}

/// Camera lists beside the profile.
struct DiskLists {
    folder: Utf8PathBuf,
}

impl Lists for DiskLists {
    fn fetch(&self, path: &Utf8Path) -> io::Result<Vec<u8>> {
        fs::read(self.folder.join(path))
    }
}

impl Site {
    /// Reads the profile; all of its faults are one error.
    pub(crate) fn read(context: &Context) -> Result<Self, CommandError> {
        let text = fs::read_to_string(&context.profile).map_err(|error| {
            let what = format!("cannot read the profile `{}`", context.profile);
            let failed = CommandError::from_error(Exit::Usage, &error);
            let mut named = CommandError::new(Exit::Usage, what);
            named.causes.push(failed.message);
            if error.kind() == io::ErrorKind::NotFound {
                named =
                    named.hint("make one with `stakeout init`, or name one with --profile FILE");
            }
            named
        })?;
        Self::from_text(context, text)
    }

    /// Checks a profile's text as if it stood in the profile's file.
    pub(crate) fn from_text(context: &Context, text: String) -> Result<Self, CommandError> {
        let path = absolute(&context.profile)?;
        let folder = path.parent().map(Utf8Path::to_owned).unwrap_or_default();
        let source = SourceFile {
            name: context.profile.as_str(),
            text: &text,
        };
        let lists = DiskLists {
            folder: folder.clone(),
        };
        let parsed = installer_spec::parse(&source, &lists)
            .map_err(|faults| profile_error(&context.profile, &faults))?;
        let target = Target::choose(context.target, parsed.profile.target)?;
        let data = match (&context.data_dir, target) {
            (Some(data), _) => absolute(data)?,
            (None, Target::Host) => default_data(&parsed.profile),
            (None, Target::Docker) => engine_data(&parsed.profile),
        };
        let programs = programs_folder().map_err(|error| {
            CommandError::new(Exit::Internal, format!("cannot find this program: {error}"))
        })?;
        if context.strict && !parsed.warnings.is_empty() {
            let mut failed = profile_error(&context.profile, &parsed.warnings);
            failed.exit = Exit::Warnings;
            return Err(failed);
        }
        Ok(Self {
            profile: parsed.profile,
            path,
            folder,
            text,
            warnings: parsed.warnings,
            data,
            target,
            choice: ImageChoice::Release,
            promise: context.promise,
            unverified_images: context.unverified_images,
            images: match &context.images {
                Some(folder) => absolute(folder)?,
                None => programs.join("images"),
            },
            programs,
        })
    }

    /// From here on the site is planned with the images of before its last upgrade.
    pub(crate) fn choose_previous_images(&mut self) -> Result<(), CommandError> {
        if self.target != Target::Docker {
            let message = "only a site on a container engine can be rolled back so far";
            return Err(CommandError::new(Exit::WrongTarget, message)
                .hint("install the older release again: `stakeout install` of that version"));
        }
        self.choice = ImageChoice::Previous;
        Ok(())
    }

    /// Says what is doubtful about the profile.
    pub(crate) fn print_warnings(&self) {
        for warning in &self.warnings {
            Printer::warn(&warning.to_string());
        }
    }

    /// Logins of all cameras; asks at a terminal for those that the profile says to ask for.
    pub(crate) fn logins(&self, context: &Context, may_ask: MayAsk) -> Logins {
        let mut ask = |key: &str| {
            (may_ask == MayAsk::Yes && context.can_ask)
                .then(|| ask_login(&login_name(key)))
                .flatten()
        };
        resolve_logins(&self.profile, &self.folder, &mut ask)
    }

    pub(crate) async fn observe(&self, logins: &Logins) -> Result<Seen, CommandError> {
        let site = &self.profile.site;
        let profile = Some(&self.profile);
        match self.target {
            Target::Host => {
                let seen = observe(
                    site,
                    profile,
                    &self.folder,
                    logins,
                    &self.data,
                    &self.programs,
                )?;
                Ok(Seen::Host(Box::new(seen)))
            }
            Target::Docker => {
                let connection = connect(Origin::read()).await?;
                let images =
                    images::find(&self.images, &connection.platform, self.unverified_images);
                let wanted = Wanted {
                    site,
                    profile,
                    folder: &self.folder,
                    logins,
                    data: &self.data,
                    images: &images,
                };
                let mut observed = installer_docker::observe(&connection, wanted).await?;
                if self.choice == ImageChoice::Previous && !observed.choose_previous_images() {
                    let message = format!("site `{site}` has no images of before to go back to");
                    return Err(CommandError::new(Exit::CheckFailed, message));
                }
                Ok(Seen::Docker(Box::new(OnEngine {
                    connection,
                    observed,
                })))
            }
        }
    }

    pub(crate) fn plan(&self, seen: &Seen) -> Result<Plan, CommandError> {
        let (profile, folder) = (&self.profile, self.folder.as_path());
        Ok(match seen {
            Seen::Host(seen) => host::plan(profile, folder, &seen.facts, self.promise)?,
            Seen::Docker(seen) => {
                docker::plan(profile, folder, &seen.observed.facts, self.promise)?
            }
        })
    }

    /// Every text file of the installation.
    pub(crate) fn files(&self, seen: &Seen) -> Result<Vec<RenderedFile>, CommandError> {
        let (profile, folder) = (&self.profile, self.folder.as_path());
        Ok(match seen {
            Seen::Host(seen) => host::files(profile, folder, &seen.facts)?,
            Seen::Docker(seen) => docker::files(profile, folder, &seen.observed.facts)?,
        })
    }

    pub(crate) fn world(&self, context: &Context, logins: Logins, seen: &Seen) -> AnyWorld {
        world(&self.profile.site, &self.data, context, logins, seen)
    }
}

/// The way to change what was seen.
pub(crate) fn world(
    site: &str,
    data: &Utf8Path,
    context: &Context,
    logins: Logins,
    seen: &Seen,
) -> AnyWorld {
    match seen {
        Seen::Host(seen) => {
            let world = HostWorld::new(
                site,
                data,
                seen.facts.machine.manager,
                logins,
                context.effects(),
                context.interrupted.clone(),
            );
            AnyWorld::Host(Box::new(world.with_certificate(seen.own.clone())))
        }
        Seen::Docker(seen) => {
            let facts = &seen.observed.facts;
            let agent = facts.images.get(&Component::Agent);
            let place = SiteOnEngine {
                site: site.to_owned(),
                data: data.to_owned(),
                installation: facts.installation.clone(),
                agent_image: agent.map_or_else(Default::default, |image| {
                    let name = image.wanted.clone().or_else(|| image.present.clone());
                    let name = name.unwrap_or_else(|| image.reference.clone());
                    (name, image.source.clone())
                }),
                own: seen.observed.own.clone(),
            };
            AnyWorld::Docker(Box::new(DockerWorld::new(
                seen.connection.clone(),
                place,
                logins,
                context.primitives(),
                context.interrupted.clone(),
            )))
        }
    }
}

/// Where a site lies on an engine's machine when nobody says.
pub(crate) fn engine_data(profile: &Profile) -> Utf8PathBuf {
    let path = profile.storage.path.clone();
    path.unwrap_or_else(|| Utf8Path::new("/var/lib/stakeout").join(&profile.site))
}

/// Whether a person may be bothered for a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MayAsk {
    Yes,
    No,
}

pub(crate) fn ask_login(what: &str) -> Option<Login> {
    let user = inquire::Text::new(&format!("User of {what}:"))
        .prompt()
        .ok()?;
    let password = inquire::Password::new(&format!("Password of {what}:"))
        .without_confirmation()
        .prompt()
        .ok()?;
    (!user.is_empty() && !password.is_empty()).then_some(Login { user, password })
}

pub(crate) fn absolute(path: &Utf8Path) -> Result<Utf8PathBuf, CommandError> {
    camino::absolute_utf8(path).map_err(|error| {
        CommandError::new(
            Exit::Usage,
            format!("`{path}` cannot be made absolute: {error}"),
        )
    })
}

fn profile_error(path: &Utf8Path, faults: &[Diagnostic]) -> CommandError {
    let count = match faults.len() {
        1 => "1 fault".to_owned(),
        n => format!("{n} faults"),
    };
    let listed: Vec<_> = faults.iter().map(ToString::to_string).collect();
    let message = format!("the profile `{path}` has {count}\n{}", listed.join("\n"));
    let mut failed = CommandError::new(Exit::Usage, message);
    failed.details = serde_json::to_value(faults).unwrap_or_default();
    failed
}
