//! The role that the vault gets, and what it may do.

use super::{Binding, Chosen, Managed, Owner, Refusal, our_tags, owner, tags_to_set};
use crate::facts::{Facts, RoleFact};
use crate::policy::{Document, irsa_trust, pod_identity_trust, provider_arn, vault_policy};
use crate::step::Step;
use crate::wanted::{POLICY, ROLE_PATH, Wanted};

/// The role's ARN, also of one that is not there yet.
pub(super) fn arn(wanted: &Wanted, facts: &Facts) -> String {
    match &facts.role {
        Some(role) => role.arn.clone(),
        None => format!(
            "arn:{}:iam::{}:role{ROLE_PATH}{}",
            facts.caller.partition,
            facts.caller.account,
            wanted.role_name()
        ),
    }
}

pub(super) fn boundary(wanted: &Wanted, facts: &Facts) -> Option<String> {
    let boundary = wanted.boundary.as_ref()?;
    let (partition, account) = (&facts.caller.partition, &facts.caller.account);
    Some(if boundary.starts_with("arn:") {
        boundary.clone()
    } else {
        format!("arn:{partition}:iam::{account}:policy/{boundary}")
    })
}

fn trust(wanted: &Wanted, facts: &Facts, chosen: &Chosen) -> Document {
    let names = &facts.cluster.names;
    match (chosen.binding, &names.issuer) {
        (Binding::Irsa, Some(issuer)) => {
            let provider = provider_arn(&facts.caller.partition, &facts.caller.account, issuer);
            irsa_trust(wanted, &provider, issuer)
        }
        _ => pod_identity_trust(wanted, names),
    }
}

pub(super) fn steps(wanted: &Wanted, facts: &Facts, chosen: &Chosen) -> Result<Vec<Step>, Refusal> {
    let mut steps = Vec::new();
    if let (Binding::Irsa, false, Some(issuer)) =
        (chosen.binding, facts.provider, &facts.cluster.names.issuer)
    {
        steps.push(Step::MakeProvider {
            arn: provider_arn(&facts.caller.partition, &facts.caller.account, issuer),
            url: issuer.clone(),
            // Other sites and other programs use it, too: it is nobody's.
            tags: [("stakeout:made-for".to_owned(), wanted.site.clone())].into(),
        });
    }
    let name = wanted.role_name();
    let policy = vault_policy(wanted, &facts.caller.partition);
    let set_policy = |document| Step::SetPolicy {
        name: name.clone(),
        policy: POLICY.to_owned(),
        document,
    };
    let (trust, boundary) = (trust(wanted, facts, chosen), boundary(wanted, facts));
    let tags = our_tags(wanted, facts, Managed::Made);
    let Some(role) = &facts.role else {
        let path = ROLE_PATH.to_owned();
        steps.push(Step::MakeRole {
            name: name.clone(),
            path,
            trust,
            boundary,
            tags,
        });
        steps.push(set_policy(policy));
        return Ok(steps);
    };
    let whose = match owner(wanted, facts, &role.tags) {
        Owner::Ours => None,
        Owner::Nobody => Some("it carries no mark of a site".to_owned()),
        Owner::Another(whose) => Some(format!("it is of {whose}")),
    };
    if let Some(why) = whose {
        let remedy = "give the site another name, or remove the role if nobody needs it";
        return Err(Refusal::new(format!("role `{name}`"), why, remedy));
    }
    if let Some(tags) = tags_to_set(&tags, &role.tags) {
        steps.push(Step::TagRole {
            name: name.clone(),
            tags,
        });
    }
    // What takes rights away comes before what gives some.
    steps.extend(too_much(&name, role));
    if role.boundary != boundary {
        steps.push(Step::SetBoundary {
            name: name.clone(),
            boundary,
        });
    }
    if role.trust.as_ref() != Ok(&trust) {
        steps.push(Step::SetTrust {
            name: name.clone(),
            trust,
        });
    }
    if role.inline.get(POLICY) != Some(&Ok(policy.clone())) {
        steps.push(set_policy(policy));
    }
    Ok(steps)
}

/// The role is the site's alone, so whatever else it is given is somebody's mistake.
pub(super) fn too_much(name: &str, role: &RoleFact) -> Vec<Step> {
    let others = role.inline.keys().filter(|policy| *policy != POLICY);
    let others = others.map(|policy| Step::RemovePolicy {
        name: name.to_owned(),
        policy: policy.clone(),
    });
    let attached = role.attached.iter().map(|policy| Step::Detach {
        name: name.to_owned(),
        policy: policy.clone(),
    });
    others.chain(attached).collect()
}
