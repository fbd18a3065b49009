//! What whoever applies a site has to be allowed, and no more.

use super::document::{Document, Effect, Statement};
use super::trust::{ClusterNames, POD_IDENTITY, provider_arn};
use super::vault::bucket_arn;
use crate::wanted::{ROLE_PATH, Wanted};

/// What is asked before a plan is drawn.
const BUCKET_READS: [&str; 9] = [
    "s3:GetBucketOwnershipControls",
    "s3:GetBucketPolicy",
    "s3:GetBucketPublicAccessBlock",
    "s3:GetBucketTagging",
    "s3:GetBucketVersioning",
    "s3:GetEncryptionConfiguration",
    "s3:GetLifecycleConfiguration",
    // HeadBucket.
    "s3:ListBucket",
    // How much is in it, before it is removed.
    "s3:ListBucketVersions",
];

const BUCKET_WRITES: [&str; 8] = [
    "s3:CreateBucket",
    "s3:PutBucketOwnershipControls",
    "s3:PutBucketPolicy",
    "s3:PutBucketPublicAccessBlock",
    "s3:PutBucketTagging",
    "s3:PutEncryptionConfiguration",
    "s3:PutLifecycleConfiguration",
    // A bucket is marked as it is made.
    "s3:TagResource",
];

const ROLE_READS: [&str; 4] = [
    "iam:GetRole",
    "iam:GetRolePolicy",
    "iam:ListAttachedRolePolicies",
    "iam:ListRolePolicies",
];

/// Whoever could leave the boundary out could give a role everything.
const ROLE_WRITES_IN_BOUNDARY: [&str; 3] = [
    "iam:CreateRole",
    "iam:PutRolePermissionsBoundary",
    "iam:PutRolePolicy",
];

const ROLE_WRITES: [&str; 5] = [
    "iam:DeleteRole",
    "iam:DeleteRolePolicy",
    "iam:DetachRolePolicy",
    "iam:TagRole",
    "iam:UpdateAssumeRolePolicy",
];

const REMOVES_DATA: [&str; 5] = [
    "s3:AbortMultipartUpload",
    "s3:DeleteBucket",
    "s3:DeleteObject",
    "s3:DeleteObjectVersion",
    "s3:ListBucketMultipartUploads",
];

/// What somebody is to be able to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Task {
    /// Look, and draw plans.
    Look,
    /// And apply them, and take role and association away.
    Apply,
    /// And remove footage.
    RemoveData,
}

/// The narrowest policy for `task`, for whoever runs it; `boundary` is the boundary's ARN.
pub fn installer_policy(
    wanted: &Wanted,
    partition: &str,
    cluster: &ClusterNames,
    boundary: Option<&str>,
    task: Task,
) -> Document {
    let account = &cluster.account;
    let role = format!(
        "arn:{partition}:iam::{account}:role{ROLE_PATH}{}",
        wanted.role_name()
    );
    let bucket = bucket_arn(wanted, partition);
    let provider = cluster.issuer.as_ref();
    let provider = provider.map(|issuer| provider_arn(partition, account, issuer));
    let eks =
        |kind: &str, below: &str| cluster.arn.replace(":cluster/", &format!(":{kind}/")) + below;
    let (addon, bound) = (
        eks("addon", "/eks-pod-identity-agent/*"),
        eks("podidentityassociation", "/*"),
    );
    let allow = |sid: &str, actions: &[&str], on: &[&String]| {
        let on = on.iter().map(|arn| (*arn).clone());
        Statement::new(Effect::Allow, actions.iter().copied())
            .named(sid)
            .on(on)
    };
    let mut all = vec![
        allow("SeeBucket", &BUCKET_READS, &[&bucket]),
        allow("SeeRole", &ROLE_READS, &[&role]),
        allow(
            "SeeCluster",
            &["eks:DescribeCluster", "eks:ListPodIdentityAssociations"],
            &[&cluster.arn],
        ),
        allow("SeeAgent", &["eks:DescribeAddon"], &[&addon]),
        allow(
            "SeeBinding",
            &["eks:DescribePodIdentityAssociation"],
            &[&bound],
        ),
    ];
    if let Some(provider) = &provider {
        all.push(allow(
            "SeeIssuer",
            &["iam:GetOpenIDConnectProvider"],
            &[provider],
        ));
    }
    if task >= Task::Apply {
        let mut give = allow("GiveRole", &ROLE_WRITES_IN_BOUNDARY, &[&role]);
        if let Some(boundary) = boundary {
            give = give.when("StringEquals", "iam:PermissionsBoundary", boundary);
        } else {
            all.push(allow(
                "FreeRole",
                &["iam:DeleteRolePermissionsBoundary"],
                &[&role],
            ));
        }
        all.extend([
            allow("KeepBucket", &BUCKET_WRITES, &[&bucket]),
            give,
            allow("KeepRole", &ROLE_WRITES, &[&role]),
            allow("PassRole", &["iam:PassRole"], &[&role]).when(
                "StringEquals",
                "iam:PassedToService",
                POD_IDENTITY,
            ),
            allow(
                "Bind",
                &["eks:CreatePodIdentityAssociation", "eks:TagResource"],
                &[&cluster.arn, &bound],
            ),
            allow(
                "KeepBinding",
                &[
                    "eks:DeletePodIdentityAssociation",
                    "eks:UpdatePodIdentityAssociation",
                ],
                &[&bound],
            ),
        ]);
        if let Some(provider) = &provider {
            let actions = [
                "iam:CreateOpenIDConnectProvider",
                "iam:TagOpenIDConnectProvider",
            ];
            all.push(allow("MakeIssuerKnown", &actions, &[provider]));
        }
    }
    if task >= Task::RemoveData {
        let objects = format!("{bucket}/{}*", wanted.key_prefix());
        all.push(allow("RemoveFootage", &REMOVES_DATA, &[&bucket, &objects]));
    }
    Document::new(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Decision, Request, Rights};
    use crate::wanted::tests::wanted;

    const BOUNDARY: &str = "arn:aws:iam::123456789012:policy/limit";

    fn cluster() -> ClusterNames {
        ClusterNames {
            arn: "arn:aws:eks:eu-west-1:123456789012:cluster/cameras".to_owned(),
            account: "123456789012".to_owned(),
            issuer: Some("https://oidc.eks.eu-west-1.amazonaws.com/id/ABC".to_owned()),
        }
    }

    fn decide(boundary: Option<&str>, task: Task, request: &Request) -> bool {
        let identity = [installer_policy(
            &wanted(),
            "aws",
            &cluster(),
            boundary,
            task,
        )];
        let rights = Rights {
            identity: &identity,
            ..Rights::default()
        };
        rights.decide(request) == Decision::Allowed
    }

    #[test]
    fn who_looks_changes_nothing_and_who_applies_removes_no_footage() {
        let role = "arn:aws:iam::123456789012:role/stakeout/stakeout-cameras-one";
        let object = "arn:aws:s3:::footage/sites/one/a/1.mp4";
        for (action, on, from) in [
            (
                "s3:GetBucketPolicy",
                "arn:aws:s3:::footage",
                Some(Task::Look),
            ),
            (
                "s3:PutBucketPolicy",
                "arn:aws:s3:::footage",
                Some(Task::Apply),
            ),
            ("s3:PutBucketPolicy", "arn:aws:s3:::footage2", None),
            ("s3:DeleteObject", object, Some(Task::RemoveData)),
            (
                "s3:DeleteObject",
                "arn:aws:s3:::footage/sites/two/1.mp4",
                None,
            ),
            ("s3:GetObject", object, None),
            ("s3:PutObject", object, None),
            ("iam:CreateRole", role, Some(Task::Apply)),
            (
                "iam:CreateRole",
                "arn:aws:iam::123456789012:role/admin",
                None,
            ),
            (
                "iam:PutRolePolicy",
                "arn:aws:iam::123456789012:role/stakeout/other",
                None,
            ),
            ("iam:AttachRolePolicy", role, None),
            ("iam:CreateUser", "*", None),
            (
                "eks:UpdateClusterConfig",
                "arn:aws:eks:eu-west-1:123456789012:cluster/cameras",
                None,
            ),
            (
                "eks:DescribeCluster",
                "arn:aws:eks:eu-west-1:123456789012:cluster/other",
                None,
            ),
        ] {
            for task in [Task::Look, Task::Apply, Task::RemoveData] {
                let found = decide(None, task, &Request::new(action, on));
                assert_eq!(
                    found,
                    from.is_some_and(|from| task >= from),
                    "{action} {on} {task:?}"
                );
            }
        }
    }

    #[test]
    fn a_boundary_cannot_be_left_out_or_lifted() {
        let role = "arn:aws:iam::123456789012:role/stakeout/stakeout-cameras-one";
        for action in ROLE_WRITES_IN_BOUNDARY {
            let plain = Request::new(action, role);
            let within = plain.clone().with("iam:PermissionsBoundary", BOUNDARY);
            let other = plain
                .clone()
                .with("iam:PermissionsBoundary", "arn:aws:iam::aws:policy/x");
            let task = Task::RemoveData;
            assert!(decide(Some(BOUNDARY), task, &within), "{action}");
            assert!(!decide(Some(BOUNDARY), task, &plain), "{action}");
            assert!(!decide(Some(BOUNDARY), task, &other), "{action}");
        }
        let lift = Request::new("iam:DeleteRolePermissionsBoundary", role);
        assert!(!decide(Some(BOUNDARY), Task::RemoveData, &lift));
        let pass = Request::new("iam:PassRole", role);
        assert!(!decide(None, Task::Apply, &pass));
        assert!(!decide(
            None,
            Task::Apply,
            &pass.with("iam:PassedToService", "ec2.amazonaws.com")
        ));
    }

    #[test]
    fn every_step_has_its_right() {
        // What steps say that they need is in the list of who applies or removes.
        let policy = installer_policy(&wanted(), "aws", &cluster(), None, Task::RemoveData);
        let mut actions = policy.statements.iter().flat_map(|one| &one.actions);
        for action in crate::step::ACTIONS {
            assert!(actions.clone().any(|one| one == action), "{action}");
        }
        assert!(actions.all(|action| !action.contains('*')));
    }
}
