//! How many vaults there are, and what more than one of them need.

use super::{Checker, Fields};
use crate::keys;
use crate::profile::{
    Access, AccessTls, Catalogue, Keeper, Provider, Storage, TargetChoice, Vault,
};
use crate::tree::{Kind, Node};

const PATH: &str = "vault.replicas";

/// Beyond a few of them the database is what limits a site.
const MOST: u32 = 9;

impl Checker<'_> {
    pub(super) fn vault(&mut self, node: &Node) -> Option<Vault> {
        let fields = self.fields(node, "vault", keys::VAULT)?;
        let replicas = match fields.get("replicas") {
            Some(node) => self.replicas(node)?,
            None => Vault::default().replicas,
        };
        Some(Vault { replicas })
    }

    fn replicas(&mut self, node: &Node) -> Option<u32> {
        let number = match &node.kind {
            Kind::Plain(text) => text.parse::<u32>().ok(),
            _ => None,
        };
        let fine = number.filter(|number| (1..=MOST).contains(number));
        if fine.is_none() {
            let help = format!("write a number from 1 to {MOST}, for example `replicas: 2`");
            self.error(node.at, PATH, "this is no number of vaults", help);
        }
        fine
    }

    /// Several vaults share what they keep and what they note, and nothing else.
    pub(super) fn check_vault(
        &mut self,
        fields: &Fields<'_>,
        vault: Vault,
        target: Option<TargetChoice>,
        (storage, catalogue, access): (Option<&Storage>, Option<&Catalogue>, Option<&Access>),
    ) {
        let mut error = |message: &str, help: &str| {
            self.error(fields.key_place("vault"), PATH, message, help);
        };
        if storage.is_some_and(|storage| storage.keeper == Keeper::Agent) {
            if fields.has("vault") {
                error(
                    "`storage.keeper: agent` leaves the vault out",
                    "write `keeper: vault`, or take `vault` out",
                );
            }
            return;
        }
        if vault.replicas == 1 {
            return;
        }
        if matches!(target, Some(TargetChoice::Host | TargetChoice::Docker)) {
            error(
                "several vaults are for clusters, and `target` says otherwise: on one machine they \
                 would go down together",
                "write `target: kubernetes`, or `replicas: 1`",
            );
        }
        if storage.is_some_and(|storage| storage.provider == Provider::Filesystem) {
            error(
                "several vaults share their recordings, and those in files are one vault's alone",
                "write `storage: { provider: minio }` or `provider: s3`, or `replicas: 1`",
            );
        }
        if catalogue == Some(&Catalogue::Sqlite) {
            error(
                "several vaults share their catalogue, and `sqlite` is a file of one vault's",
                "write `catalogue: { mongodb: deploy }` or name a database, or `replicas: 1`",
            );
        }
        if access.is_some_and(|access| matches!(access.tls, AccessTls::Acme(_))) {
            error(
                "an ACME authority proves a name by asking one vault, and its question may reach \
                 another",
                "write `tls: { cert_manager: { issuer: NAME } }`, give a certificate of your own, \
                 or `replicas: 1`",
            );
        }
    }
}
