use camino::Utf8Path;
use serde_json::json;

use super::*;

fn object(name: &str, labels: &[(&str, &str)], manager: &str, data: &Value) -> Value {
    let labels: BTreeMap<_, _> = labels.iter().copied().collect();
    json!({
        "metadata": {
            "name": name, "uid": "u", "labels": labels,
            "managedFields": [{
                "manager": manager, "operation": "Apply",
                "fieldsV1": { "f:data": { "f:a": {} } },
            }],
        },
        "data": data,
    })
}

fn site() -> Site<'static> {
    Site {
        installation: Some("1".to_owned()),
        ..Site::new("s")
    }
}

const OURS: [(&str, &str); 2] = [(label::SITE, "s"), (label::INSTALLATION, "1")];

#[test]
fn only_what_we_applied_under_our_labels_is_ours() {
    let ownership = |labels: &[(&str, &str)], manager| {
        let object = object("a", labels, manager, &json!({}));
        site().fact(Kind::ConfigMap, &object).unwrap().ownership
    };
    assert_eq!(ownership(&OURS, FIELD_MANAGER), Ownership::Ours);
    for (labels, manager, sign) in [
        (&[][..], FIELD_MANAGER, "no label of ours"),
        (&[(label::SITE, "s")], FIELD_MANAGER, "another installation"),
        (&OURS, "kubectl", "not from `stakeout`"),
    ] {
        let found = ownership(labels, manager);
        assert!(
            matches!(&found, Ownership::Foreign(said) if said.contains(sign)),
            "{found:?}"
        );
    }
}

#[test]
fn values_and_certificates_are_read_from_what_is_ours() {
    let mut site = site();
    let data = json!({ "vault-admin.1": "b2xk", "vault-admin.2": "bmV3", "a": "eA==" });
    site.read_item(Kind::Secret, &object("vault", &OURS, FIELD_MANAGER, &data));
    let data = json!({ "vault-admin.3": "bm90IG91cnM=" });
    site.read_item(Kind::Secret, &object("other", &OURS, "kubectl", &data));
    let data = json!({ "tls.crt": "Yw==", "tls.key": "aw==" });
    site.read_item(
        Kind::Secret,
        &object("vault-tls", &OURS, FIELD_MANAGER, &data),
    );
    let data = json!({ "ca.crt": "c" });
    site.read_item(Kind::ConfigMap, &object(TRUST, &OURS, FIELD_MANAGER, &data));
    let values: Vec<_> = site
        .values
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    assert_eq!(values, ["vault-admin.1=old", "vault-admin.2=new"]);
    let paths: Vec<_> = site.texts.keys().collect();
    let expected = ["tls/trust/ca.crt", "tls/vault/tls.crt", "tls/vault/tls.key"];
    assert_eq!(paths, expected.map(Utf8Path::new));
}

#[test]
fn the_receipt_is_no_object_of_the_site() {
    let mut site = site();
    site.read_item(
        Kind::Secret,
        &object(RECEIPT, &OURS, FIELD_MANAGER, &json!({})),
    );
    assert!(site.objects.is_empty());
}

#[test]
fn what_we_say_and_what_others_say_is_told_apart() {
    let mut object = object("a", &OURS, FIELD_MANAGER, &json!({ "a": "1", "b": "2" }));
    let entries = object["metadata"]["managedFields"].as_array_mut().unwrap();
    entries.push(json!({
        "manager": "kubectl-edit", "operation": "Update", "time": "t",
        "fieldsV1": { "f:data": { "f:b": {} } },
    }));
    let fact = site().fact(Kind::ConfigMap, &object).unwrap();
    let said = json!({ "data": { "a": "1" } });
    assert_eq!(fact.applied, Some(applied_digest(Kind::ConfigMap, &said)));
    assert_eq!(fact.shared, ["`kubectl-edit` set data.b (t)"]);
    assert!(!fact.ending && !fact.ready);
}
