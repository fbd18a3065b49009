//! `stakeout rights`: who may do what in the cluster, and the least that an installation needs.

mod network;

use std::fmt::Write as _;

use installer_kubernetes::{Subject, asks_for_rights, chart_rights, review};
use installer_plan::kubernetes::{
    Right, installer_rights, minimal_roles, releases, workload_accounts, workload_rights,
};
use serde::Serialize;
use serde_json::json;

use crate::args;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::output::Printer;
use crate::site::Site;
use crate::target::Target;

#[derive(Debug, Serialize)]
struct Told {
    /// Whoever runs this.
    installer: Vec<Judged>,
    /// By service account: what it may do of what it must not.
    workloads: Vec<Account>,
    /// Whether the cluster asks about rights at all; absent where whoever runs this may not ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    enforced: Option<bool>,
    network: network::Network,
}

#[derive(Debug, Serialize)]
struct Judged {
    #[serde(flatten)]
    right: Right,
    allowed: bool,
}

#[derive(Debug, Serialize)]
struct Account {
    name: String,
    /// Absent where whoever runs this may not ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    denied: Option<usize>,
    allowed: Vec<Right>,
}

pub(super) async fn run(arguments: &args::Rights, context: &Context) -> Result<Exit, CommandError> {
    let site = Site::read(context)?;
    if site.target != Target::Kubernetes {
        let message = "rights are granted by a cluster, and this site is not for one";
        return Err(CommandError::new(Exit::WrongTarget, message)
            .hint("set `target: kubernetes` in the profile, or add --target kubernetes"));
    }
    let profile = &site.profile;
    if let Some(user) = &arguments.role_for {
        let subject = subject(user)?;
        let releases = releases(profile, &site.folder);
        let charts = if releases.is_empty() {
            Vec::new()
        } else {
            // What a chart's objects are called in requests is the cluster's to say.
            let connection = installer_kubernetes::connect(&context.cluster).await?;
            chart_rights(&connection, &releases).await?
        };
        let roles = minimal_roles(profile, &subject, &charts);
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": roles });
        let text = serde_json::to_string_pretty(&list).unwrap_or_default();
        Printer::text(&(text + "\n"));
        return Ok(Exit::Done);
    }
    let connection = installer_kubernetes::connect(&context.cluster).await?;
    let wanted = installer_rights(profile);
    let allowed = review(&connection, Subject::Me, &wanted).await?;
    let allowed = allowed.unwrap_or_else(|| vec![false; wanted.len()]);
    let mut told = Told {
        installer: wanted
            .into_iter()
            .zip(allowed)
            .map(|(right, allowed)| Judged { right, allowed })
            .collect(),
        workloads: Vec::new(),
        enforced: asks_for_rights(&connection).await?,
        network: network::look(&connection, site.data.as_str(), profile).await?,
    };
    let forbidden = workload_rights(profile);
    let accounts = workload_accounts(profile);
    // Where nobody is asked, each of them may do everything.
    for name in accounts
        .into_iter()
        .filter(|_| told.enforced != Some(false))
    {
        let subject = Subject::ServiceAccount {
            namespace: site.data.as_str(),
            name: &name,
        };
        let Some(answers) = review(&connection, subject, &forbidden).await? else {
            told.workloads.push(Account {
                name,
                denied: None,
                allowed: Vec::new(),
            });
            continue;
        };
        let allowed = forbidden.iter().zip(&answers);
        let allowed: Vec<_> = allowed
            .filter(|(_, allowed)| **allowed)
            .map(|(right, _)| right.clone())
            .collect();
        told.workloads.push(Account {
            name,
            denied: Some(answers.len() - allowed.len()),
            allowed,
        });
    }
    context.printer.result(&text(&told), &told);
    let missing = told
        .installer
        .iter()
        .any(|one| !one.allowed && !one.right.optional);
    let widened = told.workloads.iter().any(|one| !one.allowed.is_empty());
    let open = told.enforced == Some(false);
    let wrong = told.network.wrong().next().is_some();
    Ok(match (widened || open || wrong, missing) {
        (true, _) => Exit::CheckFailed,
        (false, true) => Exit::Forbidden,
        (false, false) => Exit::Done,
    })
}

/// `NAMESPACE:ACCOUNT` is a service account, anything else a user.
fn subject(user: &str) -> Result<serde_json::Value, CommandError> {
    match user.split_once(':') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
            Ok(json!({ "kind": "ServiceAccount", "namespace": namespace, "name": name }))
        }
        Some(_) => {
            let message = format!("`{user}` is neither a user nor NAMESPACE:ACCOUNT");
            Err(CommandError::new(Exit::Usage, message))
        }
        None => {
            Ok(json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user }))
        }
    }
}

fn words(right: &Right) -> String {
    let group = match right.group.as_str() {
        "" => String::new(),
        group => format!(".{group}"),
    };
    let name = right
        .name
        .as_ref()
        .map_or_else(String::new, |name| format!(" `{name}`"));
    let place = match (&right.namespace, &right.name) {
        (Some(namespace), _) => format!(" in {namespace}"),
        (None, None) => " everywhere".to_owned(),
        (None, Some(_)) => String::new(),
    };
    format!("{} {}{group}{name}{place}", right.verb, right.resource)
}

fn text(told: &Told) -> String {
    let mut text = String::new();
    let mut line = |mark: &str, words: String| {
        writeln!(text, "  {mark}  {words}").expect("invariant: a String takes any text");
    };
    let (have, lack): (Vec<_>, Vec<_>) = told.installer.iter().partition(|one| one.allowed);
    line(
        "ok  ",
        format!("you: {} rights that an installation needs", have.len()),
    );
    for one in lack {
        let mark = if one.right.optional { "warn" } else { "FAIL" };
        line(mark, format!("you: no right to {}", words(&one.right)));
    }
    if told.enforced == Some(false) {
        let words = "the cluster asks for nobody's rights (RBAC is off): every pod may do \
                     everything; on MicroK8s `microk8s enable rbac` turns it on, elsewhere the \
                     API server's `--authorization-mode=Node,RBAC`";
        line("FAIL", words.to_owned());
    }
    for account in &told.workloads {
        let name = &account.name;
        match account.denied {
            None => line(
                "warn",
                format!("service account {name}: you have no right to ask (subjectaccessreviews)"),
            ),
            Some(denied) if account.allowed.is_empty() => {
                line(
                    "ok  ",
                    format!("service account {name}: {denied} rights denied"),
                );
            }
            Some(_) => {}
        }
        for right in &account.allowed {
            let may = words(right);
            line(
                "FAIL",
                format!("service account {name} may {may}, and must not"),
            );
        }
    }
    for (mark, words) in told.network.lines() {
        line(mark, words);
    }
    text
}
