//! The cluster, and what binds roles to its service accounts.

use aws_sdk_eks::types::{AddonStatus, ComputeConfigResponse};
use installer_engine::{EffectError, ErrorKind};

use crate::account::Account;
use crate::error::{code, failed};
use crate::facts::{AgentFact, AssociationFact, ClusterFact};
use crate::policy::ClusterNames;
use crate::wanted::Wanted;

const ADDON: &str = "eks-pod-identity-agent";
const NOT_FOUND: &str = "ResourceNotFoundException";

impl Account {
    pub(super) async fn cluster(&self, name: &str) -> Result<ClusterFact, EffectError> {
        let operation = format!("look at cluster `{name}`");
        let answer = self.eks.describe_cluster().name(name).send().await;
        let cluster = match &answer {
            Ok(answer) => answer.cluster(),
            Err(error) if code(error) == NOT_FOUND => None,
            Err(error) => return Err(failed("eks:DescribeCluster", &operation, error)),
        };
        let Some(cluster) = cluster else {
            let region = self.eks.config().region().map(ToString::to_string);
            let region = region.unwrap_or_default();
            return Err(EffectError::new(
                ErrorKind::User,
                format!("there is no cluster `{name}` in {region} of this account"),
            ));
        };
        let arn = cluster.arn().unwrap_or_default().to_owned();
        let identity = cluster.identity().and_then(|identity| identity.oidc());
        let auto = cluster
            .compute_config()
            .and_then(ComputeConfigResponse::enabled);
        let agent = match self.addon(name).await? {
            Some(state) => AgentFact::Addon(state.as_str().to_owned()),
            None if auto == Some(true) => AgentFact::AutoMode,
            None => AgentFact::Missing,
        };
        Ok(ClusterFact {
            names: ClusterNames {
                account: arn.split(':').nth(4).unwrap_or_default().to_owned(),
                issuer: identity.and_then(|oidc| oidc.issuer()).map(str::to_owned),
                arn,
            },
            agent,
        })
    }

    async fn addon(&self, cluster: &str) -> Result<Option<AddonStatus>, EffectError> {
        let asked = self
            .eks
            .describe_addon()
            .cluster_name(cluster)
            .addon_name(ADDON);
        match asked.send().await {
            Ok(answer) => Ok(answer.addon().and_then(|addon| addon.status()).cloned()),
            Err(error) if code(&error) == NOT_FOUND => Ok(None),
            Err(error) => {
                let operation = format!("look at add-on {ADDON} of cluster `{cluster}`");
                Err(failed("eks:DescribeAddon", &operation, &error))
            }
        }
    }

    pub(super) async fn association(
        &self,
        wanted: &Wanted,
    ) -> Result<Option<AssociationFact>, EffectError> {
        self.bound(&wanted.cluster, &wanted.namespace, &wanted.service_account)
            .await
    }

    /// What is bound to a service account.
    pub(crate) async fn bound(
        &self,
        cluster: &str,
        namespace: &str,
        service_account: &str,
    ) -> Result<Option<AssociationFact>, EffectError> {
        let operation = format!("look for what binds {namespace}/{service_account} in `{cluster}`");
        let listed = self
            .eks
            .list_pod_identity_associations()
            .cluster_name(cluster)
            .namespace(namespace)
            .service_account(service_account)
            .send()
            .await;
        let listed = match listed {
            Ok(listed) => listed,
            // Said of the cluster, by whoever is asked for it.
            Err(error) if code(&error) == NOT_FOUND => return Ok(None),
            Err(error) => {
                return Err(failed(
                    "eks:ListPodIdentityAssociations",
                    &operation,
                    &error,
                ));
            }
        };
        let found = listed
            .associations()
            .first()
            .and_then(|found| found.association_id());
        let Some(id) = found else {
            return Ok(None);
        };
        let asked = self.eks.describe_pod_identity_association();
        let asked = asked.cluster_name(cluster).association_id(id).send().await;
        let found = match &asked {
            Ok(answer) => answer.association(),
            // Gone since it was listed.
            Err(error) if code(error) == NOT_FOUND => None,
            Err(error) => {
                return Err(failed(
                    "eks:DescribePodIdentityAssociation",
                    &operation,
                    error,
                ));
            }
        };
        Ok(found.map(|found| AssociationFact {
            id: id.to_owned(),
            arn: found.association_arn().unwrap_or_default().to_owned(),
            role: found.role_arn().unwrap_or_default().to_owned(),
            tags: found
                .tags()
                .into_iter()
                .flatten()
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect(),
        }))
    }
}
