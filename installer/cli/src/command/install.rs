//! `stakeout install`: plan, show, confirm, apply, prove.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Instant;

use camino::Utf8PathBuf;
use futures::StreamExt;
use futures::stream;
use installer_engine::{Event, Logins, World, apply, verify};
use installer_host::Lock;
use installer_kubernetes::Lock as Lease;
use installer_plan::{Finding, Plan, Severity, Verified, human_bytes, moving, show};
use serde::Serialize;

use crate::access::{self, AccessReport};
use crate::args::{self, ProofOptions};
use crate::cluster;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::output::{Output, Printer};
use crate::peers::{Peers, peers};
use crate::progress::Progress;
use crate::site::{MayAsk, Site};
use crate::target::{AnyWorld, Seen, Survey};

/// More proofs at once than this would measure each other.
const PROOFS_AT_ONCE: usize = 16;

#[derive(Debug, Serialize)]
struct Installed<'a> {
    /// `installed` or `unchanged`.
    result: &'static str,
    site: &'a str,
    data: &'a str,
    changed: usize,
    /// The proof of the first camera, or the last one that was made.
    verified: Option<Verified>,
    /// The proofs of all cameras that were asked for one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cameras: Vec<Verified>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unverified: Vec<Unverified>,
    /// Services that were replaced, and for how long each was away.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    gaps_ms: BTreeMap<String, u64>,
    /// Where others reach the vault.
    #[serde(skip_serializing_if = "Option::is_none")]
    access: Option<AccessReport>,
}

#[derive(Debug, Serialize)]
struct Unverified {
    camera: String,
    error: String,
}

pub(super) async fn run(
    arguments: &args::Install,
    context: &Context,
) -> Result<Exit, CommandError> {
    let mut site = Site::read(context)?;
    site.answer_conflicts(arguments.conflicts)?;
    site.print_warnings();
    let logins = site.logins(context, MayAsk::Yes);
    if arguments.no_wait {
        site.do_not_wait()?;
    }
    let no_verify = arguments.proof.no_verify || arguments.no_wait;
    let proof = ProofOptions {
        no_verify,
        ..arguments.proof
    };
    carry_out(&site, logins, proof, context).await
}

/// The same as an installation, of a site that is installed.
pub(super) async fn upgrade(
    arguments: &args::Upgrade,
    context: &Context,
) -> Result<Exit, CommandError> {
    let mut site = Site::read(context)?;
    site.answer_conflicts(arguments.conflicts)?;
    site.print_warnings();
    let logins = site.logins(context, MayAsk::Yes);
    require_installed(&site, &logins).await?;
    carry_out(&site, logins, arguments.proof, context).await
}

pub(super) async fn require_installed(site: &Site, logins: &Logins) -> Result<(), CommandError> {
    if site.observe(logins).await?.receipt().is_some() {
        return Ok(());
    }
    let message = format!("site `{}` is not installed", site.profile.site);
    Err(CommandError::new(Exit::CheckFailed, message).hint("install it with `stakeout install`"))
}

/// The same as an installation, with the images of before.
pub(super) async fn rollback(
    arguments: &args::Upgrade,
    context: &Context,
) -> Result<Exit, CommandError> {
    let mut site = Site::read(context)?;
    site.answer_conflicts(arguments.conflicts)?;
    site.choose_previous_images()?;
    site.print_warnings();
    let logins = site.logins(context, MayAsk::Yes);
    carry_out(&site, logins, arguments.proof, context).await
}

/// Everything after the profile was read; `apply` shares it.
pub(super) async fn carry_out(
    site: &Site,
    logins: Logins,
    proof: ProofOptions,
    context: &Context,
) -> Result<Exit, CommandError> {
    let survey = site.survey(&logins).await?;
    let plan = site.plan(&survey)?;
    let receipt = survey.seen.receipt();
    let clean = receipt.is_some_and(|r| r.pending.is_none() && r.owned == plan.owned);
    // What could not be looked at may be another.
    let clean = clean && errors(&plan).next().is_none();
    let proven = receipt.and_then(|receipt| receipt.verified.clone());
    if plan.is_empty() && clean && (proven.is_some() || proof.no_verify) {
        let unchanged = Installed {
            result: "unchanged",
            site: &site.profile.site,
            data: site.data.as_str(),
            changed: 0,
            verified: proven,
            cameras: Vec::new(),
            unverified: Vec::new(),
            gaps_ms: BTreeMap::new(),
            access: access::report(site, &survey.seen),
        };
        let mut text = show(&plan);
        if let Some(access) = &unchanged.access {
            writeln!(text, "{access}").expect("invariant: a String takes any text");
        }
        context.printer.result(&text, &unchanged);
        return Ok(Exit::Done);
    }

    let _locks = lock(site, &survey)?;
    let mut lease = lease(&survey.seen, context).await?;
    let changed = change(site, survey, logins, proof, &mut lease, context).await;
    cluster::release(lease, changed).await
}

/// Nobody else changes the cluster's side of a site, wherever they are.
pub(super) async fn lease(seen: &Seen, context: &Context) -> Result<Option<Lease>, CommandError> {
    match seen {
        Seen::Host(_) | Seen::Docker(_) => Ok(None),
        Seen::Kubernetes(seen) => cluster::lease(seen, context).await,
    }
}

async fn change(
    site: &Site,
    survey: Survey,
    logins: Logins,
    proof: ProofOptions,
    lease: &mut Option<Lease>,
    context: &Context,
) -> Result<Exit, CommandError> {
    // Whatever was true before the lock may have been another run's half.
    let mut survey = match &survey.seen {
        Seen::Kubernetes(seen) if cluster::is_undisturbed(seen).await => survey,
        _ => site.survey(&logins).await?,
    };
    site.size_up(&mut survey, &logins, context).await;
    let plan = site.plan_closely(&survey).await?;
    if let (Some(_), Some(from)) = (&survey.from, site.target.other()) {
        let to = site.target;
        context.printer.note(&format!(
            "Site {} moves from {} to {}. What it has recorded stays in {}; it records nothing \
             while its agents change places.\n",
            site.profile.site,
            from.words(),
            to.words(),
            site.data,
        ));
    }
    let plan = announce(plan, context)?;
    context.catch_interrupt();
    let progress = Progress::new(context.printer);
    let mut world = site.world(context, logins.clone(), &survey);
    if let (Seen::Kubernetes(seen), AnyWorld::Kubernetes(world), None) =
        (&survey.seen, &world, &lease)
    {
        *lease = cluster::first_lease(seen, world, context).await?;
    }
    if let AnyWorld::Kubernetes(world) = &mut world {
        world.take(plan.conflicts.clone());
    }
    let mut away = Away::default();
    let mut report = |event: Event| {
        away.see(&event, &survey);
        progress.show(&event);
    };
    let applied = apply(&plan, env!("CARGO_PKG_VERSION"), &mut world, &mut report).await;
    let applied = match applied {
        Ok(applied) => applied,
        Err(error) => {
            progress.finish();
            world.end().await;
            let failed = cluster::after_wave(&plan, error);
            return Err(match (&survey.from, site.target.other()) {
                (Some(_), Some(other)) => failed.hint(format!(
                    "or go back to {}: `stakeout install --target {}`",
                    other.words(),
                    other.name(),
                )),
                _ => failed,
            });
        }
    };
    let mut gaps = world.gaps();
    gaps.extend(away.gaps);
    let (cameras, unverified) = if proof.no_verify {
        (Vec::new(), Vec::new())
    } else {
        // What was made now, secrets among it, has to be read first.
        let seen = site.observe(&logins).await?;
        let peers = peers(site, &plan, &seen).await?;
        prove(&peers, proof.proof_seconds, &progress).await?
    };
    progress.finish();
    if let Some(first) = cameras.first() {
        remember(&mut world, first).await?;
    }
    tracing::info!("{} primitives performed", world.effects());
    world.end().await;
    for (service, ms) in &gaps {
        context
            .printer
            .note(&format!("{service} was replaced and away for {ms} ms"));
    }
    // What the vault shows is known once it runs.
    let access = match &site.profile.access {
        Some(_) => access::report(site, &site.observe(&logins).await?),
        None => None,
    };
    let proved = Proved {
        cameras,
        unverified,
    };
    finish(site, applied.changed, proved, gaps, access, context)
}

/// Nobody else changes what this run changes.
fn lock(site: &Site, survey: &Survey) -> Result<Vec<Lock>, CommandError> {
    let mut keys: Vec<_> = std::iter::once(&survey.seen)
        .chain(&survey.from)
        .map(|seen| seen.lock_key(&site.data))
        .collect();
    // In one order, whichever way it goes.
    keys.sort();
    let take = |key: &Utf8PathBuf| Ok(Lock::take(key, "install")?);
    keys.iter().map(take).collect()
}

/// How long each service of a site that moves was away.
#[derive(Default)]
struct Away {
    since: Option<Instant>,
    gaps: Vec<(String, u64)>,
}

impl Away {
    fn see(&mut self, event: &Event, survey: &Survey) {
        if survey.from.is_none() {
            return;
        }
        match event {
            Event::StepStarted { id, .. } if moving::is_of_old_home(id) => {
                self.since.get_or_insert_with(Instant::now);
            }
            Event::StepDone { id, .. } => {
                // A port may come after the name.
                let service = id.strip_prefix("service ");
                let service = service.and_then(|rest| rest.split(' ').next());
                if let (Some(service), Some(since)) = (service, self.since)
                    && !moving::is_of_old_home(id)
                {
                    let ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
                    self.gaps.push((service.to_owned(), ms));
                }
            }
            _ => {}
        }
    }
}

fn errors(plan: &Plan) -> impl Iterator<Item = &Finding> {
    let findings = plan.findings.iter();
    findings.filter(|finding| finding.severity == Severity::Error)
}

/// Shows what will happen and asks, unless nothing will. Whoever says yes has been shown what is taken
/// from others, and takes it.
fn announce(plan: Plan, context: &Context) -> Result<Plan, CommandError> {
    context.printer.note(&show(&plan));
    let takes = plan.waits_for_conflicts_alone() && context.can_ask && !context.yes;
    let errors: Vec<_> = errors(&plan).collect();
    if !errors.is_empty() && !takes {
        let messages: Vec<_> = errors
            .iter()
            .map(|f| format!("{} [{}]", f.message, f.id))
            .collect();
        let mut failed = CommandError::new(
            Exit::CheckFailed,
            "nothing was changed, since checks failed",
        );
        failed.causes = messages;
        failed.hints = errors.iter().map(|finding| finding.help.clone()).collect();
        failed.details = serde_json::to_value(&plan.findings).unwrap_or_default();
        return Err(failed);
    }
    let warned = plan
        .findings
        .iter()
        .any(|f| f.severity == Severity::Warning);
    if context.strict && warned {
        return Err(CommandError::new(
            Exit::Warnings,
            "there are warnings, and --strict is given",
        ));
    }
    if plan.is_empty() {
        return Ok(plan);
    }
    let count = plan.steps.len();
    if takes {
        let question = format!(
            "Make {count} changes, and take this from other managers: {}?",
            plan.conflicts
        );
        context.confirm(&question)?;
        return Ok(plan.taking_conflicts());
    }
    context.confirm(&format!("Make {count} changes?"))?;
    Ok(plan)
}

async fn prove(
    peers: &Peers,
    seconds: u64,
    progress: &Progress,
) -> Result<(Vec<Verified>, Vec<Unverified>), CommandError> {
    let accesses = &peers.cameras;
    let proofs = stream::iter(accesses.iter().enumerate())
        .map(|(index, access)| async move {
            let mut report = |event: Event| progress.show(&event);
            (index, verify(access, seconds, &mut report).await)
        })
        .buffer_unordered(PROOFS_AT_ONCE)
        .collect::<Vec<_>>();
    let mut results = tokio::select! {
        results = proofs => results,
        // Proving changes nothing, so it can be left at once.
        _ = tokio::signal::ctrl_c() => {
            let message = "interrupted; the site is installed and not proved";
            return Err(CommandError::new(Exit::Interrupted, message));
        }
    };
    results.sort_by_key(|(index, _)| *index);
    let (mut verified, mut unverified) = (Vec::new(), Vec::new());
    for ((_, result), access) in results.into_iter().zip(accesses) {
        match result {
            Ok(proof) => {
                progress.show(&Event::Verified(proof.clone()));
                verified.push(proof);
            }
            Err(error) => {
                let failed = CommandError::from_error(Exit::CheckFailed, &error);
                let mut text = failed.message;
                for cause in failed.causes {
                    text.push_str(": ");
                    text.push_str(&cause);
                }
                let camera = access.camera.clone();
                progress.show(&Event::VerifyFailed {
                    camera: camera.clone(),
                    error: text.clone(),
                });
                unverified.push(Unverified {
                    camera,
                    error: text,
                });
            }
        }
    }
    Ok((verified, unverified))
}

async fn remember(world: &mut impl World, verified: &Verified) -> Result<(), CommandError> {
    if let Some(mut receipt) = world.read_receipt().await? {
        receipt.verified = Some(verified.clone());
        world.write_receipt(&receipt).await?;
    }
    Ok(())
}

/// What the proofs of cameras gave.
struct Proved {
    cameras: Vec<Verified>,
    unverified: Vec<Unverified>,
}

fn finish(
    site: &Site,
    changed: usize,
    proved: Proved,
    gaps: Vec<(String, u64)>,
    access: Option<AccessReport>,
    context: &Context,
) -> Result<Exit, CommandError> {
    let Proved {
        cameras,
        unverified,
    } = proved;
    let mut text = String::new();
    for proof in &cameras {
        text.push_str(&describe(proof));
        text.push('\n');
    }
    let failed = unverified.len();
    let installed = Installed {
        result: if changed == 0 {
            "unchanged"
        } else {
            "installed"
        },
        site: &site.profile.site,
        data: site.data.as_str(),
        changed,
        verified: cameras.first().cloned(),
        cameras,
        unverified,
        gaps_ms: gaps.into_iter().collect(),
        access,
    };
    if failed == 0 {
        let end = format!("Site {} records. {}.", site.profile.site, site.place());
        text.push_str(&end);
        if let Some(access) = &installed.access {
            write!(text, "\n{access}").expect("invariant: a String takes any text");
        }
        context.printer.result(&text, &installed);
        return Ok(Exit::Done);
    }
    if context.printer.output == Output::Human {
        Printer::text(&text);
    }
    let mut error = CommandError::new(
        Exit::CheckFailed,
        format!(
            "{failed} of {} cameras could not be proved",
            site.profile.cameras.len()
        ),
    );
    error.causes = installed
        .unverified
        .iter()
        .map(|one| one.error.clone())
        .collect();
    error.details = serde_json::to_value(&installed).unwrap_or_default();
    Err(error
        .hint("`stakeout cameras probe NAME` tells what a camera says")
        .hint(
            "the site goes on trying: `stakeout install` proves it again when the camera is there",
        ))
}

fn describe(proof: &Verified) -> String {
    let hops: Vec<_> = proof
        .hops
        .iter()
        .map(|hop| format!("{} {} ms", hop.name, hop.ms))
        .collect();
    format!(
        "Verified: {}\n  camera {}: {:.1} s, {} {}x{}, {} frames, {}\n  {}",
        proof.recording,
        proof.camera,
        proof.seconds,
        proof.codec,
        proof.width,
        proof.height,
        proof.frames,
        human_bytes(proof.bytes),
        hops.join(" → "),
    )
}
