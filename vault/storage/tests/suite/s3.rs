//! What only a server can do wrong, and what only S3 leaves behind.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt, stream};
use tokio::sync::oneshot::{self, Receiver, Sender};
use vault_storage::{
    Provider, RemoteError, S3Identity, S3Provider, S3Settings, Sharing, StorageError,
};
use vault_testkit::{Files, Minio};

use crate::{SHARED, settings};

fn film() -> impl futures::Stream<Item = io::Result<Bytes>> + Unpin {
    stream::iter([Ok(Bytes::from_static(b"film"))])
}

/// Why the bucket cannot be used, in words and as a kind.
async fn refused(settings: &S3Settings) -> (String, RemoteError) {
    let provider = S3Provider::new(settings).unwrap();
    let error = provider.prepare(false).await.unwrap_err();
    // An upload says the same.
    let provider = Provider::from(provider);
    let upload = provider.put("a/x.mp4", film(), None).await.unwrap_err();
    let said = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(
        std::error::Error::source(&upload).unwrap().to_string(),
        said
    );
    match error {
        StorageError::Remote { source, .. } => (said, source),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn what_keeps_a_bucket_from_being_used_is_named() {
    let (said, kind) = refused(&settings(&SHARED, "absent-bucket", None)).await;
    assert_eq!(said, "bucket `absent-bucket` is missing");
    assert!(matches!(kind, RemoteError::NoBucket { .. }));

    let mut wrong = settings(&SHARED, "keys-bucket", None);
    S3Provider::new(&wrong)
        .unwrap()
        .prepare(true)
        .await
        .unwrap();
    let keys = |access_key: &str| S3Identity::Keys {
        access_key: access_key.to_owned(),
        secret_key: "wrong-0123456789abcdef".to_owned(),
    };
    wrong.identity = keys(Minio::USER);
    let (said, kind) = refused(&wrong).await;
    assert!(said.contains("wrong (SignatureDoesNotMatch)"), "{said}");
    assert!(!said.contains("0123456789abcdef"), "{said}");
    assert!(matches!(kind, RemoteError::Keys { .. }));
    wrong.identity = keys("nobody");
    let (said, _) = refused(&wrong).await;
    assert!(said.contains("wrong (InvalidAccessKeyId)"), "{said}");
}

/// As most uploads do, these find the server away for a moment, or for longer.
#[tokio::test]
async fn a_server_that_is_away_is_named_and_waited_for() {
    let minio = Minio::start();
    let provider = S3Provider::new(&settings(&minio, "away", None)).unwrap();
    provider.prepare(true).await.unwrap();
    let provider = Provider::from(provider);
    let address = minio.part.url.clone();
    let start = minio.stop();
    let began = Instant::now();
    let away = provider.put("a/x.mp4", film(), None).await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(20));
    let cause = std::error::Error::source(&away).unwrap().to_string();
    assert_eq!(cause, format!("cannot reach {address}"));
    assert!(provider.probe().await.is_err());
    // It comes back while an upload waits, or before it is tried again.
    let minio = tokio::task::spawn_blocking(start);
    let stored = loop {
        match provider.put("a/x.mp4", film(), None).await {
            Ok(stored) => break stored,
            Err(error) => assert!(began.elapsed() < Duration::from_mins(1), "{error}"),
        }
    };
    assert_eq!(stored.bytes, 4);
    let minio = minio.await;
    provider.probe().await.unwrap();
    drop(minio.unwrap());
}

#[tokio::test]
async fn a_private_authority_is_trusted_where_it_is_named_and_nowhere_else() {
    let files = Files::default();
    let (certificate, key) = files.certificate("minio");
    let minio = Minio::start_with(files, 0, Some((&certificate, &key)));
    assert!(minio.part.url.starts_with("https://"));
    let mut settings = settings(&minio, "private", None);
    settings.roots = Some(fs::read(certificate).unwrap());
    let provider = S3Provider::new(&settings).unwrap();
    provider.prepare(true).await.unwrap();
    let provider = Provider::from(provider);
    provider.put("a/x.mp4", film(), None).await.unwrap();

    let (other, _) = minio.files.certificate("other");
    settings.roots = Some(fs::read(other).unwrap());
    let (said, kind) = refused(&settings).await;
    assert!(said.contains("cannot reach"), "{said}");
    assert!(matches!(kind, RemoteError::Unreachable { .. }));
}

/// Uploads in parts that the server has begun and not ended.
fn unfinished(minio: &Minio) -> usize {
    let Ok(objects) = fs::read_dir(minio.files.path("data").join(".minio.sys/multipart")) else {
        return 0;
    };
    let uploads = |object: io::Result<fs::DirEntry>| fs::read_dir(object.unwrap().path());
    objects.map(|object| uploads(object).unwrap().count()).sum()
}

/// Runs an upload until its first part is stored, and stops as a kill would.
fn cut_off(settings: &S3Settings) {
    // Nothing runs on it any more once we leave.
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(async {
        let provider = S3Provider::new(settings).unwrap();
        provider.prepare(true).await.unwrap();
        let provider = Provider::from(provider);
        let (sent, all_sent) = tokio::sync::oneshot::channel();
        let pieces = stream::iter((0..100).map(|_| Ok(Bytes::from(vec![7; 60_000]))));
        let body = pieces.chain(stream::once(async move {
            sent.send(()).unwrap();
            std::future::pending::<io::Result<Bytes>>().await
        }));
        tokio::select! {
            ended = provider.put("a/cut.mp4", Box::pin(body), None) => panic!("{ended:?}"),
            _ = all_sent => {}
        }
    });
}

#[tokio::test]
async fn an_upload_that_a_crash_cut_off_is_given_up_by_a_vault_that_is_alone() {
    let minio = Minio::start();
    let settings = settings(&minio, "crashed", Some("vault"));
    let of = settings.clone();
    tokio::task::spawn_blocking(move || cut_off(&of))
        .await
        .unwrap();
    assert_eq!(unfinished(&minio), 1);
    let provider = Provider::from(S3Provider::new(&settings).unwrap());
    // It is younger than what another vault may still be storing.
    assert_eq!(provider.give_up(Sharing::Shared).await.unwrap(), 0);
    assert_eq!(unfinished(&minio), 1);
    assert_eq!(provider.give_up(Sharing::Alone).await.unwrap(), 1);
    assert_eq!(unfinished(&minio), 0);
    let stored = provider.put("a/cut.mp4", film(), None).await.unwrap();
    assert_eq!(stored.bytes, 4);
}

/// Pieces that are more than one part, and a pause in the middle of them until it is let go.
fn slowly(byte: u8) -> (Sender<()>, Receiver<()>, Body) {
    let (go, gone_on) = oneshot::channel();
    let (sent, half) = oneshot::channel();
    let piece = move || Ok::<_, io::Error>(Bytes::from(vec![byte; 60_000]));
    let pause = stream::once(async move {
        sent.send(()).unwrap();
        gone_on.await.unwrap();
        piece()
    });
    let pieces = move || stream::iter((0..100).map(move |_| piece()));
    let body = pieces().chain(pause).chain(pieces());
    (go, half, Box::pin(body))
}

type Body = std::pin::Pin<Box<dyn futures::Stream<Item = io::Result<Bytes>> + Send>>;

#[tokio::test]
async fn an_upload_that_is_alive_is_not_given_up() {
    let minio = Minio::start();
    let settings = settings(&minio, "alive", Some("vault"));
    let one = S3Provider::new(&settings).unwrap();
    one.prepare(true).await.unwrap();
    let (one, two) = (
        Provider::from(one),
        Provider::from(S3Provider::new(&settings).unwrap()),
    );
    let (go, half, body) = slowly(7);
    let upload = one.put("a/1.mp4", body, None);
    let meanwhile = async {
        half.await.unwrap();
        // By the one who stores it even where it thinks that it is alone.
        assert_eq!(unfinished(&minio), 1);
        assert_eq!(one.give_up(Sharing::Alone).await.unwrap(), 0);
        assert_eq!(two.give_up(Sharing::Shared).await.unwrap(), 0);
        go.send(()).unwrap();
    };
    let (stored, ()) = tokio::join!(upload, meanwhile);
    assert_eq!(stored.unwrap().bytes, 201 * 60_000);
}

#[tokio::test]
async fn of_two_vaults_that_store_one_name_at_once_the_second_replaces_nothing() {
    let settings = settings(&SHARED, "same-name", Some("vault"));
    let new = || S3Provider::new(&settings).unwrap();
    new().prepare(true).await.unwrap();
    let (one, two) = (Provider::from(new()), Provider::from(new()));
    for (key, other, fits) in [("a/1.mp4", 7, true), ("a/2.mp4", 8, false)] {
        let (go, half, body) = slowly(7);
        let upload = one.put(key, body, None);
        let meanwhile = async {
            half.await.unwrap();
            let (go_too, _half, body) = slowly(other);
            go_too.send(()).unwrap();
            let stored = two.put(key, body, None).await.unwrap();
            go.send(()).unwrap();
            stored
        };
        let (late, first) = tokio::join!(upload, meanwhile);
        match late {
            Ok(late) => assert!(fits && late == first, "{late:?}"),
            Err(StorageError::Exists { .. }) => assert!(!fits),
            Err(error) => panic!("{error}"),
        }
        let pieces = two.stream(&first.location, 0, u64::MAX);
        let kept: Vec<Bytes> = pieces.map(Result::unwrap).collect().await;
        assert!(kept.concat().iter().all(|byte| *byte == other), "{key}");
    }
}

/// Memory of this process must not grow with what it stores.
#[tokio::test]
async fn a_large_upload_is_never_held_whole() {
    let provider = S3Provider::new(&settings(&SHARED, "large", None)).unwrap();
    provider.prepare(true).await.unwrap();
    let provider = Provider::from(provider);
    let piece = Bytes::from(vec![7; 1 << 20]);
    let before = peak_kib();
    let body = stream::iter((0..300).map(move |_| Ok::<_, io::Error>(piece.clone())));
    let stored = provider.put("a/large.mp4", body, None).await.unwrap();
    assert_eq!(stored.bytes, 300 << 20);
    let grown = peak_kib() - before;
    assert!(grown < 100 << 10, "{grown} KiB for 300 MiB");
}

/// The most that this process ever held; other tests beside this one count along.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
