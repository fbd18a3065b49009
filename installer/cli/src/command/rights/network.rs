//! Whether the network of the cluster keeps to the site's NetworkPolicies.

use installer_kubernetes::{Connection, Reached, Suspect, suspects, try_paths};
use installer_render::kubernetes::{Path, paths};
use installer_spec::Profile;
use serde::Serialize;

use crate::error::CommandError;

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
    /// The name of the other end has no address there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    nameless: bool,
    /// Somebody is known to listen there.
    #[serde(skip)]
    heard: bool,
    /// Of one that is not as the policies say: whose policies may be the reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    suspects: Vec<String>,
}

pub(super) async fn look(
    connection: &Connection,
    namespace: &str,
    profile: &Profile,
) -> Result<Network, CommandError> {
    let paths = paths(profile);
    let reached = try_paths(connection, namespace, &paths).await?;
    let tried: Vec<_> = paths.into_iter().zip(reached).collect();
    let tried: Vec<_> = tried
        .into_iter()
        .filter(|(_, reached)| *reached != Reached::Untried)
        .collect();
    let mut network = Network {
        enforced: None,
        tried: tried
            .iter()
            .map(|(path, reached)| Tried::new(path, *reached))
            .collect(),
    };
    network.enforced = judge(&network.tried);
    let (places, wrong): (Vec<_>, Vec<_>) = tried
        .into_iter()
        .enumerate()
        .filter(|(place, _)| network.is_wrong(&network.tried[*place]))
        .unzip();
    let site = profile.site.as_str();
    let found = suspects(connection, namespace, site, &wrong).await?;
    for (place, found) in places.into_iter().zip(found) {
        network.tried[place].suspects = found.iter().map(Suspect::to_string).collect();
    }
    Ok(network)
}

/// A forbidden connection that does not come about tells something only of one who listens: who is
/// reached by somebody else. Where all forbidden ones come about, nothing is enforced.
fn judge(tried: &[Tried]) -> Option<bool> {
    let listens = |one: &Tried| {
        tried
            .iter()
            .any(|other| other.to == one.to && other.reached)
    };
    let mut forbidden = tried.iter().filter(|one| !one.allowed);
    if forbidden.clone().any(|one| !one.reached && listens(one)) {
        return Some(true);
    }
    forbidden.any(|one| one.reached).then_some(false)
}

impl Tried {
    fn new(path: &Path, reached: Reached) -> Self {
        Self {
            from: path.from.clone(),
            to: path.to_string(),
            allowed: path.allowed,
            reached: reached == Reached::Yes,
            nameless: reached == Reached::Nameless,
            heard: path.is_to_api_server(),
            suspects: Vec::new(),
        }
    }

    /// What is wrong with it.
    fn words(&self) -> String {
        let (from, to) = (&self.from, &self.to);
        let mut words = match (self.allowed, self.nameless) {
            (true, true) => format!(
                "{from} finds no address of {to}, and should: nobody answers it who knows names"
            ),
            (true, false) => format!("{from} does not reach {to}, and should"),
            (false, _) => format!("{from} reaches {to}, and must not"),
        };
        if !self.suspects.is_empty() {
            words.push_str("; look at ");
            words.push_str(&self.suspects.join(", "));
        }
        words
    }
}

impl Network {
    /// Whether it is neither as the policies say nor as everything in a network that knows none.
    fn is_wrong(&self, one: &Tried) -> bool {
        one.allowed != one.reached && (one.allowed || self.enforced == Some(true))
    }

    pub(super) fn wrong(&self) -> impl Iterator<Item = &Tried> {
        self.tried.iter().filter(|one| self.is_wrong(one))
    }

    /// What is said of it, with its mark.
    pub(super) fn lines(&self) -> Vec<(&'static str, String)> {
        let open = self.tried.iter().find(|one| !one.allowed && one.reached);
        let count = |allowed| {
            self.tried
                .iter()
                .filter(|one| one.allowed == allowed && one.reached == allowed)
                .count()
        };
        let verdict = match (self.enforced, open) {
            (Some(true), _) => {
                let words = format!(
                    "network policies are enforced: {} ways that are needed are open, {} others shut",
                    count(true),
                    count(false)
                );
                ("ok  ", words)
            }
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
        let wrong = self.wrong().map(|one| ("FAIL", one.words()));
        [verdict].into_iter().chain(wrong).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(to: &str, allowed: bool, reached: bool) -> Tried {
        Tried {
            from: "agent".into(),
            to: to.into(),
            allowed,
            reached,
            nameless: false,
            heard: to == "api",
            suspects: Vec::new(),
        }
    }

    #[test]
    fn silence_alone_proves_nothing() {
        for (all, enforced) in [
            (
                &[tried("a", true, true), tried("a", false, false)][..],
                Some(true),
            ),
            // Perhaps nobody listens there.
            (
                &[tried("a", true, true), tried("b", false, false)][..],
                None,
            ),
            (
                &[tried("a", true, true), tried("b", false, true)][..],
                Some(false),
            ),
            (
                &[tried("a", false, true), tried("a", false, false)][..],
                Some(true),
            ),
            (
                &[tried("a", true, false), tried("a", false, false)][..],
                None,
            ),
            (
                &[tried("a", true, true), tried("api", false, false)][..],
                Some(true),
            ),
            (
                &[tried("a", true, false), tried("api", false, false)][..],
                None,
            ),
            (&[tried("a", true, true)][..], None),
            (&[][..], None),
        ] {
            assert_eq!(judge(all), enforced, "{all:?}");
        }
    }

    #[test]
    fn what_should_get_through_and_does_not_is_a_fault() {
        let network = Network {
            enforced: None,
            tried: vec![tried("there:1", true, false), tried("there:2", false, true)],
        };
        let lines = network.lines();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert_eq!(lines[1].0, "FAIL");
        assert!(lines[1].1.contains("there:1"), "{lines:?}");
    }

    #[test]
    fn what_gets_through_one_of_many_is_a_hole_with_a_name() {
        let mut hole = tried("there:2", false, true);
        hole.suspects = vec!["NetworkPolicy wide".into()];
        let network = Network {
            enforced: Some(true),
            tried: vec![tried("there:1", false, false), hole],
        };
        let lines = network.lines();
        assert!(
            lines[0]
                .1
                .contains("0 ways that are needed are open, 1 others"),
            "{lines:?}"
        );
        let said = "agent reaches there:2, and must not; look at NetworkPolicy wide";
        assert_eq!(lines[1], ("FAIL", said.to_owned()));
    }
}
