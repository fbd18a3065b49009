//! What only a database elsewhere can do.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use vault_catalogue::{Catalogue, CatalogueError, MongoCatalogue, MongoSettings};
use vault_testkit::{Ferretdb, Files};

use crate::{new, open, settings};

#[test]
fn one_vault_at_a_time_tells_and_hands_over_when_it_ends() {
    let server = Ferretdb::start();
    let (one, two) = (open(&server, "d"), open(&server, "d"));
    assert!(one.claim("hook").unwrap());
    assert!(one.claim("hook").unwrap());
    assert!(!two.claim("hook").unwrap());
    assert!(two.claim("other").unwrap());
    one.deliver("hook", 3).unwrap();
    one.close().unwrap();
    assert!(two.claim("hook").unwrap());
    assert!(!one.claim("hook").unwrap());
    assert_eq!(two.delivered("hook").unwrap(), 3);
}

#[test]
fn of_two_that_ask_in_the_same_instant_one_tells() {
    let server = Ferretdb::start();
    let mut pair = [open(&server, "d"), open(&server, "d")];
    for _ in 0..100 {
        let begin = Barrier::new(2);
        let ask = |one: &MongoCatalogue| {
            begin.wait();
            one.claim("hook").unwrap()
        };
        let told = thread::scope(|scope| {
            let other = scope.spawn(|| ask(&pair[1]));
            [ask(&pair[0]), other.join().unwrap()]
        });
        assert_eq!(told.iter().filter(|yes| **yes).count(), 1, "{told:?}");
        // Whoever it was ends, and is there again.
        for (one, told) in pair.iter_mut().zip(told) {
            if told {
                one.close().unwrap();
                *one = open(&server, "d");
                one.probe().unwrap();
            }
        }
    }
}

#[test]
fn a_database_that_is_away_comes_back_without_a_restart() {
    let server = Ferretdb::start();
    let catalogue = open(&server, "d");
    catalogue.add(&new("gate", 1)).unwrap();
    let start_again = server.kill();
    let began = Instant::now();
    let failed = catalogue.add(&new("gate", 2)).unwrap_err();
    assert!(failed.is_unavailable() && !failed.is_full(), "{failed:?}");
    assert!(began.elapsed() < Duration::from_secs(15));
    assert!(catalogue.probe().unwrap_err().is_unavailable());
    let _server = start_again();
    catalogue.add(&new("gate", 2)).unwrap();
    let events = catalogue.events(0, None, 10).unwrap();
    let keys: Vec<_> = events.iter().map(|e| e.recording.key.as_str()).collect();
    assert_eq!(keys, ["a/1_gate.mp4", "a/2_gate.mp4"]);
}

#[test]
fn a_vault_can_be_there_before_its_database() {
    let server = Ferretdb::start();
    let settings = settings(&server, "d");
    let start_again = server.kill();
    let catalogue = MongoCatalogue::new(&settings, "site").unwrap();
    assert!(catalogue.totals().unwrap_err().is_unavailable());
    let _server = start_again();
    assert_eq!(catalogue.totals().unwrap().recordings, 0);
}

#[test]
fn only_who_has_the_certificate_that_the_server_knows_gets_in() {
    let files = Files::default();
    let (authority, [(certificate, key), vault, other]) =
        files.issued(["server", "vault", "other"]);
    // Trusted is the one certificate itself, so others of its authority are not.
    let arguments = [
        ("--certificate", certificate.as_str()),
        ("--key", &key),
        ("--client-ca", &vault.0),
    ];
    let server = Ferretdb::start_with(files, &arguments);
    let identity = |(certificate, key): &(String, String)| {
        [certificate, key]
            .map(|path| std::fs::read(path).unwrap())
            .concat()
    };
    let with = |ca: &str, identity: Option<Vec<u8>>| {
        let settings = MongoSettings {
            tls: true,
            ca_file: Some(ca.into()),
            identity,
            ..settings(&server, "d")
        };
        MongoCatalogue::new(&settings, "site").unwrap().probe()
    };
    with(&authority, Some(identity(&vault))).unwrap();
    for refused in [
        with(&authority, None),
        with(&authority, Some(identity(&other))),
        with(&other.0, Some(identity(&vault))),
    ] {
        assert!(
            matches!(refused, Err(CatalogueError::Remote { .. })),
            "{refused:?}"
        );
    }
    let plain = MongoCatalogue::new(&settings(&server, "d"), "site").unwrap();
    assert!(plain.probe().unwrap_err().is_unavailable());
}
