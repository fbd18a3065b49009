//! A site in a cluster, as the commands see it.

use std::collections::BTreeMap;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use futures::future::{join, join_all};
use installer_docker::{NoWayBack, check_tables};
use installer_engine::{ApplyError, Logins, World, first_receipt};
use installer_image::build::CATALOGUE_LABEL;
use installer_image::load::Containerd;
use installer_image::registry::{self, RegistryError};
use installer_image::{OwnImage, Release, is_local};
use installer_kubernetes::{
    Choice, KubernetesError, KubernetesWorld, Lock, LockError, SiteInCluster, Turn, Wanted as Look,
    connect, image_way, observe, receipt_bytes, rehearse,
};
use installer_plan::docker::ImageFact;
use installer_plan::kubernetes::{self, ImageAnswer, ImageWay, KubernetesFacts};
use installer_plan::{Plan, Receipt};
use installer_render::RenderedFile;
use installer_render::docker::Component;
use installer_render::kubernetes::{Site as Objects, namespace};
use installer_spec::Profile;

use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::images::{self, ImagePlaces};
use crate::output::Printer;
use crate::target::OnCluster;

/// What is looked for.
pub(crate) struct Wanted<'a> {
    pub(crate) site: &'a str,
    /// Absent, only what is there is read, which is enough to take it away.
    pub(crate) profile: Option<&'a Profile>,
    /// The profile's.
    pub(crate) folder: &'a Utf8Path,
    pub(crate) logins: &'a Logins,
    pub(crate) images: &'a ImagePlaces,
}

/// Images are named by their index, which has all platforms; this one is for the question alone.
const PLATFORM: &str = "linux/amd64";

/// This many cameras of a wave are named.
const NAMED: usize = 3;

pub(crate) async fn look(choice: &Choice, wanted: Wanted<'_>) -> Result<OnCluster, CommandError> {
    let connection = connect(choice).await?;
    let images: BTreeMap<Component, ImageFact> = images::find(wanted.images, PLATFORM)
        .into_iter()
        .map(|(component, image)| {
            let fact = ImageFact {
                reference: image.reference,
                present: None,
                wanted: None,
                source: None,
                standing: image.standing,
                obstacle: None,
            };
            (component, fact)
        })
        .collect();
    let names = wanted.profile.map(kubernetes::names).unwrap_or_default();
    let namespace = kubernetes::namespace(wanted.site);
    let turn = Turn::read(&connection, &namespace).await;
    let observed = observe(
        &connection,
        Look {
            site: wanted.site,
            profile: wanted.profile,
            folder: wanted.folder,
            logins: wanted.logins,
            namespace: &namespace,
            names: &names,
            images: &images,
        },
    )
    .await?;
    Ok(OnCluster {
        connection,
        observed,
        turn,
    })
}

/// Without a registry, images of the release's folder may come into the only node.
pub(crate) async fn find_image_way(seen: &mut OnCluster, places: &ImagePlaces) {
    let (connection, facts) = (&seen.connection, &mut seen.observed.facts);
    if places.registry.is_some() {
        return;
    }
    let Ok(release) = Release::read(&places.folder) else {
        return;
    };
    let way = image_way(connection, &facts.cluster).await;
    let node = match &way {
        ImageWay::Import { node, .. } => facts.cluster.nodes.get(node),
        ImageWay::None { .. } => None,
    };
    let platform = node.map_or(PLATFORM, |node| &node.platform);
    for (component, found) in images::find(places, platform) {
        let Some(image) = facts.images.get_mut(&component) else {
            continue;
        };
        image.source = found.source;
        image.obstacle = found.obstacle;
        let local = || {
            let own = OwnImage::named(component.name())?;
            release.local_reference(own, platform.parse().ok()?)
        };
        if let ImageWay::Import { held, .. } = &way
            && let Some(local) = local()
        {
            image.present = held.get(&local).cloned();
            image.wanted = Some(local.clone());
            image.reference = local;
        }
    }
    facts.image_way = Some(way);
}

/// A registry that is near answers sooner, and one that is not is not waited for.
const REGISTRY_PATIENCE: Duration = Duration::from_secs(5);

/// The plan with what the cluster and the registry say of it beforehand. Nothing changes.
pub(crate) async fn refine(
    seen: &OnCluster,
    images: &ImagePlaces,
    plan: Plan,
    answer: kubernetes::Answer,
) -> Result<Plan, CommandError> {
    let facts = &seen.observed.facts;
    let actions = kubernetes::to_rehearse(&plan, facts);
    let heard = rehearse(&seen.connection, &facts.namespace, &actions).await?;
    let plan = kubernetes::rehearsed(plan, facts, &heard, answer);
    if images.registry.is_none() {
        return Ok(plan);
    }
    let wanted = kubernetes::images_to_ask_for(&plan, facts.receipt.as_ref());
    let answers = join_all(wanted.into_iter().map(ask_for_image)).await;
    let answers = answers.into_iter().flatten().collect();
    Ok(kubernetes::with_images(plan, &answers))
}

/// The plan with an error where its receipt is too large for the cluster.
pub(crate) fn check_receipt(
    seen: &OnCluster,
    plan: Plan,
    cameras: usize,
) -> Result<Plan, CommandError> {
    if plan.is_empty() {
        return Ok(plan);
    }
    let found = seen.observed.facts.receipt.clone();
    let receipt = first_receipt(&plan, env!("CARGO_PKG_VERSION"), found);
    let bytes = receipt_bytes(&receipt);
    let bytes = bytes.map_err(|error| CommandError::from_error(Exit::Internal, &error))?;
    Ok(kubernetes::with_receipt(plan, bytes, cameras))
}

/// What is wrong with an image, if anything is.
async fn ask_for_image(image: String) -> Option<(String, ImageAnswer)> {
    let asked = tokio::time::timeout(REGISTRY_PATIENCE, registry::ask_for(&image)).await;
    let answer = match asked {
        Ok(Ok(())) => return None,
        Ok(Err(error @ RegistryError::Absent { .. })) => ImageAnswer::Absent(error.to_string()),
        Ok(Err(error)) => ImageAnswer::Untold(error.to_string()),
        Err(_) => ImageAnswer::Untold(format!(
            "its registry does not answer within {} s",
            REGISTRY_PATIENCE.as_secs()
        )),
    };
    Some((image, answer))
}

/// An error where something that a saved plan changes is no longer as it was.
pub(crate) fn check_unchanged(seen: &OnCluster, saved: &Plan) -> Result<(), CommandError> {
    let changed = kubernetes::changed_since(saved, &seen.observed.facts);
    let count = match changed.len() {
        0 => return Ok(()),
        1 => "an object has changed since".to_owned(),
        n => format!("{n} objects have changed since"),
    };
    let message = format!("the plan no longer holds: {count}");
    let mut failed = CommandError::new(Exit::Pending, message);
    failed.causes = changed;
    Err(failed.hint("look at what would change now with `stakeout plan`, and save that"))
}

/// Wants the images that were in force before those of now.
pub(crate) async fn choose_previous_images(
    facts: &mut KubernetesFacts,
) -> Result<(), CommandError> {
    let failed = |reason: String| {
        let message = format!("the site cannot be rolled back: {reason}");
        CommandError::new(Exit::CheckFailed, message)
    };
    let Some((then, now)) = facts.receipt.as_ref().and_then(Receipt::way_back) else {
        return Err(failed(NoWayBack::Unknown.to_string()));
    };
    let vault = Component::Vault.name();
    if let (Some(then), Some(now)) = (then.get(vault), now.get(vault))
        && then != now
    {
        let way = facts.image_way.as_ref();
        let (then, now) = join(tables(then, way), tables(now, way)).await;
        match (then, now) {
            (Ok(then), Ok(now)) => {
                check_tables(then, now).map_err(|reason| failed(reason.to_string()))?;
            }
            // A vault that does not know the tables does not touch them.
            (Err(error), _) | (_, Err(error)) => Printer::warn(&format!(
                "warning: nobody says whether the vault of before reads the catalogue as it is \
                 now: {error}"
            )),
        }
    }
    for (component, fact) in &mut facts.images {
        if let Some(reference) = then.get(component.name()) {
            fact.reference.clone_from(reference);
        }
    }
    Ok(())
}

/// The version of the catalogue's tables that the vault in an image writes.
async fn tables(image: &str, way: Option<&ImageWay>) -> Result<Option<u32>, String> {
    let version = match way {
        Some(ImageWay::Import { command, held, .. }) if held.contains(image) => {
            let command = command.clone();
            let label = Containerd { command }.label(image, CATALOGUE_LABEL).await;
            label.map_err(|error| error.to_string())?
        }
        // Nobody else's registry is asked for what has never been in one.
        Some(_) if is_local(image) => {
            return Err(format!("the node does not have `{image}`"));
        }
        _ => {
            let label = registry::label(image, CATALOGUE_LABEL);
            let asked = tokio::time::timeout(REGISTRY_PATIENCE, label).await;
            let silent = |_| format!("the registry of `{image}` does not answer");
            asked.map_err(silent)?.map_err(|error| error.to_string())?
        }
    };
    Ok(version.and_then(|version| version.parse().ok()))
}

/// What to do where a wave has failed.
pub(crate) fn after_wave(plan: &Plan, error: ApplyError) -> CommandError {
    let step = match &error {
        ApplyError::Step { done, .. }
        | ApplyError::NotReady { done, .. }
        | ApplyError::TimedOut { done, .. }
        | ApplyError::Interrupted { done, .. } => Some(*done),
        ApplyError::Checks(_) | ApplyError::Receipt(_) => None,
    };
    let wave = step.and_then(|step| kubernetes::wave_of(plan, step));
    let failed = CommandError::from(error);
    let Some(wave) = wave else {
        return failed;
    };
    let named: Vec<_> = wave
        .cameras
        .iter()
        .take(NAMED)
        .map(|name| format!("`{name}`"))
        .collect();
    let more = match wave.cameras.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    failed
        .hint(format!(
            "it stopped at wave {} of {}, of camera {}{more}; the agents of later waves run as \
             before, and `stakeout doctor` says what is wrong with those of this one",
            wave.number,
            wave.of,
            named.join(", ")
        ))
        .hint("go on with the same command once it is mended, or back with `stakeout rollback`")
}

pub(crate) fn world(
    site: &str,
    seen: &OnCluster,
    context: &Context,
    logins: Logins,
) -> KubernetesWorld {
    let facts = &seen.observed.facts;
    let place = SiteInCluster {
        site: site.to_owned(),
        namespace: facts.namespace.clone(),
        installation: facts.installation.clone(),
        own: seen.observed.own.clone(),
        home: namespace(site, &facts.installation, &facts.namespace),
    };
    KubernetesWorld::new(
        seen.connection.clone(),
        place,
        logins,
        context.primitives(),
        context.interrupted.clone(),
    )
}

/// Takes the site's lock in the cluster; nothing where its namespace is not there yet.
pub(crate) async fn lease(
    seen: &OnCluster,
    context: &Context,
) -> Result<Option<Lock>, CommandError> {
    let uname = rustix::system::uname();
    let machine = uname.nodename().to_string_lossy();
    // A process of this machine that is no more holds nothing.
    let holder = format!("{machine}/{}", std::process::id());
    let namespace = &seen.observed.facts.namespace;
    let taken = Lock::acquire(&seen.connection, namespace, &holder, &context.interrupted);
    taken.await.map_err(|error| match error {
        LockError::Held { .. } => CommandError::from_error(Exit::Locked, &error)
            .hint("wait until it has ended; a run that was killed is forgotten after 30 s"),
        LockError::Cluster(error) => error.into(),
    })
}

/// Lets the next run in, and says so where another one took the lock before that.
pub(crate) async fn release<T>(
    lease: Option<Lock>,
    ended: Result<T, CommandError>,
) -> Result<T, CommandError> {
    let Some(lease) = lease else {
        return ended;
    };
    let lost = lease.is_lost();
    lease.release().await;
    match ended {
        Err(stopped) if lost => {
            let message =
                "another run has taken the site's lock meanwhile, so this one has stopped";
            let mut failed = CommandError::new(Exit::Locked, message);
            failed.causes.push(stopped.message);
            Err(failed
                .hint("see that this machine was not asleep, then run the same command again"))
        }
        ended => ended,
    }
}

/// Whether nobody else can have changed the site between the look and the lock that we hold: whoever
/// changes it holds the lock. What it was then, it is now.
pub(crate) async fn is_undisturbed(seen: &OnCluster) -> bool {
    let Some(before) = seen.turn else {
        return false;
    };
    let now = Turn::read(&seen.connection, &seen.observed.facts.namespace).await;
    now.is_some_and(|now| now.follows(before))
}

/// The lock of a site whose namespace was not there: makes it, and sees that nobody else has
/// installed the site meanwhile.
pub(crate) async fn first_lease(
    seen: &OnCluster,
    world: &KubernetesWorld,
    context: &Context,
) -> Result<Option<Lock>, CommandError> {
    world
        .make_home(|reason| context.printer.note(reason))
        .await?;
    let held = lease(seen, context).await?;
    match world.read_receipt().await? {
        None => Ok(held),
        Some(receipt) => {
            let message = format!(
                "another run has installed site `{}` meanwhile",
                receipt.site
            );
            Err(CommandError::new(Exit::Locked, message).hint("run the same command again"))
        }
    }
}

/// Every object as a file of its own.
pub(crate) fn manifests(site: &Objects) -> Vec<RenderedFile> {
    let objects = site.objects.iter().map(|one| &one.object);
    let workloads = site.workloads.iter().map(|one| &one.object);
    let file = |object: &installer_render::kubernetes::Object| {
        let name = format!("{}-{}.json", object.id.kind.name(), object.id.name);
        let mut contents = serde_json::to_string_pretty(&object.value())
            .expect("invariant: plain data serialises");
        contents.push('\n');
        RenderedFile {
            path: Utf8PathBuf::from(name.to_lowercase()),
            contents,
        }
    };
    objects.chain(workloads).map(file).collect()
}

impl From<KubernetesError> for CommandError {
    fn from(error: KubernetesError) -> Self {
        let exit = match &error {
            KubernetesError::Unconfigured { .. }
            | KubernetesError::Unreachable { .. }
            | KubernetesError::Certificate { .. } => Exit::WrongTarget,
            KubernetesError::Configuration { .. } | KubernetesError::Context { .. } => Exit::Usage,
            KubernetesError::Login { .. }
            | KubernetesError::Unauthorized { .. }
            | KubernetesError::Forbidden { .. } => Exit::Forbidden,
            KubernetesError::Busy { .. } => Exit::TimedOut,
            KubernetesError::Cluster { .. } | KubernetesError::Read { .. } => Exit::Internal,
        };
        let failed = Self::from_error(exit, &error);
        match &error {
            KubernetesError::Unconfigured { .. } => failed.hint(
                "name a kubeconfig with --kubeconfig or KUBECONFIG; on MicroK8s `microk8s config` \
                 writes one, on k3s it is /etc/rancher/k3s/k3s.yaml",
            ),
            KubernetesError::Context { .. } => failed.hint("name one of these with --context"),
            KubernetesError::Unreachable { .. } => {
                failed.hint("see that the cluster runs and that this machine reaches it")
            }
            KubernetesError::Busy { .. } => {
                failed.hint("run the same command again when it has less to do")
            }
            KubernetesError::Forbidden { .. } => {
                failed.hint("have whoever runs the cluster grant it to you")
            }
            _ => failed,
        }
    }
}
