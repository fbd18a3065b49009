//! What the vault says of brokers that do not take its events.

use std::time::Duration;

use vault_api::{AmqpConfig, MqttConfig, Usage};
use vault_testkit::{Files, RealBroker};

use crate::support::{Vault, name};

async fn usage(vault: &Vault) -> Usage {
    let answer = vault.admin("api/usage").send().await.unwrap();
    answer.json().await.unwrap()
}

async fn until(vault: &Vault, wanted: impl Fn(&Usage) -> bool) -> Usage {
    for _ in 0..500 {
        let usage = usage(vault).await;
        if wanted(&usage) {
            return usage;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{:?}", usage(vault).await);
}

#[tokio::test]
async fn a_wrong_password_is_told_and_events_wait_until_it_is_right() {
    let mosquitto = RealBroker::start("mosquitto", Files::default(), &[]);
    let mut vault = Vault::new(None);
    let wrong = format!("{}\nwrong-0123456789\n", RealBroker::USER);
    let credentials = vault.secret("mqtt", &wrong);
    vault.config.mqtt.push(MqttConfig {
        name: "hall".into(),
        url: mosquitto.part.url.parse().unwrap(),
        topic: None,
        credentials_file: Some(credentials),
        ca_file: None,
    });
    // Nobody is there.
    vault.config.amqp.push(AmqpConfig {
        name: "office".into(),
        url: "amqp://127.0.0.1:9".parse().unwrap(),
        exchange: None,
        queue: None,
        credentials_file: None,
        ca_file: None,
    });
    vault.start().await;
    let stored = vault.upload(&name("gate", 1)).body("film").send().await;
    assert!(stored.unwrap().status().is_success());
    let told = |usage: &Usage| usage.integrations.iter().all(|one| one.trouble.is_some());
    let found = until(&vault, told).await.integrations;
    assert_eq!((found[0].name.as_str(), found[0].undelivered), ("hall", 1));
    let said = found[0].trouble.clone().unwrap();
    assert!(
        said.contains("user or password is wrong") && !said.contains("0123"),
        "{said}"
    );
    let other = found[1].trouble.clone().unwrap();
    assert!(
        other.contains("cannot reach the broker of `office` at 127.0.0.1:9"),
        "{other}"
    );
    // The vault itself is well, and says so along with it.
    let health = vault.client.get(vault.url("healthz")).send().await.unwrap();
    assert!(health.status().is_success());
    let text = health.text().await.unwrap();
    assert!(text.starts_with("ok\n") && text.contains(&said), "{text}");
    let metrics = vault.client.get(vault.url("metrics")).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(
        metrics.contains("vault_integration_up{name=\"hall\"} 0\n"),
        "{metrics}"
    );
    // What clusters draw and warn of has to be among them.
    let watched = [
        include_str!("../../../../manifests/kubernetes/alerts.yaml"),
        include_str!("../../../../manifests/kubernetes/dashboard.json"),
    ];
    let words = watched
        .iter()
        .flat_map(|text| text.split(|c: char| !c.is_ascii_lowercase() && c != '_'));
    let words: Vec<_> = words
        .filter(|word| word.starts_with("stakeout_vault_"))
        .collect();
    assert!(words.len() > 5, "{words:?}");
    for word in words {
        let told = metrics.contains(&format!("# TYPE {word} "));
        assert!(told, "{word} is not told:\n{metrics}");
    }

    vault.kill();
    vault.secret(
        "mqtt",
        &format!("{}\n{}\n", RealBroker::USER, RealBroker::PASSWORD),
    );
    vault.start().await;
    let well = |usage: &Usage| usage.integrations[0].undelivered == 0;
    let found = until(&vault, well).await.integrations;
    assert_eq!((&found[0].trouble, found[1].undelivered), (&None, 1));

    // What a start would miss, `check` says.
    vault.kill();
    vault.secret("mqtt", "only-a-user\n");
    let check = vault.command("check").output().unwrap();
    let said = String::from_utf8(check.stderr).unwrap();
    assert_eq!(check.status.code(), Some(2), "{said}");
    assert!(said.contains("password in its second"), "{said}");
}
