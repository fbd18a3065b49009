//! What a cluster's Prometheus is told.

use std::collections::BTreeMap;

use super::{Checker, join, kind_name};
use crate::keys::{self, Words};
use crate::profile::Monitoring;
use crate::tree::{Kind, Node};

const WHEN: Words<Monitoring> = Words {
    known: &[
        ("auto", Monitoring::Auto),
        ("on", Monitoring::On),
        ("off", Monitoring::Off),
    ],
    later: &[],
};

/// Names of labels that say whose an object is.
const OURS: [&str; 3] = ["stakeout.", "app.kubernetes.io/", "grafana_dashboard"];

/// Of a label's name, and of its value.
const MOST_CHARACTERS: usize = 63;
const MOST_PREFIX_CHARACTERS: usize = 253;

impl Checker<'_> {
    /// A word, or a mapping with that word and labels.
    pub(super) fn monitoring(
        &mut self,
        node: &Node,
    ) -> Option<(Monitoring, BTreeMap<String, String>)> {
        if !matches!(node.kind, Kind::Map(_)) {
            let when = self.word(node, "monitoring", WHEN)?;
            return Some((when, BTreeMap::new()));
        }
        let fields = self.fields(node, "monitoring", keys::MONITORING)?;
        let when = match fields.get("when") {
            Some(node) => self.word(node, "monitoring.when", WHEN),
            None => Some(Monitoring::Auto),
        };
        let labels = match fields.get("labels") {
            Some(node) => self.labels(node, "monitoring.labels"),
            None => Some(BTreeMap::new()),
        };
        Some((when?, labels?))
    }

    fn labels(&mut self, node: &Node, path: &str) -> Option<BTreeMap<String, String>> {
        let Kind::Map(entries) = &node.kind else {
            let message = format!("`labels` is a mapping, not {}", kind_name(node));
            self.error(node.at, path, message, "write `release: NAME` lines");
            return None;
        };
        let mut labels = BTreeMap::new();
        let mut fine = true;
        for entry in entries {
            let path = join(path, &entry.key);
            let key = entry.key.as_str();
            let fault = if OURS.iter().any(|own| key.starts_with(own)) {
                Some((format!("`{key}` says whose an object is"), "take it out"))
            } else if !is_key(key) {
                let help = "write letters, digits and inner `-`, `_`, `.`, at most 63, behind a \
                            domain and `/` if need be";
                Some((format!("`{key}` cannot be the name of a label"), help))
            } else if labels.contains_key(key) {
                Some((format!("`{key}` stands twice"), "keep one of the two"))
            } else {
                None
            };
            if let Some((message, help)) = fault {
                self.error(entry.at, &path, message, help);
                fine = false;
                continue;
            }
            let Some(value) = self.text(&entry.value, &path) else {
                fine = false;
                continue;
            };
            if !is_name(value) {
                let message = format!("`{value}` cannot be the value of a label");
                let help = "write letters, digits and inner `-`, `_`, `.`, at most 63";
                self.error(entry.value.at, &path, message, help);
                fine = false;
                continue;
            }
            labels.insert(entry.key.clone(), value.to_owned());
        }
        fine.then_some(labels)
    }
}

/// As Kubernetes has them: `PREFIX/NAME`, or `NAME`.
fn is_key(text: &str) -> bool {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    let is_part = |part: &str| {
        let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !part.is_empty() && part.bytes().all(fine) && !part.starts_with('-') && !part.ends_with('-')
    };
    let is_domain =
        |text: &str| text.len() <= MOST_PREFIX_CHARACTERS && text.split('.').all(is_part);
    is_name(name) && prefix.is_none_or(is_domain)
}

fn is_name(text: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let is_edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= MOST_CHARACTERS
        && bytes.iter().copied().all(is_inner)
        && is_edge(bytes.first())
        && is_edge(bytes.last())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_named_as_kubernetes_has_it() {
        for key in ["release", "a/b", "monitoring.example.org/team_1"] {
            assert!(is_key(key), "{key}");
        }
        for key in ["", "/a", "a/", "-a", "a b", "A.org/b", "a..b/c", "a/b/c"] {
            assert!(!is_key(key), "{key}");
        }
        assert!(!is_key(&"a".repeat(64)));
    }
}
