//! The vault is killed while uploads run: nothing that it acknowledged may be missing.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{Vault, name};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use vault_api::{Event, Page, header};

const KILLS: u64 = 12;

/// Takes events; now and then a request is answered with a failure, as receivers do.
pub(crate) async fn receiver() -> (String, Arc<Mutex<Vec<Event>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let events = Arc::new(Mutex::new(Vec::new()));
    let taken = Arc::clone(&events);
    tokio::spawn(async move {
        let mut requests = 0;
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            requests += 1;
            let mut data = Vec::new();
            let mut buffer = [0; 4096];
            let body = loop {
                match stream.read(&mut buffer).await {
                    Ok(0) | Err(_) => break None,
                    Ok(n) => data.extend_from_slice(&buffer[..n]),
                }
                let text = String::from_utf8_lossy(&data).into_owned();
                if let Some((head, body)) = text.split_once("\r\n\r\n")
                    && let Ok(event) = serde_json::from_str::<Event>(body)
                {
                    assert!(head.to_lowercase().contains("x-stakeout-signature: "));
                    break Some(event);
                }
            };
            let Some(event) = body else { continue };
            let fails = [2, 3, 40].contains(&requests);
            if !fails {
                taken.lock().unwrap().push(event);
            }
            let status = if fails { "503 Busy" } else { "200 OK" };
            let answer =
                format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            // The vault may be dead by now.
            drop(stream.write_all(answer.as_bytes()).await);
        }
    });
    (url, events)
}

#[tokio::test]
async fn what_was_acknowledged_survives_and_is_told_of() {
    let (url, events) = receiver().await;
    let mut vault = Vault::new(Some(&url));
    let mut acknowledged = BTreeSet::new();
    let mut number = 1_700_000_000;
    for round in 0..KILLS {
        vault.start().await;
        let life = Duration::from_millis(20 + 37 * round);
        let uploads = async {
            loop {
                number += 1;
                let body = vec![u8::try_from(number % 251).unwrap(); 20_000];
                let file = name("gate", number);
                // Every other one is handed over by its path.
                let request = if number % 2 == 0 {
                    vault.upload(&file).body(body)
                } else {
                    let source = vault.root.join("agents").join(&file);
                    std::fs::write(&source, body).unwrap();
                    vault.upload(&file).header(header::HANDOFF, source.as_str())
                };
                let answer = request.send().await;
                match answer {
                    Ok(answer) if answer.status().is_success() => acknowledged.insert(number),
                    _ => return,
                };
            }
        };
        drop(tokio::time::timeout(life, uploads).await);
        vault.kill();
    }
    vault.start().await;
    assert!(
        acknowledged.len() > 20,
        "only {} uploads went through",
        acknowledged.len()
    );
    let mut recordings = Vec::new();
    let mut after = String::new();
    loop {
        let path = format!("api/recordings?limit=1000{after}");
        let page: Page = vault
            .admin(&path)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        recordings.extend(page.recordings);
        match page.next {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    for number in &acknowledged {
        let key = format!("site/{}", name("gate", *number));
        let recording = recordings.iter().find(|recording| recording.key == key);
        let recording = recording.unwrap_or_else(|| panic!("{key} is gone"));
        let bytes = std::fs::read(&recording.location).unwrap();
        assert_eq!(
            bytes,
            vec![u8::try_from(number % 251).unwrap(); 20_000],
            "{key}"
        );
    }
    // A hand-over that nobody heard of is on one side or the other, never on none.
    for handed in (1_700_000_001..=number).filter(|number| number % 2 == 1) {
        let file = name("gate", handed);
        let taken = recordings.iter().any(|r| r.key == format!("site/{file}"));
        let kept = vault.root.join("agents").join(&file).exists();
        assert!(taken != kept, "{file}: taken {taken}, kept {kept}");
    }
    let ids: BTreeSet<_> = recordings.iter().map(|recording| recording.id).collect();
    let staging = vault.root.join("recordings/.staging");
    for _ in 0..1500 {
        let told: BTreeSet<_> = events
            .lock()
            .unwrap()
            .iter()
            .map(|e| e.recording.id)
            .collect();
        if told == ids {
            assert_eq!(staging.read_dir_utf8().unwrap().count(), 0);
            vault.kill();
            let check = vault.command("check").output().unwrap();
            assert!(
                check.status.success(),
                "{}",
                String::from_utf8_lossy(&check.stdout)
            );
            let heard = events.lock().unwrap();
            let mut first_heard = Vec::new();
            for event in heard.iter() {
                if !first_heard.contains(&event.seq) {
                    first_heard.push(event.seq);
                }
            }
            assert!(first_heard.is_sorted(), "in order: {first_heard:?}");
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!(
        "{} of {} events came",
        events.lock().unwrap().len(),
        ids.len()
    );
}
