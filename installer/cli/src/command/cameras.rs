//! `stakeout cameras`: list, add, remove, probe.

use std::fmt::Write as _;
use std::fs;

use agent_api::{Offer, ProbeReport};
use camino::{Utf8Path, Utf8PathBuf};
use installer_engine::Logins;
use installer_plan::human_bytes;
use installer_spec::{Camera, Credentials, Login, Record, Source, When};
use serde::Serialize;
use url::Url;

use super::status;
use crate::args;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::probe::ask_camera;
use crate::site::{MayAsk, Site, absolute};

/// What one camera said.
#[derive(Debug, Serialize)]
pub(super) struct ProbeOutcome {
    pub(super) camera: String,
    #[serde(flatten)]
    pub(super) report: ProbeReport,
}

pub(super) async fn run(command: args::Cameras, context: &Context) -> Result<Exit, CommandError> {
    match command {
        args::Cameras::List => list(context),
        args::Cameras::Add(arguments) => add(arguments, context).await,
        args::Cameras::Remove { name } => remove(&name, context),
        args::Cameras::Probe(arguments) => probe(&arguments, context).await,
    }
}

#[derive(Serialize)]
struct Listed {
    name: String,
    source: String,
    record: When,
    footage_age_seconds: Option<f64>,
    recordings: u64,
    bytes: u64,
}

fn list(context: &Context) -> Result<Exit, CommandError> {
    let site = Site::read(context)?;
    let status = status::read(&site)?;
    let mut listed = Vec::new();
    for camera in &site.profile.cameras {
        let report = status
            .cameras
            .iter()
            .find(|report| report.name == camera.name);
        listed.push(Listed {
            name: camera.name.clone(),
            source: match &camera.source {
                Source::Rtsp { main, .. } => main.to_string(),
                Source::Test(_) => "test camera".to_owned(),
            },
            record: camera.record.when,
            footage_age_seconds: report.and_then(|report| report.age_seconds),
            recordings: report.map_or(0, |report| report.recordings),
            bytes: report.map_or(0, |report| report.bytes),
        });
    }
    let mut text = String::new();
    for camera in &listed {
        let footage = match camera.footage_age_seconds {
            Some(age) => format!(
                "{} recordings, {}, newest {age:.0} s old",
                camera.recordings,
                human_bytes(camera.bytes)
            ),
            None => "no footage".to_owned(),
        };
        let when = when_word(camera.record);
        writeln!(
            text,
            "{}  {}  {when}  {footage}",
            camera.name, camera.source
        )
        .expect("invariant: a String takes any text");
    }
    context.printer.result(&text, &listed);
    Ok(Exit::Done)
}

fn when_word(when: When) -> &'static str {
    match when {
        When::Continuous => "continuous",
        When::Motion => "motion",
        When::Both => "both",
    }
}

/// A camera as it was typed: its URLs without a login, and the login.
pub(super) fn typed_camera(
    name: &str,
    rtsp: &str,
    sub: Option<&str>,
    when: When,
) -> Result<(Camera, Option<Login>), CommandError> {
    let (main, login) = typed_url(rtsp)?;
    let (sub, sub_login) = match sub {
        Some(sub) => {
            let (url, login) = typed_url(sub)?;
            (Some(url), login)
        }
        None => (None, None),
    };
    let camera = Camera {
        name: name.to_owned(),
        source: Source::Rtsp {
            main,
            sub,
            credentials: None,
        },
        record: Record {
            when,
            ..Record::default()
        },
    };
    Ok((camera, login.or(sub_login)))
}

fn typed_url(text: &str) -> Result<(Url, Option<Login>), CommandError> {
    let masked = installer_spec::mask(text);
    let wrong = |why: &str| {
        CommandError::new(
            Exit::Usage,
            format!("`{masked}` is not a camera's address: {why}"),
        )
        .hint("write it like rtsp://10.0.3.11/main")
    };
    let mut url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
    if url.scheme() != "rtsp" {
        return Err(wrong("it does not begin with rtsp://"));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(wrong("it names no host"));
    }
    let decode = |text: &str| {
        percent_encoding::percent_decode_str(text)
            .decode_utf8_lossy()
            .into_owned()
    };
    let login = url.password().map(|password| Login {
        user: decode(url.username()),
        password: decode(password),
    });
    let cleared = url.set_username("").and_then(|()| url.set_password(None));
    cleared.map_err(|()| wrong("its login cannot be taken out"))?;
    Ok((url, login))
}

/// Writes a login into a file of its own beside the profile, mode 0600, and returns what the
/// profile says of it.
pub(super) fn keep_login(
    profile: &Utf8Path,
    camera: &str,
    login: &Login,
    context: &Context,
) -> Result<Credentials, CommandError> {
    let failed = |error| CommandError::from_error(Exit::Usage, &error);
    let path = absolute(profile)?;
    let stem = path.file_stem().unwrap_or("stakeout");
    let relative = Utf8PathBuf::from(format!("{stem}.logins")).join(camera);
    let folder = path.parent().map(Utf8Path::to_owned).unwrap_or_default();
    let file = folder.join(&relative);
    let mut effects = context.effects();
    if let Some(parent) = file.parent() {
        effects
            .make_directory(parent, 0o700, None)
            .map_err(failed)?;
    }
    let text = format!("{}\n{}\n", login.user, login.password);
    effects
        .write_file(&file, 0o600, None, text.as_bytes())
        .map_err(failed)?;
    Ok(Credentials::File(relative))
}

fn read_login_file(path: &Utf8Path) -> Result<Login, CommandError> {
    let text = fs::read_to_string(path).map_err(|error| {
        CommandError::new(
            Exit::Usage,
            format!("cannot read the login in `{path}`: {error}"),
        )
    })?;
    let mut lines = text.lines();
    match (lines.next(), lines.next()) {
        (Some(user), Some(password)) if !user.is_empty() && !password.is_empty() => Ok(Login {
            user: user.to_owned(),
            password: password.to_owned(),
        }),
        _ => Err(
            CommandError::new(Exit::Usage, format!("`{path}` holds no login"))
                .hint("write the user on its first line and the password on its second"),
        ),
    }
}

async fn add(arguments: args::AddCamera, context: &Context) -> Result<Exit, CommandError> {
    let site = Site::read(context)?;
    let args::AddCamera {
        name,
        rtsp,
        sub,
        login_file,
        when,
        no_probe,
    } = arguments;
    let when = match when.as_str() {
        "continuous" => When::Continuous,
        "motion" => When::Motion,
        "both" => When::Both,
        other => {
            return Err(
                CommandError::new(Exit::Usage, format!("`--when {other}` is unknown"))
                    .hint("use continuous, motion or both"),
            );
        }
    };
    let (mut camera, mut login) = typed_camera(&name, &rtsp, sub.as_deref(), when)?;
    if let Some(path) = &login_file {
        login = Some(read_login_file(path)?);
    }
    if !no_probe {
        let report = ask_camera(&site.programs, &rtsp_of(&camera), login.as_ref(), 3).await?;
        let outcome = ProbeOutcome {
            camera: name.clone(),
            report,
        };
        context.printer.note(&probe_text(&outcome));
        if let ProbeReport::Failed(failure) = outcome.report {
            let mut failed = CommandError::new(Exit::CheckFailed, failure.message)
                .hint(failure.help)
                .hint("add it unseen with --no-probe");
            failed.details = serde_json::json!({ "camera": name });
            return Err(failed);
        }
    }
    // Checked before any file is written: a bad name must not leave a login behind.
    let edit = |camera: &Camera| {
        installer_spec::add_camera(&site.text, camera)
            .map_err(|error| CommandError::from_error(Exit::Usage, &error))
    };
    let mut text = edit(&camera)?;
    if let Some(login) = &login {
        let kept = keep_login(&context.profile, &name, login, context)?;
        if let Source::Rtsp { credentials, .. } = &mut camera.source {
            *credentials = Some(kept);
        }
        text = edit(&camera)?;
    }
    let edited = Site::from_text(context, text)?;
    write_profile(&edited, context)?;
    let text = format!("{name} is in {}; `stakeout install` records it", site.path);
    context.printer.result(
        &text,
        &serde_json::json!({ "added": name, "profile": site.path }),
    );
    Ok(Exit::Done)
}

fn remove(name: &str, context: &Context) -> Result<Exit, CommandError> {
    let site = Site::read(context)?;
    let text = installer_spec::remove_camera(&site.text, name)
        .map_err(|error| CommandError::from_error(Exit::Usage, &error))?;
    let edited = Site::from_text(context, text)?;
    write_profile(&edited, context)?;
    let text = format!(
        "{name} is out of {}; `stakeout install` stops recording it, its footage stays",
        site.path
    );
    context.printer.result(
        &text,
        &serde_json::json!({ "removed": name, "profile": site.path }),
    );
    Ok(Exit::Done)
}

pub(super) fn write_profile(site: &Site, context: &Context) -> Result<(), CommandError> {
    context
        .effects()
        .write_file(&site.path, 0o644, None, site.text.as_bytes())
        .map_err(|error| CommandError::from_error(Exit::Usage, &error))
}

async fn probe(arguments: &args::ProbeCamera, context: &Context) -> Result<Exit, CommandError> {
    let mut outcomes = Vec::new();
    if let Some(rtsp) = &arguments.rtsp {
        let (camera, mut login) = typed_camera("camera", rtsp, None, When::Continuous)?;
        if let Some(path) = &arguments.login_file {
            login = Some(read_login_file(path)?);
        }
        let programs = installer_host::programs_folder().unwrap_or_default();
        let url = rtsp_of(&camera);
        let report = ask_camera(&programs, &url, login.as_ref(), arguments.seconds).await?;
        outcomes.push(ProbeOutcome {
            camera: url.to_string(),
            report,
        });
    } else {
        let site = Site::read(context)?;
        let logins = site.logins(context, MayAsk::Yes);
        let unknown = arguments
            .names
            .iter()
            .find(|n| !site.profile.cameras.iter().any(|c| c.name == **n));
        if let Some(name) = unknown {
            let message = format!("{} has no camera `{name}`", site.path);
            return Err(
                CommandError::new(Exit::Usage, message).hint("`stakeout cameras list` names them")
            );
        }
        for camera in &site.profile.cameras {
            if arguments.names.is_empty() || arguments.names.contains(&camera.name) {
                context
                    .printer
                    .note(&format!("asking camera {}", camera.name));
                outcomes.extend(probe_one(&site, camera, &logins, arguments.seconds).await?);
            }
        }
    }
    let text: Vec<_> = outcomes.iter().map(probe_text).collect();
    context.printer.result(&text.join("\n"), &outcomes);
    let failed = outcomes
        .iter()
        .any(|one| matches!(one.report, ProbeReport::Failed(_)));
    Ok(if failed {
        Exit::CheckFailed
    } else {
        Exit::Done
    })
}

/// Asks one camera of the profile; test cameras are asked once they are installed.
pub(super) async fn probe_one(
    site: &Site,
    camera: &Camera,
    logins: &Logins,
    seconds: u64,
) -> Result<Option<ProbeOutcome>, CommandError> {
    let name = camera.name.clone();
    let (url, login) = match &camera.source {
        Source::Rtsp { main, .. } => match logins.get(&name) {
            Some(Ok(login)) => (main.clone(), Some(login.clone())),
            _ => (main.clone(), stored_login(site, &name)),
        },
        Source::Test(_) => {
            let path = installer_render::Layout::new(site.data.clone()).receipt();
            let ports = installer_host::read_receipt(&path)?.map(|receipt| receipt.ports());
            let Some(port) = ports.and_then(|ports| ports.get(&format!("camera-{name}")).copied())
            else {
                return Ok(None);
            };
            let url = Url::parse(&format!("rtsp://127.0.0.1:{port}/{name}"));
            (
                url.expect("invariant: camera names are URL-safe"),
                stored_login(site, &name),
            )
        }
    };
    let report = ask_camera(&site.programs, &url, login.as_ref(), seconds).await?;
    Ok(Some(ProbeOutcome {
        camera: name,
        report,
    }))
}

/// The login that the site keeps for a camera.
fn stored_login(site: &Site, camera: &str) -> Option<Login> {
    let layout = installer_render::Layout::new(site.data.clone());
    let purpose = installer_render::camera_secret(camera);
    let text = installer_host::read_secret(&layout, &purpose).ok()?;
    let (user, password) = text.split_once('\n')?;
    Some(Login {
        user: user.to_owned(),
        password: password.to_owned(),
    })
}

pub(super) fn rtsp_of(camera: &Camera) -> Url {
    match &camera.source {
        Source::Rtsp { main, .. } => main.clone(),
        Source::Test(_) => Url::parse("rtsp://127.0.0.1/").expect("invariant: a literal URL"),
    }
}

pub(super) fn probe_text(outcome: &ProbeOutcome) -> String {
    match &outcome.report {
        ProbeReport::Ok(offer) => format!("{}: {}", outcome.camera, offer_text(offer)),
        ProbeReport::Failed(failure) => {
            format!(
                "{}: FAIL {}\n  {}",
                outcome.camera, failure.message, failure.help
            )
        }
    }
}

fn offer_text(offer: &Offer) -> String {
    let gop = offer.gop_seconds.map_or_else(
        || "fewer than two key frames seen".to_owned(),
        |gop| format!("a key frame every {gop:.1} s"),
    );
    let audio = offer.audio.as_deref().unwrap_or("no audio");
    format!(
        "{} {}x{} at {:.1} frames/s, {gop}, {:.2} Mbit/s (measured over {:.1} s), {audio}, login {}",
        offer.codec,
        offer.width,
        offer.height,
        offer.fps,
        offer.bits_per_second as f64 / 1e6,
        offer.measured_ms as f64 / 1e3,
        offer.auth,
    )
}
