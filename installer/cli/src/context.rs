//! What every command is given.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use camino::{Utf8Path, Utf8PathBuf};
use installer_engine::{CRASH_VARIABLE, Primitives};
use installer_host::effects::Effects;
use installer_kubernetes::Choice;
use installer_plan::Promise;

use crate::args::Options;
use crate::error::{CommandError, Exit};
use crate::images::{ImagePlaces, UnverifiedImages};
use crate::output::{Printer, can_ask};
use crate::site::absolute;
use crate::target::Target;

/// Settings of one run: arguments and environment, read once.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) printer: Printer,
    pub(crate) profile: Utf8PathBuf,
    pub(crate) data_dir: Option<Utf8PathBuf>,
    pub(crate) target: Option<Target>,
    pub(crate) images: Option<Utf8PathBuf>,
    pub(crate) registry: Option<String>,
    pub(crate) cluster: Choice,
    pub(crate) promise: Promise,
    pub(crate) unverified_images: UnverifiedImages,
    pub(crate) yes: bool,
    pub(crate) strict: bool,
    /// Somebody can be asked.
    pub(crate) can_ask: bool,
    /// Set when the user asks to stop.
    pub(crate) interrupted: Arc<AtomicBool>,
    primitives: Primitives,
}

impl Context {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            printer: Printer {
                output: options.output,
            },
            profile: options.profile.clone(),
            data_dir: options.data_dir.clone(),
            target: options.target,
            images: options.images.clone(),
            registry: options.registry.clone(),
            cluster: Choice {
                kubeconfig: options.kubeconfig.clone(),
                context: options.context.clone(),
            },
            promise: if options.accept_short_retention {
                Promise::Short
            } else {
                Promise::Whole
            },
            unverified_images: if options.allow_unverified_images {
                UnverifiedImages::Allowed
            } else {
                UnverifiedImages::Refused
            },
            yes: options.yes,
            strict: options.strict,
            can_ask: can_ask() && options.output == crate::output::Output::Human,
            interrupted: Arc::default(),
            primitives: Primitives::new(
                std::env::var(CRASH_VARIABLE)
                    .ok()
                    .and_then(|n| n.parse().ok()),
            ),
        }
    }

    /// The same run, about another profile and its data directory.
    pub(crate) fn for_profile(&self, profile: &Utf8Path, data: &Utf8Path) -> Self {
        Self {
            profile: profile.to_owned(),
            data_dir: Some(data.to_owned()),
            images: self.images.clone(),
            registry: self.registry.clone(),
            cluster: self.cluster.clone(),
            interrupted: Arc::clone(&self.interrupted),
            primitives: self.primitives.clone(),
            ..*self
        }
    }

    /// Where images are sought; `programs` is this program's folder.
    pub(crate) fn image_places(&self, programs: &Utf8Path) -> Result<ImagePlaces, CommandError> {
        Ok(ImagePlaces {
            folder: match &self.images {
                Some(folder) => absolute(folder)?,
                None => programs.join("images"),
            },
            registry: self.registry.clone(),
            unverified: self.unverified_images,
        })
    }

    /// Counts what a run does, in whichever way.
    pub(crate) fn primitives(&self) -> Primitives {
        self.primitives.clone()
    }

    /// The only way to change the machine.
    pub(crate) fn effects(&self) -> Effects {
        Effects::new(self.primitives())
    }

    /// From here on the first Ctrl-C asks to stop, and the second stops.
    pub(crate) fn catch_interrupt(&self) {
        let interrupted = Arc::clone(&self.interrupted);
        let task = async move {
            while tokio::signal::ctrl_c().await.is_ok() {
                if interrupted.swap(true, Ordering::Relaxed) {
                    let me = rustix::process::getpid();
                    let killed = rustix::process::kill_process(me, rustix::process::Signal::KILL);
                    tracing::debug!("{killed:?}");
                }
            }
        };
        drop(tokio::spawn(task));
    }

    /// Asks for consent; `--yes` gives it, and without a terminal it is missing.
    pub(crate) fn confirm(&self, question: &str) -> Result<(), CommandError> {
        if self.yes {
            return Ok(());
        }
        if !self.can_ask {
            return Err(
                CommandError::new(Exit::Usage, format!("nobody to ask: {question}"))
                    .hint("add --yes to go on without a terminal"),
            );
        }
        match inquire::Confirm::new(question).with_default(false).prompt() {
            Ok(true) => Ok(()),
            Ok(false) => Err(CommandError::new(Exit::Interrupted, "nothing was changed")),
            Err(error) => Err(asking(&error)),
        }
    }
}

/// A question that was not answered.
pub(crate) fn asking(error: &inquire::InquireError) -> CommandError {
    CommandError::new(Exit::Interrupted, format!("no answer: {error}"))
}
