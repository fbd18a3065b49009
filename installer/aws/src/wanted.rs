//! What a site wants of Amazon, as its profile says it.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Roles of sites lie below this, so that an account can limit who may pass them on.
pub const ROLE_PATH: &str = "/stakeout/";

/// A role's inline policy has this name.
pub const POLICY: &str = "stakeout-vault";

/// "IAM and AWS STS quotas".
const LONGEST_ROLE: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    pub site: String,
    pub region: String,
    pub bucket: WantedBucket,
    /// Below `arn:PARTITION:iam::ACCOUNT:policy/`, or whole: what the role may be allowed at most.
    pub boundary: Option<String>,
    /// The vault deletes what is too old or too much itself, beside the bucket's own rule.
    pub deletes: Deletes,
    pub cluster: String,
    pub namespace: String,
    pub service_account: String,
    pub binding: WantedBinding,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedBucket {
    pub name: String,
    /// Put before every key, without a slash at its end.
    pub prefix: Option<String>,
    /// Objects are gone after so many days; nothing is for ever.
    pub retention_days: Option<u32>,
    /// ARN of the KMS key; S3's own keys if absent.
    pub key: Option<String>,
    /// A bucket that is there and not ours may be used and is told that it is; it is never deleted.
    pub adopt: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deletes {
    /// By the vault, since a site keeps by size, too.
    Vault,
    /// By the bucket's rule alone.
    Bucket,
}

/// How the platform lends the role to the vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WantedBinding {
    /// Pod Identity where its agent runs, else the cluster's own issuer.
    Choose,
    PodIdentity,
    /// IAM roles for service accounts.
    Irsa,
}

impl Wanted {
    /// One role for each site of each cluster; IAM takes 64 characters.
    pub fn role_name(&self) -> String {
        let whole = format!("stakeout-{}-{}", self.cluster, self.site);
        if whole.len() <= LONGEST_ROLE {
            return whole;
        }
        let digest = hex::encode(Sha256::digest(&whole));
        let digest: String = digest.chars().take(8).collect();
        let start: String = whole.chars().take(LONGEST_ROLE - 9).collect();
        format!("{start}-{digest}")
    }

    /// `PREFIX/`, or nothing for the whole bucket.
    pub fn key_prefix(&self) -> String {
        let prefix = self.bucket.prefix.as_deref();
        prefix
            .map(|prefix| format!("{prefix}/"))
            .unwrap_or_default()
    }

    /// Whoever the role is for, as the cluster's tokens name it (Kubernetes, "Service account token
    /// structure").
    pub fn subject(&self) -> String {
        format!(
            "system:serviceaccount:{}:{}",
            self.namespace, self.service_account
        )
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn wanted() -> Wanted {
        Wanted {
            site: "one".to_owned(),
            region: "eu-west-1".to_owned(),
            bucket: WantedBucket {
                name: "footage".to_owned(),
                prefix: Some("sites/one".to_owned()),
                retention_days: Some(30),
                key: None,
                adopt: false,
            },
            boundary: None,
            deletes: Deletes::Vault,
            cluster: "cameras".to_owned(),
            namespace: "stakeout-one".to_owned(),
            service_account: "vault".to_owned(),
            binding: WantedBinding::Choose,
        }
    }

    #[test]
    fn a_role_has_a_name_that_fits_and_is_its_own() {
        assert_eq!(wanted().role_name(), "stakeout-cameras-one");
        let mut one = wanted();
        one.cluster = "c".repeat(90);
        let mut two = one.clone();
        "two".clone_into(&mut two.site);
        assert_eq!(one.role_name().len(), LONGEST_ROLE);
        assert_ne!(one.role_name(), two.role_name());
    }
}
