//! What whoever watches a site sees: services every few seconds, cameras every second.

use std::collections::BTreeMap;
use std::time::Duration;

use agent_api::{CameraState, CameraStatus};
use futures::StreamExt as _;
use futures::stream;
use installer_engine::{CameraAccess, read_cameras, read_usage};
use installer_render::{Layout, agent_of};
use installer_watch::{CameraSight, DiskSight, Line, ServiceSight, Sight, SiteSight, VaultSight};
use jiff::Timestamp;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, sleep};

use crate::command::status;
use crate::context::Context;
use crate::error::CommandError;
use crate::peers::{Peers, peers};
use crate::site::{MayAsk, Site};
use crate::site_status::{self, DiskReport, SiteReport};
use crate::target::{Seen, Survey, Target};

/// Services change seldom, and a cluster is asked for a thousand of them at once.
const ROUND: Duration = Duration::from_secs(10);
const GLANCE: Duration = Duration::from_secs(1);
/// Agents that are asked beside each other.
const AT_ONCE: usize = 16;
/// Enough to scroll through.
const LOG_LINES: u32 = 500;

pub(crate) fn now_ms() -> u64 {
    u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0)
}

/// Tells what is seen until whoever listens has gone.
pub(crate) async fn keep_looking(site: &Site, context: &Context, lines: &UnboundedSender<Line>) {
    let tell = |sight| lines.send(Line::seen(now_ms(), sight)).is_ok();
    let mut open = None;
    while !lines.is_closed() {
        let until = Instant::now() + ROUND;
        if let Err(error) = look_round(site, context, &mut open, &tell).await {
            tell(Sight::Blind {
                error: in_one_line(&error),
            });
        }
        while Instant::now() < until && !lines.is_closed() {
            if let Some(peers) = &open
                && !look_at_cameras(site, peers, &tell).await
            {
                // A way that has ended is opened anew.
                open = None;
            }
            sleep(GLANCE).await;
        }
    }
}

fn in_one_line(error: &CommandError) -> String {
    let causes = error.causes.iter().map(|cause| format!(": {cause}"));
    std::iter::once(error.message.clone())
        .chain(causes)
        .collect()
}

async fn look_round(
    site: &Site,
    context: &Context,
    open: &mut Option<Peers>,
    tell: &impl Fn(Sight) -> bool,
) -> Result<(), CommandError> {
    // This machine tells of its services without being looked at closely, which takes a while.
    let mut seen = None;
    let (sight, services) = match site.target {
        Target::Host => services_of_host(site)?,
        Target::Docker | Target::Kubernetes => {
            let found = observe(site, context).await?;
            let report = match &found {
                Seen::Host(_) => return Ok(()),
                Seen::Docker(seen) => site_status::on_engine(site, seen).await?,
                Seen::Kubernetes(seen) => site_status::in_cluster(site, seen).await?,
            };
            seen = Some(found);
            services_of(report)
        }
    };
    let installed = sight.installed;
    tell(Sight::Site(sight));
    for service in services {
        tell(Sight::Service(service));
    }
    if !installed {
        *open = None;
        return Ok(());
    }
    if open.is_none() {
        let seen = match seen {
            Some(seen) => seen,
            None => observe(site, context).await?,
        };
        let survey = Survey { seen, from: None };
        let plan = site.plan(&survey)?;
        *open = Some(peers(site, &plan, &survey.seen).await?);
    }
    if let Some(first) = open.as_ref().and_then(|peers| peers.cameras.first())
        && let Ok(Some(usage)) = read_usage(first).await
    {
        tell(Sight::Vault(VaultSight {
            recordings: usage.recordings,
            bytes: usage.bytes,
            undelivered: usage.undelivered,
        }));
        if let Some((free_bytes, total_bytes)) = usage.disk_free.zip(usage.disk_total) {
            let disk = DiskReport {
                free_bytes,
                total_bytes,
            };
            tell(Sight::Disk(DiskSight {
                free_bytes,
                total_bytes,
                full: disk.is_full(),
            }));
        }
    }
    Ok(())
}

async fn observe(site: &Site, context: &Context) -> Result<Seen, CommandError> {
    site.observe(&site.logins(context, MayAsk::No)).await
}

fn services_of_host(site: &Site) -> Result<(SiteSight, Vec<ServiceSight>), CommandError> {
    let status = status::read(site)?;
    let services = status.services.iter().map(|service| ServiceSight {
        name: service.name.clone(),
        well: service.running && service.answers,
        state: status::state_of(service),
        causes: Vec::new(),
    });
    let sight = SiteSight {
        name: status.site.clone(),
        place: "this machine".to_owned(),
        installed: status.installed,
        unfinished: status.unfinished,
    };
    Ok((sight, services.collect()))
}

fn services_of(report: SiteReport) -> (SiteSight, Vec<ServiceSight>) {
    let services = report.services.into_iter().map(|service| ServiceSight {
        name: service.name,
        well: service.well,
        state: service.state,
        causes: service.causes,
    });
    let sight = SiteSight {
        name: report.site,
        place: report.place,
        installed: report.installed,
        unfinished: report.unfinished,
    };
    (sight, services.collect())
}

/// Asks every agent once; whether all have answered.
async fn look_at_cameras(site: &Site, peers: &Peers, tell: &impl Fn(Sight) -> bool) -> bool {
    let mut agents: BTreeMap<&str, &CameraAccess> = BTreeMap::new();
    for access in &peers.cameras {
        agents.entry(access.agent.as_str()).or_insert(access);
    }
    let asked = agents.into_iter().map(async |(agent, access)| {
        let answer = read_cameras(&access.agent, &access.token).await;
        (agent, answer.map_err(|error| error.to_string()))
    });
    let answers: BTreeMap<&str, Result<Vec<CameraStatus>, String>> = stream::iter(asked)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    for (camera, access) in site.profile.cameras.iter().zip(&peers.cameras) {
        let service = agent_of(&site.profile, camera);
        let found = match answers.get(access.agent.as_str()) {
            Some(Ok(all)) => all.iter().find(|one| one.name == camera.name),
            _ => None,
        };
        let error = match answers.get(access.agent.as_str()) {
            Some(Err(error)) => error.clone(),
            _ => "its agent does not know it".to_owned(),
        };
        tell(Sight::Camera(match found {
            Some(status) => sight_of(status, service),
            None => CameraSight {
                name: camera.name.clone(),
                service,
                error: Some(error),
                ..CameraSight::default()
            },
        }));
    }
    answers.values().all(Result::is_ok)
}

fn sight_of(status: &CameraStatus, service: String) -> CameraSight {
    CameraSight {
        name: status.name.clone(),
        service,
        receiving: status.state == CameraState::Receiving,
        error: status.error.clone(),
        picture: site_status::picture(status),
        bytes: status.bytes,
        last_frame_ms: status.last_frame_ms,
        segment: status.newest_recording.clone(),
        footage_ms: status.newest_footage_ms,
        waiting: status.pending_uploads,
        reconnects: status.reconnects,
    }
}

/// The last that a service has said.
pub(crate) async fn log(site: &Site, context: &Context, service: String) -> Line {
    let lines = match read_log(site, context, &service).await {
        Ok(lines) if lines.is_empty() => vec!["it has said nothing".to_owned()],
        Ok(lines) => lines,
        Err(error) => vec![in_one_line(&error)],
    };
    Line::seen(now_ms(), Sight::Log { service, lines })
}

async fn read_log(
    site: &Site,
    context: &Context,
    service: &str,
) -> Result<Vec<String>, CommandError> {
    let name = &site.profile.site;
    let count = usize::try_from(LOG_LINES).expect("invariant: a few hundred");
    if site.target == Target::Host {
        let (manager, layout) = (status::read(site)?.manager, Layout::new(&site.data));
        return Ok(installer_host::read_log(
            manager, name, &layout, service, count,
        ));
    }
    Ok(match &observe(site, context).await? {
        Seen::Host(_) => Vec::new(),
        Seen::Docker(seen) => {
            let container = installer_plan::docker::object_name(name, service);
            installer_docker::read_log(&seen.connection, &container, count).await
        }
        Seen::Kubernetes(seen) => {
            let namespace = &seen.observed.facts.namespace;
            installer_kubernetes::read_log(&seen.connection, namespace, service, LOG_LINES).await
        }
    })
}
