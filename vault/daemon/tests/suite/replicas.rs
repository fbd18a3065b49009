//! Two vaults on one bucket and one database: both take uploads at once, and one is killed meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::{Body, RequestBuilder, StatusCode};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio::time::{sleep, timeout};
use tokio_util::io::ReaderStream;
use vault_api::{CatalogueConfig, Event, Page, ProviderConfig, Recording, S3Identity, Stored};
use vault_testkit::{Ferretdb, Minio};

use crate::kill::receiver;
use crate::support::{Vault, name};

/// More than a part and more than what sockets hold: the vault has begun to store it.
const HALF: usize = 24 << 20;
const REST: usize = 4 << 20;

fn replica(minio: &Minio, database: &Ferretdb, webhook: &str) -> Vault {
    let mut vault = Vault::new(Some(webhook));
    vault.config.provider = ProviderConfig::S3 {
        endpoint: Some(minio.part.url.parse().unwrap()),
        region: "us-east-1".to_owned(),
        bucket: "footage".to_owned(),
        prefix: Some("depot".to_owned()),
        identity: S3Identity::Keys {
            access_key_file: vault.secret("s3-user", Minio::USER),
            secret_key_file: vault.secret("s3-password", Minio::PASSWORD),
        },
        ca_file: None,
        path_style: true,
        create_bucket: true,
    };
    vault.config.catalogue = CatalogueConfig::Mongodb {
        uri: database.part.url.clone(),
        database: "stakeout".into(),
        credentials_file: None,
        tls: false,
        ca_file: None,
        identity: None,
    };
    vault.config.retention.reserve_bytes = None;
    vault
}

/// Bytes that tell one upload from another; every fifth goes in parts.
fn footage(number: u64) -> Vec<u8> {
    let large = number.is_multiple_of(5);
    let length = if large { 6_000_000 } else { 20_000 };
    vec![u8::try_from(number % 251).unwrap(); length]
}

fn sum(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Sends numbers as an agent does, each until it is acknowledged; returns their keys and checksums.
async fn send(vault: &Vault, numbers: impl Iterator<Item = u64>) -> BTreeMap<String, String> {
    let mut acknowledged = BTreeMap::new();
    for number in numbers {
        let file = name("gate", number);
        let answer = vault.upload(&file).body(footage(number)).send().await;
        let answer = answer.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{number}");
        acknowledged.insert(format!("site/{file}"), sum(&footage(number)));
    }
    acknowledged
}

/// An upload of which the second half comes when somebody writes it.
fn halting(request: RequestBuilder) -> (DuplexStream, RequestBuilder) {
    let (writer, reader) = duplex(64 << 10);
    let body = Body::wrap_stream(ReaderStream::new(reader));
    (writer, request.body(body))
}

async fn recordings(vault: &Vault) -> Vec<Recording> {
    let answer = vault.admin("api/recordings?limit=1000").send().await;
    let page: Page = answer.unwrap().json().await.unwrap();
    assert_eq!(page.next, None);
    page.recordings
}

/// Exactly these are there, each once and with its checksum, and their bytes come out of this vault.
async fn holds(vault: &Vault, wanted: &BTreeMap<String, String>) {
    let found = recordings(vault).await;
    let sums = found.iter().map(|one| {
        let sum = one.sha256.clone().unwrap_or_default();
        (one.key.clone(), sum)
    });
    assert_eq!(&sums.clone().collect::<BTreeMap<_, _>>(), wanted);
    assert_eq!(found.len(), wanted.len());
    for recording in found {
        let media = format!("api/recordings/{}/media", recording.id);
        let bytes = vault.admin(&media).send().await.unwrap().bytes().await;
        assert_eq!(Some(sum(&bytes.unwrap())), recording.sha256);
    }
}

/// Waits until the hook was told of all of them, and returns how often in all.
async fn told(events: &Arc<Mutex<Vec<Event>>>, wanted: &BTreeMap<String, String>) -> usize {
    let told = || {
        let events = events.lock().unwrap();
        let stored = events.iter().filter(|one| one.kind == "recording.stored");
        let sums = stored.map(|one| (one.recording.key.clone(), one.recording.sha256.clone()));
        (events.len(), sums.collect::<BTreeSet<_>>())
    };
    let wanted = wanted
        .iter()
        .map(|(key, sum)| (key.clone(), Some(sum.clone())));
    let wanted: BTreeSet<_> = wanted.collect();
    let all = async {
        while told().1 != wanted {
            sleep(Duration::from_millis(50)).await;
        }
    };
    // A vault that was killed keeps its claim on the hook for half a minute.
    let all = timeout(Duration::from_mins(1), all).await;
    assert!(all.is_ok(), "{:?}", told().1.symmetric_difference(&wanted));
    told().0
}

#[tokio::test]
async fn two_vaults_take_uploads_at_once_and_one_goes_on_while_the_other_is_killed() {
    let (hook, events) = receiver().await;
    let (minio, database) = (Minio::start(), Ferretdb::start());
    let mut one = replica(&minio, &database, &hook);
    let mut two = replica(&minio, &database, &hook);
    one.start().await;
    two.start().await;

    // Different recordings, and the same ones: an agent whose connection broke comes to the other.
    let (first, second) = tokio::join!(
        send(&one, (0..20).chain(100..110)),
        send(&two, (20..40).chain(100..110)),
    );
    let mut acknowledged: BTreeMap<_, _> = first.into_iter().chain(second).collect();
    assert_eq!(acknowledged.len(), 50);
    holds(&one, &acknowledged).await;
    holds(&two, &acknowledged).await;
    // Nobody was killed: each exactly once, whoever told it.
    assert_eq!(told(&events, &acknowledged).await, 50);

    // Both are in the middle of an upload when one of them ends, starts again, and cleans up.
    let (mut alive, upload) = halting(two.upload(&name("gate", 200)));
    let alive_upload = tokio::spawn(upload.send());
    let (mut cut, upload) = halting(one.upload(&name("gate", 201)));
    let cut_upload = tokio::spawn(upload.send());
    for writer in [&mut alive, &mut cut] {
        writer.write_all(&vec![200; HALF]).await.unwrap();
    }
    let busy = async {
        one.kill();
        sleep(Duration::from_millis(500)).await;
        one.start().await;
        // What a start does beside serving is done long before.
        sleep(Duration::from_secs(3)).await;
    };
    let ((), third) = tokio::join!(busy, send(&two, 40..80));
    acknowledged.extend(third);
    assert!(cut_upload.await.unwrap().is_err());
    drop(cut);
    alive.write_all(&vec![200; REST]).await.unwrap();
    drop(alive);
    let answer = alive_upload.await.unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let stored: Stored = answer.json().await.unwrap();
    assert!(!stored.duplicate);
    acknowledged.insert(stored.key, sum(&vec![200; HALF + REST]));

    // Its agent sends the one that was cut off again, to whomever it reaches.
    acknowledged.extend(send(&two, 201..202).await);
    acknowledged.extend(send(&one, 80..90).await);
    holds(&one, &acknowledged).await;
    holds(&two, &acknowledged).await;
    assert!(told(&events, &acknowledged).await >= acknowledged.len());
    let answer = one.admin("api/events").send().await.unwrap();
    let made: Vec<Event> = answer.json().await.unwrap();
    assert_eq!(made.len(), acknowledged.len(), "an event was made twice");
    one.kill();
    two.kill();
    let checked = two.command("check").output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
}
