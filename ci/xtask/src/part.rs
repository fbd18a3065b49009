//! A part of `ci/parts` that runs for as long as somebody holds it.

use std::process::Command;

use anyhow::Context;
use camino::{Utf8Path, Utf8PathBuf};

use crate::process::{read, run, say};
use crate::repository::Repository;

/// It and all that it has go when this is dropped.
#[derive(Debug)]
pub(crate) struct Part {
    script: Utf8PathBuf,
    folder: tempfile::TempDir,
}

impl Part {
    /// `ci/parts/NAME start FOLDER ARGUMENTS`, and what that says.
    pub(crate) fn start(
        repository: &Repository,
        name: &str,
        arguments: &[&str],
    ) -> anyhow::Result<(Self, String)> {
        // Sockets have short names.
        let folder = tempfile::Builder::new()
            .prefix(&format!("{name}-"))
            .tempdir_in("/tmp");
        let part = Self {
            script: repository.root.join("ci/parts").join(name),
            folder: folder.context("cannot make a temporary folder")?,
        };
        let told = read(part.command("start").args(arguments))?;
        Ok((part, told))
    }

    pub(crate) fn folder(&self) -> &Utf8Path {
        Utf8Path::from_path(self.folder.path()).expect("invariant: made in /tmp from plain letters")
    }

    /// `ci/parts/NAME VERB FOLDER`
    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new("bash");
        command
            .args([self.script.as_str(), verb])
            .arg(self.folder.path());
        command
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Err(error) = run(&mut self.command("stop")) {
            say(format_args!("{error:#}"));
        }
    }
}
