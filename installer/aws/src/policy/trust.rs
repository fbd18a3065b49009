//! Who may become a site's role: one service account of one cluster.

use super::document::{Document, Effect, Statement};
use crate::wanted::Wanted;

/// Who lends roles to pods (Amazon EKS User Guide, "Create IAM role with trust policy required by
/// EKS Pod Identity").
pub const POD_IDENTITY: &str = "pods.eks.amazonaws.com";
/// Whom tokens of a cluster have to be meant for (Amazon EKS User Guide, "IAM roles for service
/// accounts").
pub const AUDIENCE: &str = "sts.amazonaws.com";

/// A cluster as roles and tokens name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterNames {
    pub arn: String,
    pub account: String,
    /// URL that is in its tokens.
    pub issuer: Option<String>,
}

/// For EKS Pod Identity. The tags are those that its agent sets for every session, so that another
/// association of the same cluster cannot borrow the role.
pub fn pod_identity_trust(wanted: &Wanted, cluster: &ClusterNames) -> Document {
    let tag = |name: &str| format!("aws:RequestTag/{name}");
    let allow = Statement::new(Effect::Allow, ["sts:AssumeRole", "sts:TagSession"])
        .by("Service", POD_IDENTITY)
        .when("StringEquals", "aws:SourceAccount", &cluster.account)
        .when(
            "StringEquals",
            &tag("kubernetes-namespace"),
            &wanted.namespace,
        )
        .when(
            "StringEquals",
            &tag("kubernetes-service-account"),
            &wanted.service_account,
        )
        .when("ArnEquals", "aws:SourceArn", &cluster.arn);
    Document::new([allow])
}

/// For tokens of the cluster's own issuer, which IAM knows as `provider`.
pub fn irsa_trust(wanted: &Wanted, provider: &str, issuer: &str) -> Document {
    let issuer = issuer_key(issuer);
    let allow = Statement::new(Effect::Allow, ["sts:AssumeRoleWithWebIdentity"])
        .by("Federated", provider)
        .when("StringEquals", &format!("{issuer}:aud"), AUDIENCE)
        .when("StringEquals", &format!("{issuer}:sub"), wanted.subject());
    Document::new([allow])
}

/// An issuer as conditions and ARNs write it: without a scheme.
pub fn issuer_key(issuer: &str) -> &str {
    let bare = issuer.strip_prefix("https://").unwrap_or(issuer);
    bare.trim_end_matches('/')
}

pub fn provider_arn(partition: &str, account: &str, issuer: &str) -> String {
    format!(
        "arn:{partition}:iam::{account}:oidc-provider/{}",
        issuer_key(issuer)
    )
}
