//! Rules about crates: who may use whom, who stays pure, what manifests inherit.

use anyhow::Context;
use camino::{Utf8Path, Utf8PathBuf};
use serde::Deserialize;
use toml::{Table, Value};

use super::Finding;

/// A member of the workspace; paths are relative to the repository.
#[derive(Debug)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) manifest: Utf8PathBuf,
    /// What it uses outside of its tests.
    pub(super) uses: Vec<String>,
}

impl Package {
    pub(super) fn sources(&self) -> Utf8PathBuf {
        self.manifest.with_file_name("src")
    }
}

/// Our crates, each with those of ours that it may use. ARCHITECTURE.md says the same in words.
/// Tests (dev-dependencies) may use any.
const EDGES: &[(&str, &[&str])] = &[
    ("installer-spec", &[]),
    ("installer-pki", &[]),
    (
        "installer-render",
        &["agent-config", "installer-spec", "vault-api"],
    ),
    ("installer-plan", &["installer-render", "installer-spec"]),
    (
        "installer-engine",
        &[
            "agent-api",
            "installer-pki",
            "installer-plan",
            "installer-render",
            "installer-spec",
            "vault-api",
        ],
    ),
    (
        "installer-host",
        &[
            "agent-api",
            "installer-engine",
            "installer-pki",
            "installer-plan",
            "installer-render",
            "installer-spec",
            "vault-api",
        ],
    ),
    ("installer-image", &["vault-api"]),
    ("installer-helm", &["installer-spec"]),
    (
        "installer-docker",
        &[
            "agent-api",
            "installer-engine",
            "installer-image",
            "installer-pki",
            "installer-plan",
            "installer-render",
            "installer-spec",
        ],
    ),
    (
        "installer-kubernetes",
        &[
            "installer-engine",
            "installer-helm",
            "installer-image",
            "installer-pki",
            "installer-plan",
            "installer-render",
            "installer-spec",
        ],
    ),
    ("installer-watch", &["installer-engine", "installer-plan"]),
    ("installer-aws", &["installer-engine"]),
    (
        "installer-cli",
        &[
            "agent-api",
            "installer-aws",
            "installer-docker",
            "installer-engine",
            "installer-host",
            "installer-image",
            "installer-kubernetes",
            "installer-plan",
            "installer-render",
            "installer-spec",
            "installer-watch",
            "vault-api",
        ],
    ),
    ("agent-api", &[]),
    ("agent-reach", &[]),
    ("agent-config", &[]),
    ("agent-media", &[]),
    (
        "agent-pipeline",
        &["agent-api", "agent-config", "agent-media"],
    ),
    ("agent-decode", &["agent-media"]),
    ("agent-camera", &["agent-media"]),
    (
        "agent-capture",
        &["agent-api", "agent-config", "agent-media", "agent-pipeline"],
    ),
    (
        "agent-store",
        &["agent-api", "agent-config", "agent-media", "agent-pipeline"],
    ),
    (
        "agent-upload",
        &[
            "agent-api",
            "agent-config",
            "agent-media",
            "agent-store",
            "vault-api",
        ],
    ),
    (
        "agent-http",
        &["agent-api", "agent-config", "agent-store", "agent-upload"],
    ),
    (
        "agent-daemon",
        &[
            "agent-api",
            "agent-camera",
            "agent-capture",
            "agent-config",
            "agent-decode",
            "agent-http",
            "agent-media",
            "agent-pipeline",
            "agent-reach",
            "agent-store",
            "agent-upload",
            "vault-api",
        ],
    ),
    ("vault-api", &[]),
    ("vault-catalogue", &["vault-api"]),
    ("vault-testkit", &[]),
    ("vault-storage", &["vault-api"]),
    ("vault-integrations", &["vault-api", "vault-catalogue"]),
    (
        "vault-http",
        &["vault-api", "vault-catalogue", "vault-storage"],
    ),
    (
        "vault-daemon",
        &[
            "agent-reach",
            "vault-api",
            "vault-catalogue",
            "vault-http",
            "vault-integrations",
            "vault-storage",
        ],
    ),
];

/// Chores and suites see everything, and nothing of ours may use them.
const FREE: [&str; 2] = ["xtask", "e2e"];

/// Crates whose functions are given time and input, and never fetch them.
const PURE: [&str; 6] = [
    "agent-media",
    "agent-pipeline",
    "installer-pki",
    "installer-plan",
    "installer-render",
    "installer-spec",
];

const IMPURE_CRATES: [&str; 5] = ["getrandom", "rand", "reqwest", "rustix", "tokio"];

const IMPURE_WORDS: [&str; 8] = [
    "std::env",
    "std::fs",
    "std::process",
    "Instant::now",
    "SystemTime::now",
    "TcpListener",
    "TcpStream",
    "UdpSocket",
];

const INHERITED: [&str; 6] = [
    "edition",
    "license",
    "publish",
    "repository",
    "rust-version",
    "version",
];

/// Reads what `cargo metadata --no-deps` prints.
pub(super) fn packages(metadata: &str, root: &Utf8Path) -> anyhow::Result<Vec<Package>> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Found>,
    }
    #[derive(Deserialize)]
    struct Found {
        name: String,
        manifest_path: Utf8PathBuf,
        dependencies: Vec<Dependency>,
    }
    #[derive(Deserialize)]
    struct Dependency {
        name: String,
        kind: Option<String>,
    }
    let metadata: Metadata =
        serde_json::from_str(metadata).context("cannot read what `cargo metadata` printed")?;
    let package = |found: Found| {
        let uses = found.dependencies.into_iter();
        Package {
            manifest: found
                .manifest_path
                .strip_prefix(root)
                .map_or_else(|_| found.manifest_path.clone(), Utf8Path::to_owned),
            name: found.name,
            uses: uses
                .filter(|d| d.kind.as_deref() != Some("dev"))
                .map(|d| d.name)
                .collect(),
        }
    };
    Ok(metadata.packages.into_iter().map(package).collect())
}

/// Uses of one crate of ours by another that its layer does not allow.
pub(super) fn edges(packages: &[Package]) -> Vec<Finding> {
    let ours = |name: &str| packages.iter().any(|package| package.name == name);
    let mut findings = Vec::new();
    for package in packages
        .iter()
        .filter(|package| !FREE.contains(&package.name.as_str()))
    {
        let Some((_, allowed)) = EDGES.iter().find(|(name, _)| *name == package.name) else {
            findings.push(Finding::error(
                &package.manifest,
                format!("crate `{}` is in no layer", package.name),
                "give it a row in EDGES (ci/xtask/src/tidy/crates.rs) and in ARCHITECTURE.md",
            ));
            continue;
        };
        for used in package.uses.iter().filter(|used| ours(used)) {
            if !allowed.contains(&used.as_str()) {
                findings.push(Finding::error(
                    &package.manifest,
                    format!("`{}` must not use `{used}`", package.name),
                    "move what both need to a crate below, or pass it as a value",
                ));
            }
        }
    }
    findings
}

/// What a crate's manifest takes from elsewhere than the workspace.
pub(super) fn manifest(package: &Package, text: &str) -> anyhow::Result<Vec<Finding>> {
    let path = &package.manifest;
    let table: Table = toml::from_str(text).with_context(|| format!("cannot parse `{path}`"))?;
    let mut findings = Vec::new();
    if !inherits(table.get("lints")) {
        let remedy = "write `[lints]` with `workspace = true`";
        findings.push(Finding::error(path, "does not inherit the lints", remedy));
    }
    for field in INHERITED {
        if !inherits(table.get("package").and_then(|package| package.get(field))) {
            findings.push(Finding::error(
                path,
                format!("does not inherit `{field}`"),
                "write `FIELD.workspace = true` under `[package]`",
            ));
        }
    }
    for name in dependencies(&table)
        .filter(|(_, value)| !inherits(Some(value)))
        .map(|(n, _)| n)
    {
        findings.push(Finding::error(
            path,
            format!("dependency `{name}` is not `workspace = true`"),
            "name version and features in the root's `[workspace.dependencies]`",
        ));
    }
    if PURE.contains(&package.name.as_str()) {
        for used in package
            .uses
            .iter()
            .filter(|used| IMPURE_CRATES.contains(&used.as_str()))
        {
            findings.push(Finding::error(
                path,
                format!("`{}` is pure and must not use `{used}`", package.name),
                "take what it needs as a value, or do it in the crate that calls",
            ));
        }
    }
    Ok(findings)
}

/// Where a pure crate reaches out to the world; tests may.
pub(super) fn purity(package: &Package, path: &Utf8Path, text: &str) -> Vec<Finding> {
    let name = path.file_name().unwrap_or_default();
    if !PURE.contains(&package.name.as_str()) || name == "tests.rs" {
        return Vec::new();
    }
    let code = super::text::before_tests(text);
    let mut found = grouped_imports(code);
    let lines = code.lines().enumerate();
    for (number, line) in lines.filter(|(_, line)| !line.trim_start().starts_with("//")) {
        let words = IMPURE_WORDS.iter().filter(|word| line.contains(*word));
        found.extend(words.map(|word| (number + 1, *word)));
    }
    let finding = |(line, word)| {
        Finding::error(
            path,
            format!("line {line}: `{word}` in pure crate `{}`", package.name),
            "take the value as an argument; the rim reads it",
        )
    };
    found.into_iter().map(finding).collect()
}

/// Impure modules in `use std::{…}`, each with its line.
fn grouped_imports(code: &str) -> Vec<(usize, &'static str)> {
    let mut found = Vec::new();
    for (start, opening) in code.match_indices("std::{") {
        let group = code.get(start + opening.len()..).unwrap_or_default();
        let mut line = code.get(..start).unwrap_or_default().matches('\n').count() + 1;
        let mut depth = 1_u32;
        let mut name = String::new();
        for c in group.chars() {
            if depth == 1 && c.is_alphabetic() {
                name.push(c);
                continue;
            }
            // A name ends: it is a module of `std` if it stands in the outer braces.
            let wanted = |word: &&&str| word.strip_prefix("std::") == Some(name.as_str());
            found.extend(IMPURE_WORDS.iter().find(wanted).map(|word| (line, *word)));
            name.clear();
            match c {
                '{' => depth += 1,
                '}' if depth == 1 => break,
                '}' => depth -= 1,
                '\n' => line += 1,
                _ => {}
            }
        }
    }
    found
}

fn inherits(value: Option<&Value>) -> bool {
    value
        .and_then(|value| value.get("workspace"))
        .and_then(Value::as_bool)
        == Some(true)
}

/// Every dependency of every kind, platform tables included.
fn dependencies(table: &Table) -> impl Iterator<Item = (&String, &Value)> {
    let platforms = table
        .get("target")
        .and_then(Value::as_table)
        .into_iter()
        .flatten();
    std::iter::once(table)
        .chain(platforms.filter_map(|(_, value)| value.as_table()))
        .flat_map(|table| {
            ["dependencies", "dev-dependencies", "build-dependencies"]
                .into_iter()
                .filter_map(|kind| table.get(kind).and_then(Value::as_table))
        })
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, uses: &[&str]) -> Package {
        Package {
            name: name.to_owned(),
            manifest: format!("{}/Cargo.toml", name.replacen('-', "/", 1)).into(),
            uses: uses.iter().map(|used| (*used).to_owned()).collect(),
        }
    }

    fn reasons(findings: Vec<Finding>) -> Vec<String> {
        findings.into_iter().map(|finding| finding.why).collect()
    }

    const GOOD: &str = "[package]\nname = 'agent-media'\nversion.workspace = true\n\
        edition.workspace = true\nrust-version.workspace = true\nlicense.workspace = true\n\
        repository.workspace = true\npublish.workspace = true\n[lints]\nworkspace = true\n\
        [dependencies]\nbytes.workspace = true\n";

    #[test]
    fn an_edge_against_the_layers_is_found() {
        let packages = [
            package("agent-media", &["bytes", "agent-store"]),
            package("agent-store", &["agent-media", "tokio"]),
            package("vault-api", &[]),
            package("agent-http", &["vault-api"]),
            package("xtask", &["agent-http"]),
            package("agent-new", &[]),
        ];
        assert_eq!(
            reasons(edges(&packages)),
            [
                "`agent-media` must not use `agent-store`",
                "`agent-http` must not use `vault-api`",
                "crate `agent-new` is in no layer",
            ]
        );
    }

    #[test]
    fn no_two_of_our_crates_may_use_each_other() {
        for (name, uses) in EDGES {
            for used in *uses {
                let back = EDGES
                    .iter()
                    .find(|(other, _)| other == used)
                    .map(|(_, uses)| uses);
                assert!(!back.unwrap().contains(name), "{name} and {used}");
            }
        }
    }

    #[test]
    fn a_manifest_that_inherits_is_good() {
        let found = manifest(&package("agent-media", &["bytes"]), GOOD).unwrap();
        assert_eq!(found, []);
    }

    #[test]
    fn a_manifest_that_goes_its_own_way_is_found() {
        let text = GOOD
            .replace("edition.workspace = true", "edition = '2021'")
            .replace("[lints]\nworkspace = true", "[lints]")
            + "[target.'cfg(unix)'.dev-dependencies]\nlibc = '0.2'\n";
        let found = manifest(&package("agent-media", &["tokio"]), &text).unwrap();
        assert_eq!(
            reasons(found),
            [
                "does not inherit the lints",
                "does not inherit `edition`",
                "dependency `libc` is not `workspace = true`",
                "`agent-media` is pure and must not use `tokio`",
            ]
        );
    }

    #[test]
    fn a_pure_crate_that_reads_the_clock_is_found_but_its_tests_may() {
        let text = "// std::fs would be wrong\nlet a = std::time::Instant::now();\n\
            const A: &str = env!(\"A\");\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n";
        let path = Utf8Path::new("agent/media/src/lib.rs");
        assert_eq!(
            reasons(purity(&package("agent-media", &[]), path, text)),
            ["line 2: `Instant::now` in pure crate `agent-media`"]
        );
        assert_eq!(purity(&package("agent-store", &[]), path, text), []);
        let grouped =
            "use std::{\n    io::{self, Write},\n    collections::BTreeMap, fs,\n    env};\n";
        assert_eq!(
            reasons(purity(&package("agent-media", &[]), path, grouped)),
            [
                "line 3: `std::fs` in pure crate `agent-media`",
                "line 4: `std::env` in pure crate `agent-media`"
            ]
        );
    }
}
