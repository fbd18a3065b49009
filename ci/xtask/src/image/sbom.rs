//! What a program is made of, as CycloneDX 1.5 (cyclonedx.org/docs/1.5/json): every crate that is
//! linked into it, with version, licence and checksum. Made from what cargo says; crates that only
//! run at build time are left out.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use installer_image::{Digest, Platform};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::source::Checkout;
use crate::process::{cargo, read};
use crate::repository::Repository;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    /// Absent: a crate of this repository.
    source: Option<String>,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    /// `None` is an ordinary dependency; others are `build` and `dev`.
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

/// The list of the parts of one program, or of several that are shipped together, on one platform.
pub(crate) fn sbom(
    repository: &Repository,
    checkout: &Checkout,
    programs: &[&str],
    platform: Platform,
) -> anyhow::Result<Vec<u8>> {
    let metadata = read(
        cargo()
            .args(["metadata", "--locked", "--format-version", "1"])
            .args(["--filter-platform", platform.rust_target()])
            .current_dir(&repository.root),
    )?;
    let path = repository.root.join("Cargo.lock");
    let lock = std::fs::read_to_string(&path).with_context(|| format!("cannot read `{path}`"))?;
    let created = checkout.created.to_string();
    document(&metadata, &lock, programs, platform, &created)
}

#[derive(Serialize)]
struct Uses {
    r#ref: String,
    #[serde(rename = "dependsOn")]
    depends_on: Vec<String>,
}

fn document(
    metadata: &str,
    lock: &str,
    programs: &[&str],
    platform: Platform,
    created: &str,
) -> anyhow::Result<Vec<u8>> {
    let metadata: Metadata = serde_json::from_str(metadata).context("cannot parse the metadata")?;
    let lock: Lock = toml::from_str(lock).context("cannot parse Cargo.lock")?;
    let checksums: BTreeMap<_, _> = lock
        .package
        .iter()
        .map(|locked| {
            (
                (&*locked.name, &*locked.version),
                locked.checksum.as_deref(),
            )
        })
        .collect();
    let packages: BTreeMap<_, _> = metadata.packages.iter().map(|p| (&*p.id, p)).collect();
    let mut mains = Vec::new();
    for name in programs {
        let own = |p: &&Package| p.name == *name && p.source.is_none();
        let main = metadata.packages.iter().find(own);
        mains.push(main.with_context(|| format!("there is no crate `{name}`"))?);
    }
    let uses = linked(&metadata.resolve, &packages, &mains);
    let mut parts = BTreeMap::new();
    let mut edges = BTreeMap::new();
    for (id, used) in &uses {
        let Some(part) = packages.get(id) else {
            continue;
        };
        let mut names: Vec<_> = used
            .iter()
            .filter_map(|id| packages.get(id))
            .map(|p| purl(p))
            .collect();
        names.sort();
        edges.insert(purl(part), names);
        let checksum = checksums.get(&(&*part.name, &*part.version)).copied();
        let is_main = mains.iter().any(|main| main.id == *id);
        let kind = if is_main { "application" } else { "library" };
        parts.insert(purl(part), component(part, checksum.flatten(), kind));
    }
    // One program is what the list is about; several are parts of what is shipped.
    let main = match mains.as_slice() {
        [main] => parts.remove(&purl(main)),
        mains => {
            let version = mains
                .first()
                .map(|main| main.version.as_str())
                .unwrap_or_default();
            let name = format!("pkg:generic/stakeout@{version}");
            edges.insert(name.clone(), mains.iter().map(|main| purl(main)).collect());
            Some(json!({
                "type": "application", "bom-ref": name, "name": "stakeout",
                "version": version, "purl": name,
            }))
        }
    };
    let dependencies: Vec<_> = edges
        .into_iter()
        .map(|(name, depends_on)| Uses {
            r#ref: name,
            depends_on,
        })
        .collect();
    let mut document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": created,
            "component": main,
            "properties": [ { "name": "cargo:target", "value": platform.rust_target() } ],
        },
        "components": parts.into_values().collect::<Vec<_>>(),
        "dependencies": dependencies,
    });
    let serial = serial(&Digest::of(document.to_string().as_bytes()));
    if let Some(fields) = document.as_object_mut() {
        fields.insert("serialNumber".to_owned(), serial.into());
    }
    Ok(document.to_string().into_bytes())
}

/// What is linked into the programs, each with what it uses. Macros run in the compiler and stay there.
fn linked<'a>(
    resolve: &'a Resolve,
    packages: &BTreeMap<&str, &Package>,
    mains: &[&'a Package],
) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
    let nodes: BTreeMap<_, _> = resolve.nodes.iter().map(|node| (&*node.id, node)).collect();
    let is_macro = |id: &str| {
        let kinds = packages.get(id).into_iter().flat_map(|p| &p.targets);
        kinds
            .flat_map(|target| &target.kind)
            .any(|kind| kind == "proc-macro")
    };
    let mut found = BTreeMap::new();
    let mut next: Vec<_> = mains.iter().map(|main| &*main.id).collect();
    while let Some(id) = next.pop() {
        if found.contains_key(id) {
            continue;
        }
        let ordinary = |dep: &&Dependency| dep.dep_kinds.iter().any(|kind| kind.kind.is_none());
        let uses: BTreeSet<_> = nodes
            .get(id)
            .into_iter()
            .flat_map(|node| &node.deps)
            .filter(ordinary)
            .map(|dep| &*dep.pkg)
            .filter(|id| !is_macro(id))
            .collect();
        next.extend(&uses);
        found.insert(id, uses);
    }
    found
}

/// The package's name for tools that look for known faults (github.com/package-url/purl-spec).
fn purl(package: &Package) -> String {
    format!("pkg:cargo/{}@{}", package.name, package.version)
}

fn component(package: &Package, checksum: Option<&str>, kind: &str) -> Value {
    let mut part = json!({
        "type": kind,
        "bom-ref": purl(package),
        "name": package.name,
        "version": package.version,
        "purl": purl(package),
    });
    let Some(fields) = part.as_object_mut() else {
        return part;
    };
    if let Some(license) = &package.license {
        // Cargo once wrote a slash where SPDX has OR.
        let expression = license.replace(" / ", " OR ").replace('/', " OR ");
        let licenses = json!([ { "expression": expression } ]);
        fields.insert("licenses".to_owned(), licenses);
    }
    if let Some(checksum) = checksum {
        let hashes = json!([ { "alg": "SHA-256", "content": checksum } ]);
        fields.insert("hashes".to_owned(), hashes);
    }
    part
}

/// A UUID of version 8 (RFC 9562: made of what one likes) out of the content, so that the same
/// build has the same number.
fn serial(content: &Digest) -> String {
    let hex = content.hex();
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!(
        "urn:uuid:{}-{}-8{}-8{}-{}",
        part(0, 8),
        part(8, 12),
        part(12, 15),
        part(15, 18),
        part(18, 30)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const METADATA: &str = r#"{
        "packages": [
            {"id":"a","name":"main","version":"1.0.0","license":"MIT","source":null,"targets":[]},
            {"id":"b","name":"used","version":"2.0.0","license":"MIT/Apache-2.0","source":"r","targets":[{"kind":["lib"]}]},
            {"id":"c","name":"derive","version":"3.0.0","license":null,"source":"r","targets":[{"kind":["proc-macro"]}]},
            {"id":"d","name":"cc","version":"4.0.0","license":null,"source":"r","targets":[{"kind":["lib"]}]}
        ],
        "resolve": { "nodes": [
            {"id":"a","deps":[
                {"pkg":"b","dep_kinds":[{"kind":null}]},
                {"pkg":"c","dep_kinds":[{"kind":null}]},
                {"pkg":"d","dep_kinds":[{"kind":"build"}]}]},
            {"id":"b","deps":[]}, {"id":"c","deps":[{"pkg":"d","dep_kinds":[{"kind":null}]}]}, {"id":"d","deps":[]}
        ] }
    }"#;
    const LOCK: &str = "[[package]]\nname = 'used'\nversion = '2.0.0'\nchecksum = 'ab'\n";

    #[test]
    fn what_is_linked_is_listed_and_nothing_else() {
        let time = "2026-01-02T03:04:05Z";
        let make = || document(METADATA, LOCK, &["main"], Platform::Arm64, time).unwrap();
        assert_eq!(make(), make());
        let bom: Value = serde_json::from_slice(&make()).unwrap();
        let parts = bom["components"].as_array().unwrap();
        assert_eq!(parts.len(), 1, "{parts:?}");
        assert_eq!(parts[0]["purl"], "pkg:cargo/used@2.0.0");
        assert_eq!(parts[0]["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(parts[0]["hashes"][0]["content"], "ab");
        assert_eq!(bom["metadata"]["component"]["name"], "main");
        assert_eq!(
            bom["dependencies"][0]["dependsOn"][0],
            "pkg:cargo/used@2.0.0"
        );
        let serial = bom["serialNumber"].as_str().unwrap();
        assert_eq!(serial.len(), "urn:uuid:".len() + 36, "{serial}");
    }

    #[test]
    fn several_programs_are_parts_of_what_is_shipped() {
        let mains = ["main", "main"];
        let bytes = document(METADATA, LOCK, &mains, Platform::Amd64, "").unwrap();
        let bom: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(
            bom["metadata"]["component"]["purl"],
            "pkg:generic/stakeout@1.0.0"
        );
        let kinds = bom["components"]
            .as_array()
            .unwrap()
            .iter()
            .map(|part| &part["type"]);
        assert_eq!(kinds.collect::<Vec<_>>(), ["application", "library"]);
    }

    #[test]
    fn an_unknown_crate_is_an_error() {
        let error = document(METADATA, LOCK, &["frob"], Platform::Arm64, "").unwrap_err();
        assert!(error.to_string().contains("`frob`"), "{error}");
    }
}
