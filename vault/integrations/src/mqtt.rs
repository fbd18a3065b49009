//! MQTT 5: one publication per event, QoS 1.
//!
//! Version 5 because a broker of version 3.1.1 acknowledges what it throws away: it has no word for
//! a topic that we may not publish to.

use std::time::Duration;

use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, Packet, PubAckReason};
use rumqttc::v5::{
    AsyncClient, ClientError, ConnectionError, Event as Heard, EventLoop, MqttOptions, StateError,
};
use rumqttc::{TlsConfiguration, Transport};
use tokio::time::error::Elapsed;
use tokio::time::timeout;
use vault_api::Event;

use crate::broker::{Broker, RootsError};
use crate::deliver::{Sink, SinkError};

const PORT: u16 = 1883;
const TLS_PORT: u16 = 8883;
/// To connect, and from a publication to its acknowledgement.
const PATIENCE: Duration = Duration::from_secs(10);
/// A broker that says nothing for longer is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

#[derive(Debug, thiserror::Error)]
pub enum MqttError {
    #[error("cannot trust the broker of `{name}`")]
    Roots { name: String, source: RootsError },
    #[error("the broker of `{name}` at {address} does not let us in: user or password is wrong")]
    Credentials { name: String, address: String },
    #[error("the broker of `{name}` at {address} does not let us in ({reason})")]
    Refused {
        name: String,
        address: String,
        reason: String,
    },
    #[error("no connection with the broker of `{name}` at {address}")]
    Connection {
        name: String,
        address: String,
        source: Box<ConnectionError>,
    },
    #[error("the broker of `{name}` does not take what is published to `{topic}` ({reason})")]
    Publication {
        name: String,
        topic: String,
        reason: String,
    },
    #[error("the broker of `{name}` at {address} does not answer")]
    Silent {
        name: String,
        address: String,
        source: Elapsed,
    },
    #[error("cannot hand an event to the client of `{name}`")]
    Client {
        name: String,
        source: Box<ClientError>,
    },
}

/// A broker that hears of every event.
pub struct Mqtt {
    target: Target,
    connection: Option<(AsyncClient, EventLoop)>,
}

/// Whom we tell, and how. Apart from the connection, which only one may look at.
struct Target {
    broker: Broker,
    topic: String,
    client_id: String,
}

impl std::fmt::Debug for Mqtt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mqtt")
            .field("broker", &self.target.broker)
            .finish_non_exhaustive()
    }
}

impl Mqtt {
    /// Publishes to `topic`, or to `stakeout/<site>/recordings`.
    pub fn new(broker: Broker, topic: Option<String>, site: &str) -> Self {
        let target = Target {
            topic: topic.unwrap_or_else(|| format!("stakeout/{site}/recordings")),
            client_id: format!("stakeout-{site}-{}-{:016x}", broker.name, own_number()),
            broker,
        };
        Self {
            target,
            connection: None,
        }
    }
}

/// A broker ends whoever came before under the same name, so two vaults of a site would end each
/// other in turns.
fn own_number() -> u64 {
    getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()))
}

impl Target {
    fn port(&self) -> u16 {
        if self.broker.url.scheme() == "mqtts" {
            TLS_PORT
        } else {
            PORT
        }
    }

    fn options(&self) -> Result<MqttOptions, MqttError> {
        let port = self.broker.url.port().unwrap_or(self.port());
        let mut options = MqttOptions::new(&self.client_id, self.broker.host(), port);
        // What was not acknowledged is in the outbox; a session would send it twice.
        options
            .set_clean_start(true)
            .set_keep_alive(KEEP_ALIVE)
            .set_connection_timeout(PATIENCE.as_secs());
        if let Some(credentials) = &self.broker.credentials {
            options.set_credentials(&credentials.user, &credentials.password);
        }
        if self.broker.url.scheme() == "mqtts" {
            let tls = self.broker.tls().map_err(|source| MqttError::Roots {
                name: self.broker.name.clone(),
                source,
            })?;
            let tls = TlsConfiguration::Rustls(tls);
            options.set_transport(Transport::tls_with_config(tls));
        }
        Ok(options)
    }

    async fn connect(&self) -> Result<(AsyncClient, EventLoop), MqttError> {
        let (client, mut events) = AsyncClient::new(self.options()?, 1);
        let connected = async {
            loop {
                if let Heard::Incoming(Packet::ConnAck(_)) = events.poll().await? {
                    return Ok(());
                }
            }
        };
        let connected = timeout(PATIENCE, connected).await;
        connected
            .map_err(|source| self.silent(source))?
            .map_err(|error| self.failed(error))?;
        Ok((client, events))
    }

    async fn publish(
        &self,
        client: &AsyncClient,
        events: &mut EventLoop,
        body: Vec<u8>,
    ) -> Result<(), MqttError> {
        client
            .publish(&self.topic, QoS::AtLeastOnce, false, body)
            .await
            .map_err(|source| MqttError::Client {
                name: self.broker.name.clone(),
                source: Box::new(source),
            })?;
        let mut sent = None;
        loop {
            match events.poll().await.map_err(|error| self.failed(error))? {
                Heard::Outgoing(Outgoing::Publish(id)) => sent = Some(id),
                Heard::Incoming(Packet::PubAck(taken)) if Some(taken.pkid) == sent => {
                    return match taken.reason {
                        PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Ok(()),
                        reason => Err(MqttError::Publication {
                            name: self.broker.name.clone(),
                            topic: self.topic.clone(),
                            reason: format!("{reason:?}"),
                        }),
                    };
                }
                _ => {}
            }
        }
    }

    fn failed(&self, error: ConnectionError) -> MqttError {
        let (name, address) = (self.broker.name.clone(), self.broker.address(self.port()));
        let code = match &error {
            ConnectionError::ConnectionRefused(code)
            | ConnectionError::MqttState(StateError::ConnFail { reason: code }) => *code,
            _ => {
                let source = Box::new(error);
                return MqttError::Connection {
                    name,
                    address,
                    source,
                };
            }
        };
        match code {
            ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized => {
                MqttError::Credentials { name, address }
            }
            code => MqttError::Refused {
                name,
                address,
                reason: format!("{code:?}"),
            },
        }
    }

    fn silent(&self, source: Elapsed) -> MqttError {
        MqttError::Silent {
            name: self.broker.name.clone(),
            address: self.broker.address(self.port()),
            source,
        }
    }
}

impl Sink for Mqtt {
    fn name(&self) -> &str {
        &self.target.broker.name
    }

    async fn ready(&mut self) -> Result<(), SinkError> {
        if self.connection.is_none() {
            self.connection = Some(self.target.connect().await?);
        }
        Ok(())
    }

    async fn send(&mut self, event: &Event) -> Result<(), SinkError> {
        self.ready().await?;
        let body = serde_json::to_vec(event).expect("invariant: plain data serialises");
        // After any failure the connection is a new one.
        if let Some((client, mut events)) = self.connection.take() {
            let published =
                timeout(PATIENCE, self.target.publish(&client, &mut events, body)).await;
            published.map_err(|source| self.target.silent(source))??;
            self.connection = Some((client, events));
        }
        Ok(())
    }

    async fn idle(&mut self) {
        if let Some((_, events)) = &mut self.connection {
            // The client answers the broker's questions for as long as it is polled.
            while events.poll().await.is_ok() {}
        }
        self.connection = None;
    }
}
