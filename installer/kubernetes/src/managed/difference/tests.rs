use installer_plan::kubernetes::FIELD_MANAGER;
use serde_json::json;

use super::*;

fn entry(manager: &str, operation: &str, time: &str, fields: &Value) -> Value {
    json!({ "manager": manager, "operation": operation, "time": time, "fieldsV1": fields })
}

fn lines(kind: Kind, live: &Value, next: &Value) -> Vec<String> {
    let found = differences(kind, live, next, FIELD_MANAGER);
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn a_field_is_told_with_who_changed_it_and_when() {
    let said = json!({ "f:spec": {
        "f:replicas": {},
        "f:template": { "f:spec": { "f:containers": { "k:{\"name\":\"agent\"}": {
            ".": {}, "f:name": {}, "f:image": {},
            "f:ports": { "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": { "f:name": {} } },
        } } } },
    } });
    let object = |replicas: u32, image: &str, port: &str, managed: Value| {
        json!({
            "metadata": { "name": "a", "resourceVersion": replicas.to_string(), "managedFields": managed },
            "spec": { "replicas": replicas, "template": { "spec": { "containers": [
                { "name": "injected", "image": "j" },
                { "name": "agent", "image": image, "ports": [
                    { "containerPort": 80, "protocol": "TCP", "name": port },
                ] },
            ] } } },
            "status": { "replicas": replicas },
        })
    };
    let live = object(
        3,
        "old",
        "web",
        json!([
            entry(
                "kubectl-edit",
                "Update",
                "2026-11-21T20:00:00Z",
                &json!({ "f:spec": { "f:replicas": {} } })
            ),
            entry(
                "other",
                "Update",
                "2026-11-21T19:00:00Z",
                &json!({ "f:spec": { "f:replicas": {} } })
            ),
            entry(
                "kube-controller-manager",
                "Update",
                "2026-11-21T21:00:00Z",
                &json!({ "f:spec": { "f:replicas": {} } })
            ),
            entry(FIELD_MANAGER, "Apply", "2026-11-21T18:00:00Z", &said),
        ]),
    );
    let next = object(
        1,
        "new",
        "http",
        json!([entry(FIELD_MANAGER, "Apply", "2026-11-21T22:00:00Z", &said)]),
    );
    assert_eq!(
        lines(Kind::Deployment, &live, &next),
        [
            "spec.replicas: 3 → 1, changed by `kubectl-edit` 2026-11-21T20:00:00Z",
            "spec.template.spec.containers[agent].image: old → new",
            "spec.template.spec.containers[agent].ports[80/TCP].name: web → http",
        ]
    );
    assert_eq!(lines(Kind::Deployment, &live, &live), [""; 0]);
}

#[test]
fn values_of_secrets_are_never_shown() {
    let live = json!({ "data": { "token.1": "b2xk", "plain": "x" }, "type": "Opaque" });
    let next = json!({ "data": { "token.1": "bmV3" }, "type": "Opaque" });
    let told = lines(Kind::Secret, &live, &next);
    assert_eq!(
        told,
        [
            "data.plain: another value, which is not shown",
            "data.token.1: another value, which is not shown",
        ]
    );
    let env =
        |value: &str| json!({ "spec": { "env": [{ "name": "DB_PASSWORD", "value": value }] } });
    let tree =
        json!({ "f:spec": { "f:env": { "k:{\"name\":\"DB_PASSWORD\"}": { "f:value": {} } } } });
    let mut live = env("hunter2");
    live["metadata"]["managedFields"] = json!([entry("kubectl-set", "Update", "t", &tree)]);
    let told = lines(Kind::Deployment, &live, &env("x")).join("\n");
    assert!(!told.contains("hunter2"), "{told}");
    // Nor where the whole variable, or the whole list, is what differs.
    for next in [json!({ "spec": { "env": [] } }), json!({ "spec": {} })] {
        let told = lines(Kind::Deployment, &live, &next).join("\n");
        assert!(
            told.contains("spec.env") && !told.contains("hunter2"),
            "{told}"
        );
    }
}

#[test]
fn long_texts_are_told_from_where_they_differ() {
    let image = |digest: char| {
        format!(
            "registry.example/stakeout/agent@sha256:{}",
            digest.to_string().repeat(64)
        )
    };
    let object = |image: String, text: &str| json!({ "spec": image, "data": { "a.json": text } });
    let live = object(image('0'), "{\n  \"a\": 1,\n  \"b\": 2\n}");
    let next = object(image('1'), "{\n  \"a\": 1,\n  \"b\": 3\n}\nmore");
    let told = lines(Kind::ConfigMap, &live, &next);
    assert_eq!(told[0], "data.a.json:   \"b\": 2 →   \"b\": 3");
    assert!(
        told[1].starts_with("spec: …@sha256:00") && told[1].contains("→ …@sha256:11"),
        "{told:?}"
    );
    let (none, some) = brief(Some("a".into()), Some("a\nb".into()));
    assert_eq!((none.as_deref(), some.as_deref()), (Some(""), Some("b")));
}

#[test]
fn a_secret_is_filled_with_what_lies_there() {
    let manifest = json!({ "data": { "a.1": null, "b.1": null, "c": "x" } });
    let live = json!({ "data": { "a.1": "kept" } });
    assert_eq!(
        filled(&manifest, &live)["data"],
        json!({ "a.1": "kept", "b.1": "", "c": "x" })
    );
}
