//! What a user is told about a profile that is wrong: `bad/*.yaml` and beside each what it says.
//!
//! `INSTA_UPDATE=always cargo test -p installer-spec` writes the texts anew.

use crate::files::{Folder, message};
use installer_spec::{SourceFile, parse};

#[test]
fn every_bad_profile_is_explained() {
    let folder = Folder::of_crate("tests/bad");
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../bad");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let names = folder.names("yaml");
    assert!(names.len() > 20, "the folder of bad profiles is incomplete");
    for name in names {
        let text = folder.read(&name);
        let source = SourceFile {
            name: &name,
            text: &text,
        };
        let found = parse(&source, &folder).expect_err(&name);
        let shown = message(&found);
        for secret in ["hunter", "31337"] {
            assert!(!shown.contains(secret), "{name} shows a secret:\n{shown}");
        }
        settings.bind(|| insta::assert_snapshot!(name.trim_end_matches(".yaml"), shown));
    }
}

#[test]
fn a_profile_of_more_than_a_mebibyte_is_refused() {
    let text = "#".repeat(1024 * 1024 + 1);
    let found = parse(
        &SourceFile {
            name: "x.yaml",
            text: &text,
        },
        &Folder::of_crate("tests"),
    );
    let wanted = "x.yaml:1:1: the profile is larger than 1 MiB\n  \
                  help: keep long camera lists in a CSV file (`from:`)";
    assert_eq!(message(&found.unwrap_err()), wanted);
}

#[test]
fn a_profile_that_is_not_utf_8_is_refused() {
    let found = SourceFile::from_bytes("x.yaml", b"version: 1\nsite: t\xfcr\n").unwrap_err();
    assert_eq!(
        message(&[found]),
        "x.yaml:2:1: the profile is not UTF-8\n  help: save it as UTF-8"
    );
}
