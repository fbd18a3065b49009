//! `stakeout secrets`: which there are, and new ones. Values are never shown.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use clap::{Args, Subcommand};
use installer_render::{SecretOrigin, secret_purposes};
use serde::Serialize;

use super::install::{carry_out, require_installed};
use crate::args::ProofOptions;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::site::{MayAsk, Site};
use crate::target::Rotation;
use crate::target::Target;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Every secret of the site: what it is for, its version and where it comes from.
    List,
    /// Make secrets anew; what uses them is restarted. Nothing is named: all that the site has made.
    Rotate(Rotate),
}

#[derive(Debug, Args)]
pub(crate) struct Rotate {
    /// Secrets as `secrets list` names them.
    names: Vec<String>,
    /// The site's certificate authority and all that it has issued.
    #[arg(long)]
    certificates: bool,
    #[command(flatten)]
    proof: ProofOptions,
}

#[derive(Debug, Serialize)]
struct Listed {
    name: String,
    /// In force; 0 before it is made.
    version: u32,
    origin: &'static str,
}

pub(super) async fn run(command: Command, context: &Context) -> Result<Exit, CommandError> {
    match command {
        Command::List => list(context).await,
        Command::Rotate(rotate) => rotate.run(context).await,
    }
}

async fn list(context: &Context) -> Result<Exit, CommandError> {
    let site = Site::read(context)?;
    let logins = site.logins(context, MayAsk::No);
    let seen = site.observe(&logins).await?;
    let kept = seen.secrets();
    let listed: Vec<_> = secret_purposes(&site.profile)
        .into_iter()
        .map(|(name, origin)| Listed {
            version: kept.get(&name).and_then(|fact| fact.current).unwrap_or(0),
            origin: origin.words(),
            name,
        })
        .collect();
    let mut text = String::new();
    for Listed {
        name,
        version,
        origin,
    } in &listed
    {
        let version = match version {
            0 => "not made yet".to_owned(),
            version => format!("version {version}"),
        };
        writeln!(text, "{name:<28} {version:<14} {origin}")
            .expect("invariant: a string takes all that is written to it");
    }
    context.printer.result(text.trim_end(), &listed);
    Ok(Exit::Done)
}

impl Rotate {
    async fn run(self, context: &Context) -> Result<Exit, CommandError> {
        let mut site = Site::read(context)?;
        site.print_warnings();
        let logins = site.logins(context, MayAsk::Yes);
        require_installed(&site, &logins).await?;
        let local = site.target == Target::Host && site.profile.access.is_none();
        if self.certificates && local {
            let message = "services of one machine that nobody else reaches have no certificates";
            return Err(CommandError::new(Exit::WrongTarget, message));
        }
        let secrets = self.chosen(&site)?;
        site.rotate(Rotation {
            secrets,
            certificates: self.certificates,
        });
        carry_out(&site, logins, self.proof, context).await
    }

    fn chosen(&self, site: &Site) -> Result<BTreeSet<String>, CommandError> {
        let purposes = secret_purposes(&site.profile);
        let ours = |origin: &SecretOrigin| origin.is_ours();
        if self.names.is_empty() && !self.certificates {
            let all = purposes.into_iter().filter(|(_, origin)| ours(origin));
            return Ok(all.map(|(name, _)| name).collect());
        }
        for name in &self.names {
            match purposes.get(name) {
                Some(origin) if ours(origin) => {}
                Some(origin) => {
                    let words = origin.words();
                    let message = format!("`{name}` is not ours to make: it is {words}");
                    return Err(CommandError::new(Exit::Usage, message)
                        .hint("change it at its source, then `stakeout install`"));
                }
                None => {
                    let message = format!("site `{}` has no secret `{name}`", site.profile.site);
                    return Err(CommandError::new(Exit::Usage, message)
                        .hint("`stakeout secrets list` names them"));
                }
            }
        }
        Ok(self.names.iter().cloned().collect())
    }
}
