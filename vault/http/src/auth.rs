//! Who asks: an account by its keys, or an administrator by a token.

use axum::http::{HeaderMap, StatusCode, header};
use sha2::{Digest, Sha256};
use vault_api::header::{ACCESS_KEY, SECRET_KEY};

use crate::problem::Refusal;

/// Digests of secrets; the secrets themselves are not kept in memory.
#[derive(Clone)]
pub struct Keys {
    pub account: AccountKeys,
    admin_token: [u8; 32],
}

/// Digests of an account's key pair.
#[derive(Clone)]
pub struct AccountKeys {
    access: [u8; 32],
    secret: [u8; 32],
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(***)")
    }
}

impl std::fmt::Debug for AccountKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AccountKeys(***)")
    }
}

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    Account,
    Admin,
}

impl Keys {
    pub fn new(access_key: &str, secret_key: &str, admin_token: &str) -> Self {
        let account = AccountKeys {
            access: digest(access_key),
            secret: digest(secret_key),
        };
        Self {
            account,
            admin_token: digest(admin_token),
        }
    }

    /// The caller, if it proves who it is.
    pub(crate) fn caller(&self, headers: &HeaderMap) -> Option<Caller> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let bearer = text(header::AUTHORIZATION.as_str()).and_then(|v| v.split_once(' '));
        let bearer = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("Bearer"));
        if bearer.is_some_and(|(_, token)| same(&digest(token), &self.admin_token)) {
            return Some(Caller::Admin);
        }
        let (access, secret) = (text(ACCESS_KEY)?, text(SECRET_KEY)?);
        let access = same(&digest(access), &self.account.access);
        let secret = same(&digest(secret), &self.account.secret);
        (access & secret).then_some(Caller::Account)
    }

    pub(crate) fn require_account(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        match self.caller(headers) {
            Some(Caller::Account) => Ok(()),
            _ => Err(Refusal::new(
                StatusCode::UNAUTHORIZED,
                "storage_account_not_found",
                "the account's keys are wrong or missing",
            )),
        }
    }

    pub(crate) fn require_any(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        self.caller(headers).map(|_| ()).ok_or_else(unauthorized)
    }

    pub(crate) fn require_admin(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        match self.caller(headers) {
            Some(Caller::Admin) => Ok(()),
            _ => Err(unauthorized()),
        }
    }
}

fn unauthorized() -> Refusal {
    let message = "a bearer token is needed";
    Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// Compares digests without telling by its time how far they agree.
fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    a.iter()
        .zip(b)
        .fold(0, |difference, (a, b)| difference | (a ^ b))
        == 0
}
