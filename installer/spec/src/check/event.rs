//! Who hears of new recordings: webhooks and brokers.

use url::Url;

use super::{Checker, Fields, join, kind_name};
use crate::keys;
use crate::profile::{Broker, EventSink};
use crate::tree::{Kind, Node};

const KINDS: [&str; 3] = ["webhook", "mqtt", "amqp"];

/// Of a name, AMQP 0-9-1 takes this many bytes; topics get no more.
const MOST_NAME: usize = 255;

impl Checker<'_> {
    pub(super) fn events(&mut self, node: &Node) -> Option<Vec<EventSink>> {
        let Kind::List(items) = &node.kind else {
            let message = format!("`events` is a list, not {}", kind_name(node));
            self.error(
                node.at,
                "events",
                message,
                "write `events: [ { webhook: URL } ]`",
            );
            return None;
        };
        let sinks: Vec<_> = items
            .iter()
            .enumerate()
            .map(|(index, item)| self.event(item, &format!("events[{index}]")))
            .collect();
        sinks.into_iter().collect()
    }

    fn event(&mut self, node: &Node, path: &str) -> Option<EventSink> {
        let before = self.found.len();
        let fields = self.fields(node, path, keys::EVENT)?;
        let kinds: Vec<_> = KINDS.into_iter().filter(|kind| fields.has(kind)).collect();
        let kind = match kinds.as_slice() {
            [kind] => *kind,
            [] => {
                if self.found.len() == before {
                    let help = "write `webhook: URL`, `mqtt: deploy` or `amqp: deploy`";
                    self.missing(fields.at, path, "webhook", help);
                }
                return None;
            }
            [first, second, ..] => {
                let message = format!("`{first}` and `{second}` stand side by side");
                let help = "give each an entry of its own";
                self.error(fields.key_place(second), path, message, help);
                return None;
            }
        };
        self.misplaced(&fields, path, kind);
        let place = fields.get(kind)?;
        let kind_path = join(path, kind);
        match kind {
            "mqtt" => {
                let broker = self.broker(&fields, path, place, "mqtt");
                let topic = fields.get("topic").map(|node| {
                    let help = "write a topic without `+` and `#`, for example site/recordings";
                    let fine = |text: &str| !text.contains(['+', '#']);
                    self.broker_name(node, &join(path, "topic"), "a topic", help, fine)
                });
                Some(EventSink::Mqtt {
                    broker: broker?,
                    topic: topic.map_or(Some(None), |t| t.map(Some))?,
                })
            }
            "amqp" => {
                let broker = self.broker(&fields, path, place, "amqp");
                let mut name = |key: &str, what: &str| {
                    let help = "write a name of your own; those that begin with `amq.` are the \
                                broker's";
                    let fine = |text: &str| !text.starts_with("amq.");
                    let read = |node| self.broker_name(node, &join(path, key), what, help, fine);
                    fields.get(key).map(read)
                };
                let (exchange, queue) = (name("exchange", "an exchange"), name("queue", "a queue"));
                Some(EventSink::Amqp {
                    broker: broker?,
                    exchange: exchange.map_or(Some(None), |e| e.map(Some))?,
                    queue: queue.map_or(Some(None), |q| q.map(Some))?,
                })
            }
            _ => {
                let url = self.webhook(place, &kind_path)?;
                Some(EventSink::Webhook { url })
            }
        }
    }

    /// Keys that belong to another kind of entry.
    fn misplaced(&mut self, fields: &Fields<'_>, path: &str, kind: &str) {
        let homes = [
            ("topic", "mqtt"),
            ("exchange", "amqp"),
            ("queue", "amqp"),
            ("credentials", "mqtt` or `amqp"),
        ];
        for (key, home) in homes {
            if fields.get(key).is_some() && !home.split("` or `").any(|home| home == kind) {
                self.error(
                    fields.key_place(key),
                    &join(path, key),
                    format!("`{key}` is for `{home}`, not for `{kind}`"),
                    "take it out",
                );
            }
        }
    }

    /// `deploy`, or the URL of a broker that runs, with its login beside it.
    fn broker(
        &mut self,
        fields: &Fields<'_>,
        path: &str,
        node: &Node,
        scheme: &str,
    ) -> Option<Broker> {
        let credentials = fields
            .get("credentials")
            .map(|node| self.credentials(node, &join(path, "credentials")));
        let broker_path = join(path, scheme);
        let text = self.text(node, &broker_path)?;
        if text == "deploy" {
            if fields.has("credentials") {
                self.error(
                    fields.key_place("credentials"),
                    &join(path, "credentials"),
                    "a broker that is deployed makes a login of its own",
                    "take `credentials` out, or name the broker that they are for",
                );
                return None;
            }
            return Some(Broker::Deploy);
        }
        let form = format!("write `{scheme}: deploy`, or `{scheme}: {scheme}s://HOST`");
        let secure = format!("{scheme}s");
        let (message, help) = match Url::parse(text) {
            Err(_) => ("this is neither `deploy` nor a URL".to_owned(), form),
            Ok(url) if url.scheme() != scheme && url.scheme() != secure => {
                (format!("the broker's URL starts with {scheme}s://"), form)
            }
            Ok(url) if !url.username().is_empty() || url.password().is_some() => (
                "the broker's URL must not hold a user or password".to_owned(),
                "take `user:password@` out and give the login by `credentials`".to_owned(),
            ),
            Ok(url) if url.host_str().is_none_or(str::is_empty) => {
                ("the broker's URL has no host".to_owned(), form)
            }
            Ok(url) => {
                if url.scheme() == scheme {
                    self.warn(
                        node.at,
                        &broker_path,
                        "events and login travel to the broker without encryption",
                        format!("write `{scheme}s://HOST` if the broker speaks TLS"),
                    );
                }
                return Some(Broker::External {
                    url,
                    credentials: credentials.map_or(Some(None), |c| c.map(Some))?,
                });
            }
        };
        self.error(node.at, &broker_path, message, help);
        None
    }

    fn broker_name(
        &mut self,
        node: &Node,
        path: &str,
        what: &str,
        help: &str,
        fine: impl Fn(&str) -> bool,
    ) -> Option<String> {
        let text = self.text(node, path)?;
        let plain = !text.is_empty() && !text.chars().any(char::is_control);
        if plain && text.len() <= MOST_NAME && fine(text) {
            return Some(text.to_owned());
        }
        let message = format!("{} is not {what}", super::shown(node, text));
        self.error(node.at, path, message, help);
        None
    }
}
