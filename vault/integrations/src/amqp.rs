//! AMQP 0-9-1: one persistent message per event, confirmed by the broker.

use std::time::Duration;

use amq_protocol_tcp::OwnedTLSConfig;
use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::uri::{AMQPUri, AMQPUserInfo};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ErrorKind,
    ExchangeKind,
};
use tokio::time::error::Elapsed;
use tokio::time::timeout;
use vault_api::Event;

use crate::broker::{Broker, RootsError};
use crate::deliver::{Sink, SinkError};

const PORT: u16 = 5672;
const TLS_PORT: u16 = 5671;
/// To connect, and from a message to its confirmation.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at a connection that has nothing to do.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// AMQP 0-9-1, section 1.2: reply codes.
const ACCESS_REFUSED: u16 = 403;
const NOT_FOUND: u16 = 404;
/// Delivery mode of messages that the broker keeps on disk.
const PERSISTENT: u8 = 2;

#[derive(Debug, thiserror::Error)]
pub enum AmqpError {
    #[error("cannot trust the broker of `{name}`")]
    Roots { name: String, source: RootsError },
    #[error("the address of `{name}` cannot be used: {reason}")]
    Address { name: String, reason: String },
    #[error(
        "the broker of `{name}` at {address} does not let us in: user, password or virtual host is wrong"
    )]
    Credentials { name: String, address: String },
    #[error("cannot {operation} the broker of `{name}` at {address}")]
    Broker {
        operation: &'static str,
        name: String,
        address: String,
        source: lapin::Error,
    },
    #[error("the broker of `{name}` did not take an event ({reason})")]
    NotTaken { name: String, reason: String },
    #[error("the broker of `{name}` at {address} does not answer")]
    Silent {
        name: String,
        address: String,
        source: Elapsed,
    },
}

/// A broker that hears of every event.
pub struct Amqp {
    broker: Broker,
    /// Empty for the default one, which knows every queue by its name.
    exchange: String,
    queue: Option<String>,
    site: String,
    connection: Option<(Connection, Channel)>,
}

impl std::fmt::Debug for Amqp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Amqp")
            .field("broker", &self.broker)
            .finish_non_exhaustive()
    }
}

impl Amqp {
    /// Sends to `queue` (`stakeout.<site>.recordings` where nothing is named), by way of
    /// `exchange` where one is named.
    pub fn new(
        broker: Broker,
        exchange: Option<String>,
        queue: Option<String>,
        site: &str,
    ) -> Self {
        let own = || format!("stakeout.{site}.recordings");
        Self {
            broker,
            queue: queue.or_else(|| exchange.is_none().then(own)),
            exchange: exchange.unwrap_or_default(),
            site: site.to_owned(),
            connection: None,
        }
    }

    async fn connect(&self) -> Result<(Connection, Channel), AmqpError> {
        let name = self.broker.name.clone();
        let url = self.broker.url.as_str();
        let mut uri: AMQPUri = url
            .parse()
            .map_err(|reason| AmqpError::Address { name, reason })?;
        if let Some(credentials) = &self.broker.credentials {
            uri.authority.userinfo = AMQPUserInfo {
                username: credentials.user.clone(),
                password: credentials.password.clone(),
            };
        }
        let mut tls = OwnedTLSConfig::default();
        if self.broker.url.scheme() == "amqps" {
            let roots = self.broker.roots_pem();
            tls.cert_chain = Some(roots.map_err(|source| AmqpError::Roots {
                name: self.broker.name.clone(),
                source,
            })?);
        }
        let runtime = lapin::runtime::default_runtime().map_err(self.failed("reach"))?;
        let label = format!("stakeout vault of {}", self.site);
        let options = ConnectionProperties::default().with_connection_name(label.into());
        let connection = Connection::connect_uri_with_config(uri, options, tls, runtime)
            .await
            .map_err(self.failed("reach"))?;
        let channel = self.declare(&connection).await?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await
            .map_err(self.failed("get confirmations from"))?;
        Ok((connection, channel))
    }

    /// Makes what is missing; what is there is taken as it is.
    async fn declare(&self, connection: &Connection) -> Result<Channel, AmqpError> {
        let open = || async {
            let opened = connection.create_channel().await;
            opened.map_err(self.failed("open a channel with"))
        };
        let mut channel = open().await?;
        if let Some(queue) = &self.queue {
            let options = QueueDeclareOptions {
                passive: true,
                ..QueueDeclareOptions::default()
            };
            let arguments = FieldTable::default();
            let there = channel.queue_declare(queue.as_str().into(), options, arguments);
            match there.await {
                Ok(_) => {}
                Err(error) if code(&error) == Some(NOT_FOUND) => {
                    // Asking for what is not there has closed the channel.
                    channel = open().await?;
                    let mut arguments = FieldTable::default();
                    let quorum = AMQPValue::LongString("quorum".into());
                    arguments.insert("x-queue-type".into(), quorum);
                    let options = QueueDeclareOptions::durable();
                    channel
                        .queue_declare(queue.as_str().into(), options, arguments)
                        .await
                        .map_err(self.failed("make the queue at"))?;
                }
                Err(error) => return Err(self.failed("find the queue at")(error)),
            }
        }
        if self.exchange.is_empty() {
            return Ok(channel);
        }
        let exchange = self.exchange.as_str();
        let options = ExchangeDeclareOptions {
            passive: true,
            ..ExchangeDeclareOptions::default()
        };
        let arguments = FieldTable::default();
        let there =
            channel.exchange_declare(exchange.into(), ExchangeKind::Topic, options, arguments);
        match there.await {
            Ok(()) => {}
            Err(error) if code(&error) == Some(NOT_FOUND) => {
                channel = open().await?;
                let options = ExchangeDeclareOptions {
                    durable: true,
                    ..ExchangeDeclareOptions::default()
                };
                let arguments = FieldTable::default();
                channel
                    .exchange_declare(exchange.into(), ExchangeKind::Topic, options, arguments)
                    .await
                    .map_err(self.failed("make the exchange at"))?;
            }
            Err(error) => return Err(self.failed("find the exchange at")(error)),
        }
        if let Some(queue) = &self.queue {
            let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
            channel
                .queue_bind(
                    queue.as_str().into(),
                    exchange.into(),
                    "#".into(),
                    options,
                    arguments,
                )
                .await
                .map_err(self.failed("bind the queue at"))?;
        }
        Ok(channel)
    }

    async fn publish(&self, channel: &Channel, event: &Event) -> Result<(), AmqpError> {
        let body = serde_json::to_vec(event).expect("invariant: plain data serialises");
        let key = match &self.queue {
            Some(queue) if self.exchange.is_empty() => queue.clone(),
            _ => format!("{}.{}", event.kind, event.recording.camera),
        };
        let options = BasicPublishOptions {
            // What no queue takes comes back instead of being lost.
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let properties = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_content_type("application/json".into())
            .with_message_id(event.seq.to_string().into());
        let exchange = self.exchange.as_str();
        let sent = channel
            .basic_publish(exchange.into(), key.into(), options, &body, properties)
            .await
            .map_err(self.failed("send to"))?;
        let reason = match sent.await.map_err(self.failed("hear from"))? {
            Confirmation::Ack(None) => return Ok(()),
            Confirmation::Ack(Some(back)) | Confirmation::Nack(Some(back)) => {
                format!("{} {}", back.reply_code, back.reply_text)
            }
            Confirmation::Nack(None) => "nack".to_owned(),
            Confirmation::NotRequested => "it confirms nothing".to_owned(),
        };
        let name = self.broker.name.clone();
        Err(AmqpError::NotTaken { name, reason })
    }

    fn address(&self) -> String {
        let tls = self.broker.url.scheme() == "amqps";
        self.broker.address(if tls { TLS_PORT } else { PORT })
    }

    fn failed(&self, operation: &'static str) -> impl Fn(lapin::Error) -> AmqpError {
        let (name, address) = (self.broker.name.clone(), self.address());
        move |source| {
            let (name, address) = (name.clone(), address.clone());
            if operation == "reach" && code(&source) == Some(ACCESS_REFUSED) {
                return AmqpError::Credentials { name, address };
            }
            AmqpError::Broker {
                operation,
                name,
                address,
                source,
            }
        }
    }

    fn silent(&self, source: Elapsed) -> AmqpError {
        AmqpError::Silent {
            name: self.broker.name.clone(),
            address: self.address(),
            source,
        }
    }
}

/// What a broker gave as its reason.
fn code(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        ErrorKind::ProtocolError(error) => Some(error.get_id()),
        _ => None,
    }
}

impl Sink for Amqp {
    fn name(&self) -> &str {
        &self.broker.name
    }

    async fn ready(&mut self) -> Result<(), SinkError> {
        let lost = |(connection, _): &(Connection, _)| !connection.status().connected();
        if self.connection.as_ref().is_none_or(lost) {
            self.connection = None;
            let connected = timeout(PATIENCE, self.connect()).await;
            self.connection = Some(connected.map_err(|source| self.silent(source))??);
        }
        Ok(())
    }

    async fn send(&mut self, event: &Event) -> Result<(), SinkError> {
        self.ready().await?;
        // After any failure the connection is a new one.
        if let Some((connection, channel)) = self.connection.take() {
            let published = timeout(PATIENCE, self.publish(&channel, event)).await;
            published.map_err(|source| self.silent(source))??;
            self.connection = Some((connection, channel));
        }
        Ok(())
    }

    async fn idle(&mut self) {
        // The client looks after the connection by itself.
        while let Some((connection, channel)) = &self.connection {
            if !connection.status().connected() || !channel.status().connected() {
                self.connection = None;
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
