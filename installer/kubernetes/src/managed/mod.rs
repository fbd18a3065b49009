//! Who has said what of an object: `metadata.managedFields`, format `FieldsV1`
//! (<https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management>).
//!
//! A tree whose keys are `f:NAME` for a field, `k:{…}` for the item of a list with these keys,
//! `v:…` for an item that is its own key, `i:N` for one by its place, and `.` for the thing itself.
//! A key with nothing below it is said as a whole.

mod adoption;
mod difference;

pub(crate) use adoption::{is_maker, moved};
pub(crate) use difference::{differences, filled};

use installer_plan::kubernetes::{Conflict, Hand};
use serde_json::{Map, Value};

type Fields = Map<String, Value>;

/// Parts of the cluster itself: what they note in objects is how the cluster works.
const CLUSTER: [&str; 5] = [
    "cloud-controller-manager",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
];

/// This many fields of another manager are named.
const NAMED: usize = 3;

/// One entry of `managedFields`.
struct Entry<'a> {
    manager: &'a str,
    operation: &'a str,
    subresource: &'a str,
    time: &'a str,
    fields: &'a Fields,
}

fn entries(object: &Value) -> impl Iterator<Item = Entry<'_>> {
    let all = object.pointer("/metadata/managedFields");
    let all = all.and_then(Value::as_array).into_iter().flatten();
    all.filter_map(|entry| {
        let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
        Some(Entry {
            manager: text("manager"),
            operation: text("operation"),
            subresource: text("subresource"),
            time: text("time"),
            fields: entry.get("fieldsV1")?.as_object()?,
        })
    })
}

fn is_applied(entry: &Entry<'_>, manager: &str) -> bool {
    entry.manager == manager && entry.operation == "Apply" && entry.subresource.is_empty()
}

/// Neither `manager` nor a part of the cluster itself.
fn is_stranger(entry: &Entry<'_>, manager: &str) -> bool {
    let cluster = CLUSTER.contains(&entry.manager) && entry.subresource.is_empty();
    // What is written beside an object by admission is noted as an update of our own.
    entry.manager != manager && entry.subresource != "status" && !cluster
}

/// Whether the manager has applied the object at all.
pub(crate) fn has_applied(object: &Value, manager: &str) -> bool {
    entries(object).any(|entry| is_applied(&entry, manager))
}

/// The part of the object that the manager has applied, with the values that it has now; nothing
/// where it has applied none.
pub(crate) fn applied(object: &Value, manager: &str) -> Option<Value> {
    let own = entries(object).find(|entry| is_applied(entry, manager))?;
    let others: Vec<_> = entries(object)
        .filter(|entry| !is_applied(entry, manager))
        .map(|entry| entry.fields)
        .collect();
    Some(extract(object, own.fields, &others))
}

/// Notes since when each of these managers has what it has: servers do not say it with the conflict.
pub(crate) fn dated(conflicts: &mut [Conflict], object: &Value) {
    for conflict in conflicts.iter_mut().filter(|one| one.by.time.is_empty()) {
        let of_it = entries(object).filter(|entry| entry.manager == conflict.by.manager);
        let last = of_it.map(|entry| entry.time).max();
        last.unwrap_or_default().clone_into(&mut conflict.by.time);
    }
}

/// When anybody has changed last what is below this path of fields; nothing where nobody has said
/// when.
pub(crate) fn changed<'a>(object: &'a Value, path: &[&str]) -> Option<&'a str> {
    let has = |entry: &Entry<'_>| {
        let mut fields = Some(entry.fields);
        for name in path {
            fields = fields
                .and_then(|fields| fields.get(&format!("f:{name}")))
                .and_then(Value::as_object);
        }
        fields.is_some()
    };
    let times = entries(object).filter(has).map(|entry| entry.time);
    times.max().filter(|time| !time.is_empty())
}

/// Other managers and the fields that they have set, in words.
pub(crate) fn shared(object: &Value, manager: &str) -> Vec<String> {
    entries(object)
        .filter(|entry| is_stranger(entry, manager))
        .filter_map(|entry| {
            let mut paths = Vec::new();
            leaves(entry.fields, "", &mut paths);
            let more = paths.len().saturating_sub(NAMED);
            let named = paths.get(..paths.len() - more)?.join(", ");
            let more = match more {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let time = match entry.time {
                "" => String::new(),
                time => format!(" ({time})"),
            };
            (!named.is_empty()).then(|| format!("`{}` set {named}{more}{time}", entry.manager))
        })
        .collect()
}

/// Other managers that have one of these keys of the object's `data`.
pub(crate) fn holders(object: &Value, manager: &str, keys: &[&str]) -> Vec<Conflict> {
    let strangers = entries(object).filter(|entry| is_stranger(entry, manager));
    let held = strangers.flat_map(|entry| {
        let data = entry.fields.get("f:data").and_then(Value::as_object);
        let keys = keys
            .iter()
            .filter(move |key| data.is_some_and(|data| data.contains_key(&format!("f:{key}"))));
        keys.map(move |key| Conflict {
            field: format!("data.{key}"),
            by: Hand {
                manager: entry.manager.to_owned(),
                time: entry.time.to_owned(),
            },
        })
    });
    held.collect()
}

/// Whether the thing is said as a whole.
fn is_leaf(fields: &Fields) -> bool {
    fields.keys().all(|key| key == ".")
}

fn below<'a>(all: &[&'a Fields], key: &str) -> Vec<&'a Fields> {
    let below = all.iter().filter_map(|fields| fields.get(key)?.as_object());
    below.collect()
}

fn extract(value: &Value, fields: &Fields, others: &[&Fields]) -> Value {
    if is_leaf(fields) {
        // A map that was said to be empty, and into which others have put something: were it one
        // that is said as a whole, nobody could own a part of it.
        if value.is_object() && others.iter().any(|fields| !is_leaf(fields)) {
            return Value::Object(Map::new());
        }
        return value.clone();
    }
    let none = Map::new();
    match value {
        Value::Object(object) => {
            let mut said = Map::new();
            for (key, fields) in fields {
                let Some(name) = key.strip_prefix("f:") else {
                    continue;
                };
                if let Some(value) = object.get(name) {
                    let fields = fields.as_object().unwrap_or(&none);
                    said.insert(name.to_owned(), extract(value, fields, &below(others, key)));
                }
            }
            Value::Object(said)
        }
        Value::Array(items) => {
            let keys: Vec<_> = fields
                .iter()
                .filter_map(|(key, fields)| Some((Place::parse(key)?, key, fields.as_object()?)))
                .collect();
            let said = items.iter().enumerate().filter_map(|(index, item)| {
                let (_, key, fields) = keys.iter().find(|(place, ..)| place.is(index, item))?;
                Some(extract(item, fields, &below(others, key)))
            });
            Value::Array(said.collect())
        }
        // It was a map or a list once.
        other => other.clone(),
    }
}

/// What tells an item of a list from the others.
enum Place {
    Keys(Map<String, Value>),
    Value(Value),
    Index(usize),
}

impl Place {
    fn parse(key: &str) -> Option<Self> {
        let (sort, rest) = key.split_once(':')?;
        match sort {
            "k" => serde_json::from_str(rest).ok().map(Self::Keys),
            "v" => serde_json::from_str(rest).ok().map(Self::Value),
            "i" => rest.parse().ok().map(Self::Index),
            _ => None,
        }
    }

    fn is(&self, index: usize, item: &Value) -> bool {
        match self {
            Self::Keys(keys) => keys.iter().all(|(key, value)| item.get(key) == Some(value)),
            Self::Value(value) => item == value,
            Self::Index(at) => *at == index,
        }
    }
}

/// Paths of everything that is said, as people write them: `spec.replicas`, `env[A].value`.
fn leaves(fields: &Fields, path: &str, into: &mut Vec<String>) {
    if is_leaf(fields) {
        if !path.is_empty() {
            into.push(path.to_owned());
        }
        return;
    }
    for (key, below) in fields {
        let place = Place::parse(key);
        let step = match (key.strip_prefix("f:"), &place) {
            (Some(name), _) if path.is_empty() => name.to_owned(),
            (Some(name), _) => format!("{path}.{name}"),
            (_, Some(Place::Keys(keys))) => {
                let values: Vec<_> = keys.values().map(plain).collect();
                format!("{path}[{}]", values.join("/"))
            }
            (_, Some(Place::Value(value))) => format!("{path}[{}]", plain(value)),
            (_, Some(Place::Index(index))) => format!("{path}[{index}]"),
            (None, None) => continue,
        };
        let Some(below) = below.as_object() else {
            continue;
        };
        let mut below = below.clone();
        if let Some(Place::Keys(keys)) = place {
            // An item's keys go without saying.
            for name in keys.keys() {
                below.remove(&format!("f:{name}"));
            }
        }
        leaves(&below, &step, into);
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
