//! Helm charts beside the site.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8PathBuf;
use serde_json::{Map, Number, Value};

use super::{Checker, Fields, NUMBER, join, kind_name, plain_means};
use crate::keys::{self, Words};
use crate::profile::{Chart, ChartSource, Credentials, Keeper, Reachable, TargetChoice};
use crate::tree::{Kind, Node};

/// `stakeout-SITE-NAME` is a namespace, and names of namespaces are DNS labels.
const MOST_NAMESPACE: usize = 63;

/// Words in a key that speak of a secret.
const SECRET_WORDS: [&str; 5] = ["password", "passwd", "secret", "token", "apikey"];

/// Endings of keys that name a secret rather than hold one.
const REFERENCES: [&str; 4] = ["name", "ref", "key", "file"];

const REACHABLE: Words<Reachable> = Words {
    known: &[("vault", Reachable::Vault)],
    later: &[],
};

impl Checker<'_> {
    pub(super) fn charts(&mut self, node: &Node, site: Option<&str>) -> Option<Vec<Chart>> {
        let Kind::List(items) = &node.kind else {
            let message = format!("`charts` is a list, not {}", kind_name(node));
            let help = "write `charts: [ { name: hub, chart: PATH } ]`";
            self.error(node.at, "charts", message, help);
            return None;
        };
        let mut charts: Vec<Chart> = Vec::new();
        let mut fine = true;
        for (index, item) in items.iter().enumerate() {
            let path = format!("charts[{index}]");
            let Some(chart) = self.chart(item, &path, site) else {
                fine = false;
                continue;
            };
            if charts.iter().any(|other| other.name == chart.name) {
                let message = format!("there are two charts named `{}`", chart.name);
                let at = item.entry("name").map_or(item.at, |entry| entry.value.at);
                self.error(at, &join(&path, "name"), message, "give one another name");
                fine = false;
            }
            charts.push(chart);
        }
        fine.then_some(charts)
    }

    pub(super) fn check_charts(&mut self, fields: &Fields<'_>, target: Option<TargetChoice>) {
        let elsewhere = matches!(target, Some(TargetChoice::Host | TargetChoice::Docker));
        if elsewhere && fields.has("charts") {
            self.error(
                fields.key_place("charts"),
                "charts",
                "Helm charts are for clusters, and `target` says otherwise",
                "write `target: kubernetes`, or take `charts` out",
            );
        }
    }

    pub(super) fn check_reaches(&mut self, fields: &Fields<'_>, charts: &[Chart], keeper: Keeper) {
        let reaches = charts
            .iter()
            .any(|one| one.reaches.contains(&Reachable::Vault));
        if reaches && keeper == Keeper::Agent {
            self.error(
                fields.key_place("charts"),
                "charts",
                "a chart `reaches` the vault, and `storage.keeper: agent` leaves it out",
                "write `keeper: vault`, or take `reaches` out",
            );
        }
    }

    fn chart(&mut self, node: &Node, path: &str, site: Option<&str>) -> Option<Chart> {
        let fields = self.fields(node, path, keys::CHART)?;
        for key in ["name", "chart"] {
            if !fields.has(key) {
                let help = "write `name: hub` and `chart: PATH` or `chart: oci://HOST/PATH`";
                self.missing(fields.at, path, key, help);
            }
        }
        let name = fields.get("name").and_then(|node| {
            let path = join(path, "name");
            let name = self.name(node, &path)?;
            let namespace = format!("stakeout-{}-{name}", site.unwrap_or_default());
            if namespace.len() <= MOST_NAMESPACE {
                return Some(name);
            }
            let message = format!(
                "`{namespace}` is too long for a namespace, by {}",
                namespace.len() - MOST_NAMESPACE
            );
            self.error(node.at, &path, message, "shorten this name or the site's");
            None
        });
        let source = self.chart_source(&fields, path);
        let values = match fields.get("values") {
            Some(node) => self.chart_values(node, &join(path, "values")),
            None => Some(Map::new()),
        };
        let secrets = match fields.get("secrets") {
            Some(node) => self.chart_secrets(node, &join(path, "secrets")),
            None => Some(BTreeMap::new()),
        };
        let reaches = match fields.get("reaches") {
            Some(node) => self.chart_reaches(node, &join(path, "reaches")),
            None => Some(BTreeSet::new()),
        };
        Some(Chart {
            reaches: reaches?,
            name: name?,
            source: source?,
            values: values?,
            secrets: secrets?,
        })
    }

    fn chart_reaches(&mut self, node: &Node, path: &str) -> Option<BTreeSet<Reachable>> {
        let Kind::List(items) = &node.kind else {
            let message = format!("`reaches` is a list, not {}", kind_name(node));
            self.error(node.at, path, message, "write `reaches: [ vault ]`");
            return None;
        };
        let items = items.iter().enumerate();
        let words: Vec<_> = items
            .map(|(index, item)| self.word(item, &format!("{path}[{index}]"), REACHABLE))
            .collect();
        words.into_iter().collect()
    }

    fn chart_source(&mut self, fields: &Fields<'_>, path: &str) -> Option<ChartSource> {
        let node = fields.get("chart")?;
        let version = match fields.get("version") {
            Some(node) => Some(self.text(node, &join(path, "version"))?.to_owned()),
            None => None,
        };
        let chart_path = join(path, "chart");
        let text = self.text(node, &chart_path)?;
        if let Some(rest) = text.strip_prefix("oci://") {
            let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '@' | '?' | '#');
            let named = rest.split_once('/').is_some_and(|(host, chart)| {
                !host.is_empty() && !chart.is_empty() && !chart.ends_with('/')
            });
            if !named || !rest.chars().all(plain) {
                let message = "this names no chart in a registry";
                let help = "write `oci://HOST/PATH`, and the version by `version`";
                self.error(node.at, &chart_path, message, help);
                return None;
            }
            let Some(version) = version.filter(|version| is_version(version)) else {
                let help = "say which one, for example `version: 1.4.2`: what is newest changes";
                let at = fields.get("version").map_or(fields.at, |node| node.at);
                let message = "a chart of a registry has a whole version";
                self.error(at, &join(path, "version"), message, help);
                return None;
            };
            return Some(ChartSource::Registry {
                reference: text.to_owned(),
                version,
            });
        }
        if text.contains("://") {
            let message = "charts come from a path or from a registry (`oci://`)";
            let help = "download it, or name the registry that has it";
            self.error(node.at, &chart_path, message, help);
            return None;
        }
        if version.is_some() {
            let message = "a chart at a path has its version in itself";
            let help = "take `version` out";
            self.error(
                fields.key_place("version"),
                &join(path, "version"),
                message,
                help,
            );
            return None;
        }
        Some(ChartSource::Path(Utf8PathBuf::from(text)))
    }

    fn chart_values(&mut self, node: &Node, path: &str) -> Option<Map<String, Value>> {
        if let Kind::Map(_) = &node.kind
            && let Value::Object(map) = self.chart_value(node, path)?
        {
            return Some(map);
        }
        let message = format!("`values` is a mapping, not {}", kind_name(node));
        self.error(node.at, path, message, "write `key: value` lines");
        None
    }

    /// Any value, as Helm is told it: text that might be something else has to be in quotes.
    fn chart_value(&mut self, node: &Node, path: &str) -> Option<Value> {
        match &node.kind {
            Kind::Null => Some(Value::Null),
            Kind::Quoted(text) => Some(Value::String(text.clone())),
            Kind::Plain(text) => match (text.as_str(), plain_means(text)) {
                ("true", _) => Some(Value::Bool(true)),
                ("false", _) => Some(Value::Bool(false)),
                (_, None) => Some(Value::String(text.clone())),
                (_, Some(NUMBER)) if number(text).is_some() => number(text).map(Value::Number),
                (_, Some(other)) => {
                    let message = format!("`{text}` without quotes is {other} to some");
                    let help = format!("write true, false or a decimal number, or \"{text}\"");
                    self.error(node.at, path, message, help);
                    None
                }
            },
            Kind::List(items) => {
                let values = items.iter().enumerate();
                let values: Vec<_> = values
                    .map(|(index, item)| self.chart_value(item, &format!("{path}[{index}]")))
                    .collect();
                values.into_iter().collect::<Option<_>>().map(Value::Array)
            }
            Kind::Map(entries) => {
                let mut map = Map::new();
                let mut fine = true;
                for entry in entries {
                    let path = join(path, &entry.key);
                    if map.contains_key(&entry.key) {
                        let message = format!("`{}` stands twice", entry.key);
                        self.error(entry.at, &path, message, "keep one of the two");
                        fine = false;
                    }
                    self.warn_of_value(entry, &path);
                    match self.chart_value(&entry.value, &path) {
                        Some(value) => {
                            map.insert(entry.key.clone(), value);
                        }
                        None => fine = false,
                    }
                }
                fine.then_some(Value::Object(map))
            }
        }
    }

    fn warn_of_value(&mut self, entry: &crate::tree::Entry, path: &str) {
        let key = entry.key.to_lowercase().replace(['-', '_'], "");
        let speaks = SECRET_WORDS.iter().any(|word| key.contains(word));
        let refers = REFERENCES.iter().any(|end| key.ends_with(end));
        let holds = entry.value.text().is_some_and(|text| !text.is_empty());
        if speaks && !refers && holds {
            self.warn(
                entry.value.at,
                path,
                "this looks like a secret, and values of a chart are no secrets",
                "put it in a file, and name that under the chart's `secrets`",
            );
        }
    }

    fn chart_secrets(&mut self, node: &Node, path: &str) -> Option<BTreeMap<String, Credentials>> {
        let Kind::Map(entries) = &node.kind else {
            let message = format!("`secrets` is a mapping, not {}", kind_name(node));
            self.error(node.at, path, message, "write `NAME: { file: PATH }` lines");
            return None;
        };
        let mut secrets = BTreeMap::new();
        let mut fine = true;
        for entry in entries {
            let name = Node {
                kind: Kind::Quoted(entry.key.clone()),
                at: entry.at,
                ..entry.value.clone()
            };
            let path = join(path, &entry.key);
            let name = self.name(&name, &path);
            let credentials = self.credentials(&entry.value, &path);
            let Some((name, credentials)) = name.zip(credentials) else {
                fine = false;
                continue;
            };
            if secrets.insert(name, credentials).is_some() {
                let message = format!("`{}` stands twice", entry.key);
                self.error(entry.at, &path, message, "keep one of the two");
                fine = false;
            }
        }
        fine.then_some(secrets)
    }
}

fn number(text: &str) -> Option<Number> {
    serde_json::from_str(text).ok()
}

/// `MAJOR.MINOR.PATCH`, and whatever semantic versioning lets follow.
fn is_version(text: &str) -> bool {
    let text = text.strip_prefix('v').unwrap_or(text);
    let end = text.find(['-', '+']).unwrap_or(text.len());
    let (numbers, rest) = text.split_at(end);
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    numbers.split('.').count() == 3
        && numbers.split('.').all(digits)
        && rest
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-+.".contains(&b))
}
