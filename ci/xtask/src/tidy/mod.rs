//! `tidy`: the rules of this repository that no compiler knows.
//!
//! Each rule is a function from text to findings; this file reads and prints. A new rule is a new
//! function called from [`check`].

mod crates;
mod readme;
mod text;

use std::fmt;
use std::process::Command;

use anyhow::{Context, ensure};
use camino::{Utf8Path, Utf8PathBuf};

use crate::process::{cargo, read, say};
use crate::repository::Repository;

/// What is wrong with a file, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    weight: Weight,
    file: Utf8PathBuf,
    why: String,
    remedy: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weight {
    Error,
    Warning,
}

impl Finding {
    fn error(file: &Utf8Path, why: impl Into<String>, remedy: &'static str) -> Self {
        Self {
            weight: Weight::Error,
            file: file.to_owned(),
            why: why.into(),
            remedy,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weight = if self.weight == Weight::Error {
            "error"
        } else {
            "warning"
        };
        write!(
            f,
            "{weight}: {}: {}\n    {}",
            self.file, self.why, self.remedy
        )
    }
}

/// A file of the repository; `text` is absent when it is not UTF-8.
#[derive(Debug)]
struct File {
    path: Utf8PathBuf,
    bytes: u64,
    text: Option<String>,
}

pub(crate) fn run(repository: &Repository) -> anyhow::Result<()> {
    let files = read_files(&repository.root)?;
    let metadata = read(
        cargo()
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .current_dir(&repository.root),
    )?;
    let packages = crates::packages(&metadata, &repository.root)?;
    let findings = check(&files, &packages)?;
    for finding in &findings {
        say(format_args!("{finding}"));
    }
    let errors = findings
        .iter()
        .filter(|finding| finding.weight == Weight::Error)
        .count();
    ensure!(errors == 0, "tidy found {errors} things to put right");
    say(format_args!(
        "tidy: {} files, {} crates",
        files.len(),
        packages.len()
    ));
    Ok(())
}

fn check(files: &[File], packages: &[crates::Package]) -> anyhow::Result<Vec<Finding>> {
    let mut findings = crates::edges(packages);
    for file in files {
        findings.extend(text::size(file));
        let Some(text) = &file.text else { continue };
        findings.extend(text::length(&file.path, text));
        findings.extend(text::words(&file.path, text));
        findings.extend(text::machine(&file.path, text));
        findings.extend(text::images(&file.path, text));
        if let Some(package) = packages.iter().find(|p| p.manifest == file.path) {
            findings.extend(crates::manifest(package, text)?);
        }
        if let Some(package) = packages.iter().find(|p| file.path.starts_with(p.sources())) {
            findings.extend(crates::purity(package, &file.path, text));
        }
    }
    findings.extend(golden(files));
    findings.extend(readme::check(
        text_of(files, "README.md").unwrap_or_default(),
        text_of(files, ".ci/run").unwrap_or_default(),
    ));
    Ok(findings)
}

/// Targets that a profile is planned for, unless it names one.
const TARGETS: [&str; 2] = ["host", "docker"];

/// Every profile that a user may start from has plans that a person has looked at.
fn golden(files: &[File]) -> Vec<Finding> {
    let is_profile = |file: &&File| {
        let inside = file.path.parent() == Some(Utf8Path::new("profiles"));
        inside && file.path.extension() == Some("yaml")
    };
    files
        .iter()
        .filter(is_profile)
        .filter(|profile| {
            let name = profile.path.file_stem().unwrap_or_default();
            let text = profile.text.as_deref().unwrap_or_default();
            let named = text.lines().find_map(|line| line.strip_prefix("target: "));
            let plan = |target| format!("tests/golden/{name}/{target}.plan.txt");
            let missing = |target| !files.iter().any(|file| file.path == plan(target));
            let planned_for = |target: &&str| named.is_none_or(|named| named == *target);
            TARGETS.into_iter().filter(planned_for).any(missing)
        })
        .map(|profile| {
            Finding::error(
                &profile.path,
                "lacks a golden plan `tests/golden/NAME/TARGET.plan.txt`",
                "write it as tests/tests/golden.rs says, read it, commit it",
            )
        })
        .collect()
}

fn text_of<'a>(files: &'a [File], path: &str) -> Option<&'a str> {
    files.iter().find(|file| file.path == path)?.text.as_deref()
}

/// What is committed or would be with `git add --all`.
fn read_files(root: &Utf8Path) -> anyhow::Result<Vec<File>> {
    let mut names = if root.join(".git").exists() {
        let list = read(
            Command::new("git")
                .args([
                    "ls-files",
                    "-z",
                    "--cached",
                    "--others",
                    "--exclude-standard",
                ])
                .current_dir(root),
        )?;
        list.split('\0')
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect()
    } else {
        names_below(root)?
    };
    names.sort_unstable();
    names.dedup();
    let mut files = Vec::new();
    for name in names {
        let path = root.join(&name);
        // Deleted, but not yet from the index.
        if !path.is_file() {
            continue;
        }
        let bytes = std::fs::read(&path).with_context(|| format!("cannot read `{path}`"))?;
        files.push(File {
            path: name.into(),
            bytes: bytes.len() as u64,
            text: String::from_utf8(bytes).ok(),
        });
    }
    Ok(files)
}

/// All files but those that were built: an unpacked archive has no list.
fn names_below(root: &Utf8Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in folder
            .read_dir_utf8()
            .with_context(|| format!("cannot list `{folder}`"))?
        {
            let entry = entry.with_context(|| format!("cannot list `{folder}`"))?;
            let path = entry.path();
            if path == root.join("target") {
                continue;
            }
            let kind = entry
                .file_type()
                .with_context(|| format!("cannot read `{path}`"))?;
            if kind.is_dir() {
                folders.push(path.to_owned());
            } else if let Ok(name) = path.strip_prefix(root) {
                names.push(name.as_str().to_owned());
            }
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File {
            path: path.into(),
            bytes: text.len() as u64,
            text: Some(text.to_owned()),
        }
    }

    #[test]
    fn a_profile_without_a_golden_plan_is_found() {
        let files = [
            file("profiles/demo.yaml", ""),
            file("profiles/new.yaml", ""),
            file("profiles/cameras.csv", ""),
            file("tests/golden/demo/host.plan.txt", ""),
            file("tests/golden/demo/docker.plan.txt", ""),
        ];
        let found: Vec<_> = golden(&files)
            .into_iter()
            .map(|finding| finding.file)
            .collect();
        assert_eq!(found, ["profiles/new.yaml"]);
    }

    #[test]
    fn an_archive_without_git_is_read_but_not_what_was_built() {
        let folder = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(folder.path()).unwrap();
        for name in ["target/debug", "agent/src"] {
            std::fs::create_dir_all(root.join(name)).unwrap();
            std::fs::write(root.join(name).join("a.rs"), "text").unwrap();
        }
        let files = read_files(root).unwrap();
        let names: Vec<_> = files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(names, ["agent/src/a.rs"]);
    }

    #[test]
    fn a_finding_tells_file_reason_and_remedy() {
        let finding = Finding::error(Utf8Path::new("a.rs"), "is bad", "make it good");
        assert_eq!(finding.to_string(), "error: a.rs: is bad\n    make it good");
    }
}
