//! One change at Amazon. A step carries every choice; doing it decides nothing.

use std::fmt;

use serde::Serialize;

use crate::facts::{Encryption, LifecycleRule, Tags};
use crate::policy::Document;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    MakeBucket {
        bucket: String,
        arn: String,
        region: String,
        tags: Tags,
    },
    /// All of the bucket's tags, others' among them.
    TagBucket {
        bucket: String,
        tags: Tags,
    },
    BlockPublic {
        bucket: String,
    },
    EnforceOwner {
        bucket: String,
    },
    Encrypt {
        bucket: String,
        with: Encryption,
    },
    /// Our rules; others' stay. `ours` are the names that we use, so that a rule of ours that is no
    /// longer wanted goes.
    SetLifecycle {
        bucket: String,
        rules: Vec<LifecycleRule>,
        ours: Vec<String>,
    },
    /// The whole document, others' statements among them.
    SetBucketPolicy {
        bucket: String,
        document: Document,
    },
    MakeProvider {
        arn: String,
        url: String,
        tags: Tags,
    },
    MakeRole {
        name: String,
        path: String,
        trust: Document,
        boundary: Option<String>,
        tags: Tags,
    },
    TagRole {
        name: String,
        tags: Tags,
    },
    SetTrust {
        name: String,
        trust: Document,
    },
    SetBoundary {
        name: String,
        boundary: Option<String>,
    },
    SetPolicy {
        name: String,
        policy: String,
        document: Document,
    },
    RemovePolicy {
        name: String,
        policy: String,
    },
    Detach {
        name: String,
        policy: String,
    },
    MakeAssociation {
        cluster: String,
        namespace: String,
        service_account: String,
        role: String,
        tags: Tags,
    },
    SetAssociation {
        cluster: String,
        id: String,
        role: String,
    },
    RemoveAssociation {
        cluster: String,
        id: String,
    },
    RemoveRole {
        name: String,
    },
    /// Objects below the prefix, all versions of them, and uploads that were not ended.
    EmptyBucket {
        bucket: String,
        prefix: String,
    },
    /// What the site's file said of the bucket; a bucket that was there before stays.
    ReleaseBucket {
        bucket: String,
        tags: Tags,
    },
    RemoveBucket {
        bucket: String,
    },
}

/// Every right that a step may need; [`Step::action`] says which needs which.
#[cfg(test)]
pub(crate) const ACTIONS: [&str; 22] = [
    "s3:CreateBucket",
    "s3:PutBucketTagging",
    "s3:PutBucketPublicAccessBlock",
    "s3:PutBucketOwnershipControls",
    "s3:PutEncryptionConfiguration",
    "s3:PutLifecycleConfiguration",
    "s3:PutBucketPolicy",
    "s3:DeleteObject",
    "s3:DeleteBucket",
    "iam:CreateOpenIDConnectProvider",
    "iam:CreateRole",
    "iam:TagRole",
    "iam:UpdateAssumeRolePolicy",
    "iam:PutRolePermissionsBoundary",
    "iam:DeleteRolePermissionsBoundary",
    "iam:PutRolePolicy",
    "iam:DeleteRolePolicy",
    "iam:DetachRolePolicy",
    "iam:DeleteRole",
    "eks:CreatePodIdentityAssociation",
    "eks:UpdatePodIdentityAssociation",
    "eks:DeletePodIdentityAssociation",
];

impl Step {
    /// IAM's name of the right that the step needs.
    pub fn action(&self) -> &'static str {
        match self {
            Self::MakeBucket { .. } => "s3:CreateBucket",
            Self::TagBucket { .. } | Self::ReleaseBucket { .. } => "s3:PutBucketTagging",
            Self::BlockPublic { .. } => "s3:PutBucketPublicAccessBlock",
            Self::EnforceOwner { .. } => "s3:PutBucketOwnershipControls",
            Self::Encrypt { .. } => "s3:PutEncryptionConfiguration",
            Self::SetLifecycle { .. } => "s3:PutLifecycleConfiguration",
            Self::SetBucketPolicy { .. } => "s3:PutBucketPolicy",
            Self::MakeProvider { .. } => "iam:CreateOpenIDConnectProvider",
            Self::MakeRole { .. } => "iam:CreateRole",
            Self::TagRole { .. } => "iam:TagRole",
            Self::SetTrust { .. } => "iam:UpdateAssumeRolePolicy",
            Self::SetBoundary { boundary, .. } => match boundary {
                Some(_) => "iam:PutRolePermissionsBoundary",
                None => "iam:DeleteRolePermissionsBoundary",
            },
            Self::SetPolicy { .. } => "iam:PutRolePolicy",
            Self::RemovePolicy { .. } => "iam:DeleteRolePolicy",
            Self::Detach { .. } => "iam:DetachRolePolicy",
            Self::MakeAssociation { .. } => "eks:CreatePodIdentityAssociation",
            Self::SetAssociation { .. } => "eks:UpdatePodIdentityAssociation",
            Self::RemoveAssociation { .. } => "eks:DeletePodIdentityAssociation",
            Self::RemoveRole { .. } => "iam:DeleteRole",
            Self::EmptyBucket { .. } => "s3:DeleteObject",
            Self::RemoveBucket { .. } => "s3:DeleteBucket",
        }
    }

    /// Footage or what says whose it is goes.
    pub fn loses_data(&self) -> bool {
        matches!(self, Self::EmptyBucket { .. } | Self::RemoveBucket { .. })
    }
}

/// As `show` prints it, behind a `+`, `~` or `-`.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MakeBucket { bucket, region, .. } => {
                write!(f, "+ bucket {bucket} in {region}")
            }
            Self::TagBucket { bucket, .. } => write!(f, "~ bucket {bucket}: its tags"),
            Self::BlockPublic { bucket } => write!(f, "~ bucket {bucket}: no public access"),
            Self::EnforceOwner { bucket } => {
                write!(f, "~ bucket {bucket}: its owner owns what is in it")
            }
            Self::Encrypt { bucket, with } => match with {
                Encryption::S3 => write!(f, "~ bucket {bucket}: encrypted by keys of S3"),
                Encryption::Kms { key, .. } => {
                    let key = key.as_deref().unwrap_or("the account's key");
                    write!(f, "~ bucket {bucket}: encrypted by {key}")
                }
            },
            Self::SetLifecycle { bucket, rules, .. } => {
                let Some(rule) = rules.first() else {
                    return write!(f, "~ bucket {bucket}: without our rule");
                };
                write!(f, "~ bucket {bucket}: ")?;
                match rule.expire_days {
                    Some(days) => write!(f, "objects expire after {days} days, ")?,
                    None => f.write_str("no object expires, ")?,
                }
                let days = rule.abort_days.unwrap_or_default();
                write!(f, "uploads that nobody ends after {days}")
            }
            Self::SetBucketPolicy { bucket, .. } => {
                write!(f, "~ bucket {bucket}: refuses whoever talks without TLS")
            }
            Self::MakeProvider { url, .. } => write!(f, "+ identity provider {url}"),
            Self::MakeRole { name, boundary, .. } => {
                write!(f, "+ role {name}")?;
                match boundary {
                    Some(boundary) => write!(f, " within {boundary}"),
                    None => Ok(()),
                }
            }
            Self::TagRole { name, .. } => write!(f, "~ role {name}: its tags"),
            Self::SetTrust { name, .. } => write!(f, "~ role {name}: who may have it"),
            Self::SetBoundary { name, boundary } => match boundary {
                Some(boundary) => write!(f, "~ role {name}: within {boundary}"),
                None => write!(f, "~ role {name}: without a boundary"),
            },
            Self::SetPolicy { name, policy, .. } => {
                write!(f, "~ role {name}: what it may do ({policy})")
            }
            Self::RemovePolicy { name, policy } => write!(f, "- policy {policy} of role {name}"),
            Self::Detach { name, policy } => write!(f, "- {policy} of role {name}"),
            Self::MakeAssociation {
                cluster,
                namespace,
                service_account,
                ..
            } => {
                write!(
                    f,
                    "+ association of {namespace}/{service_account} in {cluster}"
                )
            }
            Self::SetAssociation { id, role, .. } => write!(f, "~ association {id}: to {role}"),
            Self::RemoveAssociation { id, .. } => write!(f, "- association {id}"),
            Self::RemoveRole { name } => write!(f, "- role {name}"),
            Self::EmptyBucket { bucket, prefix } => {
                write!(f, "- everything in bucket {bucket} below `{prefix}`")
            }
            Self::ReleaseBucket { bucket, .. } => write!(f, "~ bucket {bucket}: ours no more"),
            Self::RemoveBucket { bucket } => write!(f, "- bucket {bucket}"),
        }
    }
}
