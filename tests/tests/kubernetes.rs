//! A site in a real cluster: made, left alone, changed, and taken away level by level.

use e2e::cluster::Cluster;
use e2e::{DEMO, INSTALL};
use serde_json::json;

/// One cluster for all of it: starting one takes longer than what is done in it.
#[test]
fn a_site_lives_in_a_cluster() {
    let cluster = Cluster::start();
    a_site_is_made_hardened_and_then_left_alone(&cluster);
    a_change_touches_what_it_is_about(&cluster);
    what_is_not_ours_is_never_touched(&cluster);
    each_level_of_removal_leaves_what_it_says(&cluster);
}

fn a_site_is_made_hardened_and_then_left_alone(cluster: &Cluster) {
    let site = cluster.site("calm", DEMO);
    let made = site.run(INSTALL).expect(0).json();
    assert_eq!(made["result"], "installed");
    assert_eq!(made["verified"]["codec"], "h264");

    // Nothing changed: nothing is written.
    let version = |name: &str| {
        let found = cluster.get("stakeout-calm", &[name]);
        found["metadata"]["resourceVersion"].to_string()
    };
    let receipt = version("secret/stakeout-receipt");
    let again = site.run(INSTALL).expect(0).json();
    assert_eq!(again["result"], "unchanged");
    assert_eq!(version("secret/stakeout-receipt"), receipt);
    site.run(&["plan"]).expect(0);

    for service in ["vault", "camera-gate", "agent-gate"] {
        let found = cluster.get("stakeout-calm", &[&format!("deployment/{service}")]);
        let pod = &found["spec"]["template"]["spec"];
        assert_eq!(pod["automountServiceAccountToken"], false, "{service}");
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{service}");
        let container = &pod["containers"][0];
        let security = &container["securityContext"];
        assert_eq!(security["readOnlyRootFilesystem"], true, "{service}");
        assert_eq!(
            security["capabilities"]["drop"],
            json!(["ALL"]),
            "{service}"
        );
        assert!(container["image"].as_str().unwrap().contains("@sha256:"));
    }
    let status = site.run(&["status", "--output", "json"]).expect(0).json();
    assert_eq!(status["cameras"][0]["receiving"], true, "{status}");
    site.run(&["doctor"]).expect(0);
    site.run(&["uninstall", "--data", "--yes"]).expect(0);
    assert_eq!(cluster.objects("calm"), Vec::<String>::new());
}

fn a_change_touches_what_it_is_about(cluster: &Cluster) {
    let two = "cameras: [ { name: one, test: scene }, { name: two, test: scene } ]\n\
               storage: { provider: filesystem, quota: 1GiB }\n";
    let site = cluster.site("moves", two);
    site.run(INSTALL).expect(0);
    let pods = || {
        let found = cluster.get("stakeout-moves", &["pods"]);
        let all = found["items"].as_array().unwrap();
        let name = |pod: &serde_json::Value| pod["metadata"]["name"].to_string();
        all.iter().map(name).collect::<Vec<_>>()
    };
    let of = |pods: &[String], service: &str| {
        let mut all = pods.iter();
        all.find(|name| name.contains(service)).cloned()
    };
    let before = pods();
    let third = two.replace(
        "{ name: two, test: scene }",
        "{ name: two, test: scene, record: { longest: 30s } }, { name: three, test: scene }",
    );
    let text = |rest: &str| format!("version: 1\nsite: moves\ntarget: kubernetes\n{rest}");
    site.write_profile(&text(&third));
    site.run(INSTALL).expect(0);
    let after = pods();
    assert_eq!(of(&before, "vault"), of(&after, "vault"));
    assert_eq!(of(&before, "agent-one"), of(&after, "agent-one"));
    assert_ne!(of(&before, "agent-two"), of(&after, "agent-two"));
    assert!(of(&after, "agent-three").is_some());

    // One that is taken out goes, and the others go on.
    site.write_profile(&text(two));
    site.run(INSTALL).expect(0);
    assert!(
        !cluster
            .objects("moves")
            .iter()
            .any(|name| name.contains("three"))
    );
    assert_eq!(of(&before, "vault"), of(&pods(), "vault"));
    site.run(&["uninstall", "--data", "--yes"]).expect(0);
}

fn what_is_not_ours_is_never_touched(cluster: &Cluster) {
    cluster.kubectl(&["create", "namespace", "stakeout-twin"]);
    let site = cluster.site("twin", DEMO);
    let output = site.run(INSTALL).expect(4);
    assert!(output.stdout.contains("foreign-object"), "{output:#?}");
    cluster.kubectl(&["delete", "namespace", "stakeout-twin"]);

    // Somebody's own thing, with labels that were copied from ours.
    site.run(INSTALL).expect(0);
    let found = cluster.get("stakeout-twin", &["deployment/vault"]);
    let installation = found["metadata"]["labels"]["stakeout.installation"]
        .as_str()
        .unwrap();
    cluster.kubectl(&[
        "create",
        "configmap",
        "theirs",
        "--namespace",
        "stakeout-twin",
    ]);
    cluster.kubectl(&[
        "label",
        "configmap",
        "theirs",
        "--namespace",
        "stakeout-twin",
        "stakeout.site=twin",
        "stakeout.service=site",
        &format!("stakeout.installation={installation}"),
    ]);
    site.run(&["uninstall", "--data", "--yes"]).expect(0);
    let left = cluster.get("stakeout-twin", &["configmap/theirs"]);
    assert_eq!(left["metadata"]["name"], "theirs");
    cluster.kubectl(&["delete", "namespace", "stakeout-twin"]);
}

fn each_level_of_removal_leaves_what_it_says(cluster: &Cluster) {
    let site = cluster.site("leaves", DEMO);
    site.run(INSTALL).expect(0);
    let claim = || {
        let found = cluster.get("stakeout-leaves", &["persistentvolumeclaim/vault"]);
        found["metadata"]["uid"].to_string()
    };
    let token = || {
        let found = cluster.get("stakeout-leaves", &["secret/vault"]);
        found["data"]["vault-admin-token.1"].to_string()
    };
    let kept = (claim(), token());
    site.run(&["uninstall", "--yes"]).expect(0);
    let left = cluster.objects("leaves");
    assert!(
        !left.iter().any(|name| name.starts_with("deployment")),
        "{left:?}"
    );
    // It comes back with the same secrets and its footage.
    site.run(INSTALL).expect(0);
    assert_eq!((claim(), token()), kept);
    let status = site.run(&["status", "--output", "json"]).expect(0).json();
    let recordings = status["vault"]["recordings"].as_u64().unwrap();
    assert!(recordings >= 2, "{status}");

    site.run(&["uninstall", "--config", "--yes"]).expect(0);
    assert_eq!(claim(), kept.0);
    site.run(&["uninstall", "--data", "--yes"]).expect(0);
    assert_eq!(cluster.objects("leaves"), Vec::<String>::new());
    let nothing = site.run(&["uninstall", "--yes", "--output", "json"]);
    assert_eq!(nothing.expect(0).json()["result"], "unchanged");
}
