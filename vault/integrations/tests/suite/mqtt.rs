//! Against a real Mosquitto.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event as Heard, MqttOptions};
use tokio::task::JoinHandle;
use vault_api::Event;
use vault_integrations::{Mqtt, Sink};
use vault_testkit::{Files, RealBroker};

use crate::{Outbox, assert_complete, broker, with_tls};

/// Somebody who listens, by a session that the broker keeps while they are away.
struct Listener {
    heard: Arc<Mutex<Vec<Event>>>,
    task: JoinHandle<()>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Listener {
    async fn start(port: u16, topic: &'static str) -> Self {
        let mut options = MqttOptions::new("listener", "127.0.0.1", port);
        options
            .set_credentials(RealBroker::USER, RealBroker::PASSWORD)
            .set_clean_start(false)
            .set_session_expiry_interval(Some(600));
        let (client, mut events) = AsyncClient::new(options, 10);
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (subscribed, ready) = tokio::sync::oneshot::channel();
        let (list, mut subscribed) = (Arc::clone(&heard), Some(subscribed));
        let task = tokio::spawn(async move {
            client.subscribe(topic, QoS::AtLeastOnce).await.unwrap();
            loop {
                match events.poll().await {
                    Ok(Heard::Incoming(Packet::Publish(message))) => {
                        let event = serde_json::from_slice(&message.payload).unwrap();
                        list.lock().unwrap().push(event);
                    }
                    Ok(Heard::Incoming(Packet::SubAck(_))) => {
                        if let Some(subscribed) = subscribed.take() {
                            subscribed.send(()).unwrap();
                        }
                    }
                    Ok(_) => {}
                    // The broker is away.
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        });
        ready.await.unwrap();
        Self { heard, task }
    }

    async fn hears_all(&self, outbox: &Outbox) {
        for _ in 0..500 {
            let last = self.heard.lock().unwrap().last().map(|event| event.seq);
            if last == outbox.events().last().map(|event| event.seq) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_complete(&self.heard.lock().unwrap(), outbox);
    }
}

#[tokio::test]
async fn events_wait_for_a_broker_that_is_down_and_survive_its_restart() {
    let real = RealBroker::start("mosquitto", Files::default(), &[]);
    let listener = Listener::start(real.part.port(), "stakeout/site/recordings").await;
    let broker = broker(&real);
    let again = real.stop();
    let outbox = Outbox::new();
    for number in 0..20 {
        outbox.add(number);
    }
    let mut delivery = outbox.deliver(Mqtt::new(broker, None, "site"));
    delivery
        .says("no connection with the broker of `broker` at 127.0.0.1:")
        .await;
    assert_eq!(outbox.taken(), 0);
    let real = again();
    outbox.all_taken(20).await;
    delivery.is_well().await;

    // Between two events it goes and comes, twice; and while they are sent.
    let mut real = Some(real);
    for number in 20..420 {
        outbox.add(number);
        if number % 150 == 0 {
            let again = real.take().unwrap().stop();
            real = Some(tokio::task::spawn_blocking(again).await.unwrap());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    outbox.all_taken(420).await;
    listener.hears_all(&outbox).await;
}

#[tokio::test]
async fn two_vaults_of_a_site_do_not_end_each_other() {
    let real = RealBroker::start("mosquitto", Files::default(), &[]);
    let outbox = Outbox::new();
    outbox.add(1);
    let event = outbox.events().remove(0);
    let mut both = [(); 2].map(|()| Mqtt::new(broker(&real), None, "site"));
    for sink in &mut both {
        sink.ready().await.unwrap();
    }
    for _ in 0..3 {
        for sink in &mut both {
            sink.send(&event).await.unwrap();
        }
    }
}

#[tokio::test]
async fn what_a_broker_refuses_is_said_and_waits() {
    let real = RealBroker::start(
        "mosquitto",
        Files::default(),
        &[("--deny-topic", "secret/t")],
    );
    let outbox = Outbox::new();
    let mut wrong = broker(&real);
    wrong.credentials.as_mut().unwrap().password = "wrong-0123456789".into();
    // Without any event to send, too.
    let mut delivery = outbox.deliver(Mqtt::new(wrong, None, "site"));
    delivery.says("user or password is wrong").await;
    drop(delivery);
    outbox.add(1);
    let sink = || Mqtt::new(broker(&real), Some("secret/t".into()), "site");
    let mut delivery = outbox.deliver(sink());
    let said = delivery.says("does not take").await;
    assert!(said.contains("`secret/t` (NotAuthorized)"), "{said}");
    assert_eq!((outbox.taken(), sink().name()), (0, "broker"));
}

#[tokio::test]
async fn a_broker_is_trusted_by_its_own_authority() {
    let (real, broker) = with_tls("mosquitto");
    assert!(real.part.url.starts_with("mqtts://"));
    let outbox = Outbox::new();
    outbox.add(1);
    let mut stranger = broker.clone();
    let (other, _) = real.files.certificate("other");
    stranger.roots = Some(std::fs::read(other).unwrap());
    let mut delivery = outbox.deliver(Mqtt::new(stranger, None, "site"));
    delivery.says("invalid peer certificate").await;
    drop(delivery);
    assert_eq!(outbox.taken(), 0);
    let mut delivery = outbox.deliver(Mqtt::new(broker, None, "site"));
    outbox.all_taken(1).await;
    delivery.is_well().await;
}
