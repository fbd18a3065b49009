//! How the cluster lends the role to the vault's service account.

use serde::{Deserialize, Serialize};

use super::{Managed, Owner, Refusal, our_tags, owner, role};
use crate::facts::{AgentFact, Facts};
use crate::policy::{irsa_trust, provider_arn};
use crate::step::Step;
use crate::wanted::{Wanted, WantedBinding};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Binding {
    PodIdentity,
    Irsa,
}

/// A binding, and why it is this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Chosen {
    pub binding: Binding,
    pub why: String,
    #[serde(skip)]
    pub(super) note: Option<String>,
}

/// States of an add-on in which its pods run (Amazon EKS API Reference, "Addon").
const RUNNING: [&str; 2] = ["ACTIVE", "UPDATING"];

pub(super) fn choose(wanted: &Wanted, facts: &Facts) -> Result<Chosen, Refusal> {
    let chosen = |binding, why: String| {
        Ok(Chosen {
            binding,
            why,
            note: None,
        })
    };
    let cluster = &facts.cluster;
    let agent = match &cluster.agent {
        AgentFact::Addon(state) if RUNNING.contains(&state.as_str()) => {
            Ok("its add-on eks-pod-identity-agent runs".to_owned())
        }
        AgentFact::Addon(state) => Err(format!("its add-on eks-pod-identity-agent is {state}")),
        AgentFact::AutoMode => Ok("nodes of Auto Mode bring its agent".to_owned()),
        AgentFact::Missing => Err("it has no add-on eks-pod-identity-agent".to_owned()),
    };
    let object = || format!("cluster `{}`", wanted.cluster);
    let issuer = cluster.names.issuer.as_deref();
    match (wanted.binding, agent, issuer) {
        (WantedBinding::PodIdentity, Ok(why), _) => chosen(
            Binding::PodIdentity,
            format!("the profile says so, and {why}"),
        ),
        (WantedBinding::PodIdentity, Err(why), _) => Err(Refusal::new(
            object(),
            why,
            format!(
                "run `aws eks create-addon --cluster-name {} --addon-name eks-pod-identity-agent`, \
                 or leave the binding to stakeout",
                wanted.cluster
            ),
        )),
        (WantedBinding::Irsa, _, Some(_)) => {
            chosen(Binding::Irsa, "the profile says so".to_owned())
        }
        (WantedBinding::Choose, agent, Some(issuer)) if is_bound_by_irsa(wanted, facts, issuer) => {
            let mut chosen = Chosen {
                binding: Binding::Irsa,
                why: "the role is bound so already".to_owned(),
                note: None,
            };
            if agent.is_ok() {
                let note = "the cluster has Pod Identity by now; write `binding: pod-identity` to \
                            change over";
                chosen.note = Some(note.to_owned());
            }
            Ok(chosen)
        }
        (WantedBinding::Choose, Ok(why), _) => chosen(Binding::PodIdentity, why),
        (WantedBinding::Choose, Err(why), Some(_)) => chosen(
            Binding::Irsa,
            format!("{why}, so tokens of its own issuer are used"),
        ),
        (WantedBinding::Choose | WantedBinding::Irsa, _, None) => Err(Refusal::new(
            object(),
            "it has no issuer of tokens",
            "add the add-on eks-pod-identity-agent to it",
        )),
    }
}

/// A role stays bound as it is until somebody wants it otherwise.
fn is_bound_by_irsa(wanted: &Wanted, facts: &Facts, issuer: &str) -> bool {
    let provider = provider_arn(&facts.caller.partition, &facts.caller.account, issuer);
    let trust = facts.role.as_ref().map(|role| &role.trust);
    trust.is_some_and(|trust| *trust == Ok(irsa_trust(wanted, &provider, issuer)))
}

pub(super) fn steps(wanted: &Wanted, facts: &Facts, chosen: &Chosen) -> Result<Vec<Step>, Refusal> {
    let role = role::arn(wanted, facts);
    let make = || Step::MakeAssociation {
        cluster: wanted.cluster.clone(),
        namespace: wanted.namespace.clone(),
        service_account: wanted.service_account.clone(),
        role: role.clone(),
        tags: our_tags(wanted, facts, Managed::Made),
    };
    let Some(found) = &facts.association else {
        return Ok(match chosen.binding {
            Binding::PodIdentity => vec![make()],
            Binding::Irsa => Vec::new(),
        });
    };
    let ours = owner(wanted, facts, &found.tags) == Owner::Ours;
    let (cluster, id) = (wanted.cluster.clone(), found.id.clone());
    match chosen.binding {
        // Somebody else bound it just as we would.
        Binding::PodIdentity if found.role == role => Ok(Vec::new()),
        Binding::PodIdentity if ours => Ok(vec![Step::SetAssociation { cluster, id, role }]),
        Binding::Irsa if ours => Ok(vec![Step::RemoveAssociation { cluster, id }]),
        _ => Err(Refusal::new(
            format!("association `{}` of {}", found.id, wanted.cluster),
            format!(
                "it gives {}/{} the role {}, and is not marked as this site's",
                wanted.namespace, wanted.service_account, found.role
            ),
            "remove it, if nobody needs it",
        )),
    }
}
