//! Who may do what: documents of IAM, what they allow, and the narrowest ones for a site.

mod document;
mod evaluate;
mod installer;
mod proof;
mod trust;
mod vault;

pub use document::{Conditions, Document, DocumentError, Effect, Statement, Words};
pub use evaluate::{Decision, Request, Rights};
pub use installer::{Task, installer_policy};
pub use proof::{
    Answer, Expected, Question, answers, excess, irsa_questions, pod_identity_questions,
    vault_questions,
};
pub use trust::{
    AUDIENCE, ClusterNames, POD_IDENTITY, irsa_trust, issuer_key, pod_identity_trust, provider_arn,
};
pub use vault::{PLAIN, bucket_arn, bucket_policy, vault_actions, vault_policy};
