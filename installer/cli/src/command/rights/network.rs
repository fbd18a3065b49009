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
    let all = paths.into_iter().zip(reached);
    let tried: Vec<_> = all
        .filter(|(_, reached)| *reached != Reached::Untried)
        .collect();
    let mut network = Network {
        enforced: judge(&tried),
        tried: tried
            .iter()
            .map(|(path, reached)| Tried::new(path, *reached))
            .collect(),
    };
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

/// A forbidden connection that does not come about tells something only beside one that does, and only
/// of somebody who listens. Where all forbidden ones come about, nothing is enforced.
fn judge(tried: &[(Path, Reached)]) -> Option<bool> {
    let is_reached = |(_, reached): &(Path, Reached)| *reached == Reached::Yes;
    let any_is_reached = tried.iter().any(is_reached);
    let listens = |path: &Path| {
        let mut others = tried.iter().filter(|one| is_reached(one));
        path.is_to_api_server() || others.any(|(other, _)| other.leads_where(path))
    };
    let mut forbidden = tried.iter().filter(|(path, _)| !path.allowed);
    let shut = |one: &(Path, Reached)| !is_reached(one) && listens(&one.0);
    if any_is_reached && forbidden.clone().any(shut) {
        return Some(true);
    }
    forbidden.any(is_reached).then_some(false)
}

impl Tried {
    fn new(path: &Path, reached: Reached) -> Self {
        Self {
            from: path.from.clone(),
            to: path.to_string(),
            allowed: path.allowed,
            reached: reached == Reached::Yes,
            nameless: reached == Reached::Nameless,
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
            _ if !self.tried.is_empty() => {
                let words =
                    "network policies: what was tried does not say whether they are enforced";
                ("warn", words.to_owned())
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
    use installer_render::Role;

    use super::*;

    fn tried(to: &str, allowed: bool, reached: bool) -> Tried {
        Tried {
            from: "agent".into(),
            to: to.into(),
            allowed,
            reached,
            nameless: false,
            suspects: Vec::new(),
        }
    }

    /// `+` is allowed, `-` is not; the port tells ends apart, and 443 is the API server's.
    fn check(all: &[(char, u16, Reached)], enforced: Option<bool>) {
        let path = |mark, port| Path {
            from: "agent".into(),
            role: Role::Agent,
            to: match port {
                443 => "kubernetes.default.svc".into(),
                _ => "there".into(),
            },
            port,
            service: None,
            allowed: mark == '+',
        };
        let all = all.iter();
        let tried: Vec<_> = all
            .map(|(mark, port, reached)| (path(*mark, *port), *reached))
            .collect();
        assert_eq!(judge(&tried), enforced, "{tried:?}");
    }

    #[test]
    fn silence_alone_proves_nothing() {
        use Reached::{Nameless, No, Yes};

        check(&[('+', 1, Yes), ('-', 1, No)], Some(true));
        check(&[('-', 1, Yes), ('-', 1, No)], Some(true));
        check(&[('+', 1, Yes), ('-', 443, No)], Some(true));
        check(&[('+', 1, Yes), ('-', 2, Yes)], Some(false));
        // Perhaps nobody listens there, or no network is there at all.
        check(&[('+', 1, Yes), ('-', 2, No)], None);
        check(&[('+', 1, No), ('-', 443, No)], None);
        check(&[('+', 1, Nameless), ('-', 443, Nameless)], None);
        check(&[('+', 1, Yes)], None);
        check(&[], None);
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
