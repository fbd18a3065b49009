//! The Docker target: agent, vault and what they need as containers of one engine.

mod action;
mod checks;
mod containers;
mod draft;
mod facts;
mod images;
mod install;
mod uninstall;

pub use action::{Bind, ContainerSpec, DockerAction, ImageSource, NetworkSpec};
pub use facts::{
    ContainerFact, ContainerState, DockerFacts, Engine, ImageFact, ImageObstacle, ImageStanding,
    NetworkFact, Ownership,
};
pub use install::{files, plan};
pub use uninstall::plan_uninstall;

pub use installer_render::label;

use std::collections::BTreeMap;

/// The service name of the container through which files are changed; it does not run otherwise.
pub const FILES: &str = "files";

/// Name of a service's container, or of a network. Neither site nor service holds a dot, so no
/// site's name can be the beginning of another's.
pub fn object_name(site: &str, service: &str) -> String {
    format!("stakeout.{site}.{service}")
}

/// Name of the container that is about to take over from `name`.
pub fn next_name(name: &str) -> String {
    format!("{name}.next")
}

/// Whether an object's name is one of this site's.
pub fn is_of_site(site: &str, name: &str) -> bool {
    name.strip_prefix("stakeout.")
        .and_then(|rest| rest.strip_prefix(site))
        .is_some_and(|rest| rest.starts_with('.'))
}

/// The labels that every object of the site has.
pub fn labels(site: &str, installation: &str, service: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (label::SITE.to_owned(), site.to_owned()),
        (label::INSTALLATION.to_owned(), installation.to_owned()),
        (label::SERVICE.to_owned(), service.to_owned()),
    ])
}
