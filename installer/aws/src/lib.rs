//! A site's bucket at Amazon, the role that may use it, and nothing wider.
//!
//! Invariant: what does not carry the site's mark is never changed or deleted, and nothing here
//! holds a key of anybody. It must not know the cluster's objects. Start at [`plan()`].

mod account;
mod effect;
mod error;
mod facts;
mod lifecycle;
mod observe;
mod plan;
pub mod policy;
mod step;
mod wanted;

pub use account::{Account, Connection};
pub use effect::Made;
pub use facts::{
    AgentFact, AssociationFact, BucketFact, BucketState, CLUSTER_TAG, Caller, ClusterFact,
    Encryption, Facts, LifecycleRule, MANAGED_TAG, RoleFact, SITE_TAG, Tags,
};
pub use plan::{Binding, Chosen, Holdings, Level, Plan, Refusal, Removal, plan, removal};
pub use step::Step;
pub use wanted::{Deletes, POLICY, ROLE_PATH, Wanted, WantedBinding, WantedBucket};
