//! Fields of those who made an object, moved to us: as `csaupgrade` of client-go does it
//! (<https://kubernetes.io/docs/reference/using-api/server-side-apply/#upgrading-from-client-side-apply-to-server-side-apply>).
//!
//! As long as they count as theirs, too, what we no longer say stays.

use serde_json::{Map, Value, json};

use super::Fields;

/// Who makes whole objects without server-side apply: `kubectl apply`, `kubectl create`, Helm, and
/// what was there before anybody noted it.
const MAKERS: [&str; 4] = [
    "before-first-apply",
    "helm",
    "kubectl-client-side-apply",
    "kubectl-create",
];

pub(crate) fn is_maker(manager: &str) -> bool {
    MAKERS.contains(&manager)
}

fn text<'a>(entry: &'a Value, name: &str) -> &'a str {
    entry.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The object's `managedFields` with everything that its makers have said as what `manager` has
/// applied; nothing where they have said nothing.
pub(crate) fn moved(object: &Value, manager: &str) -> Option<Value> {
    let all = object.pointer("/metadata/managedFields")?.as_array()?;
    let is_whole = |entry: &Value| text(entry, "subresource").is_empty();
    let (makers, mut rest): (Vec<_>, Vec<_>) = all.iter().cloned().partition(|entry| {
        let operation = text(entry, "operation");
        is_maker(text(entry, "manager")) && operation == "Update" && is_whole(entry)
    });
    let mut makers = makers.into_iter();
    let first = makers.next()?;
    let own = rest.iter().position(|entry| {
        let operation = text(entry, "operation");
        text(entry, "manager") == manager && operation == "Apply" && is_whole(entry)
    });
    let (mut own, first) = match own {
        Some(index) => (rest.remove(index), Some(first)),
        None => (first, None),
    };
    own["manager"] = json!(manager);
    own["operation"] = json!("Apply");
    let fields = |entry: &Value| {
        let fields = entry.get("fieldsV1").and_then(Value::as_object);
        fields.cloned().unwrap_or_default()
    };
    let mut said = fields(&own);
    for maker in first.into_iter().chain(makers) {
        unite(&mut said, fields(&maker));
    }
    own["fieldsV1"] = Value::Object(said);
    rest.insert(0, own);
    Some(Value::Array(rest))
}

/// Adds what `more` says. What was said as a whole is said of itself, where parts of it are, too.
fn unite(into: &mut Fields, more: Fields) {
    for (key, below) in more {
        let Value::Object(below) = below else {
            continue;
        };
        let there = into
            .entry(key)
            .or_insert_with(|| Value::Object(below.clone()));
        let Some(there) = there.as_object_mut() else {
            continue;
        };
        if there.is_empty() != below.is_empty() {
            there.insert(".".to_owned(), Value::Object(Map::new()));
        }
        unite(there, below);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(manager: &str, operation: &str, fields: &Value) -> Value {
        json!({
            "manager": manager, "operation": operation, "apiVersion": "v1",
            "fieldsType": "FieldsV1", "fieldsV1": fields,
        })
    }

    fn object(entries: &[Value]) -> Value {
        json!({ "metadata": { "managedFields": entries } })
    }

    #[test]
    fn what_makers_have_said_is_ours_and_the_rest_stays() {
        let labels = json!({ "f:metadata": { "f:labels": { ".": {}, "f:a": {} } } });
        let data = json!({ "f:data": { ".": {}, "f:k": {} }, "f:metadata": { "f:labels": { "f:b": {} } } });
        let edit = entry(
            "kubectl-edit",
            "Update",
            &json!({ "f:data": { "f:e": {} } }),
        );
        let mut status = entry("helm", "Update", &json!({ "f:status": {} }));
        status["subresource"] = json!("status");
        let both = json!({
            "f:metadata": { "f:labels": { ".": {}, "f:a": {}, "f:b": {} } },
            "f:data": { ".": {}, "f:k": {} },
        });
        // Nothing of ours is there yet, and then something is.
        for own in [None, Some(entry("stakeout", "Apply", &labels))] {
            let made = match own {
                None => [Some(entry("helm", "Update", &labels)), None],
                own => [own, None],
            };
            let entries: Vec<_> = made
                .into_iter()
                .flatten()
                .chain([
                    edit.clone(),
                    entry("kubectl-client-side-apply", "Update", &data),
                    status.clone(),
                ])
                .collect();
            let moved = moved(&object(&entries), "stakeout").unwrap();
            let expected = json!([entry("stakeout", "Apply", &both), edit, status]);
            assert_eq!(moved, expected);
        }
    }

    #[test]
    fn where_nobody_made_it_nothing_is_moved() {
        let none = json!({ "f:data": {} });
        // Helm 4 applies: what it has is taken by force, if at all.
        let entries = [
            entry("helm", "Apply", &none),
            entry("kubectl-edit", "Update", &none),
        ];
        assert_eq!(moved(&object(&entries), "stakeout"), None);
        assert_eq!(moved(&json!({ "metadata": {} }), "stakeout"), None);
    }

    #[test]
    fn a_whole_and_its_parts_are_both_said() {
        let mut into = json!({ "f:a": {}, "f:b": { "f:c": {} } });
        let more = json!({ "f:a": { "f:x": {} }, "f:b": {}, "f:d": {} });
        unite(
            into.as_object_mut().unwrap(),
            more.as_object().unwrap().clone(),
        );
        let expected = json!({
            "f:a": { ".": {}, "f:x": {} }, "f:b": { ".": {}, "f:c": {} }, "f:d": {},
        });
        assert_eq!(into, expected);
    }
}
