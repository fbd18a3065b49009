//! What differs between an object as it is and as it would be, and who has said what differs.

use std::collections::{BTreeMap, BTreeSet};

use installer_plan::kubernetes::{FieldChange, Hand, Values};
use installer_render::kubernetes::Kind;
use serde_json::{Map, Value};

use super::{Entry, Fields, Place, entries, is_applied, is_stranger, plain};

/// The server keeps these itself.
const KEPT: [&str; 5] = [
    "creationTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "uid",
];

/// Longer values are shown from shortly before the place where they differ.
const LONGEST: usize = 64;
const BEFORE: usize = 8;

/// Names of variables whose values somebody may have put there by hand.
const TELLING: [&str; 5] = ["KEY", "PASS", "PWD", "SECRET", "TOKEN"];

/// The fields that differ between `live` and `next`, as `manager` would have it. Values of secrets
/// are left out.
pub(crate) fn differences(
    kind: Kind,
    live: &Value,
    next: &Value,
    manager: &str,
) -> Vec<FieldChange> {
    let strangers: Vec<_> = entries(live)
        .filter(|entry| is_stranger(entry, manager))
        .collect();
    let trees = entries(next)
        .filter(|entry| is_applied(entry, manager))
        .chain(entries(live))
        .map(|entry| entry.fields);
    let mut found = Finder {
        kind,
        strangers: &strangers,
        found: Vec::new(),
    };
    let node = Node {
        trees: trees.collect(),
        hands: strangers.iter().map(|entry| Some(entry.fields)).collect(),
    };
    let (live, next) = (without_kept(live), without_kept(next));
    found.compare("", Some(&live), Some(&next), &node);
    found.found
}

fn without_kept(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(object) = object.as_object_mut() {
        object.remove("status");
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            for name in KEPT {
                metadata.remove(name);
            }
        }
    }
    object
}

/// A place in an object, and what is said of it.
struct Node<'a> {
    /// By anybody: what tells items of a list apart is read from it.
    trees: Vec<&'a Fields>,
    /// By each of the strangers; nothing where it says nothing there.
    hands: Vec<Option<&'a Fields>>,
}

impl<'a> Node<'a> {
    fn below(&self, fits: impl Fn(&str) -> bool) -> Self {
        let child = |fields: &&'a Fields| {
            let mut children = fields.iter();
            let found = children.find(|(key, _)| fits(key));
            found.and_then(|(_, below)| below.as_object())
        };
        // What is said as a whole is said of everything in it.
        let hand = |fields: &&'a Fields| child(fields).or(fields.is_empty().then_some(*fields));
        Self {
            trees: self.trees.iter().filter_map(child).collect(),
            hands: self
                .hands
                .iter()
                .map(|fields| fields.as_ref().and_then(hand))
                .collect(),
        }
    }

    /// The fields by which items of the list here are told apart.
    fn keys(&self) -> Option<BTreeSet<String>> {
        let keys = self.trees.iter().flat_map(|fields| fields.keys());
        let mut keys = keys.map(|key| Place::parse(key));
        keys.find_map(|place| match place? {
            Place::Keys(keys) => Some(keys.into_iter().map(|(name, _)| name).collect()),
            _ => None,
        })
    }
}

struct Finder<'a> {
    kind: Kind,
    strangers: &'a [Entry<'a>],
    found: Vec<FieldChange>,
}

impl Finder<'_> {
    fn compare(&mut self, path: &str, from: Option<&Value>, to: Option<&Value>, node: &Node<'_>) {
        if from == to {
            return;
        }
        match (from, to) {
            (Some(Value::Object(from)), Some(Value::Object(to))) => {
                let names: BTreeSet<_> = from.keys().chain(to.keys()).collect();
                for name in names {
                    let step = match path {
                        "" => name.clone(),
                        path => format!("{path}.{name}"),
                    };
                    let below = node.below(|key| key.strip_prefix("f:") == Some(name));
                    self.compare(&step, from.get(name), to.get(name), &below);
                }
            }
            (Some(Value::Array(from)), Some(Value::Array(to))) => match node.keys() {
                Some(keys) => self.compare_items(path, from, to, &keys, node),
                None => self.note(
                    path,
                    Some(&from.clone().into()),
                    Some(&to.clone().into()),
                    node,
                ),
            },
            (from, to) => self.note(path, from, to, node),
        }
    }

    fn compare_items(
        &mut self,
        path: &str,
        from: &[Value],
        to: &[Value],
        keys: &BTreeSet<String>,
        node: &Node<'_>,
    ) {
        let named = |items: &[Value]| -> BTreeMap<String, Value> {
            let all = items.iter().map(|item| {
                let values = keys.iter().filter_map(|key| item.get(key)).map(plain);
                let name = values.collect::<Vec<_>>().join("/");
                (name, item.clone())
            });
            all.collect()
        };
        let (from, to) = (named(from), named(to));
        let names: BTreeSet<_> = from.keys().chain(to.keys()).collect();
        for name in names {
            let (from, to) = (from.get(name), to.get(name));
            let Some(item) = from.or(to) else {
                continue;
            };
            let below = node.below(|key| Place::parse(key).is_some_and(|place| place.is(0, item)));
            self.compare(&format!("{path}[{name}]"), from, to, &below);
        }
    }

    fn note(&mut self, path: &str, from: Option<&Value>, to: Option<&Value>, node: &Node<'_>) {
        let values = if is_secret(self.kind, path) {
            Values::Hidden
        } else {
            let (from, to) = brief(from.map(text), to.map(text));
            Values::Shown { from, to }
        };
        let hands = self.strangers.iter().zip(&node.hands);
        let here = hands.filter_map(|(entry, fields)| fields.map(|_| entry));
        let last = here.max_by_key(|entry| entry.time);
        self.found.push(FieldChange {
            path: path.to_owned(),
            values,
            by: last.map(|entry| Hand {
                manager: entry.manager.to_owned(),
                time: entry.time.to_owned(),
            }),
        });
    }
}

/// Whether what is there, or in it, may be a secret.
fn is_secret(kind: Kind, path: &str) -> bool {
    if kind == Kind::Secret {
        return path.starts_with("data") || path.starts_with("stringData");
    }
    let variable = path.rsplit_once("env[").map(|(_, rest)| rest);
    variable.is_some_and(|rest| is_telling(rest.split(']').next().unwrap_or_default()))
}

fn text(value: &Value) -> String {
    installer_spec::mask(&plain(&veiled(value)))
}

fn is_telling(name: &str) -> bool {
    let name = name.to_uppercase();
    TELLING.iter().any(|word| name.contains(word))
}

/// Without the values of variables that may be secrets.
fn veiled(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(veiled).collect(),
        Value::Object(object) => {
            let name = object.get("name").and_then(Value::as_str);
            let hides = name.is_some_and(is_telling);
            let fields = object.iter().map(|(key, value)| {
                let value = match key.as_str() {
                    "value" if hides => Value::String("(not shown)".to_owned()),
                    _ => veiled(value),
                };
                (key.clone(), value)
            });
            Value::Object(fields.collect())
        }
        other => other.clone(),
    }
}

/// Both values, short enough for a line: of texts of many lines the first ones that differ.
fn brief(from: Option<String>, to: Option<String>) -> (Option<String>, Option<String>) {
    let (Some(from), Some(to)) = (&from, &to) else {
        let short =
            |text: Option<String>| text.map(|text| cut(text.lines().next().unwrap_or_default(), 0));
        return (short(from), short(to));
    };
    let mut lines = from.lines().zip(to.lines());
    let differing = lines.find(|(from, to)| from != to);
    let (from, to) = differing.unwrap_or_else(|| {
        let common = from.lines().count().min(to.lines().count());
        (
            from.lines().nth(common).unwrap_or_default(),
            to.lines().nth(common).unwrap_or_default(),
        )
    });
    let same = from
        .chars()
        .zip(to.chars())
        .take_while(|(a, b)| a == b)
        .count();
    (
        Some(cut(from.trim_end(), same)),
        Some(cut(to.trim_end(), same)),
    )
}

/// At most [`LONGEST`] characters of a text that differs from the place `at` on.
fn cut(text: &str, at: usize) -> String {
    let length = text.chars().count();
    if length <= LONGEST {
        return text.to_owned();
    }
    let skipped = at.saturating_sub(BEFORE).min(length - BEFORE);
    let mut shown: String = text.chars().skip(skipped).take(LONGEST).collect();
    if skipped > 0 {
        shown.insert(0, '…');
    }
    if length - skipped > LONGEST {
        shown.push('…');
    }
    shown
}

/// The manifest with a value for each secret that has none: that which lies there, or an empty one.
pub(crate) fn filled(manifest: &Value, live: &Value) -> Value {
    let mut filled = manifest.clone();
    let kept = live.get("data").and_then(Value::as_object);
    let data = filled.get_mut("data").and_then(Value::as_object_mut);
    for (key, value) in data
        .into_iter()
        .flatten()
        .filter(|(_, value)| value.is_null())
    {
        let there = kept.and_then(|kept: &Map<String, Value>| kept.get(key));
        *value = there
            .cloned()
            .unwrap_or_else(|| Value::String(String::new()));
    }
    filled
}

#[cfg(test)]
mod tests;
