//! What a container's engine and an installer beside it need: HTTPS from files that are renewed,
//! a health check, and a way to the API through standard input and output.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::{Vault, name, program};
use camino::Utf8Path;
use rcgen::generate_simple_self_signed;
use reqwest::{Certificate, Client};
use vault_api::{ProviderConfig, PublicConfig, TlsConfig};

/// Writes a new pair as an installer does, each file by rename, and returns a client that trusts
/// nothing else.
fn renew(vault: &Vault) -> Client {
    let made = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    write(
        &vault.root.join("tls.key"),
        &made.signing_key.serialize_pem(),
    );
    write(&vault.root.join("tls.crt"), &made.cert.pem());
    let trusted = Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
    let client = Client::builder().no_proxy().tls_certs_only([trusted]);
    client.pool_max_idle_per_host(0).build().unwrap()
}

fn write(path: &Utf8Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(new, path).unwrap();
}

fn https() -> Vault {
    let mut vault = Vault::new(None);
    vault.config.tls = Some(TlsConfig::Files {
        certificate: vault.root.join("tls.crt"),
        key: vault.root.join("tls.key"),
    });
    vault.client = renew(&vault);
    vault
}

/// Exit code and what was said.
fn health(vault: &Vault) -> (Option<i32>, String) {
    let output = vault.command("health").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.stdout.is_empty() && said.lines().count() <= 1,
        "{said}"
    );
    (output.status.code(), said)
}

#[tokio::test]
async fn others_are_served_with_a_certificate_of_its_own_and_never_in_the_way_of_recordings() {
    let mut vault = Vault::new(None);
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let public = held.local_addr().unwrap();
    vault.config.public = Some(PublicConfig {
        listen: public,
        tls: TlsConfig::Files {
            certificate: vault.root.join("tls.crt"),
            key: vault.root.join("tls.key"),
        },
    });
    // Neither address nor certificate is there yet, and recordings are taken all the same.
    vault.start().await;
    let upload = vault.upload(&name("gate", 1_700_000_000)).body("x").send();
    assert!(upload.await.unwrap().status().is_success());
    assert_eq!(health(&vault).0, Some(0));

    drop(held);
    let client = renew(&vault);
    let deadline = Instant::now() + Duration::from_secs(20);
    let ask = |path: &str| client.get(format!("https://{public}/{path}")).send();
    while ask("healthz").await.is_err() {
        assert!(Instant::now() < deadline, "nobody else is served");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // It is the same API, and asks for the same keys.
    let refused = ask("api/recordings").await.unwrap();
    assert_eq!(refused.status(), 401);
    assert!(vault.client.get(vault.url("healthz")).send().await.is_ok());
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_without_a_gap_and_a_broken_one_is_not() {
    let mut vault = https();
    vault.start().await;
    assert_eq!(health(&vault).0, Some(0));
    let old = vault.client.clone();
    // Somebody who connects and says nothing keeps nobody else out.
    let _silent = TcpStream::connect(vault.config.listen).unwrap();

    let new = renew(&vault);
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut exchanged = 0;
    for second in 1_700_000_000.. {
        let ask = |client: &Client| client.get(vault.url("healthz")).send();
        let with_new = ask(&new).await.is_ok();
        vault.client = if with_new { new.clone() } else { old.clone() };
        let upload = vault.upload(&name("gate", second)).body("x").send().await;
        match upload {
            Ok(answer) => assert!(answer.status().is_success()),
            // It was exchanged between the two calls, which happens once.
            Err(_) => exchanged += 1,
        }
        assert!(exchanged <= 1, "there was a gap");
        if with_new {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "the new certificate is not shown"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(old.get(vault.url("healthz")).send().await.is_err());
    assert_eq!(health(&vault).0, Some(0));

    // A key of another certificate: what worked goes on.
    let other = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    write(
        &vault.root.join("tls.key"),
        &other.signing_key.serialize_pem(),
    );
    tokio::time::sleep(Duration::from_secs(3)).await;
    let answer = new.get(vault.url("healthz")).send().await.unwrap();
    assert!(answer.status().is_success());
    // It would not start so, and says why.
    vault.kill();
    let output = vault.command("run").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("do not belong together"), "{said}");
    assert!(!output.status.success());
}

#[tokio::test]
async fn a_health_check_says_in_one_line_what_is_wrong() {
    let mut vault = Vault::new(None);
    let (code, said) = health(&vault);
    assert_eq!(code, Some(1));
    assert!(said.contains("cannot connect"), "{said}");
    vault.start().await;
    assert_eq!(health(&vault), (Some(0), String::new()));
    let ProviderConfig::Filesystem { path } = &vault.config.provider else {
        panic!("the provider is a folder");
    };
    fs::rename(path, path.with_extension("away")).unwrap();
    let (code, said) = health(&vault);
    assert_eq!(code, Some(1));
    assert!(said.contains("503") && said.contains("unhealthy"), "{said}");
    vault.kill();

    // Everywhere is here, too; and who does not answer is not waited for.
    let silent = TcpListener::bind("0.0.0.0:0").unwrap();
    vault.config.listen = silent.local_addr().unwrap();
    let began = Instant::now();
    let (code, said) = health(&vault);
    let took = began.elapsed();
    assert_eq!(code, Some(1));
    assert!(said.contains("no answer from 127.0.0.1"), "{said}");
    assert!((3..5).contains(&took.as_secs()), "{took:?}");
}

#[tokio::test]
async fn a_health_check_trusts_the_configured_certificate_and_no_other() {
    let mut vault = https();
    vault.config.listen = format!("0.0.0.0:{}", vault.config.listen.port())
        .parse()
        .unwrap();
    let running = vault.config.clone();
    vault.config.listen = format!("127.0.0.1:{}", running.listen.port())
        .parse()
        .unwrap();
    vault.start().await;
    assert_eq!(health(&vault).0, Some(0));
    let made = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    write(&vault.root.join("other.crt"), &made.cert.pem());
    vault.config.tls = Some(TlsConfig::Files {
        certificate: vault.root.join("other.crt"),
        key: vault.root.join("tls.key"),
    });
    let (code, said) = health(&vault);
    assert_eq!(code, Some(1));
    assert!(said.contains("no handshake"), "{said}");
}

#[test]
fn a_pipe_closes_each_half_by_itself() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut child = program()
        .args(["pipe", &listener.local_addr().unwrap().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let sent: Vec<u8> = (0..3_000_000u32).map(|n| n.to_le_bytes()[1]).collect();
    let mut input = child.stdin.take().unwrap();
    let mut output = child.stdout.take().unwrap();
    // A greeting arrives while nothing was said.
    stream.write_all(b"hello").unwrap();
    let mut greeting = [0; 5];
    output.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"hello");
    let copy = sent.clone();
    let writer = std::thread::spawn(move || input.write_all(&copy).unwrap());
    // Our end of input is its end of stream, and it still answers.
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).unwrap();
    writer.join().unwrap();
    assert!(heard == sent);
    let answering = std::thread::spawn(move || stream.write_all(&heard).unwrap());
    let mut answer = Vec::new();
    output.read_to_end(&mut answer).unwrap();
    answering.join().unwrap();
    assert!(answer == sent);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_pipe_ends_with_its_peer_and_leads_nowhere_else() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut child = program()
        .args(["pipe", &address])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let open = child.stdin.take().unwrap();
    drop(listener.accept().unwrap());
    assert!(child.wait().unwrap().success());
    drop(open);
    drop(listener);
    for (address, word) in [
        (address.as_str(), "cannot connect"),
        ("192.0.2.1:80", "itself"),
    ] {
        let output = program().args(["pipe", address]).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(said.contains(word) && said.lines().count() == 1, "{said}");
    }
}
