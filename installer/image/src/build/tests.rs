use std::io::Read as _;

use camino::Utf8Path;
use flate2::read::GzDecoder;
use serde_json::Value;

use super::*;
use crate::program::tests::elf;

pub(crate) fn source() -> Source {
    Source {
        version: "1.2.3".to_owned(),
        revision: "0f".repeat(20),
        url: "https://example.org/stakeout".to_owned(),
        licenses: "MIT OR Apache-2.0".to_owned(),
        created: "2026-01-02T03:04:05Z".parse().unwrap(),
    }
}

pub(crate) fn programs() -> Vec<Program> {
    let mut programs = Vec::new();
    for image in OwnImage::ALL {
        for (platform, machine) in [(Platform::Arm64, 183), (Platform::Amd64, 62)] {
            let mut content = elf(machine, 1);
            content.extend(image.name().as_bytes());
            programs.push(Program {
                image,
                platform,
                content,
            });
        }
    }
    programs
}

/// A layout with both images, in a folder that goes with the test.
pub(crate) fn built(programs: &[Program]) -> (tempfile::TempDir, Layout, Release) {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::create(Utf8Path::from_path(folder.path()).unwrap()).unwrap();
    let release = build(&layout, programs, &source()).unwrap();
    (folder, layout, release)
}

fn files(layout: &Layout) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![layout.folder().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir_utf8().unwrap() {
            let path = entry.unwrap().into_path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(layout.folder()).unwrap().to_string();
                files.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    files
}

#[test]
fn the_same_programs_give_the_same_bytes_in_any_order() {
    let mut given = programs();
    let (_a, one, _) = built(&given);
    given.reverse();
    let (_b, other, _) = built(&given);
    assert_eq!(files(&one), files(&other));
}

#[test]
fn an_image_says_what_it_is_and_runs_as_nobody() {
    let (_folder, layout, release) = built(&programs());
    let digests = &release.agent.platforms[&Platform::Arm64];
    let found = layout.manifest_of("stakeout/agent:1.2.3", Platform::Arm64);
    assert_eq!(found.unwrap().digest, digests.manifest);
    assert_eq!(
        layout.named("stakeout/agent:1.2.3").unwrap().digest,
        release.agent.index
    );
    let config: Value = layout.document(&digests.config).unwrap();
    assert_eq!(config["architecture"], "arm64");
    assert_eq!(config["created"], "2026-01-02T03:04:05Z");
    assert_eq!(config["config"]["User"], "10001:10001");
    assert_eq!(config["config"]["Entrypoint"][0], "/usr/bin/stakeout-agent");
    let labels = &config["config"]["Labels"];
    assert_eq!(labels["org.opencontainers.image.version"], "1.2.3");
    assert_eq!(labels["org.opencontainers.image.revision"], "0f".repeat(20));
    let manifest: Manifest = layout.document(&digests.manifest).unwrap();
    assert_eq!(
        manifest.annotations.len(),
        labels.as_object().unwrap().len()
    );
}

#[test]
fn the_layer_is_what_the_config_says_and_holds_what_it_must() {
    let (_folder, layout, release) = built(&programs());
    let digests = &release.vault.platforms[&Platform::Amd64];
    let manifest: Manifest = layout.document(&digests.manifest).unwrap();
    let config: Value = layout.document(&digests.config).unwrap();
    let packed = layout.blob(&manifest.layers[0].digest).unwrap();
    let mut tar = Vec::new();
    GzDecoder::new(&packed[..]).read_to_end(&mut tar).unwrap();
    assert_eq!(config["rootfs"]["diff_ids"][0], Digest::of(&tar).as_str());
    let mut names = Vec::new();
    for entry in tar::Archive::new(&tar[..]).entries().unwrap() {
        names.push(entry.unwrap().path().unwrap().display().to_string());
    }
    let wanted = [
        "etc/",
        "etc/group",
        "etc/passwd",
        "etc/ssl/",
        "etc/ssl/certs/",
        "etc/ssl/certs/ca-certificates.crt",
        "usr/",
        "usr/bin/",
        "usr/bin/stakeout-vault",
    ];
    assert_eq!(names, wanted);
}

#[test]
fn the_roots_are_certificates() {
    let text = ca_roots();
    let count = text.matches("-----BEGIN CERTIFICATE-----\n").count();
    assert!(count > 100, "{count}");
    assert!(text.lines().all(|line| line.len() <= 64));
}

#[test]
fn a_missing_or_doubled_program_is_named() {
    let check = |given: Vec<Program>, wanted: &str| {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::create(Utf8Path::from_path(folder.path()).unwrap()).unwrap();
        let error = build(&layout, &given, &source()).unwrap_err();
        assert_eq!(error.to_string(), wanted);
    };
    check(Vec::new(), "no program is given");
    let mut given = programs();
    let taken = given.pop().unwrap();
    check(
        given.clone(),
        "the program `stakeout-vault` for linux/amd64 is missing",
    );
    given.extend([taken.clone(), taken]);
    check(
        given,
        "the program `stakeout-vault` for linux/amd64 is given twice",
    );
}
