//! `stakeout init`: asks what cannot be found out, looks at each camera, writes the profile.

use std::collections::BTreeMap;

use agent_api::ProbeReport;
use installer_host::programs_folder;
use installer_plan::Severity;
use installer_render::login_name;
use installer_spec::{
    Agents, Buffer, Camera, Catalogue, ClusterMeans, Isolation, Keeper, Login, Monitoring, Profile,
    Provider, Record, Source, Storage, TargetChoice, TestSource, Vault, When,
};

use super::cameras::{ProbeOutcome, keep_login, probe_text, rtsp_of, typed_camera};
use crate::args;
use crate::context::{Context, asking};
use crate::error::{CommandError, Exit};
use crate::output::Printer;
use crate::probe::ask_camera;
use crate::site::{MayAsk, Site};

/// A camera and the login that its profile will name.
struct Wanted {
    camera: Camera,
    login: Option<Login>,
}

pub(super) async fn run(arguments: args::Init, context: &Context) -> Result<Exit, CommandError> {
    if context.profile.exists() && !arguments.force {
        let message = format!("`{}` is there already", context.profile);
        return Err(CommandError::new(Exit::Usage, message).hint(
            "edit it, add cameras with `stakeout cameras add`, or overwrite it with --force",
        ));
    }
    missing_answers(&arguments, context)?;
    let site = match &arguments.site {
        Some(site) => site.clone(),
        None => ask_site()?,
    };
    let mut wanted = Vec::new();
    for typed in &arguments.cameras {
        let (name, url) = typed.split_once('=').ok_or_else(|| {
            let masked = installer_spec::mask(typed);
            CommandError::new(Exit::Usage, format!("`--camera {masked}` has no name"))
                .hint("write it like --camera gate=rtsp://10.0.3.11/main")
        })?;
        let (camera, login) = typed_camera(name, url, None, When::Continuous)?;
        let login = login.or_else(|| login_variable(name));
        look(&camera, login.as_ref(), arguments.no_probe, context).await?;
        wanted.push(Wanted { camera, login });
    }
    if arguments.test_camera {
        wanted.push(test_camera());
    }
    if wanted.is_empty() {
        wanted = ask_cameras(arguments.no_probe, context).await?;
    }
    let profile = Profile {
        site,
        target: TargetChoice::Auto,
        agents: Agents {
            isolation: Isolation::Camera,
            buffer: Buffer::Disposable,
        },
        cameras: wanted.iter().map(|one| one.camera.clone()).collect(),
        storage: storage(&arguments)?,
        access: None,
        charts: Vec::new(),
        monitoring: Monitoring::Auto,
        monitoring_labels: BTreeMap::new(),
        cluster: ClusterMeans::default(),
        catalogue: Catalogue::Sqlite,
        vault: Vault::default(),
        events: Vec::new(),
    };
    write(profile, &wanted, context).await
}

/// Without a terminal every missing answer is one error that lists them all.
fn missing_answers(arguments: &args::Init, context: &Context) -> Result<(), CommandError> {
    if context.can_ask {
        return Ok(());
    }
    let mut missing = Vec::new();
    if arguments.site.is_none() {
        missing.push("--site NAME");
    }
    if arguments.cameras.is_empty() && !arguments.test_camera {
        missing
            .push("--camera NAME=URL (with STAKEOUT_LOGIN_NAME=user:password), or --test-camera");
    }
    if missing.is_empty() {
        return Ok(());
    }
    let mut failed = CommandError::new(Exit::Usage, "nobody to ask, and answers are missing");
    failed.causes = missing.into_iter().map(str::to_owned).collect();
    Err(failed)
}

fn login_variable(camera: &str) -> Option<Login> {
    let name = format!("STAKEOUT_LOGIN_{}", camera.to_uppercase().replace('-', "_"));
    let value = std::env::var(name).ok()?;
    let (user, password) = value.split_once(':')?;
    Some(Login {
        user: user.to_owned(),
        password: password.to_owned(),
    })
}

fn ask_site() -> Result<String, CommandError> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let proposal: String = host
        .trim()
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    inquire::Text::new("Name of the site:")
        .with_default(proposal.trim_matches('-'))
        .with_help_message("letters a to z, digits and dashes")
        .prompt()
        .map_err(|error| asking(&error))
}

async fn ask_cameras(no_probe: bool, context: &Context) -> Result<Vec<Wanted>, CommandError> {
    let mut wanted: Vec<Wanted> = Vec::new();
    loop {
        let question = format!("Address of camera {}:", wanted.len() + 1);
        let help = if wanted.is_empty() {
            "like rtsp://10.0.3.11/main; nothing for the built-in test camera"
        } else {
            "like rtsp://10.0.3.12/main; nothing when that was all"
        };
        let url = inquire::Text::new(&question)
            .with_help_message(help)
            .prompt()
            .map_err(|error| asking(&error))?;
        if url.trim().is_empty() {
            if wanted.is_empty() {
                wanted.push(test_camera());
            }
            return Ok(wanted);
        }
        let name = inquire::Text::new("Its name:")
            .with_default(&format!("camera-{}", wanted.len() + 1))
            .prompt()
            .map_err(|error| asking(&error))?;
        match ask_camera_details(&name, url.trim(), no_probe, context).await {
            Ok(Some(one)) => wanted.push(one),
            Ok(None) => {}
            Err(error) if error.exit == Exit::Interrupted => return Err(error),
            Err(error) => context.printer.error(&error),
        }
    }
}

/// Looks at a camera as it was typed; asks for a login when it wants one.
async fn ask_camera_details(
    name: &str,
    url: &str,
    no_probe: bool,
    context: &Context,
) -> Result<Option<Wanted>, CommandError> {
    let (camera, mut login) = typed_camera(name, url, None, When::Continuous)?;
    if no_probe {
        return Ok(Some(Wanted { camera, login }));
    }
    loop {
        let report = probe(&camera, login.as_ref(), context).await?;
        let ProbeReport::Failed(failure) = report else {
            return Ok(Some(Wanted { camera, login }));
        };
        if failure.kind == agent_api::ProbeFailureKind::Unauthorized {
            login = crate::site::ask_login(&login_name(name));
            if login.is_some() {
                continue;
            }
        }
        let keep = inquire::Confirm::new("Keep this camera all the same?")
            .with_default(false)
            .prompt()
            .map_err(|error| asking(&error))?;
        return Ok(keep.then_some(Wanted { camera, login }));
    }
}

async fn probe(
    camera: &Camera,
    login: Option<&Login>,
    context: &Context,
) -> Result<ProbeReport, CommandError> {
    context
        .printer
        .note(&format!("looking at {}…", camera.name));
    let programs = programs_folder().unwrap_or_default();
    let report = ask_camera(&programs, &rtsp_of(camera), login, 3).await?;
    let outcome = ProbeOutcome {
        camera: camera.name.clone(),
        report,
    };
    context.printer.note(&probe_text(&outcome));
    Ok(outcome.report)
}

/// A camera that was given by a flag is looked at; what is wrong with it is said, and does not
/// stop: it may be plugged in later.
async fn look(
    camera: &Camera,
    login: Option<&Login>,
    no_probe: bool,
    context: &Context,
) -> Result<(), CommandError> {
    if !no_probe
        && let ProbeReport::Failed(failure) = probe(camera, login, context).await?
        && context.printer.output != crate::output::Output::Human
    {
        Printer::warn(&format!("camera {}: {}", camera.name, failure.message));
    }
    Ok(())
}

fn test_camera() -> Wanted {
    let camera = Camera {
        name: "demo".to_owned(),
        source: Source::Test(TestSource::Scene),
        record: Record::default(),
    };
    Wanted {
        camera,
        login: None,
    }
}

fn storage(arguments: &args::Init) -> Result<Storage, CommandError> {
    let wrong = |flag: &str, text: &str, like: &str| {
        CommandError::new(Exit::Usage, format!("`--{flag} {text}` is not understood"))
            .hint(format!("write it like --{flag} {like}"))
    };
    let retention = match &arguments.retention {
        Some(text) => Some(
            installer_spec::parse_duration(text).ok_or_else(|| wrong("retention", text, "30d"))?,
        ),
        None => None,
    };
    let quota = match &arguments.quota {
        Some(text) => {
            Some(installer_spec::parse_bytes(text).ok_or_else(|| wrong("quota", text, "500GB"))?)
        }
        None => None,
    };
    let path = arguments
        .storage_path
        .as_deref()
        .map(crate::site::absolute)
        .transpose()?;
    Ok(Storage {
        path,
        provider: Provider::Filesystem,
        keeper: Keeper::Vault,
        retention,
        quota,
    })
}

/// Checks the whole before anything is written, writes logins and profile, shows the plan.
async fn write(
    mut profile: Profile,
    wanted: &[Wanted],
    context: &Context,
) -> Result<Exit, CommandError> {
    Site::from_text(context, installer_spec::to_yaml(&profile))?;
    for (camera, one) in profile.cameras.iter_mut().zip(wanted) {
        if let (Some(login), Source::Rtsp { credentials, .. }) = (&one.login, &mut camera.source) {
            *credentials = Some(keep_login(&context.profile, &camera.name, login, context)?);
        }
    }
    let site = Site::from_text(context, installer_spec::to_yaml(&profile))?;
    super::cameras::write_profile(&site, context)?;
    context.printer.note(&format!("wrote {}\n", site.path));
    let logins = site.logins(context, MayAsk::No);
    let plan = site.plan(&site.survey(&logins).await?)?;
    super::plan::print(&plan, context);
    context.printer.note("\nDo it with `stakeout install`.");
    let failed = plan
        .findings
        .iter()
        .any(|finding| finding.severity == Severity::Error);
    Ok(if failed {
        Exit::CheckFailed
    } else {
        Exit::Done
    })
}
