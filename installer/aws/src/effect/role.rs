//! Changes at roles, and the identity provider of a cluster.

use aws_sdk_iam::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_iam::types::Tag;
use installer_engine::{EffectError, ErrorKind};

use super::Made;
use crate::account::Account;
use crate::error::{code, failed};
use crate::facts::Tags;
use crate::policy::AUDIENCE;
use crate::step::Step;

const THERE: &str = "EntityAlreadyExists";
const NOT_FOUND: &str = "NoSuchEntity";

fn tags(of: &Tags, operation: &str) -> Result<Vec<Tag>, EffectError> {
    let tag = |(key, value): (&String, &String)| Tag::builder().key(key).value(value).build();
    let tags: Result<_, _> = of.iter().map(tag).collect();
    tags.map_err(|error| EffectError::new(ErrorKind::Bug, operation).because(error))
}

/// What was made by an earlier run of the same step, or just now by a try whose answer was lost.
fn done<T, E>(
    answer: Result<T, SdkError<E>>,
    fine: Option<&str>,
    action: &str,
    operation: &str,
) -> Result<(), EffectError>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match answer {
        Ok(_) => Ok(()),
        Err(error) if fine == Some(code(&error)) => Ok(()),
        // IAM does not know everywhere yet what it made a moment ago.
        Err(error) if code(&error) == NOT_FOUND => {
            let mut missing = failed(action, operation, &error);
            missing.kind = ErrorKind::Transient;
            Err(missing)
        }
        Err(error) => Err(failed(action, operation, &error)),
    }
}

impl Account {
    pub(super) async fn change_role(&self, step: &Step) -> Result<Option<Made>, EffectError> {
        let (action, iam) = (step.action(), &self.iam);
        let doing = |what: &str, name: &str| format!("{what} role `{name}`");
        match step {
            Step::MakeProvider { arn, url, tags: of } => {
                let operation = format!("make identity provider `{url}`");
                // IAM looks up by itself what the issuer shows ("Obtain the thumbprint").
                let asked = iam.create_open_id_connect_provider().url(url);
                let asked = asked.client_id_list(AUDIENCE);
                let asked = asked.set_tags(Some(tags(of, &operation)?));
                done(asked.send().await, Some(THERE), action, &operation)?;
                Ok(Some(Made { arn: arn.clone() }))
            }
            Step::MakeRole {
                name,
                path,
                trust,
                boundary,
                tags: of,
            } => {
                let operation = doing("make", name);
                let asked = iam
                    .create_role()
                    .role_name(name)
                    .path(path)
                    .description("What the vault of a camera site may do with its bucket")
                    .assume_role_policy_document(trust.text())
                    .set_permissions_boundary(boundary.clone())
                    .set_tags(Some(tags(of, &operation)?));
                match asked.send().await {
                    Ok(answer) => {
                        let role = answer.role();
                        Ok(role.map(|role| Made {
                            arn: role.arn().to_owned(),
                        }))
                    }
                    Err(error) if code(&error) == THERE => self.role_of(name, of, &operation).await,
                    Err(error) => Err(failed(action, &operation, &error)),
                }
            }
            Step::TagRole { name, tags: of } => {
                let operation = doing("tag", name);
                let asked = iam.tag_role().role_name(name);
                let asked = asked.set_tags(Some(tags(of, &operation)?));
                done(asked.send().await, None, action, &operation).map(|()| None)
            }
            Step::SetTrust { name, trust } => {
                let asked = iam.update_assume_role_policy().role_name(name);
                let answer = asked.policy_document(trust.text()).send().await;
                done(answer, None, action, &doing("say who may have", name)).map(|()| None)
            }
            Step::SetBoundary {
                name,
                boundary: Some(boundary),
            } => {
                let asked = iam.put_role_permissions_boundary().role_name(name);
                let answer = asked.permissions_boundary(boundary).send().await;
                done(answer, None, action, &doing("limit", name)).map(|()| None)
            }
            Step::SetBoundary {
                name,
                boundary: None,
            } => {
                let asked = iam.delete_role_permissions_boundary().role_name(name);
                let answer = asked.send().await;
                done(
                    answer,
                    Some(NOT_FOUND),
                    action,
                    &doing("lift the limit of", name),
                )
                .map(|()| None)
            }
            Step::SetPolicy {
                name,
                policy,
                document,
            } => {
                let asked = iam.put_role_policy().role_name(name).policy_name(policy);
                let answer = asked.policy_document(document.text()).send().await;
                done(
                    answer,
                    None,
                    action,
                    &doing("say what may be done by", name),
                )
                .map(|()| None)
            }
            Step::RemovePolicy { name, policy } => {
                let operation = format!("remove policy `{policy}` of role `{name}`");
                let asked = iam.delete_role_policy().role_name(name).policy_name(policy);
                done(asked.send().await, Some(NOT_FOUND), action, &operation).map(|()| None)
            }
            Step::Detach { name, policy } => {
                let operation = format!("detach `{policy}` of role `{name}`");
                let asked = iam.detach_role_policy().role_name(name).policy_arn(policy);
                done(asked.send().await, Some(NOT_FOUND), action, &operation).map(|()| None)
            }
            Step::RemoveRole { name } => {
                let answer = iam.delete_role().role_name(name).send().await;
                done(answer, Some(NOT_FOUND), action, &doing("remove", name)).map(|()| None)
            }
            _ => Err(EffectError::new(
                ErrorKind::Bug,
                format!("`{step}` is no change at a role"),
            )),
        }
    }

    /// A role is there that was not there when the plan was made: fine if it is the one.
    async fn role_of(
        &self,
        name: &str,
        wanted: &Tags,
        operation: &str,
    ) -> Result<Option<Made>, EffectError> {
        let answer = self.iam.get_role().role_name(name).send().await;
        let answer = answer.map_err(|error| failed("iam:GetRole", operation, &error))?;
        let Some(role) = answer.role() else {
            return Ok(None);
        };
        let carries = |(key, value): (&String, &String)| {
            let mut tags = role.tags().iter();
            tags.any(|tag| tag.key() == key && tag.value() == value)
        };
        if wanted.iter().all(carries) {
            let arn = role.arn().to_owned();
            return Ok(Some(Made { arn }));
        }
        let why = format!("cannot {operation}: somebody else made it meanwhile");
        Err(EffectError::new(ErrorKind::Conflict, why))
    }
}
