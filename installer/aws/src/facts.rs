//! What Amazon says is there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::policy::{ClusterNames, Document};

pub type Tags = BTreeMap<String, String>;

/// Whose something is, as its tags say.
pub const SITE_TAG: &str = "stakeout:site";
/// `made` by us, or `adopted`: there before.
pub const MANAGED_TAG: &str = "stakeout:managed";
/// ARN of the cluster for whose site it is.
pub const CLUSTER_TAG: &str = "stakeout:cluster";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub caller: Caller,
    pub cluster: ClusterFact,
    pub bucket: BucketFact,
    pub role: Option<RoleFact>,
    /// The cluster's issuer is known to IAM.
    pub provider: bool,
    /// What is bound to the service account, if anything.
    pub association: Option<AssociationFact>,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub account: String,
    pub arn: String,
    /// `aws`, `aws-cn`, `aws-us-gov`.
    pub partition: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterFact {
    pub names: ClusterNames,
    pub agent: AgentFact,
}

/// Whether something in the cluster hands out Pod Identity's credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentFact {
    /// The add-on, and its state ("ACTIVE").
    Addon(String),
    /// Nodes of Auto Mode bring it.
    AutoMode,
    Missing,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BucketFact {
    Missing,
    /// The name is taken: in another account, or out of our sight.
    Taken,
    Elsewhere {
        region: String,
    },
    Here(Box<BucketState>),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BucketState {
    pub tags: Tags,
    /// All four blocks are on.
    pub blocks_public: bool,
    /// The bucket's owner owns what is in it, and lists of rights at objects mean nothing.
    pub owner_enforced: bool,
    pub encryption: Option<Encryption>,
    pub lifecycle: Vec<LifecycleRule>,
    /// None where there is none; an error's text where it cannot be understood.
    pub policy: Option<Result<Document, String>>,
    pub versioned: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encryption {
    /// Keys of S3's own.
    S3,
    /// ARN of a key of KMS; without one it is the account's own for S3. One data key serves many
    /// objects where `bucket_key` says so, and KMS is asked (and paid) less often.
    Kms {
        key: Option<String>,
        bucket_key: bool,
    },
}

/// A rule of a bucket as far as ours say something; what others say beyond is kept as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifecycleRule {
    pub id: String,
    pub enabled: bool,
    pub prefix: String,
    pub expire_days: Option<u32>,
    /// Versions that something newer replaced.
    pub replaced_days: Option<u32>,
    pub abort_days: Option<u32>,
    /// It says more than this shows.
    pub more: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleFact {
    pub arn: String,
    pub path: String,
    pub tags: Tags,
    pub trust: Result<Document, String>,
    /// Inline policies by name.
    pub inline: BTreeMap<String, Result<Document, String>>,
    /// ARNs of policies that are attached.
    pub attached: Vec<String>,
    pub boundary: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssociationFact {
    pub id: String,
    pub arn: String,
    pub role: String,
    pub tags: Tags,
}

impl Caller {
    /// Reads an ARN of STS or IAM.
    pub fn of(account: &str, arn: &str) -> Self {
        Self {
            account: account.to_owned(),
            arn: arn.to_owned(),
            partition: arn.split(':').nth(1).unwrap_or("aws").to_owned(),
        }
    }
}
