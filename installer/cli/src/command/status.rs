//! `stakeout status`: what runs and what records, whatever the receipt says.

use std::fmt::Write as _;

use installer_host::{ServiceReport, SiteStatus, read_status};
use installer_plan::human_bytes;
use serde::Serialize;

use crate::access::{self, AccessReport};
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::site::{MayAsk, Site};
use crate::site_status;
use crate::target::Seen;

/// What runs, and where others reach it.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    status: &'a SiteStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    access: Option<&'a AccessReport>,
}

pub(super) async fn run(context: &Context) -> Result<Exit, CommandError> {
    let site = Site::read(context)?;
    let logins = site.logins(context, MayAsk::No);
    let healthy = match site.observe(&logins).await? {
        seen @ Seen::Host(_) => {
            let status = read(&site)?;
            let access = access::report(&site, &seen);
            let mut text = text(&status);
            if let Some(access) = &access {
                writeln!(text, "  {access}").expect("invariant: a String takes any text");
            }
            let told = Told {
                status: &status,
                access: access.as_ref(),
            };
            context.printer.result(&text, &told);
            status.healthy() && access.is_none_or(|access| access.published)
        }
        Seen::Docker(seen) => {
            let status = site_status::on_engine(&site, &seen).await?;
            context.printer.result(&site_status::text(&status), &status);
            status.healthy()
        }
        Seen::Kubernetes(seen) => {
            let status = site_status::in_cluster(&site, &seen).await?;
            context.printer.result(&site_status::text(&status), &status);
            status.healthy()
        }
    };
    Ok(if healthy {
        Exit::Done
    } else {
        Exit::CheckFailed
    })
}

pub(crate) fn read(site: &Site) -> Result<SiteStatus, CommandError> {
    let cameras: Vec<_> = site
        .profile
        .cameras
        .iter()
        .map(|camera| camera.name.clone())
        .collect();
    Ok(read_status(&site.profile.site, &site.data, &cameras)?)
}

fn text(status: &SiteStatus) -> String {
    let mut text = format!("Site {}, data in {}\n", status.site, status.data);
    if !status.installed {
        text.push_str("Not installed: `stakeout install` does it.\n");
    }
    if status.unfinished {
        text.push_str("A run did not end: run `stakeout install` again.\n");
    }
    for service in &status.services {
        let mark = if service.running && service.answers {
            "ok  "
        } else {
            "FAIL"
        };
        let line = format!("  {mark}  {}: {}", service.name, state_of(service));
        writeln!(text, "{line}").expect("invariant: a String takes any text");
    }
    for camera in &status.cameras {
        let line = match (&camera.newest, camera.age_seconds) {
            (Some(newest), Some(age)) => format!(
                "camera {}: {} recordings, {}, newest footage {age:.0} s ago in {newest}",
                camera.name,
                camera.recordings,
                human_bytes(camera.bytes)
            ),
            _ => format!("camera {}: no footage", camera.name),
        };
        writeln!(text, "  {line}").expect("invariant: a String takes any text");
    }
    text
}

/// What a service of this machine does, in words.
pub(crate) fn state_of(service: &ServiceReport) -> String {
    let pid = service.pid.map(|pid| format!(", process {pid}"));
    let port = service.port.map(|port| format!(", port {port}"));
    let answers = if service.running && !service.answers {
        ", does not answer"
    } else {
        ""
    };
    let restarts = match service.restarts {
        0 => String::new(),
        n => format!(", restarted {n} times"),
    };
    let (pid, port) = (pid.unwrap_or_default(), port.unwrap_or_default());
    format!("{}{pid}{port}{answers}{restarts}", service.state)
}
