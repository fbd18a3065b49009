//! Changes at what binds a role to a service account.

use installer_engine::{EffectError, ErrorKind};

use super::Made;
use crate::account::Account;
use crate::error::{code, failed};
use crate::step::Step;

impl Account {
    pub(super) async fn change_association(
        &self,
        step: &Step,
    ) -> Result<Option<Made>, EffectError> {
        let (action, eks) = (step.action(), &self.eks);
        match step {
            Step::MakeAssociation {
                cluster,
                namespace,
                service_account,
                role,
                tags,
            } => {
                let operation = format!("bind {namespace}/{service_account} in `{cluster}`");
                let asked = eks
                    .create_pod_identity_association()
                    .cluster_name(cluster)
                    .namespace(namespace)
                    .service_account(service_account)
                    .role_arn(role)
                    .set_tags(Some(tags.clone().into_iter().collect()));
                match asked.send().await {
                    Ok(answer) => {
                        let made = answer.association().and_then(|made| made.association_arn());
                        Ok(made.map(|arn| Made {
                            arn: arn.to_owned(),
                        }))
                    }
                    Err(error) if code(&error) == "ResourceInUseException" => {
                        self.association_of(step, &operation).await
                    }
                    Err(error) => Err(young_role(failed(action, &operation, &error), code(&error))),
                }
            }
            Step::SetAssociation { cluster, id, role } => {
                let operation = format!("bind association `{id}` of `{cluster}`");
                let asked = eks.update_pod_identity_association().cluster_name(cluster);
                let answer = asked.association_id(id).role_arn(role).send().await;
                match answer {
                    Ok(_) => Ok(None),
                    Err(error) => Err(young_role(failed(action, &operation, &error), code(&error))),
                }
            }
            Step::RemoveAssociation { cluster, id } => {
                let asked = eks.delete_pod_identity_association().cluster_name(cluster);
                match asked.association_id(id).send().await {
                    Ok(_) => Ok(None),
                    Err(error) if code(&error) == "ResourceNotFoundException" => Ok(None),
                    Err(error) => {
                        let operation = format!("remove association `{id}` of `{cluster}`");
                        Err(failed(action, &operation, &error))
                    }
                }
            }
            _ => Err(EffectError::new(
                ErrorKind::Bug,
                format!("`{step}` binds nothing"),
            )),
        }
    }

    /// The service account is bound since the plan was made: fine if to the role.
    async fn association_of(
        &self,
        step: &Step,
        operation: &str,
    ) -> Result<Option<Made>, EffectError> {
        let Step::MakeAssociation {
            cluster,
            namespace,
            service_account,
            role,
            ..
        } = step
        else {
            return Ok(None);
        };
        let found = self.bound(cluster, namespace, service_account).await?;
        match found {
            Some(found) if found.role == *role => Ok(Some(Made { arn: found.arn })),
            Some(found) => {
                let why = format!(
                    "cannot {operation}: it is bound to {} meanwhile",
                    found.role
                );
                Err(EffectError::new(ErrorKind::Conflict, why))
            }
            // It is in use and not to be seen yet.
            None => Err(EffectError::new(
                ErrorKind::Transient,
                format!("cannot {operation}"),
            )),
        }
    }
}

/// EKS says that a role is wrong which IAM made a moment ago and does not show everywhere.
fn young_role(mut error: EffectError, code: &str) -> EffectError {
    let about_role = error.source.as_ref().is_some_and(|source| {
        let text = source.to_string().to_lowercase();
        text.contains("role") || text.contains("trust")
    });
    if code == "InvalidParameterException" && about_role {
        error.kind = ErrorKind::Transient;
    }
    error
}
