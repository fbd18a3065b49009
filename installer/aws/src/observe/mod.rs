//! Asks Amazon what is there. Nothing here changes anything.

mod bucket;
mod cluster;
mod role;

use installer_engine::EffectError;

use crate::account::Account;
use crate::error::failed;
use crate::facts::{Caller, Facts};
use crate::policy::provider_arn;
use crate::wanted::Wanted;

impl Account {
    /// Everything that a plan for `wanted` needs to know.
    pub async fn observe(&self, wanted: &Wanted) -> Result<Facts, EffectError> {
        let caller = self.caller().await?;
        let role = wanted.role_name();
        let (cluster, bucket, role, association) = tokio::try_join!(
            self.cluster(&wanted.cluster),
            // Seven questions at once are too large for a stack.
            Box::pin(self.bucket(wanted, &caller.account)),
            self.role(&role),
            self.association(wanted),
        )?;
        let provider = match &cluster.names.issuer {
            Some(issuer) => {
                self.knows_provider(&provider_arn(&caller.partition, &caller.account, issuer))
                    .await?
            }
            None => false,
        };
        Ok(Facts {
            caller,
            cluster,
            bucket,
            role,
            provider,
            association,
        })
    }

    async fn caller(&self) -> Result<Caller, EffectError> {
        let answer = self.sts.get_caller_identity().send().await;
        let answer = answer
            .map_err(|error| failed("sts:GetCallerIdentity", "ask AWS who this is", &error))?;
        Ok(Caller::of(
            answer.account().unwrap_or_default(),
            answer.arn().unwrap_or_default(),
        ))
    }
}
