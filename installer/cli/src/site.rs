//! From the profile's file to a plan: the way that most commands share.

use std::fs;
use std::io;

use agent_api::ProbeReport;
use camino::{Utf8Path, Utf8PathBuf};
use futures::stream::{self, StreamExt};
use installer_docker::{AgentImage, DockerWorld, Origin, SiteOnEngine, Wanted, connect};
use installer_engine::{Logins, resolve_logins};
use installer_host::{HostWorld, default_data, observe, programs_folder};
use installer_plan::{CameraFact, Plan, Promise, docker, host, kubernetes, moving};
use installer_render::docker::Component;
use installer_render::{RenderedFile, login_name};
use installer_spec::{Diagnostic, Lists, Login, Profile, Source, SourceFile, TargetChoice};

use crate::args::ConflictOptions;
use crate::cluster;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::images::{self, ImagePlaces};
use crate::output::Printer;
use crate::probe::ask_camera;
use crate::target::{AnyWorld, OnEngine, Rotation, Seen, Survey, Target};

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
    pub(crate) images: ImagePlaces,
    pub(crate) cluster: installer_kubernetes::Choice,
    choice: ImageChoice,
    rotation: Rotation,
    /// Nothing else is done than this.
    saved: Option<Box<Plan>>,
    patience: Patience,
    /// What becomes of fields that other managers have.
    conflicts: kubernetes::Answer,
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

/// Whether a run ends when what is wanted runs, or when it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    UntilReady,
    None,
}

/// Long enough for a few groups of pictures of most cameras.
const PROBE_SECONDS: u64 = 3;
/// Each is a process of its own.
const PROBES_AT_ONCE: usize = 16;

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
            let mut named = CommandError::because(Exit::Usage, what, &error);
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
        let asked = Target::asked(context.target, parsed.profile.target);
        let data = match (&context.data_dir, asked) {
            (_, Some(Target::Kubernetes)) => kubernetes::namespace(&parsed.profile.site).into(),
            (Some(data), _) => absolute(data)?,
            (None, _) => usual_data(&parsed.profile, asked),
        };
        let target = asked.unwrap_or_else(|| {
            let at_engine = Target::Docker.lies_at(&data) && !Target::Host.lies_at(&data);
            if at_engine {
                Target::Docker
            } else {
                Target::Host
            }
        });
        let programs = programs_folder().map_err(|error| {
            CommandError::new(Exit::Internal, format!("cannot find this program: {error}"))
        })?;
        if context.strict && !parsed.warnings.is_empty() {
            let mut failed = profile_error(&context.profile, &parsed.warnings);
            failed.exit = Exit::Warnings;
            return Err(failed);
        }
        let mut profile = parsed.profile;
        // One that was asked for on the command line is this run's.
        profile.target = match target {
            Target::Host => TargetChoice::Host,
            Target::Docker => TargetChoice::Docker,
            Target::Kubernetes => TargetChoice::Kubernetes,
        };
        Ok(Self {
            profile,
            path,
            folder,
            text,
            warnings: parsed.warnings,
            data,
            target,
            choice: ImageChoice::Release,
            rotation: Rotation::default(),
            saved: None,
            patience: Patience::UntilReady,
            conflicts: kubernetes::Answer::Leave,
            promise: context.promise,
            images: context.image_places(&programs)?,
            cluster: context.cluster.clone(),
            programs,
        })
    }

    /// From here on the site is planned with the images of before its last upgrade.
    pub(crate) fn choose_previous_images(&mut self) -> Result<(), CommandError> {
        if self.target == Target::Host {
            let message = "a site of this machine's services cannot be rolled back so far";
            return Err(CommandError::new(Exit::WrongTarget, message)
                .hint("install the older release again: `stakeout install` of that version"));
        }
        self.choice = ImageChoice::Previous;
        Ok(())
    }

    /// From here on nothing is waited for, and what does not run yet is nobody's fault.
    pub(crate) fn do_not_wait(&mut self) -> Result<(), CommandError> {
        if self.target != Target::Kubernetes {
            let message = "only a cluster goes on by itself: --no-wait is for clusters";
            return Err(CommandError::new(Exit::WrongTarget, message));
        }
        self.patience = Patience::None;
        Ok(())
    }

    /// From here on plans take what other managers have, where that is asked for.
    pub(crate) fn answer_conflicts(&mut self, asked: ConflictOptions) -> Result<(), CommandError> {
        if !asked.force_conflicts {
            return Ok(());
        }
        if self.target != Target::Kubernetes {
            let message = "only a cluster knows other managers: --force-conflicts is for clusters";
            return Err(CommandError::new(Exit::WrongTarget, message));
        }
        self.conflicts = kubernetes::Answer::Take;
        Ok(())
    }

    /// Where everything of the site is, in words.
    pub(crate) fn place(&self) -> String {
        match self.target {
            Target::Host | Target::Docker => format!("Data in {}", self.data),
            Target::Kubernetes => format!("Namespace {}", self.data),
        }
    }

    /// From here on the site is planned with these things made anew.
    pub(crate) fn rotate(&mut self, rotation: Rotation) {
        self.rotation = rotation;
    }

    /// From here on this plan is made, or none.
    pub(crate) fn bind(&mut self, saved: Plan) {
        self.conflicts = saved.conflicts.answer;
        self.saved = Some(Box::new(saved));
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
        self.observe_at(self.target, logins).await
    }

    /// The target, and the one that the site comes from.
    pub(crate) async fn survey(&self, logins: &Logins) -> Result<Survey, CommandError> {
        let mut seen = self.observe(logins).await?;
        self.find_images(&mut seen).await?;
        seen.rotate(&self.rotation);
        if self.patience == Patience::None {
            seen.take_for_ready();
        }
        let other = self.target.other();
        let Some(other) = other.filter(|other| seen.is_here() && other.lies_at(&self.data)) else {
            return Ok(Survey { seen, from: None });
        };
        let from = self.observe_at(other, logins).await?;
        match (&mut seen, &from) {
            (Seen::Host(seen), Seen::Docker(from)) => seen.facts.carry(&from.observed.facts),
            (Seen::Docker(seen), Seen::Host(from)) => seen.observed.facts.carry(&from.facts),
            _ => {}
        }
        let from = Some(from);
        Ok(Survey { seen, from })
    }

    /// Asks the cameras of the network how much they send, as far as nobody knows yet: what the disk
    /// can hold is computed from it. A camera that does not answer is assumed.
    pub(crate) async fn size_up(&self, survey: &mut Survey, logins: &Logins, context: &Context) {
        // What the plan was made with, so that it can be the same again.
        let saved = self.saved.iter().flat_map(|saved| saved.rates.clone());
        survey.seen.rates_mut().extend(saved);
        let known = survey.seen.rates();
        let unknown: Vec<_> = self
            .profile
            .cameras
            .iter()
            .filter(|camera| !known.contains_key(&camera.name))
            .filter_map(|camera| match &camera.source {
                Source::Rtsp { main, .. } => Some((camera.name.clone(), main.clone())),
                Source::Test(_) => None,
            })
            .collect();
        // Without the agent's program nobody can be asked.
        if unknown.is_empty() || !self.programs.join("stakeout-agent").exists() {
            return;
        }
        let count = unknown.len();
        context
            .printer
            .note(&format!("asking {count} cameras how much they send"));
        let rates: Vec<_> = stream::iter(unknown)
            .map(|(name, url)| async move {
                let login = logins.get(&name).and_then(|login| login.as_ref().ok());
                let asked = ask_camera(&self.programs, &url, login, PROBE_SECONDS).await;
                match asked {
                    Ok(ProbeReport::Ok(offer)) if offer.bits_per_second > 0 => {
                        let bits_per_second = offer.bits_per_second;
                        Some((name, CameraFact { bits_per_second }))
                    }
                    _ => None,
                }
            })
            .buffer_unordered(PROBES_AT_ONCE)
            .collect()
            .await;
        survey.seen.rates_mut().extend(rates.into_iter().flatten());
    }

    /// Looks how images come to where they run, and wants those of before where that was asked for. Once
    /// those are in force, there may be none of before.
    async fn find_images(&self, seen: &mut Seen) -> Result<(), CommandError> {
        if let Seen::Kubernetes(seen) = seen {
            cluster::find_image_way(seen, &self.images).await;
        }
        match seen {
            _ if self.choice != ImageChoice::Previous => Ok(()),
            Seen::Host(_) => Ok(()),
            Seen::Docker(seen) => seen.observed.choose_previous_images().map_err(|reason| {
                let site = &self.profile.site;
                let message = format!("site `{site}` cannot be rolled back: {reason}");
                CommandError::new(Exit::CheckFailed, message)
            }),
            Seen::Kubernetes(seen) => {
                cluster::choose_previous_images(&mut seen.observed.facts).await
            }
        }
    }

    async fn observe_at(&self, target: Target, logins: &Logins) -> Result<Seen, CommandError> {
        let site = &self.profile.site;
        let profile = Some(&self.profile);
        match target {
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
                let images = images::find(&self.images, &connection.platform);
                let wanted = Wanted {
                    site,
                    profile,
                    folder: &self.folder,
                    logins,
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
                    site,
                    profile,
                    folder: &self.folder,
                    logins,
                    images: &self.images,
                };
                let seen = cluster::look(&self.cluster, wanted).await?;
                Ok(Seen::Kubernetes(Box::new(seen)))
            }
        }
    }

    pub(crate) fn plan(&self, survey: &Survey) -> Result<Plan, CommandError> {
        let (profile, folder) = (&self.profile, self.folder.as_path());
        let site = &profile.site;
        Ok(match &survey.seen {
            Seen::Host(seen) => {
                let plan = host::plan(profile, folder, &seen.facts, self.promise)?;
                match &survey.from {
                    Some(Seen::Docker(from)) => {
                        moving::from_engine(plan, site, &from.observed.facts, &seen.facts)
                    }
                    _ => plan,
                }
            }
            Seen::Docker(seen) => {
                let plan = docker::plan(profile, folder, &seen.observed.facts, self.promise)?;
                match &survey.from {
                    Some(Seen::Host(from)) => {
                        moving::from_host(plan, site, &from.facts, &seen.observed.facts)
                    }
                    _ => plan,
                }
            }
            Seen::Kubernetes(seen) => {
                let facts = &seen.observed.facts;
                let mut plan = kubernetes::plan(profile, folder, facts, self.promise)?;
                if self.patience == Patience::None {
                    plan.steps.iter_mut().for_each(|step| step.settle = None);
                }
                plan
            }
        })
    }

    /// The plan with what the target says of it beforehand. One that was saved has to be the same.
    pub(crate) async fn plan_closely(&self, survey: &Survey) -> Result<Plan, CommandError> {
        let plan = self.plan(survey)?;
        let Seen::Kubernetes(seen) = &survey.seen else {
            return self.check_saved(plan);
        };
        if let Some(saved) = &self.saved {
            cluster::check_unchanged(seen, saved)?;
        }
        let plan = cluster::refine(seen, &self.images, plan, self.conflicts).await?;
        let plan = cluster::check_receipt(seen, plan, self.profile.cameras.len())?;
        self.check_saved(plan)
    }

    fn check_saved(&self, plan: Plan) -> Result<Plan, CommandError> {
        let Some(saved) = self.saved.as_ref().filter(|s| s.digest() != plan.digest()) else {
            return Ok(plan);
        };
        let only_in = |one: &Plan, other: &Plan| {
            let steps = one.steps.iter().filter(|step| !other.steps.contains(step));
            steps.map(|step| step.id.clone()).collect::<Vec<_>>()
        };
        let mut other = only_in(saved, &plan);
        other.extend(only_in(&plan, saved));
        other.dedup();
        let message = "the plan no longer holds: the machine or the profile changed";
        let mut failed = CommandError::new(Exit::Pending, message);
        if let Some(first) = other.first() {
            let more = match other.len() - 1 {
                0 => String::new(),
                more => format!(", and {more} more"),
            };
            failed
                .causes
                .push(format!("other than in the plan: {first}{more}"));
        }
        Err(failed.hint("look at what would change now with `stakeout plan`"))
    }

    /// Every text file of the installation.
    pub(crate) fn files(&self, seen: &Seen) -> Result<Vec<RenderedFile>, CommandError> {
        let (profile, folder) = (&self.profile, self.folder.as_path());
        Ok(match seen {
            Seen::Host(seen) => host::files(profile, folder, &seen.facts)?,
            Seen::Docker(seen) => docker::files(profile, folder, &seen.observed.facts)?,
            Seen::Kubernetes(seen) => {
                cluster::manifests(&kubernetes::objects(profile, folder, &seen.observed.facts))
            }
        })
    }

    pub(crate) fn world(&self, context: &Context, logins: Logins, survey: &Survey) -> AnyWorld {
        let (site, data) = (&self.profile.site, &self.data);
        let to = world(site, data, context, logins, &survey.seen);
        match &survey.from {
            None => to,
            Some(from) => {
                let from = world(site, data, context, Logins::new(), from);
                AnyWorld::Moving(Box::new(to), Box::new(from))
            }
        }
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
                    AgentImage {
                        name: name.unwrap_or_else(|| image.reference.clone()),
                        reference: image.reference.clone(),
                        source: image.source.clone(),
                    }
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
        Seen::Kubernetes(seen) => {
            AnyWorld::Kubernetes(Box::new(cluster::world(site, seen, context, logins)))
        }
    }
}

/// Where a site lies when nobody says: where it lies already, else where its target has it.
fn usual_data(profile: &Profile, asked: Option<Target>) -> Utf8PathBuf {
    let (host, engine) = (default_data(profile), engine_data(profile));
    let (usual, other) = match asked {
        Some(Target::Docker) => (engine, host),
        _ => (host, engine),
    };
    let lies_at = |data: &Utf8Path| Target::Host.lies_at(data) || Target::Docker.lies_at(data);
    if !lies_at(&usual) && lies_at(&other) {
        other
    } else {
        usual
    }
}

/// Where a site lies on an engine's machine when nobody says.
fn engine_data(profile: &Profile) -> Utf8PathBuf {
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
