use crate::repository::Repository;
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    name: String,
}
pub(crate) fn run(_: &Repository, a: &Arguments) -> anyhow::Result<()> {
    anyhow::bail!("no {}", a.name)
}
pub(crate) fn run_short(_: &Repository) -> anyhow::Result<()> {
    Ok(())
}
