use std::sync::Arc;

use camino::Utf8PathBuf;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use vault_catalogue::{Catalogue, NewRecording, SqliteCatalogue};

use super::*;
use crate::deliver;

const SECRET: &str = "hookkey-0123456789abcdef";

#[test]
fn the_signature_is_hmac_sha256_in_hex() {
    // RFC 4231, test case 2.
    let wanted = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    assert_eq!(signature("Jefe", b"what do ya want for nothing?"), wanted);
}

/// One request, answered; returns its head and its body.
async fn serve(listener: &TcpListener, answer: &str) -> (String, String) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut data = String::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).await.unwrap();
        data.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        let Some((head, body)) = data.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        if body.len() == length.unwrap().parse::<usize>().unwrap() {
            let answer =
                format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
            return (head.to_owned(), body.to_owned());
        }
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_the_event_comes_again_before_the_next() {
    drop(rustls::crypto::ring::default_provider().install_default());
    let folder = tempfile::tempdir().unwrap();
    let path = Utf8PathBuf::from_path_buf(folder.path().join("c.sqlite")).unwrap();
    let catalogue = SqliteCatalogue::open(&path, "site").unwrap();
    for key in ["a/1.mp4", "a/2.mp4"] {
        let new = NewRecording {
            account: "a".into(),
            key: key.into(),
            camera: "gate".into(),
            start_ms: 0,
            duration_ms: 0,
            bytes: 1,
            sha256: None,
            stored_ms: 0,
            location: String::new(),
        };
        catalogue.add(&new).unwrap();
    }
    let catalogue: Arc<dyn Catalogue> = Arc::new(catalogue);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: Url = format!("http://{}/hook", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    let webhook = Webhook {
        name: "hook".into(),
        client: Webhook::client(&url).unwrap(),
        url,
        secret: SECRET.into(),
    };
    let (_news, receiver) = watch::channel(0);
    let (trouble, mut heard_of) = watch::channel(None);
    let delivery = deliver(webhook, Arc::clone(&catalogue), receiver, trouble);
    let delivery = tokio::spawn(delivery);
    let mut heard = Vec::new();
    for answer in [
        "302 Found\r\nlocation: /elsewhere",
        "200 OK",
        "204 No Content",
    ] {
        let (head, body) = serve(&listener, answer).await;
        assert!(head.starts_with("POST /hook HTTP/1.1"), "{head}");
        let signed = format!("{SIGNATURE_HEADER}: {}", signature(SECRET, body.as_bytes()));
        assert!(head.contains(&signed), "{head}");
        let event: Event = serde_json::from_str(&body).unwrap();
        assert!(head.contains(&format!("{SEQUENCE_HEADER}: {}", event.seq)));
        heard.push(event.seq);
    }
    assert_eq!(heard, [1, 1, 2]);
    let taken = || catalogue.delivered("hook").unwrap();
    let noted = async {
        while taken() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), noted)
        .await
        .unwrap();
    let well = heard_of.wait_for(Option::is_none);
    let well = tokio::time::timeout(Duration::from_secs(5), well).await;
    assert!(well.is_ok(), "the refusal is not forgotten");
    delivery.abort();
}
