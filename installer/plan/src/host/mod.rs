//! The host target: agent and vault as services of one machine.

mod access;
mod checks;
mod draft;
mod install;
mod services;
mod uninstall;

pub use install::{files, plan};
pub use uninstall::{Level, plan_uninstall};

use camino::Utf8PathBuf;

use crate::digest::digest_of;

/// Where units of the machine's owner live (systemd.unit(5)).
pub const UNIT_FOLDER: &str = "/etc/systemd/system";

/// Longest user name that useradd takes.
const USER_NAME_MAX: usize = 31;

/// Why there is no plan at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("the profile asks for target `{asked}`, which this version cannot install")]
    Target { asked: &'static str },
    #[error("cannot render a unit of site `{site}`")]
    Unit { site: String, reason: String },
}

/// The system user that a site's services run as under systemd: one per site, so that no site
/// can read another's footage.
pub fn user_name(site: &str) -> String {
    let name = format!("stakeout-{site}");
    if name.len() <= USER_NAME_MAX {
        return name;
    }
    let digest = digest_of(&site);
    let short: String = site
        .chars()
        .take(12)
        .chain(['-'])
        .chain(digest.chars().take(8))
        .collect();
    format!("stakeout-{short}")
}

/// Name of a service's unit. Neither site nor service holds a dot, so no site's name can be the
/// beginning of another's.
pub fn unit_name(site: &str, service: &str) -> String {
    format!("stakeout.{site}.{service}.service")
}

/// Path of a service's unit.
pub fn unit_path(site: &str, service: &str) -> Utf8PathBuf {
    Utf8PathBuf::from(UNIT_FOLDER).join(unit_name(site, service))
}

/// The service that a unit of this site runs.
pub fn service_of_unit<'a>(site: &str, unit: &'a str) -> Option<&'a str> {
    unit.strip_prefix("stakeout.")?
        .strip_prefix(site)?
        .strip_prefix('.')?
        .strip_suffix(".service")
}
