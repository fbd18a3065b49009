//! The images in a registry: by digest, with what is attached, whoever asks who we are.

use std::fs;
use std::process::Command;

use camino::{Utf8Path, Utf8PathBuf};
use e2e::registry::Registry;
use e2e::root;
use e2e::shipped::{images, key, run};
use serde_json::Value;

use super::{Engine, PLATFORMS, folder, is_root, release, stakeout, text};

/// Status and digest of a manifest, as curl sees it.
fn head(registry: &Registry, image: &str, reference: &str) -> (String, String) {
    let url = format!(
        "http://{}/v2/stakeout/{image}/manifests/{reference}",
        registry.address
    );
    let accept = "Accept: application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json";
    let mut curl = Command::new("curl");
    let said = run(curl.args(["--silent", "--head", "-H", accept, &url]));
    let digest = said
        .lines()
        .find_map(|line| line.strip_prefix("Docker-Content-Digest: "));
    let status = said.split_whitespace().nth(1).unwrap();
    (
        status.to_owned(),
        digest.unwrap_or_default().trim().to_owned(),
    )
}

#[test]
fn a_registry_takes_the_images_by_digest_and_an_engine_pulls_them() {
    let registry = Registry::start(&[]);
    let push = [
        "image",
        "push",
        "--images",
        images().as_str(),
        "--output",
        "json",
    ];
    let push = || stakeout(&[&push[..], &[&registry.address]].concat());
    let first: Value = serde_json::from_str(&run(&mut push())).unwrap();
    let release = release();
    let version = text(&release["version"]);
    for (image, pushed) in ["agent", "vault"]
        .into_iter()
        .zip(first.as_array().unwrap())
    {
        let index = text(&release[image]["index"]);
        assert_eq!(pushed["digest"], index.as_str());
        // Three signatures, two lists of parts, one provenance.
        assert_eq!(pushed["attached"], 6);
        assert_eq!(
            head(&registry, image, &version),
            ("200".to_owned(), index.clone())
        );
        let hex = index.replace("sha256:", "");
        let tags = [".sig", ".att", ""].map(|end| format!("sha256-{hex}{end}"));
        for tag in tags {
            assert_eq!(head(&registry, image, &tag).0, "200", "{tag}");
        }
        for platform in PLATFORMS {
            let manifest = text(&release[image]["platforms"][platform]["manifest"]);
            assert_eq!(head(&registry, image, &manifest).1, manifest);
        }
    }
    let again: Value = serde_json::from_str(&run(&mut push())).unwrap();
    assert_eq!(first, again);

    let index = text(&release["agent"]["index"]);
    let arm64 = text(&release["agent"]["platforms"]["linux/arm64"]["manifest"]);
    cosign_agrees(&registry, &[&index, &arm64]);
    refreshed(&registry, &release);
    if is_root() {
        let engine = Engine::start();
        let index = text(&release["agent"]["index"]);
        let name = format!("{}/stakeout/agent@{index}", registry.address);
        run(&mut engine.docker(&["pull", "--quiet", &name]));
        let id = run(&mut engine.docker(&["image", "inspect", "--format", "{{.Id}}", &name]));
        assert_eq!(
            id,
            text(&release["agent"]["platforms"]["linux/amd64"]["config"])
        );
    }
}

/// The signatures are good in another's eyes, and good for our key only.
fn cosign_agrees(registry: &Registry, digests: &[&str]) {
    let cosign = run(Command::new(root().join("ci/parts/cosign")).arg("prepare"));
    let (_folder, at) = folder();
    let (private, public) = (at.join("other.pem"), at.join("other.pub"));
    let generate = ["genpkey", "-algorithm", "ed25519", "-out", private.as_str()];
    run(Command::new("openssl").args(generate));
    let take = [
        "pkey",
        "-pubout",
        "-in",
        private.as_str(),
        "-out",
        public.as_str(),
    ];
    run(Command::new("openssl").args(take));
    for digest in digests {
        let verify = |public: &Utf8Path| {
            let name = format!("{}/stakeout/agent@{digest}", registry.address);
            let mut command = Command::new(&cosign);
            // There is no transparency log here: the key alone is trusted.
            command.args([
                "verify",
                "--insecure-ignore-tlog=true",
                "--key",
                public.as_str(),
                &name,
            ]);
            command.output().unwrap()
        };
        let ours = verify(&key().1);
        assert!(ours.status.success(), "{ours:?}");
        let other = verify(&public);
        assert!(!other.status.success(), "{other:?}");
    }
    let attested = |public: &Utf8Path| {
        let name = format!("{}/stakeout/agent@{}", registry.address, digests[0]);
        let mut command = Command::new(&cosign);
        command.args([
            "verify-attestation",
            "--insecure-ignore-tlog=true",
            "--type",
            "slsaprovenance1",
        ]);
        command
            .args(["--key", public.as_str(), &name])
            .output()
            .unwrap()
    };
    let ours = attested(&key().1);
    assert!(ours.status.success(), "{ours:?}");
    assert!(!attested(&public).status.success());
}

/// A catalogue learns its digests from the registry, and keeps what cannot be asked.
fn refreshed(registry: &Registry, release: &Value) {
    let (_folder, at) = folder();
    let entry = |name: &str, repository: &str| {
        format!(
            "  - name: {name}\n    repository: {}/{repository}\n    tag: '{}'\n    version: '1'\n    \
             license: MIT\n    end_of_life: none\n    why: a test\n    index: unverified\n    \
             platforms: {{ linux/amd64: unverified, linux/arm64: unverified }}\n",
            registry.address,
            text(&release["version"]),
        )
    };
    let there = entry("there", "stakeout/vault");
    let absent = entry("absent", "stakeout/nothing");
    let (from, to) = (at.join("old.yaml"), at.join("new.yaml"));
    fs::write(&from, format!("version: 1\nimages:\n{there}{absent}")).unwrap();
    let words = ["--catalogue", from.as_str(), "--to", to.as_str()];
    let output = stakeout(&["catalogue", "refresh"])
        .args(words)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains("there: digest written\nabsent: FAILED"),
        "{said}"
    );
    let vault = &release["vault"];
    let digest = |platform: &str| text(&vault["platforms"][platform]["manifest"]);
    let there = there
        .replace(
            "index: unverified",
            &format!("index: {}", text(&vault["index"])),
        )
        .replace(
            "amd64: unverified",
            &format!("amd64: {}", digest("linux/amd64")),
        )
        .replace(
            "arm64: unverified",
            &format!("arm64: {}", digest("linux/arm64")),
        );
    let wanted = format!("version: 1\nimages:\n{there}{absent}");
    assert_eq!(fs::read_to_string(&to).unwrap(), wanted);
}

/// Pushes without a login, with a wrong one and with the right one: `me`, `a secret`.
fn push_with_logins(registry: &Registry) {
    let (_folder, at) = folder();
    let login = at.join("login");
    let push = [
        "image",
        "push",
        "--images",
        images().as_str(),
        &registry.address,
    ];
    let refused = stakeout(&push).output().unwrap();
    assert_eq!(refused.status.code(), Some(9), "{refused:?}");
    fs::write(&login, "me\nanother\n").unwrap();
    let login_file = ["--login-file", login.as_str()];
    let wrong = stakeout(&push).args(login_file).output().unwrap();
    assert_eq!(wrong.status.code(), Some(9), "{wrong:?}");
    assert!(!format!("{wrong:?}").contains("another"), "{wrong:?}");
    fs::write(&login, "me\na secret\n").unwrap();
    run(stakeout(&push).args(login_file));
}

#[test]
fn a_registry_that_asks_for_a_password_is_told() {
    let (_folder, at) = folder();
    // Blowfish by the system's own crypt; cost 5, a salt for tests.
    let script = r"print crypt($ARGV[0], q($2y$05$abcdefghijklmnopqrstuu))";
    let hash = run(Command::new("perl").args(["-e", script, "a secret"]));
    fs::write(at.join("hash"), hash).unwrap();
    let registry = Registry::start(&["--login", "me", at.join("hash").as_str()]);
    push_with_logins(&registry);
}

/// Where the large registries send their clients for a token: who may do what is decided there.
#[derive(Clone)]
struct Tokens {
    key: Utf8PathBuf,
    certificate: String,
}

impl Tokens {
    /// A key and a certificate that the registry trusts, in a folder.
    fn make(at: &Utf8Path) -> (Self, Utf8PathBuf) {
        let (key, certificate) = (at.join("key.pem"), at.join("certificate.pem"));
        let mut make = Command::new("openssl");
        make.args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=tokens",
        ]);
        run(make.args(["-keyout", key.as_str(), "-out", certificate.as_str()]));
        let text = fs::read_to_string(&certificate).unwrap();
        let body = text.lines().filter(|line| !line.starts_with("---"));
        let tokens = Self {
            key,
            certificate: body.collect(),
        };
        (tokens, certificate)
    }

    /// A JSON Web Token (RFC 7519) for `repository:NAME:ACTIONS`.
    fn token(&self, scope: &str) -> String {
        let (kind, rest) = scope.split_once(':').unwrap();
        let (name, actions) = rest.rsplit_once(':').unwrap();
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let actions: Vec<_> = actions.split(',').collect();
        let header = serde_json::json!({ "alg": "RS256", "typ": "JWT", "x5c": [self.certificate] });
        let claims = serde_json::json!({
            "iss": "tokens", "sub": "me", "aud": "registry", "jti": "1",
            "iat": now, "nbf": now - 60, "exp": now + 300,
            "access": [ { "type": kind, "name": name, "actions": actions } ],
        });
        let text = [header, claims]
            .map(|part| base64url(part.to_string().as_bytes()))
            .join(".");
        let (_folder, at) = folder();
        fs::write(at.join("text"), &text).unwrap();
        let mut sign = Command::new("openssl");
        sign.args(["dgst", "-sha256", "-sign", self.key.as_str()]);
        run(sign.args([
            "-out",
            at.join("signature").as_str(),
            at.join("text").as_str(),
        ]));
        let signature = fs::read(at.join("signature")).unwrap();
        format!("{text}.{}", base64url(&signature))
    }
}

fn base64url(bytes: &[u8]) -> String {
    let (_folder, at) = folder();
    fs::write(at.join("raw"), bytes).unwrap();
    let coded = run(Command::new("openssl").args(["base64", "-A", "-in", at.join("raw").as_str()]));
    coded
        .trim_end_matches('=')
        .replace('+', "-")
        .replace('/', "_")
}

#[test]
fn a_registry_that_sends_us_for_a_token_gets_one() {
    use axum::extract::{Query, State};
    use axum::http::{HeaderMap, StatusCode};

    type Answer = Result<axum::Json<Value>, StatusCode>;
    async fn answer(
        State(tokens): State<Tokens>,
        Query(asked): Query<std::collections::BTreeMap<String, String>>,
        headers: HeaderMap,
    ) -> Answer {
        // `me:a secret`, as RFC 7617 has it.
        let known = headers
            .get("authorization")
            .is_some_and(|h| h == "Basic bWU6YSBzZWNyZXQ=");
        if !known || asked["service"] != "registry" {
            return Err(StatusCode::UNAUTHORIZED);
        }
        Ok(axum::Json(
            serde_json::json!({ "token": tokens.token(&asked["scope"]) }),
        ))
    }

    let (_folder, at) = folder();
    let (tokens, certificate) = Tokens::make(&at);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
        .unwrap();
    let realm = format!("http://{}/token", listener.local_addr().unwrap());
    let router = axum::Router::new()
        .route("/token", axum::routing::get(answer))
        .with_state(tokens);
    runtime.spawn(async move { axum::serve(listener, router).await });
    let registry = Registry::start(&["--token", &realm, certificate.as_str()]);
    push_with_logins(&registry);
}
