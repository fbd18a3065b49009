use installer_plan::kubernetes::{FIELD_MANAGER, applied_digest};
use installer_render::kubernetes::Kind;
use serde_json::json;

use super::*;

/// A live object with `fields` as those that we have applied.
fn live(mut object: Value, fields: &Value) -> Value {
    let entry = json!({
        "manager": FIELD_MANAGER, "operation": "Apply", "apiVersion": "v1",
        "time": "2026-11-21T17:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": fields,
    });
    object["metadata"]["managedFields"] = json!([entry]);
    object
}

fn other(object: &mut Value, manager: &str, subresource: &str, fields: &Value) {
    let entry = json!({
        "manager": manager, "operation": "Update", "subresource": subresource,
        "time": "2026-11-21T18:00:00Z", "fieldsV1": fields,
    });
    let entries = object["metadata"]["managedFields"].as_array_mut().unwrap();
    entries.push(entry);
}

fn ours(object: &Value) -> Value {
    applied(object, FIELD_MANAGER).unwrap()
}

#[test]
fn what_was_applied_is_found_again_among_defaults_and_status() {
    let said = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "a", "namespace": "n", "labels": { "stakeout.site": "s" } },
        "spec": {
            "replicas": 1,
            "selector": { "matchLabels": { "app": "a" } },
            "template": { "spec": {
                "containers": [{
                    "name": "agent",
                    "image": "i@sha256:0",
                    "args": ["run", "--all"],
                    "ports": [
                        { "containerPort": 80, "name": "http" },
                        { "containerPort": 80, "protocol": "UDP" },
                    ],
                    "volumeMounts": [{ "mountPath": "/data", "name": "data" }],
                }],
                "volumes": [
                    { "name": "data", "emptyDir": {} },
                    { "name": "all", "projected": { "sources": [
                        { "secret": { "name": "x", "items": [{ "key": "a", "path": "a" }] } },
                    ] } },
                ],
            } },
        },
    });
    let object = json!({
        "metadata": {
            "name": "a", "namespace": "n", "uid": "u", "generation": 3,
            "labels": { "stakeout.site": "s", "other": "x" },
            "annotations": { "deployment.kubernetes.io/revision": "1" },
        },
        "spec": {
            "replicas": 1, "revisionHistoryLimit": 10,
            "selector": { "matchLabels": { "app": "a" } },
            "template": { "metadata": { "creationTimestamp": null }, "spec": {
                "dnsPolicy": "ClusterFirst",
                "containers": [
                    { "name": "injected", "image": "j" },
                    {
                        "name": "agent", "image": "i@sha256:0", "imagePullPolicy": "IfNotPresent",
                        "args": ["run", "--all"],
                        "ports": [
                            { "containerPort": 80, "name": "http", "protocol": "TCP" },
                            { "containerPort": 80, "protocol": "UDP" },
                        ],
                        "volumeMounts": [
                            { "mountPath": "/data", "name": "data" },
                            { "mountPath": "/more", "name": "more" },
                        ],
                    },
                ],
                "volumes": [
                    { "name": "data", "emptyDir": {} },
                    { "name": "all", "projected": { "defaultMode": 420, "sources": [
                        { "secret": { "name": "x", "items": [{ "key": "a", "path": "a" }] } },
                    ] } },
                ],
            } },
        },
        "status": { "replicas": 1 },
    });
    let fields = json!({
        "f:metadata": { "f:labels": { "f:stakeout.site": {} } },
        "f:spec": {
            "f:replicas": {},
            "f:selector": {},
            "f:template": { "f:spec": {
                "f:containers": { "k:{\"name\":\"agent\"}": {
                    ".": {}, "f:name": {}, "f:image": {}, "f:args": {},
                    "f:ports": {
                        "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {
                            ".": {}, "f:containerPort": {}, "f:name": {},
                        },
                        "k:{\"containerPort\":80,\"protocol\":\"UDP\"}": {
                            ".": {}, "f:containerPort": {}, "f:protocol": {},
                        },
                    },
                    "f:volumeMounts": { "k:{\"mountPath\":\"/data\"}": {
                        ".": {}, "f:mountPath": {}, "f:name": {},
                    } },
                } },
                "f:volumes": {
                    "k:{\"name\":\"all\"}": {
                        ".": {}, "f:name": {}, "f:projected": { "f:sources": {} },
                    },
                    "k:{\"name\":\"data\"}": { ".": {}, "f:emptyDir": {}, "f:name": {} },
                },
            } },
        },
    });
    let object = live(object, &fields);
    assert_eq!(
        applied_digest(Kind::Deployment, &ours(&object)),
        applied_digest(Kind::Deployment, &said)
    );
}

#[test]
fn a_changed_value_and_a_taken_field_are_seen() {
    let fields = json!({ "f:spec": { "f:replicas": {}, "f:paused": {} } });
    let found = ours(&live(
        json!({ "metadata": {}, "spec": { "replicas": 5 } }),
        &fields,
    ));
    assert_eq!(found, json!({ "spec": { "replicas": 5 } }));
    let fields = json!({ "f:spec": { "f:paused": {} } });
    let found = ours(&live(
        json!({ "metadata": {}, "spec": { "replicas": 5 } }),
        &fields,
    ));
    assert_eq!(found, json!({ "spec": {} }));
}

#[test]
fn sets_hold_our_items_in_their_order() {
    let object = json!({ "metadata": { "finalizers": ["c", "a", "b"] } });
    let fields =
        json!({ "f:metadata": { "f:finalizers": { ".": {}, "v:\"a\"": {}, "v:\"c\"": {} } } });
    assert_eq!(
        ours(&live(object, &fields)),
        json!({ "metadata": { "finalizers": ["c", "a"] } })
    );
}

#[test]
fn items_by_place_and_maps_of_whatever_name() {
    let object = json!({ "metadata": {}, "data": { "a.b": "x", "c": "y" }, "list": [1, 2] });
    let fields = json!({ "f:data": { "f:a.b": {} }, "f:list": { "i:1": {} } });
    assert_eq!(
        ours(&live(object, &fields)),
        json!({ "data": { "a.b": "x" }, "list": [2] })
    );
}

#[test]
fn an_empty_map_stays_empty_when_others_fill_it() {
    let object = json!({ "metadata": { "annotations": { "x": "y" } } });
    let fields = json!({ "f:metadata": { "f:annotations": {} } });
    let mut object = live(object, &fields);
    // An atomic one is ours as a whole.
    assert_eq!(
        ours(&object),
        json!({ "metadata": { "annotations": { "x": "y" } } })
    );
    let theirs = json!({ "f:metadata": { "f:annotations": { "f:x": {} } } });
    other(&mut object, "kubectl", "", &theirs);
    assert_eq!(ours(&object), json!({ "metadata": { "annotations": {} } }));
}

#[test]
fn secrets_that_are_kept_do_not_count() {
    let said = json!({ "kind": "Secret", "data": { "vault-admin.1": null, "b": "Yg==" } });
    let object = json!({ "metadata": {}, "data": { "vault-admin.1": "c2VjcmV0", "b": "Yg==" } });
    let fields = json!({ "f:data": { "f:vault-admin.1": {}, "f:b": {} } });
    assert_eq!(
        applied_digest(Kind::Secret, &ours(&live(object, &fields))),
        applied_digest(Kind::Secret, &said)
    );
}

#[test]
fn nothing_is_found_where_nothing_was_applied() {
    let mut object = live(json!({ "metadata": {} }), &json!({}));
    object["metadata"]["managedFields"][0]["operation"] = json!("Update");
    assert_eq!(applied(&object, FIELD_MANAGER), None);
    assert!(!has_applied(&object, FIELD_MANAGER));
    assert_eq!(applied(&json!({ "metadata": {} }), FIELD_MANAGER), None);
}

#[test]
fn others_are_named_with_their_fields_and_the_cluster_is_not() {
    let mut object = live(
        json!({ "metadata": {} }),
        &json!({ "f:spec": { "f:replicas": {} } }),
    );
    let status = json!({ "f:status": { "f:replicas": {} } });
    other(&mut object, "kube-controller-manager", "status", &status);
    let revision = json!({ "f:metadata": { "f:annotations": { ".": {}, "f:r": {} } } });
    other(&mut object, "kube-controller-manager", "", &revision);
    let scale = json!({ "f:spec": { "f:replicas": {} } });
    other(&mut object, "kube-controller-manager", "scale", &scale);
    let env = json!({ "f:spec": { "f:containers": { "k:{\"name\":\"agent\"}": {
        "f:env": { ".": {}, "k:{\"name\":\"A\"}": { ".": {}, "f:name": {}, "f:value": {} } },
        "f:name": {}, "f:image": {}, "f:stdin": {}, "f:tty": {},
    } } } });
    other(&mut object, "kubectl-edit", "", &env);
    assert_eq!(
        shared(&object, FIELD_MANAGER),
        [
            "`kube-controller-manager` set spec.replicas (2026-11-21T18:00:00Z)",
            "`kubectl-edit` set spec.containers[agent].env[A].value, spec.containers[agent].image, \
             spec.containers[agent].stdin and 1 more (2026-11-21T18:00:00Z)",
        ]
    );
}

#[test]
fn who_has_a_key_is_told() {
    let mut object = live(
        json!({ "metadata": {} }),
        &json!({ "f:data": { "f:a": {} } }),
    );
    let theirs = json!({ "f:data": { ".": {}, "f:a": {}, "f:b": {}, "f:c": {} } });
    other(&mut object, "kubectl-patch", "", &theirs);
    let held = holders(&object, FIELD_MANAGER, &["b", "a", "x"]);
    let held: Vec<_> = held.iter().map(ToString::to_string).collect();
    assert_eq!(
        held,
        [
            "`data.b` is of `kubectl-patch` since 2026-11-21T18:00:00Z",
            "`data.a` is of `kubectl-patch` since 2026-11-21T18:00:00Z",
        ]
    );
}

#[test]
fn who_changed_last_what_pods_are_made_from_says_when() {
    let template = json!({ "f:spec": { "f:template": { "f:spec": {} } } });
    let mut object = live(json!({ "metadata": {} }), &template);
    let path = ["spec", "template"];
    assert_eq!(changed(&object, &path), Some("2026-11-21T17:00:00Z"));
    other(
        &mut object,
        "kubectl",
        "scale",
        &json!({ "f:spec": { "f:replicas": {} } }),
    );
    assert_eq!(changed(&object, &path), Some("2026-11-21T17:00:00Z"));
    other(&mut object, "kubectl-rollout", "", &template);
    assert_eq!(changed(&object, &path), Some("2026-11-21T18:00:00Z"));
    assert_eq!(changed(&object, &["data"]), None);
}
