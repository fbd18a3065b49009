//! `gen`: the files that are made from code.

use anyhow::{Context, bail};

use crate::process::say;
use crate::repository::Repository;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Write nothing; fail when a file is not as it would be written.
    #[arg(long)]
    pub(crate) check: bool,
}

pub(crate) fn run(repository: &Repository, arguments: &Arguments) -> anyhow::Result<()> {
    let schema = serde_json::to_string_pretty(&installer_spec::schema())
        .context("cannot print the profile's schema")?
        + "\n";
    for (name, wanted) in [("installer/spec/profile.schema.json", schema)] {
        let path = repository.root.join(name);
        if std::fs::read_to_string(&path).is_ok_and(|found| found == wanted) {
            continue;
        }
        if arguments.check {
            bail!("`{name}` is not what the code says; run `cargo xtask gen` and commit it");
        }
        std::fs::write(&path, &wanted).with_context(|| format!("cannot write `{path}`"))?;
        say(format_args!("wrote {name}"));
    }
    Ok(())
}
