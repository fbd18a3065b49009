//! Against a real RabbitMQ.

use std::time::Duration;

use amq_protocol_tcp::OwnedTLSConfig;
use lapin::options::{BasicGetOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties};
use vault_api::Event;
use vault_integrations::{Amqp, Broker};
use vault_testkit::{Files, RealBroker};

use crate::{Outbox, assert_complete, broker, with_tls};

/// A channel of somebody else, who knows the same secrets.
async fn open(broker: &Broker) -> (Connection, Channel) {
    let mut uri: AMQPUri = broker.url.as_str().parse().unwrap();
    uri.authority.userinfo.username = RealBroker::USER.into();
    uri.authority.userinfo.password = RealBroker::PASSWORD.into();
    let roots = broker
        .roots
        .clone()
        .map(|pem| String::from_utf8(pem).unwrap());
    let tls = OwnedTLSConfig {
        identity: None,
        cert_chain: roots,
    };
    let runtime = lapin::runtime::default_runtime().unwrap();
    let options = ConnectionProperties::default();
    let connection = Connection::connect_uri_with_config(uri, options, tls, runtime);
    let connection = connection.await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}

/// Everything that lies in a queue.
async fn heard(channel: &Channel, queue: &str) -> Vec<Event> {
    let mut heard = Vec::new();
    let options = BasicGetOptions { no_ack: true };
    while let Some(message) = channel.basic_get(queue.into(), options).await.unwrap() {
        let kind = message.properties.content_type().clone().unwrap();
        assert_eq!(kind.as_str(), "application/json");
        assert_eq!(*message.properties.delivery_mode(), Some(2));
        heard.push(serde_json::from_slice(&message.data).unwrap());
    }
    heard
}

#[tokio::test]
async fn events_wait_for_a_broker_that_is_down_and_survive_its_death() {
    let real = RealBroker::start("rabbitmq", Files::default(), &[]);
    let broker = broker(&real);
    let outbox = Outbox::new();
    for number in 0..20 {
        outbox.add(number);
    }
    let mut wrong = broker.clone();
    wrong.credentials.as_mut().unwrap().password = "wrong-0123456789".into();
    let mut delivery = outbox.deliver(Amqp::new(wrong, None, None, "site"));
    delivery
        .says("user, password or virtual host is wrong")
        .await;
    drop(delivery);
    assert_eq!(outbox.taken(), 0);
    let mut delivery = outbox.deliver(Amqp::new(broker.clone(), None, None, "site"));
    outbox.all_taken(20).await;

    // It is killed while events are sent, and comes back much later.
    let mut real = Some(real);
    for number in 20..320 {
        outbox.add(number);
        if number == 150 {
            // One that is killed within seconds of a queue's creation never leads it again: RabbitMQ
            // has not written down by then that there is one.
            tokio::time::sleep(Duration::from_secs(10)).await;
            let again = real.take().unwrap().kill();
            outbox.add(1000);
            delivery.says("the broker of `broker`").await;
            real = Some(tokio::task::spawn_blocking(again).await.unwrap());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    outbox.all_taken(321).await;
    delivery.is_well().await;
    let queue = "stakeout.site.recordings";
    let (_connection, channel) = open(&broker).await;
    assert_complete(&heard(&channel, queue).await, &outbox);
    drop(real);
}

#[tokio::test]
async fn an_exchange_is_made_and_loses_nothing_although_nobody_is_bound() {
    let (real, broker) = with_tls("rabbitmq");
    assert!(real.part.url.starts_with("amqps://"));
    let mut stranger = broker.clone();
    let (other, _) = real.files.certificate("other");
    stranger.roots = Some(std::fs::read(other).unwrap());
    let outbox = Outbox::new();
    outbox.add(1);
    let mut delivery = outbox.deliver(Amqp::new(stranger, None, None, "site"));
    delivery
        .says("cannot reach the broker of `broker` at 127.0.0.1:")
        .await;
    drop(delivery);

    let to = |exchange: &str, queue: Option<&str>| {
        let queue = queue.map(str::to_owned);
        Amqp::new(broker.clone(), Some(exchange.to_owned()), queue, "site")
    };
    let mut delivery = outbox.deliver(to("events", None));
    delivery.says("did not take an event (312 NO_ROUTE)").await;
    assert_eq!(outbox.taken(), 0);
    drop(delivery);
    // A queue that somebody made before is taken as it is.
    let (_connection, channel) = open(&broker).await;
    let (options, arguments) = (QueueDeclareOptions::durable(), FieldTable::default());
    let made = channel.queue_declare("classic".into(), options, arguments);
    made.await.unwrap();
    let mut delivery = outbox.deliver(to("events", Some("classic")));
    outbox.all_taken(1).await;
    delivery.is_well().await;
    assert_complete(&heard(&channel, "classic").await, &outbox);
}
