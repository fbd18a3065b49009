//! Whether objects are there no more.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use installer_engine::Probe;
use installer_plan::docker::label;
use installer_render::kubernetes::{Kind, ObjectId};
use serde_json::Value;

use crate::effects::Site;
use crate::list::each_item;
use crate::request::{Extent, Refusal, RequestError, asked};

/// Up to this many objects of a kind are asked for by name; of more a list is cheaper.
const FEW: usize = 3;

/// Names that are shown.
const NAMED: usize = 3;

/// Asks for each, or for all of a kind.
pub(crate) async fn probe_gone(site: &Site, objects: &BTreeSet<ObjectId>) -> Probe {
    let mut kinds: BTreeMap<Kind, BTreeSet<&str>> = BTreeMap::new();
    for id in objects {
        kinds.entry(id.kind).or_default().insert(&id.name);
    }
    let found = join_all(kinds.iter().map(|(kind, names)| left(site, *kind, names))).await;
    let mut left = Vec::new();
    for (found, kind) in found.into_iter().zip(kinds.keys()) {
        match found {
            Ok(some) => left.extend(some),
            Err(error) => {
                let asked = asked("list", *kind, "");
                let forbidden = error.refusal().is_some_and(Refusal::is_about_rights);
                return if forbidden {
                    Probe::Forbidden(format!("the right to {asked} is missing: {error}"))
                } else {
                    Probe::Waiting(format!("the cluster does not let us {asked}: {error}"))
                };
            }
        }
    }
    if left.is_empty() {
        return Probe::Met;
    }
    let shown: Vec<_> = left.iter().take(NAMED).cloned().collect();
    let more = match left.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let of = objects.len();
    Probe::Waiting(format!(
        "{} of {of} are there: {}{more}",
        left.len(),
        shown.join(", ")
    ))
}

/// Those that are still there, with the reason where the cluster tells one.
async fn left(
    site: &Site,
    kind: Kind,
    names: &BTreeSet<&str>,
) -> Result<Vec<String>, RequestError> {
    // Only a namespace says what keeps it.
    let extent = match kind {
        Kind::Namespace => Extent::Whole,
        _ => Extent::Metadata,
    };
    let named = |name: &str| ObjectId::new(kind, name);
    if names.len() <= FEW {
        let gets = names.iter().map(|name| async move {
            let id = named(name);
            let found = site.connection.get(&site.namespace, &id, extent).await?;
            Ok(found.map(|object| format!("`{id}`{}", kept_by(&object))))
        });
        let found: Result<Vec<_>, _> = join_all(gets).await.into_iter().collect();
        return Ok(found?.into_iter().flatten().collect());
    }
    let selector = format!("{}={}", label::SITE, site.name);
    let bytes = site
        .connection
        .list(&site.namespace, kind, &selector, extent)
        .await?;
    let mut found = Vec::new();
    each_item(&bytes, |object| {
        let name = object.pointer("/metadata/name").and_then(Value::as_str);
        if let Some(name) = name.filter(|name| names.contains(name)) {
            found.push(format!("`{}`{}", named(name), kept_by(&object)));
        }
    })
    .map_err(RequestError::Answer)?;
    Ok(found)
}

/// What keeps an object that is being removed: finalizers, and what is left in a namespace.
pub(crate) fn kept_by(object: &Value) -> String {
    if object.pointer("/metadata/deletionTimestamp").is_none() {
        return " (nobody removes it)".to_owned();
    }
    let conditions = object
        .pointer("/status/conditions")
        .and_then(Value::as_array);
    let telling = conditions.into_iter().flatten().filter_map(|condition| {
        let is_true = condition.get("status")?.as_str()? == "True";
        is_true
            .then(|| condition.get("message")?.as_str())
            .flatten()
    });
    let mut told: Vec<_> = telling.map(str::to_owned).collect();
    let finalizers = object
        .pointer("/metadata/finalizers")
        .and_then(Value::as_array);
    told.extend(
        finalizers
            .into_iter()
            .flatten()
            .filter_map(|name| Some(format!("finalizer {}", name.as_str()?))),
    );
    if told.is_empty() {
        return String::new();
    }
    format!(" ({})", told.join("; "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_keeps_an_object_is_told() {
        assert_eq!(kept_by(&json!({ "metadata": {} })), " (nobody removes it)");
        let ending = json!({ "metadata": { "deletionTimestamp": "t", "finalizers": ["a/b"] } });
        assert_eq!(kept_by(&ending), " (finalizer a/b)");
        let namespace = json!({
            "metadata": { "deletionTimestamp": "t" },
            "status": { "conditions": [
                { "status": "False", "message": "no" },
                { "status": "True", "message": "Some resources are remaining" },
            ] },
        });
        assert_eq!(kept_by(&namespace), " (Some resources are remaining)");
    }
}
