//! The catalogue in a database of its own process: it goes and comes back, vaults are killed, and
//! two of them share it.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::StatusCode;
use tokio::time::{sleep, timeout};
use vault_api::{CatalogueConfig, Event, Page, Problem, Stored};
use vault_testkit::Ferretdb;

use crate::kill::receiver;
use crate::support::{Vault, name};

fn vault(server: &Ferretdb, webhook: Option<&str>) -> Vault {
    let mut vault = Vault::new(webhook);
    vault.config.catalogue = CatalogueConfig::Mongodb {
        uri: server.part.url.clone(),
        database: "stakeout".into(),
        credentials_file: None,
        tls: false,
        ca_file: None,
        identity: None,
    };
    vault
}

async fn page(vault: &Vault) -> Page {
    let answer = vault.admin("api/recordings?limit=1000").send().await;
    answer.unwrap().json().await.unwrap()
}

async fn stored(vault: &Vault, second: u64) -> Stored {
    let request = vault.upload(&name("gate", second)).body("footage");
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    answer.json().await.unwrap()
}

async fn until(patience: Duration, what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            sleep(Duration::from_millis(50)).await;
        }
    };
    let came = timeout(patience, wait).await;
    assert!(came.is_ok(), "it did not come about: {what}");
}

#[tokio::test]
async fn without_its_database_nothing_is_acknowledged_and_then_it_works_again() {
    let server = Ferretdb::start();
    let mut vault = vault(&server, None);
    vault.start().await;
    let first = stored(&vault, 1).await;
    assert!(!first.duplicate);

    let start_again = server.kill();
    let refused = vault.upload(&name("gate", 2)).body("more footage");
    let refused = refused.send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()["retry-after"], "5");
    let problem: Problem = refused.json().await.unwrap();
    assert_eq!(problem.status, "catalogue_unavailable");
    let unwell = vault.client.get(vault.url("healthz")).send().await.unwrap();
    assert_eq!(unwell.status(), StatusCode::SERVICE_UNAVAILABLE);
    let problem: Problem = unwell.json().await.unwrap();
    assert!(problem.message.contains("`stakeout`"), "{problem:?}");

    // A start without it is no failure either.
    vault.kill();
    vault.start_unwell().await;
    let _server = start_again();
    until(Duration::from_secs(20), "it is well", async || {
        let health = vault.client.get(vault.url("healthz")).send().await;
        health.unwrap().status() == StatusCode::OK
    })
    .await;
    assert!(!stored(&vault, 2).await.duplicate);
    assert!(stored(&vault, 1).await.duplicate);
    assert_eq!(page(&vault).await.recordings.len(), 2);
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill_and_is_told_of() {
    let (url, events) = receiver().await;
    let server = Ferretdb::start();
    let mut vault = vault(&server, Some(&url));
    let mut acknowledged = BTreeSet::new();
    let mut number = 1_700_000_000;
    for round in 0..8 {
        vault.start().await;
        let uploads = async {
            loop {
                number += 1;
                let body = vec![7; 20_000];
                let request = vault.upload(&name("gate", number)).body(body);
                match request.send().await {
                    Ok(answer) if answer.status().is_success() => acknowledged.insert(number),
                    _ => return,
                };
            }
        };
        drop(timeout(Duration::from_millis(60 + 61 * round), uploads).await);
        vault.kill();
    }
    assert!(acknowledged.len() > 10, "only {}", acknowledged.len());
    vault.start().await;
    let wanted: BTreeSet<_> = acknowledged
        .iter()
        .map(|number| format!("site/{}", name("gate", *number)))
        .collect();
    let listed = page(&vault).await.recordings;
    let listed: BTreeSet<_> = listed.into_iter().map(|one| one.key).collect();
    assert!(
        wanted.is_subset(&listed),
        "{:?}",
        wanted.difference(&listed)
    );
    // The deliveries were another process's until its claim ran out.
    until(Duration::from_mins(1), "all are told of", async || {
        let listed = page(&vault).await.recordings;
        let listed: BTreeSet<_> = listed.into_iter().map(|one| one.key).collect();
        let events = events.lock().unwrap();
        let told: BTreeSet<_> = events.iter().map(|e| e.recording.key.clone()).collect();
        told == listed
    })
    .await;
    let answer = vault.admin("api/events").send().await.unwrap();
    let events: Vec<Event> = answer.json().await.unwrap();
    let once: BTreeSet<_> = events.iter().map(|event| &event.recording.key).collect();
    assert_eq!(once.len(), events.len(), "an event was made twice");
    vault.kill();
    let checked = vault.command("check").output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
}

#[tokio::test]
async fn two_vaults_tell_of_a_recording_once_and_one_takes_over_from_the_other() {
    let (url, events) = receiver().await;
    let server = Ferretdb::start();
    let (mut one, mut two) = (vault(&server, Some(&url)), vault(&server, Some(&url)));
    one.start().await;
    two.start().await;
    for number in 0..20 {
        stored(&one, 2 * number).await;
        stored(&two, 2 * number + 1).await;
    }
    let count = || events.lock().unwrap().len();
    until(Duration::from_secs(30), "all are told of", async || {
        count() >= 40
    })
    .await;
    let numbers: Vec<_> = events.lock().unwrap().iter().map(|e| e.seq).collect();
    assert_eq!(numbers, (1..=40).collect::<Vec<_>>());
    let wanted = page(&one).await;
    assert_eq!(wanted.recordings.len(), 40);
    assert_eq!(wanted, page(&two).await);

    // Whoever tells is killed, so the other has to wait until its claim ran out.
    one.kill();
    stored(&two, 100).await;
    until(Duration::from_mins(1), "the other tells", async || {
        count() == 41
    })
    .await;
    two.kill();
    one.start().await;
    stored(&one, 101).await;
    until(
        Duration::from_mins(1),
        "the first tells again",
        async || count() == 42,
    )
    .await;
}

#[tokio::test]
async fn a_database_that_was_lost_is_filled_from_the_recordings() {
    let server = Ferretdb::start();
    let mut vault = vault(&server, None);
    vault.start().await;
    for second in 0..5 {
        stored(&vault, second).await;
    }
    let ids: Vec<_> = page(&vault)
        .await
        .recordings
        .into_iter()
        .map(|one| one.id)
        .collect();
    vault.kill();
    let sound = vault.command("rebuild").output().unwrap();
    assert_eq!(sound.status.code(), Some(1), "{sound:?}");

    let server = {
        let data = server.files.path("data");
        let start_again = server.kill();
        std::fs::remove_dir_all(&data).unwrap();
        start_again()
    };
    let differs = vault.command("check").output().unwrap();
    assert_eq!(differs.status.code(), Some(4), "{differs:?}");
    let rebuilt = vault.command("rebuild").output().unwrap();
    assert_eq!(rebuilt.stdout, b"5 recordings\n", "{rebuilt:?}");
    assert!(vault.command("check").output().unwrap().status.success());
    vault.start().await;
    // Whoever noted a number outside finds its recording again.
    let again: Vec<_> = page(&vault)
        .await
        .recordings
        .into_iter()
        .map(|one| one.id)
        .collect();
    assert_eq!(again, ids);
    drop(server);
}

#[tokio::test]
async fn the_oldest_go_beyond_the_quota() {
    let server = Ferretdb::start();
    let mut vault = vault(&server, None);
    // Four of them.
    vault.config.retention.quota_bytes = Some(30);
    vault.start().await;
    for second in 0..9 {
        stored(&vault, second).await;
    }
    let told = async || {
        let answer = vault.admin("api/events").send().await.unwrap();
        let events: Vec<Event> = answer.json().await.unwrap();
        let expired = events.iter().filter(|one| one.kind == "recording.expired");
        (events.len(), expired.count())
    };
    // A recording is no longer listed a moment before that is told.
    until(Duration::from_secs(20), "five are gone", async || {
        page(&vault).await.recordings.len() == 4 && told().await.1 == 5
    })
    .await;
    let left = page(&vault).await.recordings;
    let starts: Vec<_> = left.iter().map(|one| one.start_ms / 1000).collect();
    assert_eq!(starts, [8, 7, 6, 5]);
    assert_eq!(told().await, (14, 5));
    vault.kill();
    let checked = vault.command("check").output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
}
