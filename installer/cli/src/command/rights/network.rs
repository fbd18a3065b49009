//! Whether the network of the cluster keeps to the site's NetworkPolicies.

use installer_kubernetes::{Connection, Path, Reached, try_paths};
use installer_render::docker::VAULT_PORT;
use installer_spec::{Keeper, Profile};
use serde::Serialize;

use crate::error::CommandError;

/// Every cluster has it, and no policy of ours lets anybody there.
const API_SERVER: &str = "kubernetes.default.svc:443";

#[derive(Debug, Serialize)]
pub(super) struct Network {
    /// Absent where nobody could try.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) enforced: Option<bool>,
    pub(super) tried: Vec<Tried>,
}

#[derive(Debug, Serialize)]
pub(super) struct Tried {
    pub(super) from: String,
    pub(super) to: String,
    /// What the policies say.
    pub(super) allowed: bool,
    pub(super) reached: bool,
}

fn paths(profile: &Profile) -> Vec<Path> {
    let from_agent = |to: String, allowed| Path {
        from: "agent".to_owned(),
        program: "stakeout-agent".to_owned(),
        to,
        allowed,
    };
    let vault = (profile.storage.keeper == Keeper::Vault)
        .then(|| from_agent(format!("vault:{VAULT_PORT}"), true));
    let api_server = from_agent(API_SERVER.to_owned(), false);
    vault.into_iter().chain([api_server]).collect()
}

pub(super) async fn look(
    connection: &Connection,
    namespace: &str,
    profile: &Profile,
) -> Result<Network, CommandError> {
    let paths = paths(profile);
    let reached = try_paths(connection, namespace, &paths).await?;
    let tried: Vec<Tried> = paths
        .into_iter()
        .zip(reached)
        .filter(|(_, reached)| *reached != Reached::Untried)
        .map(|(path, reached)| Tried {
            from: path.from,
            to: path.to,
            allowed: path.allowed,
            reached: reached == Reached::Yes,
        })
        .collect();
    Ok(Network {
        enforced: judge(&tried),
        tried,
    })
}

/// One forbidden connection that comes about tells that nothing is enforced. That one does not come
/// about tells something only beside one that does.
fn judge(tried: &[Tried]) -> Option<bool> {
    let forbidden = tried.iter().filter(|one| !one.allowed);
    let mut forbidden = forbidden.peekable();
    forbidden.peek()?;
    if forbidden.any(|one| one.reached) {
        return Some(false);
    }
    let mut allowed = tried.iter().filter(|one| one.allowed);
    allowed.any(|one| one.reached).then_some(true)
}

impl Network {
    /// Allowed connections that do not come about.
    pub(super) fn cut(&self) -> impl Iterator<Item = &Tried> {
        let mut tried = self.tried.iter();
        std::iter::from_fn(move || tried.find(|one| one.allowed && !one.reached))
    }

    /// What is said of it, with its mark.
    pub(super) fn lines(&self) -> Vec<(&'static str, String)> {
        let open = self.tried.iter().find(|one| !one.allowed && one.reached);
        let verdict = match (self.enforced, open) {
            (Some(true), _) => ("ok  ", "network policies are enforced".to_owned()),
            (Some(false), Some(open)) => {
                let words = format!(
                    "network policies are not enforced here: {} reaches {}, which none allows; a \
                     network like Calico or Cilium enforces them",
                    open.from, open.to
                );
                ("warn", words)
            }
            _ => {
                let words = "network policies: nobody could try whether they are enforced; an \
                             agent has to run, and you need the right to create pods/exec";
                ("warn", words.to_owned())
            }
        };
        let cut = self.cut().map(|one| {
            let words = format!("{} does not reach {}, and should", one.from, one.to);
            ("FAIL", words)
        });
        [verdict].into_iter().chain(cut).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(allowed: bool, reached: bool) -> Tried {
        Tried {
            from: "agent".into(),
            to: "there:1".into(),
            allowed,
            reached,
        }
    }

    #[test]
    fn silence_alone_proves_nothing() {
        for (one, other, enforced) in [
            (tried(true, true), tried(false, false), Some(true)),
            (tried(true, true), tried(false, true), Some(false)),
            (tried(true, false), tried(false, false), None),
            (tried(true, true), tried(true, true), None),
        ] {
            assert_eq!(judge(&[one, other]), enforced);
        }
        assert_eq!(judge(&[]), None);
    }

    #[test]
    fn what_should_get_through_and_does_not_is_a_fault() {
        let network = Network {
            enforced: None,
            tried: vec![tried(true, false)],
        };
        let lines = network.lines();
        assert_eq!(lines[1].0, "FAIL");
        assert!(lines[1].1.contains("there:1"), "{lines:?}");
    }
}
