//! `stakeout supervise`: what the installer starts where systemd is not in charge.

use installer_host::{SuperviseError, supervise};

use crate::context::Context;
use crate::error::{CommandError, Exit};

pub(super) async fn run(context: &Context) -> Result<Exit, CommandError> {
    let data = context.data_dir.as_ref().ok_or_else(|| {
        CommandError::new(Exit::Usage, "no site is named").hint("name its folder with --data-dir")
    })?;
    match supervise(data).await {
        Ok(()) => Ok(Exit::Done),
        Err(error @ SuperviseError::Held { .. }) => {
            Err(CommandError::from_error(Exit::Locked, &error))
        }
        Err(error) => Err(CommandError::from_error(Exit::Internal, &error)),
    }
}
