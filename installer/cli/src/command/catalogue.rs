//! `stakeout catalogue`: the images that a site may run, and their digests.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use camino::{Utf8Path, Utf8PathBuf};
use clap::{Args, Subcommand};
use installer_image::registry::{Login, RegistryError, look_up};
use installer_image::{Catalogue, Entry, Origin, Pin, Release};
use serde::Serialize;

use crate::context::Context;
use crate::error::{CommandError, Exit};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Every image: version, licence, end of life, digests, and why it was chosen.
    List(Source),
    /// Ask the registries for the digests, and write a catalogue that has them.
    Refresh(Refresh),
}

/// Which catalogue.
#[derive(Debug, Clone, Args)]
pub(crate) struct Source {
    /// A catalogue instead of the one that this program was built with.
    #[arg(long, env = "STAKEOUT_CATALOGUE", value_name = "FILE")]
    pub(crate) catalogue: Option<Utf8PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Refresh {
    #[command(flatten)]
    source: Source,
    /// Images to ask for; all of them when none is named.
    names: Vec<String>,
    /// The catalogue to write; give it to other commands with `--catalogue`.
    #[arg(long, value_name = "FILE", default_value = "catalogue.yaml")]
    to: Utf8PathBuf,
    /// File with user and password for the registries, a line each.
    #[arg(long, value_name = "FILE")]
    login_file: Option<Utf8PathBuf>,
}

pub(super) async fn run(command: Command, context: &Context) -> Result<Exit, CommandError> {
    match command {
        Command::List(source) => list(&source, context),
        Command::Refresh(refresh) => refresh.run(context).await,
    }
}

impl Source {
    pub(crate) fn read(&self) -> Result<Catalogue, CommandError> {
        match &self.catalogue {
            None => Ok(Catalogue::embedded()),
            Some(path) => {
                Catalogue::read(path).map_err(|error| CommandError::from_error(Exit::Usage, &error))
            }
        }
    }
}

#[derive(Serialize)]
struct Listed<'a> {
    images: &'a [Entry],
    release: Option<Release>,
}

fn list(source: &Source, context: &Context) -> Result<Exit, CommandError> {
    let catalogue = source.read()?;
    let listed = Listed {
        images: catalogue.entries(),
        release: Release::embedded(),
    };
    context.printer.result(&text(&listed), &listed);
    Ok(Exit::Done)
}

fn text(listed: &Listed<'_>) -> String {
    let mut text = String::new();
    for entry in listed.images {
        let (tag, pins) = match &entry.origin {
            Origin::Release => own_pins(listed.release.as_ref(), &entry.name),
            Origin::ThirdParty { tag, platforms, .. } => {
                let pins = platforms
                    .iter()
                    .map(|(p, pin)| (p.to_string(), pin.to_string()));
                (format!(":{tag}"), pins.collect())
            }
        };
        let (name, repository, license) = (&entry.name, &entry.repository, &entry.license);
        let mut block = format!("{name}: {repository}{tag} ({license})\n    {}\n", entry.why);
        let end = &entry.end_of_life;
        writeln!(block, "    end of life: {end}").expect("invariant: a String takes any text");
        for (platform, pin) in pins {
            writeln!(block, "    {platform} {pin}").expect("invariant: a String takes any text");
        }
        text.push_str(&block);
    }
    text
}

fn own_pins(release: Option<&Release>, name: &str) -> (String, Vec<(String, String)>) {
    let Some(release) = release else {
        let none = "no release: this program was built from source".to_owned();
        return (String::new(), vec![(none, String::new())]);
    };
    let own = installer_image::OwnImage::ALL;
    let platforms = own
        .into_iter()
        .filter(|image| image.name() == name)
        .flat_map(|image| &release.image(image).platforms);
    let pins = platforms.map(|(p, digests)| (p.to_string(), digests.manifest.to_string()));
    (format!(":{}", release.version), pins.collect())
}

/// What became of one image.
#[derive(Serialize)]
struct Outcome {
    name: String,
    state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// Its digest was not known, or is another now.
    Changed,
    Same,
    Failed,
}

#[derive(Serialize)]
struct Refreshed {
    written: Utf8PathBuf,
    images: Vec<Outcome>,
}

impl Refresh {
    async fn run(&self, context: &Context) -> Result<Exit, CommandError> {
        let catalogue = self.source.read()?;
        for name in &self.names {
            if catalogue.entry(name).is_none() {
                let what = format!("the catalogue has no image `{name}`");
                return Err(CommandError::new(Exit::Usage, what));
            }
        }
        let login = self.login_file.as_deref().map(read_login).transpose()?;
        let asked = |entry: &&Entry| self.names.is_empty() || self.names.contains(&entry.name);
        let (mut found, mut images) = (BTreeMap::new(), Vec::new());
        for entry in catalogue.entries().iter().filter(asked) {
            context.printer.note(&format!("asking for {}", entry.name));
            let (state, error) = match look_up(entry, login.clone()).await {
                Ok(None) => continue,
                Ok(Some(pins)) => {
                    let same = is_same(entry, &pins.index);
                    found.insert(entry.name.clone(), pins);
                    (if same { State::Same } else { State::Changed }, None)
                }
                Err(error) => (State::Failed, Some(whole(&error))),
            };
            images.push(Outcome {
                name: entry.name.clone(),
                state,
                error,
            });
        }
        let text = catalogue.with_pins(&found).text().to_owned();
        write_beside(&self.to, &text)?;
        let refreshed = Refreshed {
            written: self.to.clone(),
            images,
        };
        context
            .printer
            .result(&outcome_text(&refreshed), &refreshed);
        let failed = refreshed
            .images
            .iter()
            .any(|image| image.state == State::Failed);
        Ok(if failed { Exit::Partial } else { Exit::Done })
    }
}

fn is_same(entry: &Entry, found: &installer_image::Digest) -> bool {
    matches!(&entry.origin, Origin::ThirdParty { index: Pin::Digest(old), .. } if old == found)
}

fn outcome_text(refreshed: &Refreshed) -> String {
    let mut text = String::new();
    for image in &refreshed.images {
        let said = match image.state {
            State::Changed => "digest written",
            State::Same => "as before",
            State::Failed => "FAILED, left as it was",
        };
        let error = image.error.as_deref().map(|error| format!(": {error}"));
        let name = &image.name;
        writeln!(text, "{name}: {said}{}", error.unwrap_or_default())
            .expect("invariant: a String takes any text");
    }
    text + &format!("wrote {}\n", refreshed.written)
}

/// An error with its causes in one line.
fn whole(error: &RegistryError) -> String {
    let failed = CommandError::from_error(Exit::Partial, error);
    std::iter::once(failed.message)
        .chain(failed.causes)
        .collect::<Vec<_>>()
        .join(": ")
}

/// A cut leaves the old catalogue or the new one.
fn write_beside(path: &Utf8Path, text: &str) -> Result<(), CommandError> {
    let beside = Utf8PathBuf::from(format!("{path}.new"));
    fs::write(&beside, text)
        .and_then(|()| fs::rename(&beside, path))
        .map_err(|error| {
            let mut failed = CommandError::new(Exit::Internal, format!("cannot write `{path}`"));
            failed.causes.push(error.to_string());
            failed
        })
}

/// User and password, a line each.
pub(super) fn read_login(path: &Utf8Path) -> Result<Login, CommandError> {
    let text = fs::read_to_string(path).map_err(|error| {
        let mut failed = CommandError::new(Exit::Usage, format!("cannot read `{path}`"));
        failed.causes.push(error.to_string());
        failed
    })?;
    let mut lines = text.lines();
    match (lines.next(), lines.next()) {
        (Some(user), Some(password)) if !user.is_empty() && !password.is_empty() => Ok(Login {
            user: user.to_owned(),
            password: password.to_owned(),
        }),
        _ => {
            let what = format!("`{path}` does not hold a user and a password, a line each");
            Err(CommandError::new(Exit::Usage, what))
        }
    }
}
