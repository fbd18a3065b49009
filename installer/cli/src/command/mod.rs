//! One file per verb; each takes what was typed and the context, and returns an exit code.

mod apply;
mod cameras;
pub(crate) mod catalogue;
mod detect;
mod doctor;
pub(crate) mod image;
mod init;
mod install;
mod plan;
mod render;
mod rights;
pub(crate) mod secrets;
pub(crate) mod status;
mod supervise;
mod uninstall;
mod validate;
mod watch;

use clap::CommandFactory;

use crate::args::{Arguments, Command};
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::output::Printer;

pub(crate) async fn run(command: Command, context: &Context) -> Result<Exit, CommandError> {
    match command {
        Command::Init(arguments) => init::run(arguments, context).await,
        Command::Detect => detect::run(context).await,
        Command::Validate => validate::run(context),
        Command::Render(arguments) => render::run(&arguments, context).await,
        Command::Plan(arguments) => plan::run(&arguments, context).await,
        Command::Apply(arguments) => apply::run(&arguments, context).await,
        Command::Install(arguments) => install::run(&arguments, context).await,
        Command::Upgrade(arguments) => install::upgrade(&arguments, context).await,
        Command::Rollback(arguments) => install::rollback(&arguments, context).await,
        Command::Status => status::run(context).await,
        Command::Watch(arguments) => watch::run(&arguments, context).await,
        Command::Doctor => doctor::run(context).await,
        Command::Cameras(command) => cameras::run(command, context).await,
        Command::Secrets(command) => secrets::run(command, context).await,
        Command::Rights(arguments) => rights::run(&arguments, context).await,
        Command::Uninstall(arguments) => uninstall::run(&arguments, context).await,
        Command::Image(command) => image::run(command, context).await,
        Command::Catalogue(command) => catalogue::run(command, context).await,
        Command::Schema => {
            let schema = serde_json::to_string_pretty(&installer_spec::schema());
            Printer::text(&schema.expect("invariant: plain data serialises"));
            Ok(Exit::Done)
        }
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "stakeout", &mut text);
            Printer::text(&String::from_utf8_lossy(&text));
            Ok(Exit::Done)
        }
        Command::Supervise => supervise::run(context).await,
    }
}
