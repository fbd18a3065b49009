//! Helm releases in a plan. A release is compared by one digest of everything that Helm was told,
//! which is a label of the release itself.

use installer_render::kubernetes::{Release, chart_home, labels};
use installer_spec::ChartSource;

use super::install::Draft;
use super::{ChartFact, KubernetesAction, KubernetesFacts, ReleaseFact};
use crate::check::{Finding, Severity};
use crate::digest::digest_of;
use crate::host::Level;
use crate::plan::{Change, Condition};

/// Label of a release: digest of what was wanted.
pub const DIGEST_LABEL: &str = "stakeout.digest";

/// A label's value has at most 63 characters.
const DIGEST_LENGTH: usize = 32;

/// Images of others may be large, and come over a slow line.
const READY_SECONDS: u64 = 900;

/// What Helm calls a release that is as it should be.
const DEPLOYED: &str = "deployed";

fn digest(release: &Release, chart: &ChartFact) -> String {
    let mut digest = digest_of(&(release, chart));
    digest.truncate(DIGEST_LENGTH);
    digest
}

/// The chart as a plan names it.
fn described(release: &Release, chart: &ChartFact) -> String {
    let path = match &release.chart {
        ChartSource::Path(path) => path.as_str(),
        ChartSource::Registry { reference, .. } => reference,
    };
    let name = path.trim_end_matches('/').rsplit('/').next();
    format!("chart {} {}", name.unwrap_or(path), chart.version)
}

impl Draft<'_> {
    /// After everything else: a chart may use what the site has.
    pub(super) fn releases(&mut self, releases: Vec<Release>) {
        for release in releases {
            let name = release.name.clone();
            let namespace = release.namespace.clone();
            self.owned.releases.insert(name.clone(), namespace.clone());
            // What stands in the way of the others is an error finding.
            let Some(Ok(chart)) = self.facts.charts.get(&name) else {
                continue;
            };
            let digest = digest(&release, chart);
            let fact = self.facts.releases.get(&name);
            if fact.is_some_and(|fact| is_as_wanted(fact, &digest)) {
                self.unchanged += 1;
                continue;
            }
            let service = chart_home(&name);
            let site = &self.profile.site;
            let mut labels = labels(site, &self.facts.installation, &service);
            labels.insert(DIGEST_LABEL.to_owned(), digest);
            let change = fact.map_or(Change::Add, |_| Change::Change);
            let mut detail: Vec<_> = fact.into_iter().flat_map(told).collect();
            if let Some(trust) = &release.trust {
                detail.push(format!(
                    "it is let in at the vault, and trusts it by ConfigMap `{trust}`"
                ));
            }
            let id = format!("release {name} ({})", described(&release, chart));
            let step = self.push(change, id, KubernetesAction::Release { release, labels });
            step.detail = detail;
            step.settle = Some(Condition::Released {
                name,
                namespace,
                deadline_seconds: READY_SECONDS,
            });
        }
        for (name, fact) in &self.facts.releases {
            let namespace = fact.namespace.clone();
            if self.owned.releases.contains_key(name) {
                continue;
            }
            if keeps(fact, Level::Config) {
                self.owned.releases.insert(name.clone(), namespace);
            } else {
                let (id, name) = (format!("release {name}"), name.clone());
                let action = KubernetesAction::RemoveRelease { name, namespace };
                self.push(Change::Remove, id, action);
            }
        }
    }
}

fn is_as_wanted(fact: &ReleaseFact, digest: &str) -> bool {
    fact.status == DEPLOYED && fact.ready && fact.digest.as_deref() == Some(digest)
}

/// Why a release that is there is changed, where that is not what the profile says now.
fn told(fact: &ReleaseFact) -> Vec<String> {
    let mut told = Vec::new();
    if fact.status != DEPLOYED {
        told.push(format!("revision {} is `{}`", fact.revision, fact.status));
    }
    if fact.digest.is_none() {
        told.push(format!("revision {} is somebody else's", fact.revision));
    }
    if fact.status == DEPLOYED && !fact.ready {
        told.push("it is not ready yet".to_owned());
    }
    told
}

/// Helm would take claims along with the release: what is in them goes at the last level only.
pub(super) fn keeps(fact: &ReleaseFact, level: Level) -> bool {
    level < Level::Data && !fact.claims.is_empty()
}

/// What stands in the way of charts, and what stays of those that are not wanted any more.
pub(super) fn findings(facts: &KubernetesFacts, wanted: &[Release]) -> Vec<Finding> {
    let obstacles = facts
        .charts
        .values()
        .filter_map(|chart| chart.clone().err());
    let is_wanted = |name: &String| wanted.iter().any(|release| release.name == *name);
    let kept = facts
        .releases
        .iter()
        .filter(|(name, fact)| !is_wanted(name) && keeps(fact, Level::Config))
        .map(|(name, fact)| kept(name, fact));
    obstacles.chain(kept).collect()
}

/// A release that stays for what it holds.
pub(super) fn kept(name: &str, fact: &ReleaseFact) -> Finding {
    let claims: Vec<_> = fact.claims.iter().map(String::as_str).collect();
    Finding::new(
        Severity::Warning,
        "release-kept",
        format!(
            "release `{name}` stays: Helm would remove its claims `{}` with it",
            claims.join("`, `")
        ),
        format!(
            "`stakeout uninstall --data` takes it away, or `helm uninstall {name} --namespace {}`",
            fact.namespace
        ),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn fact() -> ReleaseFact {
        ReleaseFact {
            namespace: "stakeout-a-hub".into(),
            revision: 3,
            status: DEPLOYED.into(),
            digest: Some("d".into()),
            ready: true,
            claims: BTreeSet::new(),
        }
    }

    #[test]
    fn what_helm_left_half_done_is_not_as_wanted() {
        assert!(is_as_wanted(&fact(), "d"));
        assert!(!is_as_wanted(&fact(), "e"));
        for status in ["failed", "pending-upgrade", "superseded"] {
            let fact = ReleaseFact {
                status: status.into(),
                ..fact()
            };
            assert!(!is_as_wanted(&fact, "d"), "{status}");
            assert_eq!(told(&fact), [format!("revision 3 is `{status}`")]);
        }
        let fact = ReleaseFact {
            ready: false,
            ..fact()
        };
        assert!(!is_as_wanted(&fact, "d"));
    }

    #[test]
    fn claims_keep_a_release_up_to_the_last_level() {
        let fact = ReleaseFact {
            claims: ["data".to_owned()].into(),
            ..fact()
        };
        assert!(keeps(&fact, Level::Config) && !keeps(&fact, Level::Data));
        assert!(kept("hub", &fact).message.contains("`data`"));
    }

    #[test]
    fn a_digest_is_a_label() {
        let release = Release {
            name: "hub".into(),
            namespace: "n".into(),
            chart: ChartSource::Path("/c".into()),
            values: "{}".into(),
            secret: "hub-logins".into(),
            logins: BTreeMap::new(),
            trust: None,
        };
        let chart = |digest: &str| ChartFact {
            version: "1.0.0".into(),
            digest: Some(digest.into()),
        };
        let label = digest(&release, &chart("a"));
        assert_eq!(label.len(), DIGEST_LENGTH);
        assert_ne!(label, digest(&release, &chart("b")));
    }
}
