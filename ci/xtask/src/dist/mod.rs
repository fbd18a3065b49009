//! `dist`: everything that a release consists of.

mod script;

use std::fs;

use anyhow::{Context, ensure};
use camino::{Utf8Path, Utf8PathBuf};
use installer_image::{Digest, Layout, OwnImage, Platform, Release, Tree, build, platform_files};

use crate::image::source::Checkout;
use crate::image::{self, compile, sbom};
use crate::process::{say, tell};
use crate::repository::{Repository, list};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Folder of the release; files of the same names in it are written anew.
    #[arg(long, value_name = "FOLDER")]
    output: Utf8PathBuf,
    /// What to build for; separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "linux/amd64,linux/arm64")]
    platform: Vec<Platform>,
    /// Private key to sign with, as `openssl genpkey -algorithm ed25519` writes it.
    #[arg(long, value_name = "FILE")]
    key: Utf8PathBuf,
    /// Where the files will be downloaded from; by default the repository's releases.
    #[arg(long)]
    url: Option<String>,
}

/// All three programs.
const PACKAGES: &[&str] = &["installer-cli", "agent-daemon", "vault-daemon"];
const INSTALLER: &[&str] = &["installer-cli"];

const SUMS: &str = "SHA256SUMS";
const SCRIPT: &str = "install.sh";

pub(crate) fn run(repository: &Repository, arguments: &Arguments) -> anyhow::Result<()> {
    let output = &arguments.output;
    fs::create_dir_all(output).with_context(|| format!("cannot make `{output}`"))?;
    let output = output
        .canonicalize_utf8()
        .with_context(|| format!("cannot find `{output}`"))?;
    let key = image::read_key(&arguments.key)?;
    let checkout = Checkout::read(repository)?;
    let images = output.join("images");
    let release = image::make(repository, &images, &arguments.platform, Some(&key))?;
    let layout = Layout::open(&images)?;

    let mut files = Vec::new();
    for platform in &arguments.platform {
        let name = name(&checkout, *platform);
        let tree = tree(repository, &checkout, &layout, &release, *platform)?;
        let archive = format!("{name}.tar.gz");
        write(&output, &archive, &pack(&tree, &checkout)?)?;
        say(format_args!(
            "{archive}: {} MB unpacked",
            tree.bytes() / 1_000_000
        ));
        let parts = format!("{name}.cdx.json");
        let document = sbom::sbom(repository, &checkout, PACKAGES, *platform)?;
        write(&output, &parts, &document)?;
        files.extend([archive, parts]);
    }
    let url = arguments.url.clone().unwrap_or_else(|| {
        let Checkout { url, version, .. } = &checkout;
        format!("{url}/releases/download/v{version}")
    });
    let script = script::render(repository, &checkout.version, &url, &key.public_pem())?;
    write(&output, SCRIPT, script.as_bytes())?;
    files.push(SCRIPT.to_owned());

    let mut sums = String::new();
    files.sort();
    for file in &files {
        let path = output.join(file);
        let content = fs::read(&path).with_context(|| format!("cannot read `{path}`"))?;
        let line = format!("{}  {file}\n", Digest::of(&content).hex());
        tell(format_args!("{}", line.trim_end()));
        sums.push_str(&line);
    }
    write(&output, SUMS, sums.as_bytes())?;
    write(&output, "SHA256SUMS.sig", &key.sign(sums.as_bytes()))?;
    write(&output, "stakeout.pub", key.public_pem().as_bytes())
}

fn name(checkout: &Checkout, platform: Platform) -> String {
    format!("stakeout-{}-{}-linux", checkout.version, platform.machine())
}

/// What is in an archive: the programs, the images of its platform, profiles to start from.
fn tree(
    repository: &Repository,
    checkout: &Checkout,
    layout: &Layout,
    release: &Release,
    platform: Platform,
) -> anyhow::Result<Tree> {
    let known = known(repository, layout)?;
    let folder = compile::compile(repository, platform, INSTALLER, Some(&known))?;
    let top = name(checkout, platform);
    let read = |path: &Utf8Path| fs::read(path).with_context(|| format!("cannot read `{path}`"));
    let mut tree = Tree::new();
    let programs = OwnImage::ALL.map(OwnImage::program);
    for program in programs.into_iter().chain(["stakeout"]) {
        let content = read(&folder.join(program))?;
        tree = tree.file(&format!("{top}/{program}"), 0o755, content);
    }
    let license = read(&repository.root.join("LICENSE"))?;
    tree = tree.file(&format!("{top}/LICENSE"), 0o644, license);
    let profiles = repository.root.join("profiles");
    for path in list(&profiles)? {
        let file = path.file_name().unwrap_or_default();
        tree = tree.file(&format!("{top}/profiles/{file}"), 0o644, read(&path)?);
    }
    for (path, content) in platform_files(layout, release, platform)? {
        tree = tree.file(&format!("{top}/images/{path}"), 0o644, content);
    }
    Ok(tree)
}

/// The release in a place that is the same for every output, and only written when it is another:
/// cargo builds the installer again when either changes.
fn known(repository: &Repository, layout: &Layout) -> anyhow::Result<Utf8PathBuf> {
    let from = layout.folder().join("release.json");
    let content = fs::read(&from).with_context(|| format!("cannot read `{from}`"))?;
    let folder = repository.target().join("shipped");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make `{folder}`"))?;
    let path = folder.join("release-of-the-installer.json");
    if fs::read(&path).ok().as_ref() != Some(&content) {
        fs::write(&path, content).with_context(|| format!("cannot write `{path}`"))?;
    }
    path.canonicalize_utf8()
        .with_context(|| format!("cannot find `{path}`"))
}

fn pack(tree: &Tree, checkout: &Checkout) -> anyhow::Result<Vec<u8>> {
    let seconds = checkout.created.as_second();
    let seconds = u64::try_from(seconds).context("the commit is older than 1970")?;
    let plain = tree.write(Vec::new(), seconds);
    let packed = plain.and_then(|plain| build::gzip(&plain));
    packed.context("cannot pack the archive")
}

fn write(folder: &Utf8Path, name: &str, content: &[u8]) -> anyhow::Result<()> {
    ensure!(!content.is_empty(), "`{name}` would be empty");
    let path = folder.join(name);
    fs::write(&path, content).with_context(|| format!("cannot write `{path}`"))
}
