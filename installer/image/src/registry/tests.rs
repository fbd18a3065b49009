use super::*;

fn registry(name: &str) -> Result<Registry, RegistryError> {
    // A second test finds it installed already.
    drop(rustls::crypto::ring::default_provider().install_default());
    Registry::new(name, None)
}

#[test]
fn a_name_tells_server_and_repository() {
    let address = |name: &str| {
        let registry = registry(name).unwrap();
        registry.url("tags/list").to_string()
    };
    let hub = format!("{HUB}/library/a");
    assert_eq!(
        address(&hub),
        "https://registry-1.docker.io/v2/library/a/tags/list"
    );
    assert_eq!(
        address("a.example:5000/b"),
        "https://a.example:5000/v2/b/tags/list"
    );
    assert_eq!(
        address("127.0.0.1:5000/b/c"),
        "http://127.0.0.1:5000/v2/b/c/tags/list"
    );
    assert_eq!(address("localhost/b"), "http://localhost/v2/b/tags/list");
    for wrong in ["", "a", "a/b", "a.example/", "a b.example/c"] {
        let error = registry(wrong).unwrap_err();
        assert!(matches!(error, RegistryError::Name(_)), "{wrong}: {error}");
    }
}

#[test]
fn a_registry_is_waited_for_as_long_as_it_says_up_to_a_minute() {
    let said = |text: &'static str| wait(Some(&HeaderValue::from_static(text)), 1);
    assert_eq!(said("7"), Duration::from_secs(7));
    assert_eq!(said("86400"), LONGEST_WAIT);
    // A date is not read; the wait is then ours.
    assert_eq!(
        said("Fri, 31 Dec 1999 23:59:59 GMT"),
        Duration::from_secs(1)
    );
    let own: Vec<_> = (1..5).map(|tries| wait(None, tries).as_secs()).collect();
    assert_eq!(own, [1, 2, 4, 8]);
}

#[test]
fn content_that_is_not_what_was_asked_for_is_refused() {
    let registry = registry("127.0.0.1:1/a").unwrap();
    let wanted = Digest::of(b"wanted");
    let error = registry
        .checked(b"other".to_vec(), wanted.as_str(), "it")
        .unwrap_err();
    assert!(matches!(error, RegistryError::Answer { .. }), "{error}");
    assert_eq!(
        registry.checked(b"x".to_vec(), "tag", "it").unwrap().digest,
        Digest::of(b"x")
    );
}

/// A registry that gives these answers, one for each connection, whatever is asked.
async fn answering(answers: Vec<String>) -> (Registry, tokio::task::JoinHandle<usize>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let registry = registry(&format!("{}/a", listener.local_addr().unwrap())).unwrap();
    let served = tokio::spawn(async move {
        let count = answers.len();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        count
    });
    (registry, served)
}

fn answer(status: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nRetry-After: 0\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn a_registry_that_says_later_is_asked_again() {
    let answers = vec![
        answer("429 Too Many Requests", ""),
        answer("503 Service Unavailable", ""),
        answer("200 OK", "{}"),
    ];
    let (registry, served) = answering(answers).await;
    let found = registry.manifest("tag").await.unwrap();
    assert_eq!(found.digest, Digest::of(b"{}"));
    assert_eq!(served.await.unwrap(), 3);
}

#[tokio::test]
async fn a_registry_that_always_says_later_is_given_up() {
    let answers = vec![answer("429 Too Many Requests", ""); TRIES as usize];
    let (registry, served) = answering(answers).await;
    let error = registry.manifest("tag").await.unwrap_err();
    assert!(matches!(error, RegistryError::Busy { .. }), "{error}");
    assert_eq!(served.await.unwrap(), TRIES as usize);
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    let long = "x".repeat(LARGEST_MANIFEST + 1);
    let (registry, _served) = answering(vec![answer("200 OK", &long)]).await;
    let error = registry.manifest("tag").await.unwrap_err();
    assert!(error.to_string().contains("longer than"), "{error}");
}

#[tokio::test]
async fn an_image_for_one_platform_has_no_list_and_is_pinned_all_the_same() {
    let config = r#"{"architecture":"arm64","os":"linux"}"#;
    let digest = Digest::of(config.as_bytes());
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"c","digest":"{digest}","size":1}},"layers":[]}}"#
    );
    let answers = vec![answer("200 OK", &manifest), answer("200 OK", config)];
    let (registry, _served) = answering(answers).await;
    let text = format!(
        "version: 1\nimages:\n  - {{ name: a, repository: '{}/a', tag: t, version: v, license: l, \
         end_of_life: e, why: w, index: unverified, platforms: {{ linux/arm64: unverified }} }}\n",
        registry.server
    );
    let catalogue = crate::Catalogue::parse("a.yaml".into(), &text).unwrap();
    let pins = look_up(&catalogue.entries()[0], None)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(pins.index, Digest::of(manifest.as_bytes()));
    assert_eq!(pins.platforms[&crate::Platform::Arm64], pins.index);
    assert_eq!(pins.platforms.len(), 1);
}
