//! One suite for all providers.

use std::io;

use bytes::Bytes;
use camino::{Utf8Path, Utf8PathBuf};
use futures::{Stream, TryStreamExt};
use sha2::{Digest, Sha256};
use vault_storage::{FilesystemProvider, Provider, S3Provider, StorageError};

use crate::{SHARED, settings};

const NAME: &str = "1700000000_3-123_gate_0-0-0-0_-1_5000.mp4";

/// A body in pieces as a socket gives them.
fn body(data: &[u8]) -> impl Stream<Item = io::Result<Bytes>> + Unpin + use<> {
    let pieces: Vec<_> = data
        .chunks(60_000)
        .map(|piece| Ok(Bytes::copy_from_slice(piece)))
        .collect();
    futures::stream::iter(pieces)
}

async fn read(provider: &Provider, location: &Utf8Path, start: u64, length: u64) -> Vec<u8> {
    let pieces: Vec<_> = provider
        .stream(location, start, length)
        .try_collect()
        .await
        .unwrap();
    pieces.concat()
}

async fn keys(provider: &Provider) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    let walk = provider.walk(|object| {
        assert_eq!(
            object.modified_ms / 1_000_000_000_000,
            1,
            "milliseconds of this century"
        );
        found.push((object.key, object.bytes));
    });
    walk.await.unwrap();
    found.sort();
    found
}

/// 12 MB, so that S3 takes it in parts; no two parts are alike.
fn large() -> Vec<u8> {
    (0..3_000_000u32).flat_map(u32::to_le_bytes).collect()
}

pub(crate) async fn conforms(provider: Provider) {
    let (small, large) = (b"footage".to_vec(), large());
    let (one, two) = (format!("a/{NAME}"), "b/large.mp4");
    provider.probe().await.unwrap();
    assert_eq!(keys(&provider).await, []);

    // In, and out again: whole, in part, past the end.
    let stored = provider.put(&one, body(&small), None).await.unwrap();
    assert_eq!(stored.bytes, 7);
    assert_eq!(stored.sha256, Some(hex::encode(Sha256::digest(&small))));
    let place = stored.location.clone();
    assert_eq!(provider.size(&place).await.unwrap(), Some(7));
    assert_eq!(read(&provider, &place, 3, 2).await, b"ta");
    assert_eq!(read(&provider, &place, 5, 100).await, b"ge");
    let sum = hex::encode(Sha256::digest(&large)).to_uppercase();
    let big = provider.put(two, body(&large), Some(&sum)).await.unwrap();
    assert_eq!(
        provider.size(&big.location).await.unwrap(),
        Some(12_000_000)
    );
    let all = read(&provider, &big.location, 0, u64::MAX).await;
    assert!(all == large);
    let across = read(&provider, &big.location, (5 << 20) - 5, 10).await;
    assert_eq!(across, large[(5 << 20) - 5..(5 << 20) + 5]);
    let wanted = [(one.clone(), 7), (two.to_owned(), 12_000_000)];
    assert_eq!(keys(&provider).await, wanted);

    // The same again is the same; another is refused and changes nothing.
    let again = provider.put(&one, body(&small), None).await.unwrap();
    assert_eq!(again, stored);
    let again = provider.put(two, body(&large), None).await.unwrap();
    assert_eq!(again, big);
    let mut changed = large.clone();
    changed[11_999_999] ^= 1;
    for (key, data) in [(one.as_str(), b"another".to_vec()), (two, changed)] {
        let other = provider.put(key, body(&data), None).await;
        assert!(
            matches!(other, Err(StorageError::Exists { .. })),
            "{other:?}"
        );
    }
    assert_eq!(read(&provider, &place, 0, 9).await, small);

    // What is cut, empty or another than was announced leaves nothing.
    for data in [&small, &large] {
        let cut = body(data)
            .map_ok(Ok::<_, io::Error>)
            .try_filter_map(|x| async { x.map(Some) });
        let cut = futures::stream::StreamExt::chain(
            cut,
            futures::stream::iter([Err(io::Error::other("gone"))]),
        );
        let cut = provider.put("c/cut.mp4", Box::pin(cut), None).await;
        assert!(matches!(cut, Err(StorageError::Cut(_))), "{cut:?}");
        let wrong = provider.put("c/wrong.mp4", body(data), Some("00")).await;
        assert!(matches!(wrong, Err(StorageError::Checksum)), "{wrong:?}");
    }
    let empty = provider.put("c/empty.mp4", body(b""), None).await;
    assert!(matches!(empty, Err(StorageError::Empty)));
    assert_eq!(keys(&provider).await, wanted);

    // Two at once: one is stored, the other is it or is refused.
    let first = b"first".to_vec();
    let second = b"second".to_vec();
    let (a, b) = tokio::join!(
        provider.put("c/race.mp4", body(&first), None),
        provider.put("c/race.mp4", body(&second), None),
    );
    assert!(a.is_ok() != b.is_ok(), "{a:?} {b:?}");
    let race = a.or(b).unwrap();
    assert_eq!(
        read(&provider, &race.location, 0, 9).await.len(),
        usize::try_from(race.bytes).unwrap()
    );

    // Gone is gone, and may go twice.
    for _ in 0..2 {
        provider.delete(&big.location).await.unwrap();
        provider.delete(&race.location).await.unwrap();
    }
    assert_eq!(provider.size(&big.location).await.unwrap(), None);
    assert_eq!(keys(&provider).await, [(one, 7)]);
    let elsewhere = Utf8Path::new("/elsewhere/x.mp4");
    assert_eq!(provider.size(elsewhere).await.unwrap(), None);

    // Names as agents make them.
    for name in ["1_1-5_Tür vorne_0-0-0-0_-1_5.mp4", "a+b %20&c=d.mp4"] {
        let key = format!("a/{name}");
        let odd = provider.put(&key, body(&small), None).await.unwrap();
        assert_eq!(read(&provider, &odd.location, 0, 9).await, small);
        let listed = keys(&provider).await;
        assert!(listed.contains(&(key, 7)), "{listed:?}");
        provider.delete(&odd.location).await.unwrap();
        assert_eq!(keys(&provider).await.len(), 1);
    }
}

#[tokio::test]
async fn a_folder_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let root = Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap();
    let provider = Provider::from(FilesystemProvider::open(&root).unwrap());
    assert!(provider.space().unwrap().is_some() && !provider.is_remote());
    conforms(provider).await;
}

#[tokio::test]
async fn a_bucket_conforms() {
    let settings = settings(&SHARED, "conformance", None);
    let s3 = S3Provider::new(&settings).unwrap();
    s3.prepare(true).await.unwrap();
    let provider = Provider::from(s3);
    assert!(provider.space().unwrap().is_none() && provider.is_remote());
    conforms(provider).await;
}

#[tokio::test]
async fn a_part_of_a_bucket_conforms() {
    let others = S3Provider::new(&settings(&SHARED, "shared", None)).unwrap();
    others.prepare(true).await.unwrap();
    let others = Provider::from(others);
    let foreign = others.put("x/film.mp4", body(b"theirs"), None).await;
    let settings = settings(&SHARED, "shared", Some("sites/one"));
    let s3 = S3Provider::new(&settings).unwrap();
    s3.prepare(false).await.unwrap();
    let key = format!("a/{NAME}");
    let wanted = format!("s3://shared/sites/one/{key}");
    assert_eq!(s3.location(&key), wanted);
    conforms(Provider::from(s3)).await;
    assert_eq!(
        read(&others, &foreign.unwrap().location, 0, 9).await,
        b"theirs"
    );
}
