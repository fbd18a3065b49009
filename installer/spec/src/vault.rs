//! The key `vault` as it is written; see `document`.

use schemars::JsonSchema;
use serde::Serialize;

use crate::profile::Vault;

#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "Vault")]
pub(crate) struct VaultDocument {
    /// Vaults at the same time, in a cluster: while one is away, recordings go to another. More than
    /// one share what they keep, so `storage` is an object store and `catalogue` a database.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 9))]
    replicas: u32,
}

fn one() -> u32 {
    Vault::default().replicas
}

impl Default for VaultDocument {
    fn default() -> Self {
        Self::from(Vault::default())
    }
}

impl From<Vault> for VaultDocument {
    fn from(vault: Vault) -> Self {
        Self {
            replicas: vault.replicas,
        }
    }
}
