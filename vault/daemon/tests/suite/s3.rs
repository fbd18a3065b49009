//! The vault on a bucket of a real S3 server.

use std::time::Duration;

use reqwest::StatusCode;
use tokio::time::{Instant, timeout_at};
use vault_api::{Event, Page, Problem, ProviderConfig, S3Identity, Stored, Usage, header};
use vault_testkit::{Files, Minio};

use crate::support::{SECRET, Vault, name};

fn on_bucket(minio: &Minio, bucket: &str) -> Vault {
    let mut vault = Vault::new(None);
    vault.config.provider = ProviderConfig::S3 {
        endpoint: Some(minio.part.url.parse().unwrap()),
        region: "us-east-1".to_owned(),
        bucket: bucket.to_owned(),
        prefix: Some("sites/one".to_owned()),
        identity: S3Identity::Keys {
            access_key_file: vault.secret("s3-user", Minio::USER),
            secret_key_file: vault.secret("s3-password", Minio::PASSWORD),
        },
        ca_file: None,
        path_style: true,
        create_bucket: true,
    };
    vault.config.retention.reserve_bytes = None;
    vault
}

async fn health(vault: &Vault) -> (StatusCode, String) {
    let answer = vault.client.get(vault.url("healthz")).send().await.unwrap();
    (answer.status(), answer.text().await.unwrap())
}

async fn page(vault: &Vault) -> Page {
    let answer = vault.admin("api/recordings?limit=1000").send().await;
    answer.unwrap().json().await.unwrap()
}

async fn until_well(vault: &Vault) {
    for _ in 0..300 {
        if health(vault).await.0 == StatusCode::OK {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{:?}", health(vault).await);
}

#[tokio::test]
async fn recordings_go_in_a_bucket_and_come_out_of_it() {
    let files = Files::default();
    let (certificate, key) = files.certificate("minio");
    let minio = Minio::start_with(files, 0, Some((&certificate, &key)));
    let mut vault = on_bucket(&minio, "footage");
    if let ProviderConfig::S3 { ca_file, .. } = &mut vault.config.provider {
        *ca_file = Some(certificate.into());
    }
    vault.config.retention.quota_bytes = Some(7_000_025);
    vault.start().await;
    let large = vec![7; 7_000_000];
    for (second, body) in [(1, b"0123456789".to_vec()), (2, large.clone())] {
        let file = name("gate", 1_700_000_000 + second);
        let upload = || vault.upload(&file).body(body.clone()).send();
        let stored: Stored = upload().await.unwrap().json().await.unwrap();
        assert!(!stored.duplicate);
        let again: Stored = upload().await.unwrap().json().await.unwrap();
        assert_eq!((again.id, again.duplicate), (stored.id, true));
        let other = vault.upload(&file).body("other").send().await.unwrap();
        assert_eq!(other.status(), StatusCode::CONFLICT);
    }
    let found = page(&vault).await.recordings;
    let wanted = format!(
        "s3://footage/sites/one/site/{}",
        name("gate", 1_700_000_002)
    );
    assert_eq!(found[0].location, wanted);
    let media = format!("api/recordings/{}/media", found[0].id);
    let whole = vault.admin(&media).send().await.unwrap();
    assert!(whole.bytes().await.unwrap() == large);
    let media = format!("api/recordings/{}/media", found[1].id);
    let part = vault.admin(&media).header("range", "bytes=2-4").send();
    assert_eq!(part.await.unwrap().text().await.unwrap(), "234");

    // No disk is seen, and none is made up.
    let usage = vault.admin("api/usage").send().await.unwrap();
    let usage: Usage = usage.json().await.unwrap();
    assert_eq!((usage.disk_free, usage.disk_total), (None, None));
    let metrics = vault.client.get(vault.url("metrics")).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(
        metrics.contains("vault_recordings 2\n") && !metrics.contains("disk"),
        "{metrics}"
    );
    let source = vault.root.join("agents/late.mp4");
    std::fs::write(&source, "footage").unwrap();
    let hand = vault
        .upload(&name("gate", 9))
        .header(header::HANDOFF, source.as_str());
    let refused: Problem = hand.send().await.unwrap().json().await.unwrap();
    assert_eq!(refused.status, "handoff_refused");

    // The quota is kept: the oldest goes, from the bucket, too.
    for second in 3..5 {
        let upload = vault.upload(&name("gate", 1_700_000_000 + second));
        let answer = upload.body("0123456789").send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    }
    let mut left = Vec::new();
    for _ in 0..200 {
        left = page(&vault).await.recordings;
        if left.len() == 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(left.last().unwrap().start_ms, 1_700_000_002_005);
    let events: Vec<Event> = vault
        .admin("api/events")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(events.last().unwrap().kind, "recording.expired");
    vault.kill();
    let check = vault.command("check").output().unwrap();
    let said = String::from_utf8(check.stdout).unwrap();
    assert_eq!(
        (check.status.code(), said.as_str()),
        (Some(0), "3 recordings\n")
    );

    // The catalogue is lost with its disk: the bucket tells what there is.
    std::fs::remove_dir_all(vault.root.join("data")).unwrap();
    let check = vault.command("check").output().unwrap();
    assert_eq!(check.status.code(), Some(4));
    vault.start().await;
    let mut found = Vec::new();
    for _ in 0..200 {
        found = page(&vault).await.recordings;
        if found.len() == 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let kept = |recordings: &[vault_api::Recording]| {
        let kept =
            |r: &vault_api::Recording| (r.key.clone(), r.camera.clone(), r.start_ms, r.bytes);
        recordings.iter().map(kept).collect::<Vec<_>>()
    };
    assert_eq!(kept(&found), kept(&left));
}

#[tokio::test]
async fn a_server_that_is_away_or_says_no_is_told_of_and_tried_again() {
    let minio = Minio::start();
    let mut vault = on_bucket(&minio, "later");
    let address = minio.part.url.clone();
    let again = minio.stop();
    vault.spawn();
    let mut told = (StatusCode::OK, String::new());
    for _ in 0..200 {
        if let Ok(answer) = vault.client.get(vault.url("healthz")).send().await {
            told = (answer.status(), answer.text().await.unwrap());
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(told.0, StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        told.1.contains(&format!("cannot reach {address}")),
        "{}",
        told.1
    );
    let checked = vault.command("health").output().unwrap();
    let said = String::from_utf8(checked.stderr).unwrap();
    assert_eq!(checked.status.code(), Some(1));
    assert!(said.contains("cannot reach"), "{said}");

    // An upload of that time waits for it, or is told to come again.
    let minio = again();
    until_well(&vault).await;
    let answer = vault
        .upload(&name("gate", 1))
        .body("one")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let again = minio.stop();
    let answer = vault
        .upload(&name("gate", 2))
        .body("two")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    let problem: Problem = answer.json().await.unwrap();
    assert_eq!(problem.status, "storage_unavailable");
    let _minio = again();
    let answer = vault
        .upload(&name("gate", 2))
        .body("two")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    vault.kill();

    // Keys that are wrong, and a bucket that is gone although the catalogue knows it.
    vault.secret("s3-password", SECRET);
    vault.start_unwell().await;
    let (status, said) = health(&vault).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(said.contains("is wrong (SignatureDoesNotMatch)"), "{said}");
    assert!(!said.contains(SECRET), "{said}");
    vault.kill();
    vault.secret("s3-password", Minio::PASSWORD);
    if let ProviderConfig::S3 { bucket, .. } = &mut vault.config.provider {
        *bucket = "another".to_owned();
    }
    vault.start_unwell().await;
    let (_, said) = health(&vault).await;
    assert!(said.contains("bucket `another` is missing"), "{said}");
}

/// Bytes that tell one upload from another; every fifth goes in parts.
fn footage(number: u64) -> Vec<u8> {
    let length = if number.is_multiple_of(5) {
        6_000_000
    } else {
        20_000
    };
    vec![u8::try_from(number % 251).unwrap(); length]
}

#[tokio::test]
async fn what_was_acknowledged_is_in_the_bucket_however_often_it_is_killed() {
    let minio = Minio::start();
    let mut vault = on_bucket(&minio, "killed");
    let mut acknowledged = Vec::new();
    let mut number = 1_700_000_000;
    for round in 0..8 {
        vault.start().await;
        // On a busy machine as well as on an idle one: some are taken, then it ends amid the next.
        let (enough, more) = (
            acknowledged.len() + 3,
            Duration::from_millis(2 + 17 * round),
        );
        let mut end = Instant::now() + Duration::from_secs(30);
        let uploads = async {
            loop {
                if acknowledged.len() == enough {
                    end = Instant::now() + more;
                }
                number += 1;
                let upload = vault.upload(&name("gate", number)).body(footage(number));
                match timeout_at(end, upload.send()).await {
                    Ok(Ok(answer)) if answer.status().is_success() => acknowledged.push(number),
                    _ => return,
                }
            }
        };
        uploads.await;
        vault.kill();
    }
    vault.start().await;
    assert!(
        acknowledged.len() >= 8 * 3,
        "only {} were taken",
        acknowledged.len()
    );
    // What nobody heard of is sent again, as agents do, and is one recording all the same.
    for number in 1_700_000_001..=number {
        let upload = vault.upload(&name("gate", number)).body(footage(number));
        let answer = upload.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{number}");
        let stored: Stored = answer.json().await.unwrap();
        assert!(
            stored.duplicate || !acknowledged.contains(&number),
            "{number}"
        );
        let media = format!("api/recordings/{}/media", stored.id);
        let bytes = vault.admin(&media).send().await.unwrap().bytes().await;
        assert!(bytes.unwrap() == footage(number), "{number}");
    }
    let events: Vec<Event> = vault
        .admin("api/events")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let mut told: Vec<_> = events.iter().map(|event| event.recording.id).collect();
    told.sort_unstable();
    let recordings = page(&vault).await.recordings;
    let mut ids: Vec<_> = recordings.iter().map(|recording| recording.id).collect();
    ids.sort_unstable();
    assert_eq!(told, ids);
    vault.kill();
    let check = vault.command("check").output().unwrap();
    assert!(
        check.status.success(),
        "{}",
        String::from_utf8_lossy(&check.stdout)
    );
}
