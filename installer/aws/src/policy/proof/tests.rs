use super::*;
use crate::policy::{
    Effect, Statement, bucket_policy, irsa_trust, pod_identity_trust, vault_policy,
};
use crate::wanted::Deletes;
use crate::wanted::tests::wanted;

const ISSUER: &str = "https://oidc.eks.eu-west-1.amazonaws.com/id/ABC";
const PROVIDER: &str =
    "arn:aws:iam::123456789012:oidc-provider/oidc.eks.eu-west-1.amazonaws.com/id/ABC";

fn cluster() -> ClusterNames {
    ClusterNames {
        arn: "arn:aws:eks:eu-west-1:123456789012:cluster/cameras".to_owned(),
        account: "123456789012".to_owned(),
        issuer: Some(ISSUER.to_owned()),
    }
}

/// Every way in which a site may want its bucket.
fn every() -> Vec<Wanted> {
    let mut all = Vec::new();
    for deletes in [Deletes::Vault, Deletes::Bucket] {
        for prefix in [None, Some("sites/one".to_owned())] {
            for key in [
                None,
                Some("arn:aws:kms:eu-west-1:123456789012:key/k".to_owned()),
            ] {
                let mut one = wanted();
                one.deletes = deletes;
                one.bucket.prefix.clone_from(&prefix);
                one.bucket.key = key;
                all.push(one);
            }
        }
    }
    all
}

/// What is answered wrongly by a role with this one document.
fn wrong(document: &Document, questions: &[Question]) -> Vec<String> {
    let identity = std::slice::from_ref(document);
    let rights = Rights {
        identity,
        ..Rights::default()
    };
    let answers = answers(&rights, questions);
    let wrong = answers.into_iter().filter(|answer| !answer.is_right());
    wrong.map(|answer| answer.what).collect()
}

#[test]
fn the_policy_is_what_the_vault_does_and_no_more() {
    for wanted in every() {
        let questions = vault_questions(&wanted, "aws");
        let policy = vault_policy(&wanted, "aws");
        assert_eq!(wrong(&policy, &questions), [""; 0], "{policy}");
        let denied = questions
            .iter()
            .filter(|q| q.expected == Expected::Denied)
            .count();
        assert!(denied > 40, "{denied}");
        // With what the bucket says the vault, which talks TLS, may do as much; others nothing.
        let bucket = bucket_policy(&wanted, "aws");
        let both = |questions: &[Question]| {
            let rights = Rights {
                identity: std::slice::from_ref(&policy),
                boundary: None,
                resource: Some(&bucket),
            };
            answers(&rights, questions)
        };
        assert!(both(&questions).iter().all(Answer::is_right));
        let plain: Vec<_> = questions
            .into_iter()
            .filter(|question| question.request.action.starts_with("s3:"))
            .map(|mut question| {
                question.request.context.remove("aws:securetransport");
                question.request = question.request.with("aws:SecureTransport", "false");
                question
            })
            .collect();
        let found = both(&plain);
        assert!(found.iter().all(|answer| answer.found == Expected::Denied));
    }
}

#[test]
fn the_policy_reads_as_it_does() {
    let text = vault_policy(&wanted(), "aws").text();
    let expected = serde_json::json!({ "Version": "2012-10-17", "Statement": [
        { "Sid": "ListOwn", "Effect": "Allow", "Action": "s3:ListBucket",
          "Resource": "arn:aws:s3:::footage",
          "Condition": { "StringLike": { "s3:prefix": "sites/one/*" } } },
        { "Sid": "UseOwn", "Effect": "Allow",
          "Action": ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:PutObject"],
          "Resource": "arn:aws:s3:::footage/sites/one/*" },
        { "Sid": "FindUnfinished", "Effect": "Allow", "Action": "s3:ListBucketMultipartUploads",
          "Resource": "arn:aws:s3:::footage" },
    ] });
    let found: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(found, expected);
}

#[test]
fn a_policy_wider_by_one_action_is_found() {
    for wanted in every() {
        let questions = vault_questions(&wanted, "aws");
        let policy = vault_policy(&wanted, "aws");
        let bucket = bucket_arn(&wanted, "aws");
        let allowed = vault_actions(&wanted);
        let wider = OFTEN_TOO_MUCH.iter().chain(&OF_ACCOUNT);
        for action in wider.filter(|action| !allowed.contains(action)) {
            let mut wide = policy.clone();
            let more = Statement::new(Effect::Allow, [*action]).on(["*"]);
            wide.statements.push(more);
            assert_ne!(wrong(&wide, &questions), [""; 0], "{action}");
            assert_eq!(
                excess(&policy, &wide),
                [format!("{} on *", action.to_lowercase())]
            );
            assert_ne!(wide, policy);
        }
        // Wider by a resource, a wildcard or a condition that is missing.
        for change in [
            |statement: &mut Statement| statement.resources = ["*".to_owned()].into(),
            |statement: &mut Statement| statement.actions.extend(["s3:*".to_owned()]),
        ] {
            for index in 0..policy.statements.len() {
                let mut wide = policy.clone();
                change(&mut wide.statements[index]);
                assert_ne!(wrong(&wide, &questions), [""; 0], "{wide}");
                assert_ne!(excess(&policy, &wide), [""; 0], "{wide}");
            }
        }
        if wanted.bucket.prefix.is_some() {
            let mut wide = policy.clone();
            wide.statements[0].conditions.clear();
            assert_ne!(wrong(&wide, &questions), [""; 0], "{wide}");
            let mut wide = policy.clone();
            wide.statements[1].resources = [format!("{bucket}/*")].into();
            assert_ne!(wrong(&wide, &questions), [""; 0], "{wide}");
        }
    }
}

#[test]
fn a_policy_narrower_by_one_action_is_found() {
    for wanted in every() {
        let questions = vault_questions(&wanted, "aws");
        for action in vault_actions(&wanted) {
            let mut narrow = vault_policy(&wanted, "aws");
            for statement in &mut narrow.statements {
                statement.actions.remove(action);
            }
            assert_eq!(wrong(&narrow, &questions), [format!("its own: {action}")]);
        }
    }
}

#[test]
fn only_the_service_account_gets_the_role() {
    let wanted = wanted();
    let trust = pod_identity_trust(&wanted, &cluster());
    let questions = pod_identity_questions(&wanted, &cluster());
    assert_eq!(wrong(&trust, &questions), [""; 0]);
    let conditions = trust.statements[0].conditions.clone();
    for (operator, keys) in conditions {
        for key in keys.keys() {
            let mut loose = trust.clone();
            loose.statements[0]
                .conditions
                .get_mut(&operator)
                .unwrap()
                .remove(key);
            assert_ne!(wrong(&loose, &questions), [""; 0], "{key}");
        }
    }

    let trust = irsa_trust(&wanted, PROVIDER, ISSUER);
    let questions = irsa_questions(&wanted, PROVIDER, ISSUER);
    assert_eq!(wrong(&trust, &questions), [""; 0]);
    for key in trust.statements[0].conditions["StringEquals"].keys() {
        let mut loose = trust.clone();
        loose.statements[0]
            .conditions
            .get_mut("StringEquals")
            .unwrap()
            .remove(key);
        assert_ne!(wrong(&loose, &questions), [""; 0], "{key}");
    }
    let mut anybody = trust;
    anybody.statements[0].principals = [("AWS".to_owned(), ["*".to_owned()].into())].into();
    assert_ne!(wrong(&anybody, &questions), [""; 0]);
}
