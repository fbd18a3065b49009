//! Two vaults on one bucket and one database: both take uploads at once, and one is killed meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::{Body, RequestBuilder, StatusCode};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tokio_util::io::ReaderStream;
use vault_api::{CatalogueConfig, Event, Page, ProviderConfig, Recording, S3Identity, Stored};
use vault_catalogue::{Added, Catalogue, MongoCatalogue, MongoSettings, NewRecording};
use vault_storage::{Provider, S3Provider, S3Settings};
use vault_testkit::{Ferretdb, Minio};

use crate::kill::receiver;
use crate::support::{ACCESS, ADMIN, SECRET, Vault, name};

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

/// Puts objects into the bucket as a vault does that ends before it has noted them.
async fn put(vault: &Vault, keys: &[&str]) -> Provider {
    let ProviderConfig::S3 {
        endpoint, bucket, ..
    } = &vault.config.provider
    else {
        panic!("{:?}", vault.config.provider);
    };
    let settings = S3Settings {
        endpoint: endpoint.clone(),
        region: "us-east-1".to_owned(),
        bucket: bucket.clone(),
        prefix: Some("depot".to_owned()),
        identity: vault_storage::S3Identity::Keys {
            access_key: Minio::USER.to_owned(),
            secret_key: Minio::PASSWORD.to_owned(),
        },
        roots: None,
        path_style: true,
    };
    let provider = S3Provider::new(&settings).unwrap();
    provider.prepare(true).await.unwrap();
    let provider = Provider::from(provider);
    for key in keys {
        let body = ReaderStream::new(&b"footage"[..]);
        provider.put(key, body, None).await.unwrap();
    }
    provider
}

#[tokio::test]
async fn what_was_found_is_completed_by_whoever_sends_it_again() {
    let (hook, events) = receiver().await;
    let (minio, database) = (Minio::start(), Ferretdb::start());
    let mut vault = replica(&minio, &database, &hook);
    let file = name("gate", 7);
    let key = format!("site/{file}");
    put(&vault, &[&key]).await;
    let rebuilt = vault.command("rebuild").output().unwrap();
    assert_eq!(rebuilt.stdout, b"1 recordings\n", "{rebuilt:?}");
    vault.start().await;
    assert_eq!(recordings(&vault).await[0].sha256, None);

    let other = vault.upload(&file).body("fortage").send().await.unwrap();
    assert_eq!(other.status(), StatusCode::CONFLICT);
    assert_eq!(recordings(&vault).await[0].sha256, None);
    let again = vault.upload(&file).body("footage").send().await.unwrap();
    assert!(again.json::<Stored>().await.unwrap().duplicate);
    holds(&vault, &[(key, sum(b"footage"))].into()).await;
    let count = || events.lock().unwrap().len();
    while count() == 0 {
        sleep(Duration::from_millis(20)).await;
    }
    let answer = vault.admin("api/events").send().await.unwrap();
    assert_eq!(answer.json::<Vec<Event>>().await.unwrap().len(), 1);
    assert_eq!(count(), 1);
}

#[tokio::test]
async fn an_object_is_left_to_who_stored_it_for_a_while_and_then_taken_up() {
    let (minio, database) = (Minio::start(), Ferretdb::start());
    let replica = replica(&minio, &database, "http://127.0.0.1:1/");
    let keys = [1, 2].map(|second| format!("site/{}", name("gate", second)));
    let provider = put(&replica, &[&keys[0], &keys[1]]).await;
    let settings = MongoSettings {
        uri: database.part.url.clone(),
        database: "stakeout".to_owned(),
        login: None,
        tls: false,
        ca_file: None,
        identity: None,
    };
    let catalogue = spawn_blocking(move || MongoCatalogue::new(&settings, "site").unwrap());
    let catalogue: Arc<dyn Catalogue> = Arc::new(catalogue.await.unwrap());
    let vault = vault_http::Vault::new(
        &replica.config.account,
        vault_http::Keys::new(ACCESS, SECRET, ADMIN),
        provider,
        Arc::clone(&catalogue),
        Vec::new(),
        vault_http::Policy::default(),
    );
    let stored = NewRecording {
        account: "site".to_owned(),
        key: keys[0].clone(),
        camera: "gate".to_owned(),
        start_ms: 1005,
        duration_ms: 5000,
        bytes: 7,
        sha256: Some(sum(b"footage")),
        stored_ms: 9000,
        location: format!("s3://footage/depot/{}", keys[0]),
    };
    let of = Arc::clone(&catalogue);
    let note = async {
        // After the other one has looked.
        sleep(Duration::from_secs(3)).await;
        let added = spawn_blocking(move || of.add(&stored).unwrap());
        assert!(matches!(added.await.unwrap(), Added::New(_)));
    };
    let (adopted, ()) = tokio::join!(vault.adopt(Duration::from_secs(6)), note);
    assert_eq!(adopted.unwrap(), 1);
    let found = spawn_blocking(move || {
        let page = catalogue.page(None, None, 10).unwrap();
        (page.recordings, catalogue.events(0, None, 10).unwrap())
    });
    let (recordings, events) = found.await.unwrap();
    let sums: BTreeMap<_, _> = recordings.into_iter().map(|r| (r.key, r.sha256)).collect();
    let [noted, found] = keys;
    let wanted = [(noted, Some(sum(b"footage"))), (found, None)];
    assert_eq!(sums, wanted.into());
    let told: BTreeMap<_, _> = events
        .into_iter()
        .map(|e| (e.recording.key, e.recording.sha256))
        .collect();
    assert_eq!(told, sums);
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
