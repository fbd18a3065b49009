//! From the profile's file to a plan: the way that most commands share.

use std::fs;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use installer_host::{
    HostWorld, Logins, Observed, default_data, observe, programs_folder, resolve_login,
};
use installer_plan::{Plan, host};
use installer_spec::{Diagnostic, Lists, Login, Profile, SourceFile};

use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::output::Printer;

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
    /// Where the programs of this build lie.
    pub(crate) programs: Utf8PathBuf,
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
        let data = match &context.data_dir {
            Some(data) => absolute(data)?,
            None => default_data(&parsed.profile),
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
            programs,
        })
    }

    /// Says what is doubtful about the profile.
    pub(crate) fn print_warnings(&self) {
        for warning in &self.warnings {
            Printer::warn(&warning.to_string());
        }
    }

    /// Logins of all cameras; asks at a terminal for those that the profile says to ask for.
    pub(crate) fn logins(&self, context: &Context, may_ask: MayAsk) -> Logins {
        let mut ask = |camera: &str| {
            (may_ask == MayAsk::Yes && context.can_ask)
                .then(|| ask_login(camera))
                .flatten()
        };
        let mut logins = Logins::new();
        for camera in &self.profile.cameras {
            if let Some(login) = resolve_login(camera, &self.folder, &mut ask) {
                logins.insert(camera.name.clone(), login);
            }
        }
        logins
    }

    pub(crate) fn observe(&self, logins: &Logins) -> Result<Observed, CommandError> {
        let site = &self.profile.site;
        Ok(observe(
            site,
            Some(&self.profile),
            logins,
            &self.data,
            &self.programs,
        )?)
    }

    pub(crate) fn plan(&self, observed: &Observed) -> Result<Plan, CommandError> {
        Ok(host::plan(&self.profile, &self.folder, &observed.facts)?)
    }

    pub(crate) fn world(
        &self,
        context: &Context,
        logins: Logins,
        observed: &Observed,
    ) -> HostWorld {
        HostWorld::new(
            &self.profile.site,
            &self.data,
            observed.facts.machine.manager,
            logins,
            context.effects(),
            context.interrupted.clone(),
        )
    }
}

/// Whether a person may be bothered for a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MayAsk {
    Yes,
    No,
}

pub(crate) fn ask_login(camera: &str) -> Option<Login> {
    let user = inquire::Text::new(&format!("User of camera {camera}:"))
        .prompt()
        .ok()?;
    let password = inquire::Password::new(&format!("Password of camera {camera}:"))
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
