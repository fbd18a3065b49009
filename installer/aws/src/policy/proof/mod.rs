//! That a role may do what the vault does, and nothing beside it: questions, and IAM's answers.
//!
//! A policy that is wider by one action, one key or one bucket answers one of them wrongly.

use serde::Serialize;

use super::document::Document;
use super::evaluate::{Decision, Request, Rights};
use super::trust::{AUDIENCE, ClusterNames, POD_IDENTITY, issuer_key};
use super::vault::{KEY_NEEDS, bucket_arn, vault_actions};
use crate::wanted::Wanted;

/// Actions that somebody who may use a bucket is often given beside what he needs. Whatever else a
/// document allows is found by [`excess`], which needs no list.
const OFTEN_TOO_MUCH: [&str; 17] = [
    "s3:BypassGovernanceRetention",
    "s3:DeleteBucket",
    "s3:DeleteObject",
    "s3:DeleteObjectVersion",
    "s3:GetBucketPolicy",
    "s3:GetObjectVersion",
    "s3:ListBucketVersions",
    "s3:PutBucketAcl",
    "s3:PutBucketPolicy",
    "s3:PutBucketPublicAccessBlock",
    "s3:PutEncryptionConfiguration",
    "s3:PutLifecycleConfiguration",
    "s3:PutObjectAcl",
    "s3:ReplicateObject",
    "s3:RestoreObject",
    "kms:Encrypt",
    "kms:ScheduleKeyDeletion",
];

/// Calls that reach beyond any bucket.
const OF_ACCOUNT: [&str; 9] = [
    "s3:ListAllMyBuckets",
    "s3:CreateBucket",
    "iam:CreateAccessKey",
    "iam:GetRole",
    "iam:ListRoles",
    "iam:PassRole",
    "iam:PutRolePolicy",
    "sts:AssumeRole",
    "ec2:DescribeInstances",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Expected {
    Allowed,
    Denied,
}

/// A request, and whether it has to be allowed.
#[derive(Debug, Clone)]
pub struct Question {
    /// "another prefix: s3:GetObject"
    pub what: String,
    pub request: Request,
    pub expected: Expected,
}

/// A question and its answer, as `rights` shows them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    pub what: String,
    pub action: String,
    pub resource: Option<String>,
    pub expected: Expected,
    pub found: Expected,
}

impl Answer {
    pub fn is_right(&self) -> bool {
        self.expected == self.found
    }
}

/// Puts every question to `rights`.
pub fn answers(rights: &Rights<'_>, questions: &[Question]) -> Vec<Answer> {
    let answer = |question: &Question| Answer {
        what: question.what.clone(),
        action: question.request.action.clone(),
        resource: question.request.resource.clone(),
        expected: question.expected,
        found: match rights.decide(&question.request) {
            Decision::Allowed => Expected::Allowed,
            Decision::Denied | Decision::NotAllowed => Expected::Denied,
        },
    };
    questions.iter().map(answer).collect()
}

/// What the vault has to be allowed, and what it must not be.
pub fn vault_questions(wanted: &Wanted, partition: &str) -> Vec<Question> {
    let bucket = bucket_arn(wanted, partition);
    let (prefix, actions) = (wanted.key_prefix(), vault_actions(wanted));
    let mut questions = Vec::new();
    let mut ask = |what: &str, request: Request, expected| {
        // What no vault says otherwise: it talks TLS.
        let request = request.with("aws:SecureTransport", "true");
        let what = format!("{what}: {}", request.action);
        questions.push(Question {
            what,
            request,
            expected,
        });
    };
    let own = format!("{bucket}/{prefix}gate/1.mp4");
    let listing = |of: &str| Request::new("s3:ListBucket", &bucket).with("s3:prefix", of);
    for action in &actions {
        let request = match *action {
            "s3:ListBucket" => listing(&prefix),
            "s3:ListBucketMultipartUploads" => Request::new(action, &bucket),
            _ if KEY_NEEDS.contains(action) => {
                Request::new(action, wanted.bucket.key.as_deref().unwrap_or_default())
            }
            _ => Request::new(action, &own),
        };
        ask("its own", request, Expected::Allowed);
    }
    if !prefix.is_empty() {
        for action in actions.iter().filter(|action| own_object(action)) {
            let neighbours = [format!("another-{prefix}gate/1.mp4"), "1.mp4".to_owned()];
            for key in neighbours
                .iter()
                .chain([&prefix.trim_end_matches('/').to_owned()])
            {
                let request = Request::new(action, &format!("{bucket}/{key}"));
                ask("another prefix", request, Expected::Denied);
            }
        }
        for of in ["", "another/", prefix.trim_end_matches('/')] {
            ask("another prefix", listing(of), Expected::Denied);
        }
        ask(
            "no prefix",
            Request::new("s3:ListBucket", &bucket),
            Expected::Denied,
        );
    }
    for action in actions.iter().filter(|action| action.starts_with("s3:")) {
        for other in [
            format!("{bucket}-other"),
            format!("arn:{partition}:s3:::other"),
        ] {
            let resource = if own_object(action) {
                format!("{other}/{prefix}1.mp4")
            } else {
                other
            };
            let request = Request::new(action, &resource).with("s3:prefix", &prefix);
            ask("another bucket", request, Expected::Denied);
        }
    }
    for action in KEY_NEEDS {
        let request = Request::new(action, &format!("arn:{partition}:kms:r:1:key/another"));
        ask("another key", request, Expected::Denied);
    }
    for action in OFTEN_TOO_MUCH
        .iter()
        .filter(|action| !actions.contains(action))
    {
        for resource in [&bucket, &own] {
            let request = Request::new(action, resource).with("s3:prefix", &prefix);
            ask("more than it does", request, Expected::Denied);
        }
        if let Some(key) = &wanted.bucket.key {
            ask(
                "more than it does",
                Request::new(action, key),
                Expected::Denied,
            );
        }
    }
    for action in OF_ACCOUNT {
        ask("the account", Request::new(action, "*"), Expected::Denied);
    }
    questions
}

fn own_object(action: &str) -> bool {
    action.starts_with("s3:") && !action.starts_with("s3:List")
}

/// What `found` allows that `wanted` does not say: each statement of its own, action by action.
pub fn excess(wanted: &Document, found: &Document) -> Vec<String> {
    let single = |document: &Document| {
        let mut all = Vec::new();
        for statement in &document.statements {
            let context = (
                &statement.principals,
                &statement.conditions,
                &statement.others,
            );
            let context = format!("{:?} {context:?}", statement.effect).to_lowercase();
            for action in &statement.actions {
                let resources = statement.resources.iter().map(String::as_str);
                let none = statement.resources.is_empty().then_some("the role");
                for resource in resources.chain(none) {
                    all.push((action.to_lowercase(), resource.to_owned(), context.clone()));
                }
            }
            if statement.actions.is_empty() {
                all.push(("everything but".to_owned(), String::new(), context));
            }
        }
        all
    };
    let known = single(wanted);
    let found = single(found).into_iter().filter(|one| !known.contains(one));
    found
        .map(|(action, resource, _)| format!("{action} on {resource}"))
        .collect()
}

/// Who may become the role by Pod Identity, and who must not.
pub fn pod_identity_questions(wanted: &Wanted, cluster: &ClusterNames) -> Vec<Question> {
    let tags = |namespace: &str, account: &str| {
        Request::assume("sts:AssumeRole", "Service", POD_IDENTITY)
            .with("aws:RequestTag/kubernetes-namespace", namespace)
            .with("aws:RequestTag/kubernetes-service-account", account)
    };
    let from = |request: Request, account: &str, arn: &str| {
        request
            .with("aws:SourceAccount", account)
            .with("aws:SourceArn", arn)
    };
    let (namespace, who) = (wanted.namespace.as_str(), wanted.service_account.as_str());
    let (account, arn) = (cluster.account.as_str(), cluster.arn.as_str());
    let ours = from(tags(namespace, who), account, arn);
    let mut session = ours.clone();
    "sts:TagSession".clone_into(&mut session.action);
    let mut service = ours.clone();
    service.principal = Some(("Service".to_owned(), "ec2.amazonaws.com".to_owned()));
    let mut person = ours.clone();
    person.principal = Some(("AWS".to_owned(), format!("arn:aws:iam::{account}:root")));
    let other = "000000000000";
    vec![
        question("the vault", ours, Expected::Allowed),
        question("the vault", session, Expected::Allowed),
        question(
            "another service account",
            from(tags(namespace, "other"), account, arn),
            Expected::Denied,
        ),
        question(
            "another namespace",
            from(tags("other", who), account, arn),
            Expected::Denied,
        ),
        question(
            "another cluster",
            from(tags(namespace, who), account, &format!("{arn}-2")),
            Expected::Denied,
        ),
        question(
            "another account",
            from(tags(namespace, who), other, arn),
            Expected::Denied,
        ),
        question(
            "no session tags",
            from(
                Request::assume("sts:AssumeRole", "Service", POD_IDENTITY),
                account,
                arn,
            ),
            Expected::Denied,
        ),
        question("another service", service, Expected::Denied),
        question("somebody of the account", person, Expected::Denied),
    ]
}

/// Who may become the role with a token of the cluster, and who must not.
pub fn irsa_questions(wanted: &Wanted, provider: &str, issuer: &str) -> Vec<Question> {
    let token = |provider: &str, issuer: &str, audience: &str, subject: &str| {
        Request::assume("sts:AssumeRoleWithWebIdentity", "Federated", provider)
            .with(&format!("{}:aud", issuer_key(issuer)), audience)
            .with(&format!("{}:sub", issuer_key(issuer)), subject)
    };
    let own = wanted.subject();
    let account = format!("system:serviceaccount:{}:other", wanted.namespace);
    let namespace = format!("system:serviceaccount:other:{}", wanted.service_account);
    let (other, other_provider) = (format!("{issuer}2"), format!("{provider}2"));
    let mut assume = token(provider, issuer, AUDIENCE, &own);
    "sts:AssumeRole".clone_into(&mut assume.action);
    vec![
        question(
            "the vault",
            token(provider, issuer, AUDIENCE, &own),
            Expected::Allowed,
        ),
        question(
            "another service account",
            token(provider, issuer, AUDIENCE, &account),
            Expected::Denied,
        ),
        question(
            "another namespace",
            token(provider, issuer, AUDIENCE, &namespace),
            Expected::Denied,
        ),
        question(
            "another audience",
            token(provider, issuer, "kubernetes", &own),
            Expected::Denied,
        ),
        question(
            "another issuer",
            token(&other_provider, &other, AUDIENCE, &own),
            Expected::Denied,
        ),
        question(
            "another issuer's claims",
            token(provider, &other, AUDIENCE, &own),
            Expected::Denied,
        ),
        question("without a token", assume, Expected::Denied),
    ]
}

fn question(what: &str, request: Request, expected: Expected) -> Question {
    let what = format!("{what}: {}", request.action);
    Question {
        what,
        request,
        expected,
    }
}

#[cfg(test)]
mod tests;
