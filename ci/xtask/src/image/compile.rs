//! Static programs that do not know where they were compiled.

use std::process::Command;

use anyhow::Context;
use camino::{Utf8Path, Utf8PathBuf};
use installer_image::{OwnImage, Platform};

use super::toolchain;
use crate::process::{cargo, run, say};
use crate::repository::Repository;

/// The programs of the images.
pub(crate) const SERVERS: &[&str] = &["agent-daemon", "vault-daemon"];

pub(crate) fn package_of(image: OwnImage) -> &'static str {
    match image {
        OwnImage::Agent => "agent-daemon",
        OwnImage::Vault => "vault-daemon",
    }
}

/// mimalloc asks for huge pages, and even where the system hands them out unasked it may decline:
/// with them an idle agent or vault has 16 MB resident, without 6.5 MB.
const SMALL_PAGES: &str = "-DMI_DEFAULT_ALLOW_THP=0";

/// Between the arguments in `CARGO_ENCODED_RUSTFLAGS`.
const SEPARATOR: &str = "\u{1f}";

/// Compiles packages for a platform and returns the folder of their programs. `release` is what
/// the installer shall know of its own release.
pub(crate) fn compile(
    repository: &Repository,
    platform: Platform,
    packages: &[&str],
    release: Option<&Utf8Path>,
) -> anyhow::Result<Utf8PathBuf> {
    let target = platform.rust_target();
    let folder = repository.target();
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make `{folder}`"))?;
    let folder = folder
        .canonicalize_utf8()
        .with_context(|| format!("cannot find `{folder}`"))?;
    let mut command = cargo();
    toolchain::prepare(repository, platform, &mut command)?;
    command
        .args(["--release", "--locked", "--target", target])
        .args(packages.iter().flat_map(|package| ["-p", package]))
        .current_dir(&repository.root)
        .env("CARGO_TARGET_DIR", &folder)
        // Not the commit's time: C compilers are run again whenever it changes, and no program
        // of ours asks for it.
        .env("SOURCE_DATE_EPOCH", "0");
    nowhere(&mut command, target, &folder)?;
    match release {
        Some(path) => command.env("STAKEOUT_RELEASE", path),
        None => command.env_remove("STAKEOUT_RELEASE"),
    };
    say(format_args!(
        "compiling {} for {platform}",
        packages.join(", ")
    ));
    run(&mut command)?;
    Ok(folder.join(target).join("release"))
}

/// Cargo's own folder and the target folder get the same names on every machine. The repository
/// needs none: cargo compiles its members by relative paths, and programs carry no debug info.
fn nowhere(command: &mut Command, target: &str, folder: &Utf8Path) -> anyhow::Result<()> {
    let home = match (std::env::var("CARGO_HOME"), std::env::var("HOME")) {
        (Ok(path), _) if !path.is_empty() => Utf8PathBuf::from(path),
        (_, Ok(home)) => Utf8PathBuf::from(home).join(".cargo"),
        _ => anyhow::bail!("neither CARGO_HOME nor HOME is set"),
    };
    let names = [(home.as_str(), "/cargo"), (folder.as_str(), "/target")];
    let rust = names.map(|(from, to)| format!("--remap-path-prefix={from}={to}"));
    let mut c = names
        .map(|(from, to)| format!("-ffile-prefix-map={from}={to}"))
        .to_vec();
    c.push(SMALL_PAGES.to_owned());
    command
        .env("CARGO_ENCODED_RUSTFLAGS", rust.join(SEPARATOR))
        .env(format!("CFLAGS_{}", target.replace('-', "_")), c.join(" "))
        .env_remove("RUSTFLAGS")
        .env_remove("CFLAGS");
    Ok(())
}
