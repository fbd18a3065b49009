//! What a site's vault uses besides itself: object stores, a database and brokers, its own and others'.

use std::collections::BTreeMap;

use installer_spec::{
    Broker, Catalogue, Database, EventSink, Keeper, Profile, Provider, S3Identity,
};
use url::Url;
use vault_api::{AmqpConfig, CatalogueConfig, MqttConfig, ProviderConfig, WebhookConfig};

use crate::configuration::Placement;
use crate::secret::SecretOrigin;

/// A server that is deployed with the site, for its vault alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Store {
    Minio,
    Ferretdb,
    Mosquitto,
    Rabbitmq,
}

/// The bucket of a MinIO of the site's own.
const BUCKET: &str = "recordings";

/// The database of a FerretDB of the site's own.
const DATABASE: &str = "stakeout";

/// What MinIO answers to where nothing else is set.
const REGION: &str = "us-east-1";

impl Store {
    pub const ALL: [Self; 4] = [Self::Minio, Self::Ferretdb, Self::Mosquitto, Self::Rabbitmq];

    /// Name of its service, its image in the catalogue, and its host.
    pub fn name(self) -> &'static str {
        match self {
            Self::Minio => "minio",
            Self::Ferretdb => "ferretdb",
            Self::Mosquitto => "mosquitto",
            Self::Rabbitmq => "rabbitmq",
        }
    }

    pub(crate) fn port(self) -> u16 {
        match self {
            Self::Minio => 9000,
            Self::Ferretdb => 27017,
            Self::Mosquitto => 8883,
            Self::Rabbitmq => 5671,
        }
    }

    fn url(self) -> Url {
        let scheme = match self {
            Self::Minio => "https",
            Self::Ferretdb => "mongodb",
            Self::Mosquitto => "mqtts",
            Self::Rabbitmq => "amqps",
        };
        Url::parse(&format!("{scheme}://{}:{}", self.name(), self.port()))
            .expect("invariant: a literal URL")
    }
}

/// The stores that a profile wants deployed.
pub fn stores(profile: &Profile) -> Vec<Store> {
    if profile.storage.keeper == Keeper::Agent {
        return Vec::new();
    }
    let wanted = |store: &Store| match store {
        Store::Minio => profile.storage.provider == Provider::Minio,
        Store::Ferretdb => profile.catalogue == Catalogue::Mongodb(Database::Deploy),
        Store::Mosquitto => profile.events.iter().any(|sink| {
            matches!(
                sink,
                EventSink::Mqtt {
                    broker: Broker::Deploy,
                    ..
                }
            )
        }),
        Store::Rabbitmq => profile.events.iter().any(|sink| {
            matches!(
                sink,
                EventSink::Amqp {
                    broker: Broker::Deploy,
                    ..
                }
            )
        }),
    };
    Store::ALL.into_iter().filter(wanted).collect()
}

fn sink_name(kind: &str, index: usize) -> String {
    format!("{kind}-{}", index + 1)
}

/// Secrets of stores and of those who hear of events, by purpose.
pub(crate) fn store_secrets(profile: &Profile) -> BTreeMap<String, SecretOrigin> {
    let mut purposes: Vec<(String, SecretOrigin)> = Vec::new();
    let mut add = |purpose: &str, origin| purposes.push((purpose.to_owned(), origin));
    for store in stores(profile) {
        match store {
            Store::Minio => {
                add("minio-root-user", SecretOrigin::Random);
                add("minio-root-password", SecretOrigin::Random);
            }
            // It knows its vault by the certificate.
            Store::Ferretdb => {}
            Store::Mosquitto => {
                add("mosquitto-login", SecretOrigin::ServiceLogin);
                add("mosquitto-passwords", SecretOrigin::MosquittoPasswords);
            }
            Store::Rabbitmq => {
                add("rabbitmq-login", SecretOrigin::ServiceLogin);
                add("rabbitmq-users", SecretOrigin::RabbitmqUsers);
            }
        }
    }
    if let Provider::S3(s3) = &profile.storage.provider
        && let S3Identity::Keys(_) = s3.identity
    {
        add("s3-access-key", SecretOrigin::LoginUser);
        add("s3-secret-key", SecretOrigin::LoginPassword);
    }
    if let Catalogue::Mongodb(Database::External {
        credentials: Some(_),
        ..
    }) = profile.catalogue
    {
        add("catalogue-login", SecretOrigin::Login);
    }
    for (index, sink) in profile.events.iter().enumerate() {
        let (kind, broker) = match sink {
            EventSink::Webhook { .. } => {
                add(&sink_name("webhook", index), SecretOrigin::Random);
                continue;
            }
            EventSink::Mqtt { broker, .. } => ("mqtt", broker),
            EventSink::Amqp { broker, .. } => ("amqp", broker),
        };
        if let Broker::External {
            credentials: Some(_),
            ..
        } = broker
        {
            let purpose = format!("{}-login", sink_name(kind, index));
            add(&purpose, SecretOrigin::Login);
        }
    }
    purposes.into_iter().collect()
}

/// Whether the vault reads a secret of this purpose.
pub(crate) fn is_of_vault(purpose: &str) -> bool {
    let whole = ["mosquitto-login", "rabbitmq-login", "catalogue-login"];
    let begins = ["vault-", "webhook-", "minio-", "s3-", "mqtt-", "amqp-"];
    whole.contains(&purpose) || begins.iter().any(|begin| purpose.starts_with(begin))
}

/// Where the vault keeps its objects.
pub(crate) fn provider(place: &impl Placement) -> ProviderConfig {
    match &place.profile().storage.provider {
        Provider::Filesystem => ProviderConfig::Filesystem {
            path: place.recordings(),
        },
        Provider::Minio => ProviderConfig::S3 {
            endpoint: Some(Store::Minio.url()),
            region: REGION.to_owned(),
            bucket: BUCKET.to_owned(),
            prefix: None,
            identity: vault_api::S3Identity::Keys {
                access_key_file: place.secret("minio-root-user"),
                secret_key_file: place.secret("minio-root-password"),
            },
            ca_file: place.trust(),
            path_style: true,
            create_bucket: true,
        },
        Provider::S3(s3) => ProviderConfig::S3 {
            endpoint: s3.endpoint.clone(),
            region: s3.region.clone(),
            bucket: s3.bucket.clone(),
            prefix: s3.prefix.clone(),
            // Stores other than Amazon's seldom have a host for each bucket.
            path_style: s3.endpoint.is_some(),
            identity: match s3.identity {
                S3Identity::Keys(_) => vault_api::S3Identity::Keys {
                    access_key_file: place.secret("s3-access-key"),
                    secret_key_file: place.secret("s3-secret-key"),
                },
                S3Identity::Platform => vault_api::S3Identity::Platform,
            },
            ca_file: None,
            create_bucket: false,
        },
    }
}

/// Where the vault notes what it has.
pub(crate) fn catalogue(place: &impl Placement) -> CatalogueConfig {
    let database = match &place.profile().catalogue {
        Catalogue::Sqlite => return CatalogueConfig::Sqlite,
        Catalogue::Mongodb(database) => database,
    };
    match database {
        Database::Deploy => CatalogueConfig::Mongodb {
            uri: Store::Ferretdb.url().to_string(),
            database: DATABASE.to_owned(),
            credentials_file: None,
            tls: true,
            ca_file: place.trust(),
            identity: place.identity(),
        },
        Database::External {
            address,
            credentials,
        } => {
            let set = address.replica_set.as_ref();
            let options = set.map_or_else(String::new, |name| format!("?replicaSet={name}"));
            CatalogueConfig::Mongodb {
                uri: format!("mongodb://{}/{options}", address.hosts.join(",")),
                database: address.database.clone(),
                credentials_file: credentials
                    .as_ref()
                    .map(|_| place.secret("catalogue-login")),
                tls: address.tls,
                ca_file: None,
                identity: None,
            }
        }
    }
}

/// Who hears of events, as the vault is told.
#[derive(Debug, Default)]
pub(crate) struct Integrations {
    pub(crate) webhooks: Vec<WebhookConfig>,
    pub(crate) mqtt: Vec<MqttConfig>,
    pub(crate) amqp: Vec<AmqpConfig>,
}

pub(crate) fn integrations(place: &impl Placement) -> Integrations {
    let mut all = Integrations::default();
    // URL, file of the login, and the issuers to trust.
    let reach = |broker: &Broker, own: Store, name: &str| match broker {
        Broker::Deploy => {
            let login = format!("{}-login", own.name());
            (own.url(), Some(place.secret(&login)), place.trust())
        }
        Broker::External { url, credentials } => {
            let login = credentials.as_ref();
            let login = login.map(|_| place.secret(&format!("{name}-login")));
            (url.clone(), login, None)
        }
    };
    for (index, sink) in place.profile().events.iter().enumerate() {
        match sink {
            EventSink::Webhook { url } => {
                let name = sink_name("webhook", index);
                all.webhooks.push(WebhookConfig {
                    secret_file: place.secret(&name),
                    url: url.clone(),
                    name,
                });
            }
            EventSink::Mqtt { broker, topic } => {
                let name = sink_name("mqtt", index);
                let (url, credentials_file, ca_file) = reach(broker, Store::Mosquitto, &name);
                all.mqtt.push(MqttConfig {
                    name,
                    url,
                    topic: topic.clone(),
                    credentials_file,
                    ca_file,
                });
            }
            EventSink::Amqp {
                broker,
                exchange,
                queue,
            } => {
                let name = sink_name("amqp", index);
                let (url, credentials_file, ca_file) = reach(broker, Store::Rabbitmq, &name);
                all.amqp.push(AmqpConfig {
                    name,
                    url,
                    exchange: exchange.clone(),
                    queue: queue.clone(),
                    credentials_file,
                    ca_file,
                });
            }
        }
    }
    all
}
