//! `stakeout validate`: every fault of the profile at once.

use serde::Serialize;

use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::site::Site;

#[derive(Serialize)]
struct Valid<'a> {
    #[serde(rename = "valid")]
    sound: bool,
    site: &'a str,
    cameras: usize,
    warnings: &'a [installer_spec::Diagnostic],
}

pub(super) fn run(context: &Context) -> Result<Exit, CommandError> {
    let site = Site::read(context)?;
    site.print_warnings();
    let cameras = site.profile.cameras.len();
    let text = format!(
        "{} is valid: site {}, {cameras} cameras",
        site.path, site.profile.site
    );
    let valid = Valid {
        sound: true,
        site: &site.profile.site,
        cameras,
        warnings: &site.warnings,
    };
    context.printer.result(&text, &valid);
    Ok(Exit::Done)
}
