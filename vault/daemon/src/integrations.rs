//! The integrations of a configuration.

use anyhow::Context;
use camino::Utf8PathBuf;
use tokio::sync::watch;
use url::Url;
use vault_api::VaultConfig;
use vault_http::{Integration, Vault};
use vault_integrations::{Amqp, Broker, Credentials, Mqtt, Sink, Webhook, deliver};

use crate::run::read_roots;
use crate::secret::{read_credentials, read_secret};

type Trouble = watch::Sender<Option<String>>;

/// Everybody who is to hear of events, ready to be started.
#[derive(Debug, Default)]
pub(crate) struct Integrations {
    webhooks: Vec<(Webhook, Trouble)>,
    mqtt: Vec<(Mqtt, Trouble)>,
    amqp: Vec<(Amqp, Trouble)>,
    /// What the API tells of them.
    pub(crate) told: Vec<Integration>,
}

impl Integrations {
    /// Reads secrets and certificates; nobody is called yet.
    pub(crate) fn read(config: &VaultConfig) -> anyhow::Result<Self> {
        let mut all = Self::default();
        for webhook in &config.webhooks {
            let name = webhook.name.clone();
            let client = Webhook::client(&webhook.url).with_context(|| {
                format!("cannot reach webhook `{name}` (are CA certificates installed?)")
            })?;
            let webhook = Webhook {
                name,
                url: webhook.url.clone(),
                secret: read_secret(&webhook.secret_file)?,
                client,
            };
            let trouble = all.tell(&webhook);
            all.webhooks.push((webhook, trouble));
        }
        for mqtt in &config.mqtt {
            let files = (&mqtt.credentials_file, &mqtt.ca_file);
            let broker = broker(&mqtt.name, &mqtt.url, files)?;
            let mqtt = Mqtt::new(broker, mqtt.topic.clone(), &config.site);
            let trouble = all.tell(&mqtt);
            all.mqtt.push((mqtt, trouble));
        }
        for amqp in &config.amqp {
            let files = (&amqp.credentials_file, &amqp.ca_file);
            let broker = broker(&amqp.name, &amqp.url, files)?;
            let (exchange, queue) = (amqp.exchange.clone(), amqp.queue.clone());
            let amqp = Amqp::new(broker, exchange, queue, &config.site);
            let trouble = all.tell(&amqp);
            all.amqp.push((amqp, trouble));
        }
        Ok(all)
    }

    fn tell(&mut self, sink: &impl Sink) -> Trouble {
        let (sender, trouble) = watch::channel(None);
        self.told.push(Integration {
            name: sink.name().to_owned(),
            trouble,
        });
        sender
    }

    pub(crate) fn start(self, vault: &Vault) {
        fn start(sinks: Vec<(impl Sink, Trouble)>, vault: &Vault) {
            for (sink, trouble) in sinks {
                let delivery = deliver(sink, vault.catalogue(), vault.news(), trouble);
                drop(tokio::spawn(delivery));
            }
        }
        start(self.webhooks, vault);
        start(self.mqtt, vault);
        start(self.amqp, vault);
    }
}

fn broker(
    name: &str,
    url: &Url,
    (credentials, roots): (&Option<Utf8PathBuf>, &Option<Utf8PathBuf>),
) -> anyhow::Result<Broker> {
    let credentials = credentials.as_deref().map(read_credentials).transpose()?;
    Ok(Broker {
        name: name.to_owned(),
        url: url.clone(),
        credentials: credentials.map(|(user, password)| Credentials { user, password }),
        roots: roots.as_deref().map(read_roots).transpose()?,
    })
}
