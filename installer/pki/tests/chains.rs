//! What is made here is judged by others: rustls' verifier, and openssl.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

use std::process::Command;
use std::time::Duration;

use installer_pki::{
    Name, Pair, PkiError, Secret, check_own, check_pair, find_issuer, is_for, issue,
    make_authority, read_facts, renewal_due, trust_bundle,
};
use jiff::{Timestamp, ToSpan};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn after(days: i64) -> Timestamp {
    now().checked_add((days * 24).hours()).unwrap()
}

fn names(texts: &[&str]) -> Vec<Name> {
    texts.iter().map(|t| t.parse().unwrap()).collect()
}

/// Whether rustls would speak with the owner of `leaf` as `name`.
fn trusted(leaf: &str, bundle: &str, name: &str, at: Timestamp) -> Result<(), webpki::Error> {
    let authorities: Vec<_> = CertificateDer::pem_slice_iter(bundle.as_bytes())
        .collect::<Result<_, _>>()
        .unwrap();
    let anchors: Vec<_> = authorities
        .iter()
        .map(|der| anchor_from_trusted_cert(der).unwrap())
        .collect();
    let der = CertificateDer::from_pem_slice(leaf.as_bytes()).unwrap();
    let leaf = EndEntityCert::try_from(&der)?;
    let at = UnixTime::since_unix_epoch(Duration::from_secs(at.as_second().unsigned_abs()));
    let algorithms = webpki::ALL_VERIFICATION_ALGS;
    leaf.verify_for_usage(
        algorithms,
        &anchors,
        &[],
        at,
        KeyUsage::server_auth(),
        None,
        None,
    )?;
    leaf.verify_is_valid_for_subject_name(&ServerName::try_from(name).unwrap())
}

/// Exit and output of openssl with texts as files in a folder of its own.
fn openssl(arguments: &[&str], files: &[(&str, &str)]) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let mut openssl = Command::new("openssl");
    let output = openssl
        .args(arguments)
        .current_dir(folder.path())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

fn verify(leaf: &Pair, bundle: &str, more: &[&str]) -> (bool, String) {
    let at = now().as_second().to_string();
    let mut arguments = vec![
        "verify",
        "-x509_strict",
        "-purpose",
        "sslserver",
        "-attime",
        &at,
    ];
    arguments.extend(["-no-CApath", "-no-CAstore", "-CAfile", "ca.pem"]);
    arguments.extend(more);
    arguments.push("leaf.pem");
    openssl(
        &arguments,
        &[("ca.pem", bundle), ("leaf.pem", &leaf.certificate)],
    )
}

#[test]
fn a_leaf_is_trusted_by_its_names_and_in_its_time() {
    let authority = make_authority("warehouse-7", now()).unwrap();
    let leaf = issue(&authority, &names(&["vault", "10.1.2.3", "fd00::7"]), now()).unwrap();
    let check = |name, at| trusted(&leaf.certificate, &authority.certificate, name, at);
    for name in ["vault", "10.1.2.3", "fd00::7"] {
        assert_eq!(check(name, now()), Ok(()), "{name}");
        let option = if name == "vault" {
            "-verify_hostname"
        } else {
            "-verify_ip"
        };
        let (good, text) = verify(&leaf, &authority.certificate, &[option, name]);
        assert!(good, "{text}");
    }
    assert!(check("agent", now()).is_err());
    assert!(
        !verify(
            &leaf,
            &authority.certificate,
            &["-verify_hostname", "agent"]
        )
        .0
    );
    assert!(check("vault", after(-1)).is_err(), "before its time");
    assert_eq!(check("vault", after(2 * 365 - 1)), Ok(()));
    assert!(
        check("vault", after(2 * 365 + 1)).is_err(),
        "after its time"
    );

    let other = make_authority("warehouse-7", now()).unwrap();
    assert!(trusted(&leaf.certificate, &other.certificate, "vault", now()).is_err());
    assert!(!verify(&leaf, &other.certificate, &[]).0);
}

#[test]
fn what_it_says_is_what_openssl_reads() {
    let authority = make_authority("warehouse-7", now()).unwrap();
    let wanted = names(&["vault.site", "10.1.2.3", "::1"]);
    let leaf = issue(&authority, &wanted, now()).unwrap();
    let facts = read_facts(&leaf.certificate).unwrap();
    assert_eq!(facts.names, wanted);
    assert!(facts.covers(&wanted[1..]) && !facts.covers(&names(&["other"])));
    assert_eq!(
        (facts.subject.as_str(), facts.is_authority),
        ("vault.site", false)
    );
    assert_eq!(facts.issuer, "stakeout warehouse-7 internal CA");
    assert_eq!(facts.not_before.to_string(), "2026-03-01T11:00:00Z");
    assert_eq!(facts.not_after.to_string(), "2028-02-29T12:00:00Z");
    let arguments = [
        "x509",
        "-in",
        "leaf.pem",
        "-noout",
        "-fingerprint",
        "-sha256",
    ];
    let (_, text) = openssl(&arguments, &[("leaf.pem", &leaf.certificate)]);
    assert!(
        text.trim().ends_with(&format!("={}", facts.fingerprint)),
        "{text}"
    );

    let made = read_facts(&authority.certificate).unwrap();
    assert!(made.is_authority && made.names.is_empty());
    assert_eq!(made.not_after.to_string(), "2036-02-27T12:00:00Z");
    let (_, text) = openssl(
        &["x509", "-in", "ca.pem", "-noout", "-text"],
        &[("ca.pem", &authority.certificate)],
    );
    for part in [
        "CN = stakeout warehouse-7 internal CA",
        "prime256v1",
        "CA:TRUE, pathlen:0",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("Name Constraints"));
}

#[test]
fn the_key_belongs_to_the_certificate_and_stays_hidden() {
    let authority = make_authority("a", now()).unwrap();
    let leaf = issue(&authority, &names(&["vault"]), now()).unwrap();
    assert!(check_pair(&leaf).is_ok() && check_pair(&authority).is_ok());
    let mixed = Pair {
        certificate: leaf.certificate.clone(),
        key: authority.key,
    };
    assert!(matches!(check_pair(&mixed), Err(PkiError::OtherKey)));
    assert!(leaf.key.expose().starts_with("-----BEGIN PRIVATE KEY-----"));
    assert!(!format!("{leaf:?}").contains("PRIVATE KEY"));
    let key = leaf.key.expose();
    let (good, text) = openssl(&["pkey", "-in", "k", "-check", "-noout"], &[("k", key)]);
    assert!(good, "{text}");
}

#[test]
fn a_leaf_is_due_in_its_last_third_and_never_outlives_its_ca() {
    let authority = make_authority("a", now()).unwrap();
    let leaf = issue(&authority, &names(&["vault"]), now()).unwrap();
    let facts = read_facts(&leaf.certificate).unwrap();
    let due: Vec<_> = [0, 486, 487, 800]
        .map(|day| renewal_due(&facts, after(day)))
        .into();
    assert_eq!(due, [false, false, true, true]);

    let late = issue(&authority, &names(&["vault"]), after(9 * 365)).unwrap();
    let late = read_facts(&late.certificate).unwrap();
    assert_eq!(
        late.not_after,
        read_facts(&authority.certificate).unwrap().not_after
    );
    let ended = issue(&authority, &names(&["vault"]), after(10 * 365));
    assert!(matches!(ended, Err(PkiError::AuthorityEnded { .. })));
}

#[test]
fn nobody_is_refused_while_the_ca_is_rotated() {
    let old = make_authority("a", now()).unwrap();
    let new = make_authority("a", now()).unwrap();
    let both = trust_bundle(
        &[&new.certificate, &old.certificate, &new.certificate],
        now(),
    )
    .unwrap();
    assert_eq!(both.matches("BEGIN CERTIFICATE").count(), 2);
    for authority in [&old, &new] {
        let leaf = issue(authority, &names(&["vault"]), now()).unwrap();
        assert_eq!(trusted(&leaf.certificate, &both, "vault", now()), Ok(()));
        let (good, text) = verify(&leaf, &both, &[]);
        assert!(good, "{text}");
        let signer = read_facts(&authority.certificate).unwrap().fingerprint;
        assert_eq!(find_issuer(&leaf.certificate, &both).unwrap(), Some(signer));
    }
    let alone = trust_bundle(&[&new.certificate], now()).unwrap();
    assert_eq!(alone, new.certificate.replace("\r\n", "\n"));
    let leaf = issue(&old, &names(&["vault"]), now()).unwrap();
    assert_eq!(find_issuer(&leaf.certificate, &alone).unwrap(), None);
    let later = make_authority("a", after(3000)).unwrap();
    let bundle = trust_bundle(&[&later.certificate, &old.certificate], after(3700)).unwrap();
    assert_eq!(
        bundle.matches("BEGIN").count(),
        1,
        "what has ended is left out"
    );
    let gone = trust_bundle(&[&old.certificate], after(3700));
    assert!(matches!(gone, Err(PkiError::NoCertificate)));
    assert!(matches!(
        trust_bundle(&[&leaf.certificate], now()),
        Err(PkiError::NotAuthority)
    ));
}

#[test]
fn what_cannot_be_used_is_named_and_never_repeated() {
    let authority = make_authority("a", now()).unwrap();
    let leaf = issue(&authority, &names(&["vault"]), now()).unwrap();
    assert!(matches!(
        issue(&leaf, &names(&["x"]), now()),
        Err(PkiError::NotAuthority)
    ));
    assert!(matches!(
        issue(&authority, &[], now()),
        Err(PkiError::NoName)
    ));
    let long = make_authority(&"s".repeat(50), now());
    assert_eq!(
        long.unwrap_err().to_string(),
        format!(
            "site name `{}` is too long for a certificate by 7 characters",
            "s".repeat(50)
        )
    );
    assert!(make_authority(&"s".repeat(43), now()).is_ok());
    let secret = "-----BEGIN PRIVATE KEY-----\nMC4CAQA\n-----END PRIVATE KEY-----\n";
    assert!(matches!(read_facts(secret), Err(PkiError::NoCertificate)));
    let broken = "-----BEGIN CERTIFICATE-----\nMC4CAQAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(read_facts(broken), Err(PkiError::Certificate(_))));
    let broken = Pair {
        certificate: authority.certificate,
        key: Secret::new(secret.to_owned()),
    };
    let error = issue(&broken, &names(&["x"]), now()).unwrap_err();
    assert!(matches!(error, PkiError::Key(_)) && !format!("{error:?}").contains("MC4C"));
}

/// A self-signed pair of openssl's for `*.example.org`, with its key in the form that `genkey` makes.
fn own(genkey: &[&str]) -> Pair {
    let (fine, key) = openssl(genkey, &[]);
    assert!(fine, "{key}");
    let request = [
        "req",
        "-x509",
        "-new",
        "-key",
        "own.key",
        "-subj",
        "/CN=own",
        "-days",
        "30",
        "-addext",
        "subjectAltName=DNS:*.example.org,IP:192.168.1.5",
    ];
    let (fine, certificate) = openssl(&request, &[("own.key", &key)]);
    assert!(fine, "{certificate}");
    Pair {
        certificate,
        key: Secret::new(key),
    }
}

#[test]
fn an_owners_pair_is_taken_in_every_usual_form_and_only_whole() {
    let sec1 = own(&["ecparam", "-name", "prime256v1", "-genkey", "-noout"]);
    assert!(sec1.key.expose().contains("EC PRIVATE KEY"));
    let pkcs8 = own(&["genpkey", "-algorithm", "ed25519"]);
    assert_eq!(check_own(&sec1).unwrap().subject, "own");
    for (name, wanted) in [
        ("vault.example.org", true),
        ("192.168.1.5", true),
        ("example.org", false),
        ("a.b.example.org", false),
        ("192.168.1.6", false),
    ] {
        assert_eq!(is_for(&sec1.certificate, name).unwrap(), wanted, "{name}");
    }
    let mixed = Pair {
        certificate: pkcs8.certificate.clone(),
        key: sec1.key,
    };
    assert!(check_own(&pkcs8).is_ok());
    assert!(matches!(check_own(&mixed), Err(PkiError::OtherKey)));
    let keyless = Pair {
        key: Secret::new(pkcs8.certificate.clone()),
        certificate: pkcs8.certificate,
    };
    assert!(matches!(check_own(&keyless), Err(PkiError::NoKey(_))));
}
