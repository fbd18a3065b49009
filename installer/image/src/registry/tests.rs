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
