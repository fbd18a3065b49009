//! Addons of a cluster that a site needs, and that its flavour turns on by a command of its own.
//!
//! They are the cluster's and not the site's: what is turned on stays when the site goes.

use std::collections::BTreeSet;

use installer_render::kubernetes::{Kind, ObjectId, claims, dns_names};
use installer_spec::{Addons, Exposure, Profile};
use serde::{Deserialize, Serialize};

use super::install::Draft;
use super::{
    Flavour, IngressClassFact, KubernetesAction, KubernetesFacts, StorageClassFact, judge,
};
use crate::check::{Finding, Severity};
use crate::plan::{Change, Condition};

/// Images of addons are fetched from the internet.
const READY_SECONDS: u64 = 600;

/// Group of MetalLB's objects, by which it is known.
const METALLB: &str = "metallb.io";

/// How a flavour turns addons on, and which it has.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddonMarket {
    /// What the addon's name follows.
    pub command: Vec<String>,
    pub offers: Vec<Offer>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    pub name: String,
    pub brings: Brings,
}

/// What there is in a cluster when an addon of it is on: the sign by which that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "sign")]
pub enum Brings {
    /// Service `kube-dns` in `kube-system` has somebody behind it.
    Dns,
    /// An account without rights is refused.
    Rbac,
    StorageClass {
        name: String,
        provisioner: String,
    },
    IngressClass {
        name: String,
        controller: String,
    },
    /// Its API group is served. It has to be told which addresses it may give away.
    LoadBalancer,
}

/// What was found out for addons; nothing of it where the profile leaves them alone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AddonFacts {
    /// Whether names are answered; absent where we may not see that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<bool>,
    /// Whether rights are asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rbac: Option<bool>,
    /// The flavour's command is on this machine.
    #[serde(default)]
    pub command: bool,
}

/// An addon that the site needs and the cluster does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Missing {
    /// As the command is told it: `metallb:10.0.0.240-10.0.0.250`.
    asked: String,
    name: String,
    brings: Brings,
    command: Vec<String>,
    title: String,
}

/// The addons to turn on, in the order of the flavour's list.
pub(super) fn missing(profile: &Profile, facts: &KubernetesFacts) -> Vec<Missing> {
    let flavour = judge(&facts.cluster.signs).map(|(flavour, _)| flavour);
    let Some((flavour, market)) = flavour.and_then(|one| Some((one, one.addons.as_ref()?))) else {
        return Vec::new();
    };
    if profile.cluster.addons != Addons::Enable {
        return Vec::new();
    }
    let wanted = market.offers.iter().filter_map(|offer| {
        let asked = match &offer.brings {
            Brings::Dns => (facts.addons.dns == Some(false)).then(|| offer.name.clone()),
            Brings::Rbac => (facts.addons.rbac == Some(false)).then(|| offer.name.clone()),
            Brings::StorageClass { .. } => {
                needs_storage(profile, facts).then(|| offer.name.clone())
            }
            Brings::IngressClass { .. } => {
                needs_ingress(profile, facts, flavour).then(|| offer.name.clone())
            }
            Brings::LoadBalancer => needs_balancer(profile, facts, flavour)
                .map(|range| format!("{}:{range}", offer.name)),
        }?;
        Some(Missing {
            asked,
            name: offer.name.clone(),
            brings: offer.brings.clone(),
            command: market.command.clone(),
            title: flavour.title.clone(),
        })
    });
    wanted.collect()
}

/// Some claim would get no disk.
fn needs_storage(profile: &Profile, facts: &KubernetesFacts) -> bool {
    let is_there = |claim: String| {
        let id = ObjectId::new(Kind::PersistentVolumeClaim, claim);
        facts.objects.contains_key(&id)
    };
    let mut classes = facts.cluster.storage_classes.values();
    !claims(profile).into_iter().all(is_there) && !classes.any(|class| class.default)
}

/// The addresses that a load balancer may give away, where the profile has some and nobody does.
fn needs_balancer<'p>(
    profile: &'p Profile,
    facts: &KubernetesFacts,
    flavour: &Flavour,
) -> Option<&'p str> {
    let access = profile.access.as_ref()?;
    let fits = matches!(access.cluster.exposure, None | Some(Exposure::LoadBalancer));
    let is_there = flavour.load_balancer.is_some() || facts.cluster.ways.groups.contains(METALLB);
    let range = profile.cluster.addresses.as_deref();
    range.filter(|_| fits && !is_there && access.cluster.class.is_none())
}

fn needs_ingress(profile: &Profile, facts: &KubernetesFacts, flavour: &Flavour) -> bool {
    let Some(access) = &profile.access else {
        return false;
    };
    let ways = &facts.cluster.ways;
    if !ways.ingress_classes.is_empty() || access.cluster.class.is_some() {
        return false;
    }
    match access.cluster.exposure {
        Some(exposure) => exposure == Exposure::Ingress,
        // Where nothing else leads in that a name can follow.
        None => {
            let balanced = needs_balancer(profile, facts, flavour).is_some()
                || flavour.load_balancer.is_some()
                || ways.groups.contains(METALLB);
            !dns_names(access).is_empty() && ways.gateways.is_empty() && !balanced
        }
    }
}

/// What is known of the cluster once these are on.
pub(super) fn enabled(facts: &KubernetesFacts, missing: &[Missing]) -> KubernetesFacts {
    let mut facts = facts.clone();
    for addon in missing {
        facts.bring(&addon.brings);
    }
    facts
}

impl KubernetesFacts {
    /// Takes in what an addon brings.
    pub fn bring(&mut self, brings: &Brings) {
        let cluster = &mut self.cluster;
        match brings {
            Brings::Dns => self.addons.dns = Some(true),
            Brings::Rbac => self.addons.rbac = Some(true),
            Brings::StorageClass { name, provisioner } => {
                let fact = StorageClassFact {
                    default: true,
                    provisioner: provisioner.clone(),
                };
                cluster.storage_classes.insert(name.clone(), fact);
            }
            Brings::IngressClass { name, controller } => {
                let fact = IngressClassFact {
                    default: false,
                    controller: controller.clone(),
                };
                cluster.ways.ingress_classes.insert(name.clone(), fact);
            }
            Brings::LoadBalancer => {
                cluster.ways.groups.insert(METALLB.to_owned());
            }
        }
    }
}

/// What stands in the way, where that is not in the cluster.
pub(super) fn findings(facts: &KubernetesFacts, missing: &[Missing]) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(first) = missing.first()
        && !facts.addons.command
    {
        let names: Vec<_> = missing.iter().map(|one| one.name.as_str()).collect();
        let program = first.command.first().map_or("", String::as_str);
        let lines = missing.iter().map(Missing::line);
        let lines: Vec<_> = lines.map(|line| format!("`{line}`")).collect();
        found.push(Finding::new(
            Severity::Error,
            "addon-command",
            format!(
                "addons `{}` of {} are missing, and there is no `{program}` on this machine",
                names.join("`, `"),
                first.title
            ),
            format!(
                "run this on a node of the cluster, or there: {}",
                lines.join(", ")
            ),
        ));
    }
    found
}

/// Addons that stay where a site goes.
pub(super) fn kept(addons: &BTreeSet<String>) -> Option<Finding> {
    let names: Vec<_> = addons.iter().map(String::as_str).collect();
    (!names.is_empty()).then(|| {
        Finding::new(
            Severity::Info,
            "addon-kept",
            format!(
                "addons `{}` that were turned on for the site stay on",
                names.join("`, `")
            ),
            "others may use them by now; turn them off by the command of the cluster, if nobody does",
        )
    })
}

impl Missing {
    /// The whole command.
    fn line(&self) -> String {
        format!("{} {}", self.command.join(" "), self.asked)
    }
}

impl Draft<'_> {
    /// Before everything else: objects of the site may need what they bring.
    pub(super) fn addons(&mut self, missing: Vec<Missing>) {
        let before = self.facts.receipt.as_ref();
        let before = before.map(|receipt| receipt.owned.addons.clone());
        self.owned.addons = before.unwrap_or_default();
        for addon in missing {
            let detail = vec![format!("`{}`; it stays when the site goes", addon.line())];
            self.owned.addons.insert(addon.name.clone());
            let mut command = addon.command;
            command.push(addon.asked);
            let id = format!("enable addon {}", addon.name);
            let action = KubernetesAction::EnableAddon {
                name: addon.name.clone(),
                command,
            };
            let step = self.push(Change::Add, id, action);
            step.detail = detail;
            step.settle = Some(Condition::Addon {
                name: addon.name,
                brings: addon.brings,
                deadline_seconds: READY_SECONDS,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::flavours;

    #[test]
    fn what_a_flavour_offers_is_told_once() {
        let markets = flavours().iter().filter_map(|one| one.addons.as_ref());
        let mut count = 0;
        for market in markets {
            assert!(!market.command.is_empty());
            let names = market.offers.iter().map(|offer| &offer.name);
            let names: BTreeSet<_> = names.collect();
            assert_eq!(names.len(), market.offers.len());
            count += 1;
        }
        assert!(count > 0);
    }
}
