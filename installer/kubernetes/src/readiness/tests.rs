use serde_json::{Value, json};

use super::*;

fn deployment(name: &str, status: &Value) -> Deployment {
    let mut object = json!({
        "metadata": {
            "name": name, "uid": format!("d-{name}"), "generation": 2,
            "annotations": { "deployment.kubernetes.io/revision": "2" },
        },
        "spec": { "replicas": 1 },
        "status": { "observedGeneration": 2 },
    });
    let known = object["status"].as_object_mut().unwrap();
    known.extend(status.as_object().unwrap().clone());
    serde_json::from_value(object).unwrap()
}

fn well() -> Value {
    json!({ "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1 })
}

fn pod(set: &str, status: &Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": { "ownerReferences": [
            { "uid": set, "name": set, "kind": "ReplicaSet", "apiVersion": "apps/v1" },
        ] },
        "status": status,
    }))
    .unwrap()
}

fn set(name: &str, of: &str, revision: &str) -> ReplicaSet {
    serde_json::from_value(json!({ "metadata": {
        "uid": name,
        "annotations": { "deployment.kubernetes.io/revision": revision },
        "ownerReferences": [
            { "uid": format!("d-{of}"), "name": of, "kind": "Deployment", "apiVersion": "apps/v1" },
        ],
    } }))
    .unwrap()
}

fn waits(reason: &str, message: &str, restarts: i64) -> Value {
    json!({ "containerStatuses": [{
        "restartCount": restarts,
        "state": { "waiting": { "reason": reason, "message": message } },
        "lastState": { "terminated": { "exitCode": 1, "reason": "Error" } },
    }] })
}

fn now() -> Timestamp {
    "2026-11-21T18:00:00Z".parse().unwrap()
}

fn short(state: &State) -> &str {
    match state {
        State::Ready => "ready",
        State::Waiting(reason) | State::Failed(reason) => &reason.short,
    }
}

/// The Deployments `a`, `b`, … with one pod each that has this status.
fn site(statuses: &[Value]) -> (Picture, BTreeSet<String>) {
    let mut picture = Picture::default();
    let mut names = BTreeSet::new();
    for (name, status) in ('a'..).zip(statuses) {
        let name = name.to_string();
        let (deployed, reached) = if status.is_null() {
            (well(), json!({}))
        } else {
            (
                json!({ "replicas": 1, "updatedReplicas": 1 }),
                status.clone(),
            )
        };
        let uid = format!("r-{name}");
        picture.sets.insert(uid.clone(), set(&uid, &name, "2"));
        picture.pods.insert(uid.clone(), pod(&uid, &reached));
        picture
            .deployments
            .insert(name.clone(), deployment(&name, &deployed));
        names.insert(name);
    }
    (picture, names)
}

fn judged(statuses: &[Value]) -> Probe {
    let (picture, names) = site(statuses);
    judge(&picture, &names, &HashMap::new(), Whose::Ours, now())
}

#[test]
fn the_version_before_does_not_count() {
    let newest = deployment("a", &well());
    assert_eq!(rollout(&newest, None), State::Ready);
    let applied = |uid: &str, generation| Applied {
        uid: uid.to_owned(),
        generation,
        ending: None,
    };
    assert_eq!(rollout(&newest, Some(&applied("d-a", 2))), State::Ready);
    assert_eq!(
        short(&rollout(&newest, Some(&applied("d-a", 3)))),
        "not seen yet"
    );
    assert_eq!(
        short(&rollout(&newest, Some(&applied("other", 1)))),
        "not seen yet"
    );
    let mut status = well();
    status["observedGeneration"] = json!(1);
    let lagging = deployment("a", &status);
    assert_eq!(
        short(&rollout(&lagging, None)),
        "not noticed by the cluster yet"
    );
}

#[test]
fn numbers_say_how_far_it_is() {
    let state = |status: Value| rollout(&deployment("a", &status), None);
    assert_eq!(short(&state(json!({}))), "starting");
    assert_eq!(
        short(&state(json!({ "replicas": 1, "updatedReplicas": 1 }))),
        "starting"
    );
    let mut old = well();
    old["replicas"] = json!(2);
    assert_eq!(short(&state(old)), "ending what ran before");
    let late = json!({ "conditions": [
        { "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded" },
    ] });
    assert!(matches!(state(late), State::Failed(_)));
    let refused = json!({ "conditions": [
        { "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota" },
    ] });
    assert_eq!(
        state(refused),
        State::Waiting(Reason::new("FailedCreate", "quota"))
    );
}

#[test]
fn one_line_tells_of_all_and_groups_what_is_the_same() {
    assert_eq!(judged(&[Value::Null, Value::Null]), Probe::Met);
    let pull = waits("ImagePullBackOff", "Back-off pulling image \"x\"", 0);
    let tried = waits("ErrImagePull", "not found", 0);
    assert_eq!(
        judged(&[
            Value::Null,
            pull.clone(),
            tried,
            pull.clone(),
            pull,
            json!({})
        ]),
        Probe::Waiting(
            "1 of 6 ready; 4 ImagePullBackOff (b, c, d and 1 more): Back-off pulling image \"x\"; \
             1 starting (f)"
                .to_owned()
        )
    );
}

#[test]
fn only_what_waiting_cannot_help_has_failed() {
    let few = judged(&[waits("CrashLoopBackOff", "", 2)]);
    let text = "0 of 1 ready; 1 CrashLoopBackOff (a): it ends with code 1 (Error)";
    assert_eq!(few, Probe::Waiting(text.to_owned()));
    let many = judged(&[waits("CrashLoopBackOff", "", 3), json!({})]);
    assert!(matches!(many, Probe::Failed(line) if line.contains("CrashLoopBackOff (a)")));
    // Those of others are given longer.
    let (picture, names) = site(&[waits("CrashLoopBackOff", "", 3)]);
    let probe = judge(&picture, &names, &HashMap::new(), Whose::Others, now());
    assert_eq!(probe, Probe::Waiting(text.to_owned()));
    assert!(matches!(
        judged(&[waits("InvalidImageName", "", 0)]),
        Probe::Failed(_)
    ));
    assert!(matches!(
        judged(&[waits("ContainerCreating", "", 0)]),
        Probe::Waiting(_)
    ));
}

#[test]
fn the_last_line_that_it_has_written_says_why_it_ends() {
    let mut status = waits(
        "CrashLoopBackOff",
        "back-off 40s restarting failed container",
        3,
    );
    let ended = &mut status["containerStatuses"][0]["lastState"]["terminated"];
    ended["exitCode"] = json!(2);
    ended["message"] = json!("starting\nerror: unknown key `frames`\n\n");
    let text = "0 of 1 ready; 1 CrashLoopBackOff (a): it ends with code 2 (Error) error: unknown key \
                `frames`";
    assert_eq!(judged(&[status]), Probe::Failed(text.to_owned()));
}

#[test]
fn a_container_between_two_ends_is_no_better() {
    let ended = json!({ "terminated": { "exitCode": 3, "reason": "Error" } });
    let status = |now: &Value, ready: bool, restarts: i64| {
        json!({ "containerStatuses": [{
            "restartCount": restarts, "ready": ready, "state": now, "lastState": ended,
        }] })
    };
    let running = json!({ "running": {} });
    let text = "0 of 1 ready; 1 CrashLoopBackOff (a): it ends with code 3 (Error)";
    assert_eq!(
        judged(&[status(&running, false, 9)]),
        Probe::Waiting(text.to_owned())
    );
    assert_eq!(
        judged(&[status(&ended, false, 1)]),
        Probe::Waiting(text.to_owned())
    );
    assert_eq!(
        judged(&[status(&ended, false, 5)]),
        Probe::Failed(text.to_owned())
    );
    let ready = Probe::Waiting("0 of 1 ready; 1 starting (a)".to_owned());
    assert_eq!(judged(&[status(&running, true, 9)]), ready);
}

#[test]
fn a_long_message_keeps_its_beginning_and_its_end() {
    let long = format!("pulling {} not found", "x".repeat(300));
    let short = shorten(&long);
    assert_eq!(short.chars().count(), HEAD + 1 + TAIL);
    assert!(short.starts_with("pulling x") && short.ends_with("x not found"));
    assert_eq!(shorten("a\nb"), "a");
}

#[test]
fn a_pod_of_the_version_before_is_not_asked() {
    let (mut picture, names) = site(&[waits("CrashLoopBackOff", "", 9)]);
    picture.sets.insert("r-a".to_owned(), set("r-a", "a", "1"));
    let probe = judge(&picture, &names, &HashMap::new(), Whose::Ours, now());
    assert_eq!(
        probe,
        Probe::Waiting("0 of 1 ready; 1 starting (a)".to_owned())
    );
}

#[test]
fn a_pod_without_a_place_is_told_of_after_a_while() {
    let unplaced = |since: &str| {
        json!({ "conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "0/1 nodes are available", "lastTransitionTime": since,
        }] })
    };
    let early = judged(&[unplaced("2026-11-21T17:59:50Z")]);
    assert_eq!(
        early,
        Probe::Waiting("0 of 1 ready; 1 starting (a)".to_owned())
    );
    let late = judged(&[unplaced("2026-11-21T17:59:30Z")]);
    assert!(matches!(late, Probe::Waiting(line) if line.contains("Unschedulable (a): 0/1 nodes")));
}

#[test]
fn pods_that_may_not_be_made_are_waited_for_only_so_long() {
    let kept = json!({ "conditions": [{
        "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate",
        "message": "pods \"a-1\" is forbidden: exceeded quota: theirs",
        "lastTransitionTime": "2026-11-21T18:00:00Z",
    }] });
    let mut picture = Picture::default();
    let made = deployment("a", &kept);
    picture.deployments.insert("a".to_owned(), made);
    let names = BTreeSet::from(["a".to_owned()]);
    let after = |seconds| {
        let then = now() + jiff::SignedDuration::from_secs(seconds);
        judge(&picture, &names, &HashMap::new(), Whose::Ours, then)
    };
    assert!(matches!(after(20), Probe::Waiting(_)), "{:?}", after(20));
    let Probe::Failed(told) = after(40) else {
        panic!("{:?}", after(40));
    };
    assert!(
        told.contains("FailedCreate") && told.contains("exceeded quota: theirs"),
        "{told}"
    );
}

/// A Deployment of this template, whose controller has written nothing down.
fn uncounted(image: &str) -> Deployment {
    let mut object = json!({
        "metadata": { "name": "a", "uid": "d-a", "generation": 2 },
        "spec": { "replicas": 1, "template": { "metadata": { "labels": { "of": "a" } } } },
    });
    object["spec"]["template"]["spec"]["image"] = json!(image);
    serde_json::from_value(object).unwrap()
}

/// What its controller made of it.
fn made(image: &str, pod: &Value) -> Picture {
    let mut of_template = json!({
        "metadata": {
            "uid": image,
            "ownerReferences": [
                { "uid": "d-a", "name": "a", "kind": "Deployment", "apiVersion": "apps/v1" },
            ],
        },
        "spec": { "template": { "metadata": {
            "labels": { "of": "a", "pod-template-hash": "5f6d" },
        } } },
    });
    of_template["spec"]["template"]["spec"]["image"] = json!(image);
    let mut picture = Picture::default();
    let set = serde_json::from_value(of_template).unwrap();
    picture.sets.insert(image.to_owned(), set);
    picture.pods.insert(image.to_owned(), self::pod(image, pod));
    picture
}

#[test]
fn pods_of_the_newest_template_count_before_their_controller_has_counted_them() {
    let names = BTreeSet::from(["a".to_owned()]);
    let ready = json!({ "conditions": [{ "type": "Ready", "status": "True" }] });
    let probe = |mut picture: Picture, generation| {
        picture.deployments.insert("a".to_owned(), uncounted("new"));
        let applied = Applied {
            uid: "d-a".to_owned(),
            generation,
            ending: None,
        };
        let applied = HashMap::from([("a".to_owned(), applied)]);
        judge(&picture, &names, &applied, Whose::Ours, now())
    };
    let is_met = |picture| probe(picture, 2) == Probe::Met;
    assert!(is_met(made("new", &ready)));
    assert!(!is_met(made("new", &json!({ "phase": "Running" }))));
    assert!(!is_met(made("old", &ready)));
    // It was said anew since, and what is seen is from before.
    assert_ne!(probe(made("new", &ready), 3), Probe::Met);

    let beside = |old: &Value| {
        let mut picture = made("new", &ready);
        let before = made("old", old);
        picture.sets.extend(before.sets);
        picture.pods.extend(before.pods);
        picture
    };
    assert!(!is_met(beside(&json!({ "phase": "Running" }))));
    assert!(is_met(beside(&json!({ "phase": "Failed" }))));

    let mut ending = made("new", &ready);
    let pod = ending.pods.get_mut("new").unwrap();
    pod.metadata.deletion_timestamp =
        serde_json::from_value(json!("2026-11-21T18:00:00Z")).unwrap();
    assert!(!is_met(ending));
}

#[test]
fn who_wants_none_or_a_while_of_readiness_gets_the_controllers_word() {
    let ready = json!({ "conditions": [{ "type": "Ready", "status": "True" }] });
    let mut picture = made("new", &ready);
    for change in [json!({ "replicas": 0 }), json!({ "minReadySeconds": 10 })] {
        let mut deployment = uncounted("new");
        let template = deployment.spec.template;
        deployment.spec = serde_json::from_value(change).unwrap();
        deployment.spec.template = template;
        picture.deployments.insert("a".to_owned(), deployment);
        assert_eq!(running(&picture), BTreeSet::new());
    }
    picture.deployments.insert("a".to_owned(), uncounted("new"));
    assert_eq!(running(&picture), BTreeSet::from(["a"]));
}
