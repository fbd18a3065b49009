use super::*;
use crate::release::tests::release;

const PATH: &str = "a.yaml";

const SMALL: &str = "\
# A comment that stays.
version: 1
images:
  - name: broker
    repository: example.org/broker # unverified is a word
    tag: '1.0'
    version: '1.0'
    license: MIT
    end_of_life: none
    why: a test
    index: unverified # not looked up
    platforms: { linux/amd64: unverified, linux/arm64: unverified }
";

#[track_caller]
fn fails(text: &str, wanted: &str) {
    let error = Catalogue::parse(Utf8Path::new(PATH), text).unwrap_err();
    let said = error.to_string();
    assert!(said.starts_with(wanted), "{said}");
}

fn small() -> Catalogue {
    Catalogue::parse(Utf8Path::new(PATH), SMALL).unwrap()
}

#[test]
fn the_embedded_catalogue_has_what_a_site_may_need_and_no_invented_digest() {
    let catalogue = Catalogue::embedded();
    let names: Vec<_> = catalogue
        .entries()
        .iter()
        .map(|e| e.name.as_str())
        .collect();
    let wanted = [
        "agent",
        "vault",
        "minio",
        "mosquitto",
        "rabbitmq",
        "ferretdb",
        "coturn",
    ];
    assert_eq!(names, wanted);
    for entry in catalogue.entries() {
        assert!(!entry.why.is_empty() && !entry.end_of_life.is_empty());
        if let Origin::ThirdParty { platforms, .. } = &entry.origin {
            assert_eq!(platforms.len(), Platform::ALL.len(), "{}", entry.name);
        }
    }
}

#[test]
fn a_fault_is_told_with_file_and_line() {
    fails(
        "version: 2\nimages: []\n",
        "a.yaml:1:10: version 2 is not 1",
    );
    fails(&SMALL.replace("tag:", "tags:"), "a.yaml:6:");
    fails(
        &SMALL.replace("index: unverified", "index: sha256:12"),
        "a.yaml:11:12: ",
    );
    fails(&SMALL.replace("linux/arm64", "linux/s390x"), "a.yaml:12:");
    fails(
        &SMALL.replace("    tag: '1.0'\n", ""),
        "a.yaml:4:11: image `broker` needs tag",
    );
    fails(
        &SMALL.replace("example.org/", ""),
        "a.yaml:4:11: repository of image",
    );
    fails(
        &SMALL.replace("    tag", "    ours: true\n    tag"),
        "a.yaml:4:11: image `broker` is not",
    );
    let (head, entry) = SMALL.split_at(SMALL.find("  - ").unwrap());
    fails(
        &format!("{head}{entry}{entry}"),
        "a.yaml:13:11: image `broker` is there twice",
    );
    fails("", "a.yaml:1:1: ");
}

#[test]
fn pins_are_put_in_place_and_the_rest_stays() {
    let digest = |text: &str| Digest::of(text.as_bytes());
    let found = FoundPins {
        index: digest("index"),
        platforms: BTreeMap::from([(Platform::Amd64, digest("amd64"))]),
    };
    let found = BTreeMap::from([("broker".to_owned(), found)]);
    let pinned = small().with_pins(&found);
    let wanted = SMALL
        .replace("index: unverified", &format!("index: {}", digest("index")))
        .replace("amd64: unverified", &format!("amd64: {}", digest("amd64")));
    assert_eq!(pinned.text(), wanted);
    // A pin that the registry no longer has must not stay.
    let gone = FoundPins {
        index: digest("other"),
        platforms: BTreeMap::new(),
    };
    let again = pinned.with_pins(&BTreeMap::from([("broker".to_owned(), gone)]));
    let wanted = SMALL.replace("index: unverified", &format!("index: {}", digest("other")));
    assert_eq!(again.text(), wanted);
}

#[test]
fn an_unverified_image_is_refused_unless_the_user_insists() {
    let pin = |unverified| small().pin("broker", Platform::Amd64, None, unverified);
    let error = pin(Unverified::Refuse).unwrap_err();
    assert!(matches!(error, PinError::Unverified { .. }), "{error}");
    let pinned = pin(Unverified::Allow).unwrap();
    assert_eq!(pinned.reference(), "example.org/broker:1.0");
}

#[test]
fn our_images_come_from_the_release() {
    let catalogue = Catalogue::embedded();
    let pin = |release| catalogue.pin("vault", Platform::Arm64, release, Unverified::Refuse);
    assert_eq!(pin(None), Err(PinError::NoRelease("vault".to_owned())));
    let release = release();
    let wanted = &release.vault.platforms[&Platform::Arm64].manifest;
    let pinned = pin(Some(&release)).unwrap();
    assert_eq!(pinned.reference(), format!("stakeout/vault:1.2.3@{wanted}"));
    let nothing = catalogue.pin("frob", Platform::Arm64, None, Unverified::Allow);
    assert_eq!(nothing, Err(PinError::Unknown("frob".to_owned())));
}
