//! `reproducible`: the same commit gives the same images, bit for bit.
//!
//! The short form packs the programs of this checkout twice, under different umasks. The long form
//! compiles two clones of HEAD at paths of different length for both platforms: one beside what was
//! compiled before, one with nothing, which takes twenty minutes and two gigabytes. There is nothing
//! random in either.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, ensure};
use camino::{Utf8Path, Utf8PathBuf};
use installer_image::{OwnImage, Platform, Release};

use super::{Length, Random};
use crate::process::{run, say, tell};
use crate::repository::Repository;

/// What a registry or an engine would name an image by, under what it is of.
type Digests = BTreeMap<String, String>;

pub(super) fn perform(
    repository: &Repository,
    length: Length,
    _: &mut Random,
) -> anyhow::Result<()> {
    let temporary = tempfile::tempdir().context("cannot make a temporary folder")?;
    let folder: &Utf8Path = temporary.path().try_into().context("a plain folder")?;
    let (first, second) = match length {
        Length::Short => {
            let platform = Platform::here().context("there are no images for this machine")?;
            let build = |umask: &str| {
                let output = folder.join(umask);
                let target = repository.target();
                image_build(&repository.root, &target, &output, &[platform], umask)
            };
            (build("022")?, build("077")?)
        }
        Length::Long => {
            // Somebody may commit while the first is built.
            let mut git = Command::new("git");
            git.args(["-C", repository.root.as_str(), "rev-parse", "HEAD"]);
            let commit = git.output().context("cannot ask git")?.stdout;
            let commit = String::from_utf8(commit).context("git writes plain text")?;
            let build = |name: &str, target: Option<Utf8PathBuf>, umask: &str| {
                let clone = folder.join(name);
                let from = repository.root.as_str();
                let mut git = Command::new("git");
                run(git.args(["clone", "--quiet", from, clone.as_str()]))?;
                let mut git = Command::new("git");
                run(git.args(["-C", clone.as_str(), "checkout", "--quiet", commit.trim()]))?;
                let target = target.unwrap_or_else(|| clone.join("target"));
                let output = folder.join(umask);
                let digests = image_build(&clone, &target, &output, &Platform::ALL, umask);
                // With what was compiled it may be more than the disk has.
                std::fs::remove_dir_all(&clone)
                    .with_context(|| format!("cannot remove `{clone}`"))?;
                digests
            };
            let first = build("one", Some(repository.target()), "022")?;
            (first, build("another-clone/further-down", None, "077")?)
        }
    };
    for (name, digest) in &first {
        let other = second.get(name).map_or("nothing", String::as_str);
        let word = if digest == other { "same" } else { "OTHER" };
        tell(format_args!("{word}  {name}  {digest}"));
        if digest != other {
            tell(format_args!("       {name}  {other}"));
        }
    }
    ensure!(first == second, "the same commit gave different images");
    Ok(())
}

/// This program's `image build` of another checkout: compiling that one's would take longer.
fn image_build(
    root: &Utf8Path,
    target: &Utf8Path,
    output: &Utf8PathBuf,
    platforms: &[Platform],
    umask: &str,
) -> anyhow::Result<Digests> {
    say(format_args!("building `{root}` with umask {umask}"));
    let program = std::env::current_exe().context("cannot find this program")?;
    let named: Vec<_> = platforms.iter().map(ToString::to_string).collect();
    let mut command = Command::new("sh");
    command
        .args(["-c", "umask \"$1\" && shift && exec \"$@\"", "sh", umask])
        .arg(program)
        .args(["image", "build", "--output", output.as_str()])
        .args(["--platform", &named.join(",")])
        .current_dir(root)
        .env("CARGO_MANIFEST_DIR", root.join("ci/xtask"))
        .env("CARGO_TARGET_DIR", target);
    run(&mut command)?;
    let release = Release::read(output)?;
    let mut digests = Digests::new();
    for image in OwnImage::ALL {
        let made = release.image(image);
        digests.insert(format!("{image} index"), made.index.to_string());
        for (platform, one) in &made.platforms {
            let mut add = |what: &str, digest: String| {
                digests.insert(format!("{image} {platform} {what}"), digest);
            };
            add("manifest", one.manifest.to_string());
            add("config", one.config.to_string());
        }
    }
    // Everything else that is attached: lists of parts and provenance.
    let path = output.join("index.json");
    let index = std::fs::read(&path).with_context(|| format!("cannot read `{path}`"))?;
    let listed = installer_image::Digest::of(&index).to_string();
    digests.insert("all that is attached".to_owned(), listed);
    Ok(digests)
}
