//! What comes twice, late or damaged: never acknowledged falsely, never lost on the way.

use std::fs;

use crate::support::{Vault, name};
use reqwest::StatusCode;
use vault_api::{Event, Page, Problem, Stored, header};

async fn page(vault: &Vault) -> Page {
    let answer = vault.admin("api/recordings?limit=1000").send().await;
    answer.unwrap().json().await.unwrap()
}

async fn refused(answer: reqwest::Response) -> (u16, String) {
    let status = answer.status().as_u16();
    (status, answer.json::<Problem>().await.unwrap().status)
}

#[tokio::test]
async fn other_bytes_under_a_known_name_are_no_duplicate() {
    let mut vault = Vault::new(None);
    vault.start().await;
    let file = name("gate", 1_700_000_000);
    let send = |bytes: &'static str| vault.upload(&file).body(bytes).send();
    assert_eq!(send("first").await.unwrap().status(), StatusCode::OK);
    let exists = (409, "file_exists".to_owned());
    assert_eq!(refused(send("other").await.unwrap()).await, exists);
    assert_eq!(refused(send("longer").await.unwrap()).await, exists);
    let source = vault.root.join("agents").join(&file);
    fs::write(&source, "other").unwrap();
    let handed = vault.upload(&file).header(header::HANDOFF, source.as_str());
    assert_eq!(refused(handed.send().await.unwrap()).await, exists);
    assert!(source.exists());

    // What was handed over was not read; it is when its name comes again.
    let second = name("gate", 1_700_000_001);
    fs::rename(&source, vault.root.join("agents").join(&second)).unwrap();
    let source = vault.root.join("agents").join(&second);
    let handed = vault
        .upload(&second)
        .header(header::HANDOFF, source.as_str());
    assert_eq!(handed.send().await.unwrap().status(), StatusCode::OK);
    let again = vault.upload(&second).body("other").send().await.unwrap();
    assert!(again.json::<Stored>().await.unwrap().duplicate);
    let wrong = vault.upload(&second).body("wrong").send().await.unwrap();
    assert_eq!(refused(wrong).await, exists);
}

#[tokio::test]
async fn a_client_that_still_sends_hears_the_answer() {
    let mut vault = Vault::new(None);
    vault.start().await;
    let body = vec![7; 20 << 20];
    let send = |file: String| vault.upload(&file).body(body.clone()).send();
    for round in 0..6 {
        let answer = send(name("gate", 1_700_000_000)).await.unwrap();
        let stored: Stored = answer.json().await.unwrap();
        assert_eq!(stored.duplicate, round > 0);
    }
    let answer = send("film.mov".into()).await.unwrap();
    assert_eq!(refused(answer).await, (400, "file_name_invalid".to_owned()));
}

#[tokio::test]
async fn names_of_all_languages_are_taken() {
    let mut vault = Vault::new(None);
    vault.start().await;
    let value = |text: &str| reqwest::header::HeaderValue::from_bytes(text.as_bytes()).unwrap();
    let request = vault.upload("x").build().unwrap();
    let (mut headers, url) = (request.headers().clone(), request.url().clone());
    headers.insert(header::FILE_NAME, value(&name("k\u{fc}che", 1_700_000_000)));
    headers.insert(header::CAMERA, value("k\u{fc}che"));
    let send = vault.client.post(url).headers(headers).body("x");
    assert_eq!(send.send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(page(&vault).await.recordings[0].camera, "k\u{fc}che");
}

#[tokio::test]
async fn an_object_is_not_handed_over_to_itself() {
    let mut vault = Vault::new(None);
    vault.config.account.handoff = vec![vault.root.clone()];
    vault.start().await;
    let file = name("gate", 1_700_000_000);
    vault.upload(&file).body("footage").send().await.unwrap();
    let location = page(&vault).await.recordings[0].location.clone();
    let other = name("gate", 1_700_000_001);
    let theft = vault.upload(&other).header(header::HANDOFF, &location);
    let answer = refused(theft.send().await.unwrap()).await;
    assert_eq!(answer, (409, "handoff_refused".to_owned()));
    assert_eq!(fs::read_to_string(location).unwrap(), "footage");
}

#[tokio::test]
async fn a_damaged_catalogue_is_found_and_made_anew() {
    let mut vault = Vault::new(None);
    vault.start().await;
    for second in 0..3 {
        let file = name("gate", 1_700_000_000 + second);
        vault.upload(&file).body("footage").send().await.unwrap();
    }
    let known = page(&vault).await.recordings;
    vault.kill();
    // Neither is ours: one lies where no day is, one has a name that is no text.
    let store = vault.root.join("recordings/site");
    fs::create_dir(store.join("holiday")).unwrap();
    fs::write(store.join("holiday").join(name("gate", 9)), "theirs").unwrap();
    let odd = std::os::unix::ffi::OsStrExt::from_bytes(&b"\xff.mp4"[..]);
    fs::write(
        store
            .join("2023-11-14")
            .as_std_path()
            .join::<&std::ffi::OsStr>(odd),
        "",
    )
    .unwrap();
    let sound = vault.command("rebuild").output().unwrap();
    assert!(!sound.status.success(), "a sound catalogue stays");

    for end in ["-wal", "-shm"] {
        drop(fs::remove_file(
            vault.root.join(format!("data/catalogue.sqlite{end}")),
        ));
    }
    fs::write(
        vault.root.join("data/catalogue.sqlite"),
        "damage".repeat(2000),
    )
    .unwrap();
    let check = vault.command("check").output().unwrap();
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    assert_eq!(check.status.code(), Some(4), "{said}");
    assert!(said.contains("damaged"), "{said}");
    let rebuilt = vault.command("rebuild").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&rebuilt.stdout), "3 recordings\n");
    assert!(vault.command("check").output().unwrap().status.success());
    vault.start().await;
    let found = page(&vault).await.recordings;
    let keys = |of: &[vault_api::Recording]| of.iter().map(|r| r.key.clone()).collect::<Vec<_>>();
    assert_eq!(keys(&found), keys(&known));
    let events: Vec<Event> = vault
        .admin("api/events")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(events.len(), 3);
    assert!(
        events.iter().all(|event| event.seq > 1_000_000),
        "numbers were told before"
    );
}

#[tokio::test]
async fn a_store_is_kept_by_one_vault_and_missed_when_it_is_gone() {
    let mut vault = Vault::new(None);
    vault.start().await;
    vault
        .upload(&name("gate", 1_700_000_000))
        .body("x")
        .send()
        .await
        .unwrap();
    let mut other = Vault::new(None);
    other.config.provider = vault.config.provider.clone();
    let second = other.command("run").output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(
        !second.status.success() && said.contains("another vault keeps"),
        "{said}"
    );
    vault.kill();
    fs::rename(vault.root.join("recordings"), vault.root.join("away")).unwrap();
    let unmounted = vault.command("run").output().unwrap();
    let said = String::from_utf8_lossy(&unmounted.stderr).into_owned();
    assert!(
        !unmounted.status.success() && said.contains("is its disk mounted?"),
        "{said}"
    );
}
