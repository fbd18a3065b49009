//! The API as its clients meet it, against the real program.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::{ADMIN, Vault, name};
use reqwest::StatusCode;
use vault_api::{Event, Page, Problem, Stored, Usage, header};

async fn problem(answer: reqwest::Response) -> (StatusCode, String) {
    let status = answer.status();
    (status, answer.json::<Problem>().await.unwrap().status)
}

#[tokio::test]
async fn a_recording_comes_back_whole_in_parts_and_as_an_event() {
    let mut vault = Vault::new(None);
    vault.start().await;
    let answer = vault
        .upload(&name("gate", 1_700_000_000))
        .body("0123456789")
        .send()
        .await;
    let stored: Stored = answer.unwrap().json().await.unwrap();
    assert_eq!(
        (stored.status.as_str(), stored.bytes, stored.duplicate),
        ("file_uploaded", 10, false)
    );
    let again = vault
        .upload(&name("gate", 1_700_000_000))
        .body("0123456789")
        .send()
        .await;
    let again: Stored = again.unwrap().json().await.unwrap();
    assert_eq!((again.id, again.duplicate), (stored.id, true));

    let page: Page = vault
        .admin("api/recordings?camera=gate")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let recording = &page.recordings[0];
    assert_eq!(
        (recording.start_ms, recording.duration_ms),
        (1_700_000_000_005, 5000)
    );
    assert_eq!(
        fs::read_to_string(&recording.location).unwrap(),
        "0123456789"
    );

    let media = format!("api/recordings/{}/media", stored.id);
    let whole = vault.admin(&media).send().await.unwrap();
    assert_eq!(whole.headers()["accept-ranges"], "bytes");
    assert_eq!(whole.text().await.unwrap(), "0123456789");
    let part = vault
        .admin(&media)
        .header("range", "bytes=2-4")
        .send()
        .await
        .unwrap();
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.headers()["content-range"], "bytes 2-4/10");
    assert_eq!(part.text().await.unwrap(), "234");
    let outside = vault
        .admin(&media)
        .header("range", "bytes=10-")
        .send()
        .await
        .unwrap();
    assert_eq!(outside.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(outside.headers()["content-range"], "bytes */10");
    let head = vault
        .client
        .head(vault.url(&media))
        .bearer_auth(ADMIN)
        .send()
        .await
        .unwrap();
    assert_eq!(head.headers()["content-length"], "10");

    let url = format!("api/events?recording={}&wait_ms=1000", stored.id);
    let events: Vec<Event> = vault
        .admin(&url)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].recording, *recording);
    let usage: Usage = vault
        .admin("api/usage")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(
        (usage.recordings, usage.bytes, usage.undelivered),
        (1, 10, 0)
    );
}

#[tokio::test]
async fn nobody_gets_in_without_keys() {
    let mut vault = Vault::new(None);
    vault.start().await;
    let none = vault
        .client
        .post(vault.url("api/storage"))
        .body("x")
        .send()
        .await
        .unwrap();
    let wanted = (
        StatusCode::UNAUTHORIZED,
        "storage_account_not_found".to_owned(),
    );
    assert_eq!(problem(none).await, wanted);
    for path in [
        "api/recordings",
        "api/events",
        "api/usage",
        "api/recordings/1/media",
    ] {
        let answer = vault
            .client
            .get(vault.url(path))
            .bearer_auth("guess")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path}");
    }
    // An agent's keys do not read events.
    let keys = vault.client.get(vault.url("api/events"));
    let keys = keys
        .header(header::ACCESS_KEY, crate::support::ACCESS)
        .header(header::SECRET_KEY, crate::support::SECRET);
    assert_eq!(
        keys.send().await.unwrap().status(),
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn bad_uploads_are_refused_by_word_and_leave_nothing() {
    let mut vault = Vault::new(None);
    vault.start().await;
    for (bad, word) in [
        ("../../etc/passwd.mp4", "file_name_invalid"),
        ("a/b.mp4", "file_name_invalid"),
        (".hidden.mp4", "file_name_invalid"),
        ("film.mov", "file_name_invalid"),
    ] {
        let answer = vault.upload(bad).body("x").send().await.unwrap();
        assert_eq!(
            problem(answer).await,
            (StatusCode::BAD_REQUEST, word.to_owned()),
            "{bad}"
        );
    }
    let empty = vault.upload(&name("gate", 1)).send().await.unwrap();
    assert_eq!(problem(empty).await.1, "file_empty");
    let sum = vault
        .upload(&name("gate", 1))
        .header(header::SHA256, "00")
        .body("x")
        .send()
        .await;
    assert_eq!(problem(sum.unwrap()).await.1, "file_checksum");
    let other = vault.client.post(vault.url("api/storage"));
    let other = other
        .header(header::ACCESS_KEY, crate::support::ACCESS)
        .header(header::SECRET_KEY, crate::support::SECRET)
        .header(header::DIRECTORY, "elsewhere")
        .header(header::FILE_NAME, name("gate", 1));
    assert_eq!(
        problem(other.body("x").send().await.unwrap()).await.1,
        "storage_directory_invalid"
    );
    let tus = vault
        .client
        .post(vault.url("api/storage/tus/"))
        .send()
        .await
        .unwrap();
    assert_eq!(tus.status(), StatusCode::NOT_FOUND);
    let page: Page = vault
        .admin("api/recordings")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(page.recordings, []);
    let staging = vault.root.join("recordings/.staging");
    assert_eq!(staging.read_dir_utf8().unwrap().count(), 0);
}

#[tokio::test]
async fn a_file_is_handed_over_by_path() {
    let mut vault = Vault::new(None);
    vault.start().await;
    let file = name("gate", 1_700_000_000);
    let source = vault.root.join("agents").join(&file);
    fs::write(&source, "footage").unwrap();
    let hand = || vault.upload(&file).header(header::HANDOFF, source.as_str());
    let stored: Stored = hand().send().await.unwrap().json().await.unwrap();
    assert!(!stored.duplicate && !source.exists());
    let again: Stored = hand().send().await.unwrap().json().await.unwrap();
    assert!(again.duplicate);
    let secret = vault.root.join("secret");
    let theft = vault
        .upload("other.mp4")
        .header(header::HANDOFF, secret.as_str());
    let refused = theft.send().await.unwrap();
    assert_eq!(
        problem(refused).await,
        (StatusCode::CONFLICT, "handoff_refused".to_owned())
    );
}

#[tokio::test]
async fn retention_takes_the_oldest_and_says_so() {
    let mut vault = Vault::new(None);
    vault.config.retention.quota_bytes = Some(25);
    vault.start().await;
    let now = u64::try_from(vault_http::now_ms()).unwrap() / 1000;
    for n in 0..4 {
        let answer = vault
            .upload(&name("gate", now + n))
            .body("0123456789")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    }
    let mut left = Page {
        recordings: Vec::new(),
        next: None,
    };
    for _ in 0..200 {
        left = vault
            .admin("api/recordings")
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        if left.recordings.len() == 2 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let keys: Vec<_> = left.recordings.iter().map(|r| r.key.clone()).collect();
    let wanted = [now + 3, now + 2].map(|second| format!("site/{}", name("gate", second)));
    assert_eq!(keys, wanted);
    let events: Vec<Event> = vault
        .admin("api/events")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let expired = events
        .iter()
        .filter(|event| event.kind == "recording.expired")
        .count();
    assert_eq!(expired, 2);
}

#[tokio::test]
async fn it_does_not_start_with_a_poor_secret() {
    let vault = Vault::new(None);
    for (text, mode, word) in [
        ("", 0o600, "shorter"),
        ("kerberos", 0o600, "default"),
        ("0123456789abcdef01", 0o644, "read by others"),
    ] {
        let path = vault.root.join("secret");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let output = vault.command("run").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(word) && said.contains("secret"), "{said}");
    }
}
