//! What compiling for a platform needs: Rust's library for it, and a C compiler.
//!
//! For amd64 that is Debian's musl-gcc. For arm64 it is zig, which brings musl along: Debian's
//! cross compiler is glibc's, and SQLite then asks for functions that musl does not have.

use std::process::Command;

use anyhow::ensure;
use camino::Utf8Path;
use installer_image::Platform;

use crate::process::{read, run, say};
use crate::repository::Repository;

/// The program that prepares a folder with zig; it knows the versions.
const ZIG: &str = "ci/parts/zig";

/// Gives `command` (a bare `cargo`) its first argument and its compilers.
pub(super) fn prepare(
    repository: &Repository,
    platform: Platform,
    command: &mut Command,
) -> anyhow::Result<()> {
    add_target(platform.rust_target())?;
    match platform {
        Platform::Amd64 => {
            ensure!(
                on_path("musl-gcc"),
                "`musl-gcc` is absent; ci/parts/install installs it"
            );
            command.arg("build");
        }
        Platform::Arm64 => {
            let folder = read(Command::new(repository.root.join(ZIG)).arg("prepare"))?;
            let folder = Utf8Path::new(folder.trim());
            let path = std::env::var("PATH").unwrap_or_default();
            command
                .arg("zigbuild")
                .env("PATH", format!("{folder}/bin:{path}"))
                .env("CARGO_ZIGBUILD_CACHE_DIR", folder.join("wrappers"))
                .env("ZIG_GLOBAL_CACHE_DIR", folder.join("cache"));
        }
    }
    Ok(())
}

fn add_target(target: &str) -> anyhow::Result<()> {
    let installed = read(Command::new("rustup").args(["target", "list", "--installed"]))?;
    if installed.lines().any(|line| line == target) {
        return Ok(());
    }
    say(format_args!("adding Rust's library for {target}"));
    run(Command::new("rustup").args(["target", "add", target]))
}

fn on_path(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
