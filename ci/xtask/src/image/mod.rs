//! `image`: the images that we ship, made without an engine.

pub(crate) mod compile;
pub(crate) mod sbom;
pub(crate) mod source;
mod toolchain;

use anyhow::{Context, ensure};
use camino::{Utf8Path, Utf8PathBuf};
use installer_image::attach::{PROVENANCE, SBOM, attach, attest, provenance, sign};
use installer_image::{Layout, OwnImage, Platform, Program, Release, SigningKey, build};

use crate::process::{say, tell};
use crate::repository::Repository;
use source::Checkout;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Compile agent and vault, and make an OCI layout of their images.
    Build(Arguments),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Folder of the layout; what is in it goes.
    #[arg(long, value_name = "FOLDER")]
    output: Utf8PathBuf,
    /// What to build for; separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "linux/amd64,linux/arm64")]
    platform: Vec<Platform>,
    /// Private key to sign with, as `openssl genpkey -algorithm ed25519` writes it.
    #[arg(long, value_name = "FILE")]
    key: Option<Utf8PathBuf>,
}

pub(crate) fn run(repository: &Repository, command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Build(arguments) => {
            let key = arguments.key.as_deref().map(read_key).transpose()?;
            let release = make(
                repository,
                &arguments.output,
                &arguments.platform,
                key.as_ref(),
            )?;
            for image in OwnImage::ALL {
                let digest = &release.image(image).index;
                tell(format_args!("{}@{digest}", release.reference(image)));
            }
            Ok(())
        }
    }
}

pub(crate) fn read_key(path: &Utf8Path) -> anyhow::Result<SigningKey> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read the key `{path}`"))?;
    SigningKey::from_pem(&text).with_context(|| format!("cannot use the key `{path}`"))
}

/// Compiles, packs, attaches what is known of the build, and signs when there is a key.
pub(crate) fn make(
    repository: &Repository,
    output: &Utf8Path,
    platforms: &[Platform],
    key: Option<&SigningKey>,
) -> anyhow::Result<Release> {
    let checkout = Checkout::read(repository)?;
    let mut programs = Vec::new();
    for platform in platforms {
        let folder = compile::compile(repository, *platform, compile::SERVERS, None)?;
        for image in OwnImage::ALL {
            let program = Program::read(&folder.join(image.program()))?;
            ensure!(
                program.platform == *platform,
                "`{folder}/{}` was built for {}",
                image.program(),
                program.platform
            );
            programs.push(program);
        }
    }
    empty(output)?;
    let layout = Layout::create(output)?;
    let release = build::build(&layout, &programs, &checkout.source())?;
    let recipe = checkout.recipe(repository)?;
    for image in OwnImage::ALL {
        let name = release.reference(image);
        for platform in platforms {
            let subject = layout.manifest_of(&name, *platform)?;
            let package = compile::package_of(image);
            let document = sbom::sbom(repository, &checkout, &[package], *platform)?;
            attach(&layout, &subject, SBOM, &document, checkout.created)?;
        }
        let statement = provenance(&release, image, &recipe);
        let subject = layout.named(&name)?;
        match key {
            Some(key) => attest(&layout, image.repository(), &subject, &statement, key)?,
            None => drop(attach(
                &layout,
                &subject,
                PROVENANCE,
                &statement,
                checkout.created,
            )?),
        }
    }
    match key {
        Some(key) => sign(&layout, &release, key)?,
        None => say(format_args!("not signed: no --key")),
    }
    Ok(release)
}

/// A layout that is there is replaced; anything else is left alone.
fn empty(folder: &Utf8Path) -> anyhow::Result<()> {
    let entries = match folder.read_dir_utf8() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| format!("cannot list `{folder}`"))?,
    };
    ensure!(
        entries.count() == 0 || Layout::open(folder).is_ok(),
        "`{folder}` holds something else than an image layout"
    );
    std::fs::remove_dir_all(folder).with_context(|| format!("cannot remove `{folder}`"))
}
