//! The role, what it may do, and who may have it.

use std::collections::BTreeMap;

use installer_engine::EffectError;

use crate::account::Account;
use crate::error::{code, failed};
use crate::facts::RoleFact;
use crate::policy::Document;

const NOT_FOUND: &str = "NoSuchEntity";

fn parsed(text: Option<&str>) -> Result<Document, String> {
    Document::parse(text.unwrap_or_default()).map_err(|error| error.to_string())
}

impl Account {
    pub(super) async fn role(&self, name: &str) -> Result<Option<RoleFact>, EffectError> {
        let operation = format!("look at role `{name}`");
        let answer = self.iam.get_role().role_name(name).send().await;
        let role = match &answer {
            Ok(answer) => answer.role(),
            Err(error) if code(error) == NOT_FOUND => None,
            Err(error) => return Err(failed("iam:GetRole", &operation, error)),
        };
        let Some(role) = role else {
            return Ok(None);
        };
        let (inline, attached) = tokio::try_join!(self.inline(name), self.attached(name))?;
        let boundary = role.permissions_boundary();
        let tags = role.tags().iter();
        Ok(Some(RoleFact {
            arn: role.arn().to_owned(),
            path: role.path().to_owned(),
            tags: tags
                .map(|tag| (tag.key().to_owned(), tag.value().to_owned()))
                .collect(),
            trust: parsed(role.assume_role_policy_document()),
            inline,
            attached,
            boundary: boundary
                .and_then(|b| b.permissions_boundary_arn())
                .map(str::to_owned),
        }))
    }

    async fn inline(
        &self,
        role: &str,
    ) -> Result<BTreeMap<String, Result<Document, String>>, EffectError> {
        let operation = format!("read the policies of role `{role}`");
        let mut pages = self
            .iam
            .list_role_policies()
            .role_name(role)
            .into_paginator()
            .send();
        let mut found = BTreeMap::new();
        while let Some(page) = pages.next().await {
            let page = match page {
                Ok(page) => page,
                // Gone since it was looked at.
                Err(error) if code(&error) == NOT_FOUND => break,
                Err(error) => return Err(failed("iam:ListRolePolicies", &operation, &error)),
            };
            for name in page.policy_names() {
                let asked = self.iam.get_role_policy().role_name(role).policy_name(name);
                match asked.send().await {
                    Ok(answer) => {
                        found.insert(name.clone(), parsed(Some(answer.policy_document())));
                    }
                    Err(error) if code(&error) == NOT_FOUND => {}
                    Err(error) => return Err(failed("iam:GetRolePolicy", &operation, &error)),
                }
            }
        }
        Ok(found)
    }

    async fn attached(&self, role: &str) -> Result<Vec<String>, EffectError> {
        let operation = format!("read what is attached to role `{role}`");
        let asked = self.iam.list_attached_role_policies().role_name(role);
        let mut pages = asked.into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = match page {
                Ok(page) => page,
                Err(error) if code(&error) == NOT_FOUND => break,
                Err(error) => {
                    return Err(failed("iam:ListAttachedRolePolicies", &operation, &error));
                }
            };
            let arns = page.attached_policies().iter();
            found.extend(
                arns.filter_map(|policy| policy.policy_arn())
                    .map(str::to_owned),
            );
        }
        found.sort();
        Ok(found)
    }

    pub(super) async fn knows_provider(&self, arn: &str) -> Result<bool, EffectError> {
        let asked = self.iam.get_open_id_connect_provider();
        match asked.open_id_connect_provider_arn(arn).send().await {
            Ok(_) => Ok(true),
            Err(error) if code(&error) == NOT_FOUND => Ok(false),
            Err(error) => {
                let operation = format!("look for identity provider `{arn}`");
                Err(failed("iam:GetOpenIDConnectProvider", &operation, &error))
            }
        }
    }
}
