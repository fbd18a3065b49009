//! The cluster as the installer's engine sees it: performs actions, answers conditions.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use futures::future::join_all;
use installer_engine::{EffectError, ErrorKind, Logins, Primitives, Probe, World};
use installer_pki::Pair;
use installer_plan::docker::label;
use installer_plan::kubernetes::{Conflicts, KubernetesAction};
use installer_plan::{Action, Condition, Operation, Receipt};
use installer_render::kubernetes::{Kind, Object, ObjectId};

use crate::addon;
use crate::cameras::Cameras;
use crate::connect::Connection;
use crate::effects::{Done, Site};
use crate::gone::{kept_by, probe_gone};
use crate::lock::lease_path;
use crate::pace::{Pace, insist, perform_all};
use crate::receipt;
use crate::release;
use crate::request::{Applied, Asked};
use crate::watch::Watches;

/// What a run needs to know of its site.
#[derive(Debug, Clone)]
pub struct SiteInCluster {
    pub site: String,
    pub namespace: String,
    pub installation: String,
    /// The namespace as the plan has it: the receipt needs it before the first step.
    pub home: Object,
    /// The owner's certificate and key.
    pub own: Option<Pair>,
}

/// One namespace of a cluster, bound to one site.
#[derive(Debug)]
pub struct KubernetesWorld {
    site: Site,
    home: Object,
    primitives: Primitives,
    interrupted: Arc<AtomicBool>,
    pace: Pace,
    /// What was done ahead and had no turn yet, and the errors of what was not.
    ahead: HashMap<(Deed, ObjectId), Result<(), EffectError>>,
    /// What the server answered when Deployments were said last.
    applied: HashMap<String, Applied>,
    watches: OnceLock<Watches>,
    cameras: Cameras,
    /// This run removes the namespace, and everything in it with it.
    leaving: bool,
}

/// What is done to an object. Those of one sort may be done at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Deed {
    Apply,
    Delete,
    Issue,
}

/// What a step does, and to what; nothing for what is never done ahead.
fn deed(action: &Action) -> Option<(Deed, ObjectId)> {
    let Action::Kubernetes(action) = action else {
        return None;
    };
    match action {
        KubernetesAction::Apply { object, .. } => Some((Deed::Apply, object.id.clone())),
        KubernetesAction::Delete { id, .. } => Some((Deed::Delete, id.clone())),
        KubernetesAction::IssueCertificate { secret, .. }
        | KubernetesAction::InstallCertificate { secret, .. } => {
            Some((Deed::Issue, ObjectId::new(Kind::Secret, secret)))
        }
        KubernetesAction::MakeAuthority { .. }
        | KubernetesAction::Restart { .. }
        | KubernetesAction::EnableAddon { .. }
        | KubernetesAction::ImportImage { .. }
        | KubernetesAction::Release { .. }
        | KubernetesAction::RemoveRelease { .. }
        | KubernetesAction::NoteCameras { .. }
        | KubernetesAction::AwaitCameras { .. } => None,
    }
}

/// Whether two of these kinds need no order among them: what pods only read or are reached by is of
/// one sort.
fn go_together(a: Kind, b: Kind) -> bool {
    let is_read = |kind| {
        matches!(
            kind,
            Kind::Secret
                | Kind::ConfigMap
                | Kind::Service
                | Kind::NetworkPolicy
                | Kind::ServiceAccount
                | Kind::PersistentVolumeClaim
        )
    };
    a == b || (is_read(a) && is_read(b))
}

/// How many of the next actions may be done at the same time.
fn run_of(next: &[&Action]) -> usize {
    let Some((first, id)) = next.first().and_then(|action| deed(action)) else {
        return 0;
    };
    let mut seen = BTreeSet::new();
    let mut fits = |action: &&&Action| {
        deed(action).is_some_and(|(deed, other)| {
            let together = deed == first && go_together(id.kind, other.kind);
            together && seen.insert(other)
        })
    };
    next.iter().take_while(|action| fits(action)).count()
}

impl KubernetesWorld {
    pub fn new(
        connection: Connection,
        place: SiteInCluster,
        logins: Logins,
        primitives: Primitives,
        interrupted: Arc<AtomicBool>,
    ) -> Self {
        Self {
            site: Site::new(
                connection,
                place.site,
                place.namespace,
                place.installation,
                place.own,
                logins,
                primitives.clone(),
            ),
            home: place.home,
            primitives,
            interrupted,
            pace: Pace::default(),
            ahead: HashMap::new(),
            applied: HashMap::new(),
            watches: OnceLock::new(),
            cameras: Cameras::default(),
            leaving: false,
        }
    }

    /// From here on these fields may be taken from their managers, where that was asked for.
    pub fn take(&mut self, conflicts: Conflicts) {
        self.site.take(conflicts);
    }

    /// Primitives performed so far.
    pub fn effects(&self) -> u64 {
        self.primitives.count()
    }

    /// Makes the site's namespace, in which its lock and its receipt lie. One that is being removed
    /// is waited for; `told` hears what keeps it.
    pub async fn make_home(&self, told: impl FnMut(&str)) -> Result<(), EffectError> {
        let interrupted = || self.interrupted.load(Ordering::Relaxed);
        let made = insist(interrupted, told, || self.apply_home());
        made.await.map(drop)
    }

    async fn apply_home(&self) -> Result<(), EffectError> {
        let Err(mut error) = self.site.apply(&self.home).await else {
            return Ok(());
        };
        if let Ok(Some(found)) = self.site.read(&self.home.id).await
            && found.pointer("/metadata/deletionTimestamp").is_some()
        {
            error.operation.push_str(&kept_by(&found));
        }
        Err(error)
    }

    /// Keeps what later steps have to know of one that is done.
    fn note(&mut self, action: &KubernetesAction, done: Done) {
        match (action, done) {
            (KubernetesAction::Apply { object, .. }, Done::Applied(applied))
                if object.id.kind == Kind::Deployment =>
            {
                self.applied.insert(object.id.name.clone(), applied);
            }
            (KubernetesAction::Restart { id }, Done::Applied(applied)) => {
                self.applied.insert(id.name.clone(), applied);
            }
            (KubernetesAction::Delete { id, .. }, _) => {
                self.leaving |= id.kind == Kind::Namespace && id.name == self.site.namespace;
            }
            _ => {}
        }
    }

    async fn perform_now(&mut self, action: &KubernetesAction) -> Result<(), EffectError> {
        match action {
            KubernetesAction::NoteCameras { agents } => self.cameras.note(&self.site, agents).await,
            KubernetesAction::AwaitCameras { agents, unproven } => {
                self.cameras.expect(&self.site, agents, unproven).await;
            }
            action => {
                let done = self.site.perform(action).await?;
                self.note(action, done);
            }
        }
        Ok(())
    }

    /// Whether the receipt goes with its namespace, so that there is nowhere to write it any more.
    fn is_leaving(&self, receipt: &Receipt) -> bool {
        let pending = receipt.pending.as_ref();
        self.leaving && pending.is_some_and(|pending| pending.operation == Operation::Uninstall)
    }
}

impl World for KubernetesWorld {
    async fn read_receipt(&self) -> Result<Option<Receipt>, EffectError> {
        let found = self.site.read(&receipt::id()).await?;
        let read = found.map(|secret| receipt::unpack(&secret)).transpose();
        read.map_err(|source| {
            EffectError::new(ErrorKind::Environment, "cannot read the receipt").because(source)
        })
    }

    async fn write_receipt(&mut self, receipt: &Receipt) -> Result<(), EffectError> {
        if self.is_leaving(receipt) {
            return Ok(());
        }
        let secret = self.site.receipt(receipt)?;
        let written = self.site.apply(&secret).await;
        let Err(error) = written else {
            return Ok(());
        };
        let missing = Site::is_home_missing(&error);
        let removal = receipt.pending.as_ref().map(|pending| pending.operation);
        match (missing, removal) {
            // A removal that was cut short when all was on its way: the rest goes by itself.
            (true, Some(Operation::Uninstall)) => Ok(()),
            (true, _) => {
                self.apply_home().await?;
                self.site.apply(&secret).await.map(drop)
            }
            (false, _) => Err(error),
        }
    }

    async fn erase_receipt(&mut self) -> Result<(), EffectError> {
        // It has gone with its namespace, and with that the rights of whoever had them only there.
        if self.leaving {
            return Ok(());
        }
        self.site.delete(&receipt::id(), None).await?;
        let path = lease_path(&self.site.namespace);
        self.site
            .delete_path(&path, || Asked {
                verb: "delete",
                resource: "leases.coordination.k8s.io".to_owned(),
                name: installer_plan::kubernetes::LEASE.to_owned(),
            })
            .await
    }

    async fn perform(&mut self, action: &Action) -> Result<(), EffectError> {
        let Action::Kubernetes(asked) = action else {
            return Err(EffectError::foreign("a cluster"));
        };
        if let Some(result) = deed(action).and_then(|deed| self.ahead.remove(&deed)) {
            return result;
        }
        self.perform_now(asked).await
    }

    async fn ahead(&mut self, next: &[&Action]) -> usize {
        let count = run_of(next);
        let actions: Vec<_> = next
            .iter()
            .take(count)
            .filter_map(|action| match action {
                Action::Kubernetes(action) => Some(action),
                _ => None,
            })
            .collect();
        if actions.len() < 2 {
            return 1;
        }
        if self.site.read_secrets(&actions).await.is_err() {
            // The first one's own turn says why.
            return 1;
        }
        let (site, interrupted) = (&self.site, &self.interrupted);
        let done = perform_all(
            &mut self.pace,
            &actions,
            || interrupted.load(Ordering::Relaxed),
            |index| {
                let action = actions.get(index).copied();
                async move {
                    match action {
                        Some(action) => site.perform(action).await,
                        None => Err(EffectError::foreign("a cluster")),
                    }
                }
            },
        )
        .await;
        for (index, result) in done {
            let Some((action, key)) = actions
                .get(index)
                .zip(next.get(index).and_then(|a| deed(a)))
            else {
                continue;
            };
            let result = result.map(|done| self.note(action, done));
            self.ahead.insert(key, result);
        }
        self.site.forget_secrets();
        actions.len()
    }

    async fn probe(&self, condition: &Condition) -> Probe {
        match condition {
            Condition::RolledOut { names, .. } => {
                let selector = format!("{}={}", label::SITE, self.site.name);
                let watches = self.watches.get_or_init(|| {
                    Watches::start(&self.site.connection, &self.site.namespace, &selector)
                });
                watches.probe(names, &self.applied)
            }
            Condition::Recording { agents, .. } => self.cameras.probe(&self.site, agents).await,
            Condition::Gone { objects, .. } => probe_gone(&self.site, objects).await,
            Condition::Released { namespace, .. } => {
                release::probe(&self.site.connection, namespace).await
            }
            Condition::Addon { brings, .. } => addon::probe(&self.site.connection, brings).await,
            Condition::All { of } => {
                let probes = of.iter().map(|condition| Box::pin(self.probe(condition)));
                worst(join_all(probes).await)
            }
            _ => Probe::Failed("a cluster has no such thing".to_owned()),
        }
    }

    fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }
}

/// What failed, else the first that is waited for.
fn worst(probes: Vec<Probe>) -> Probe {
    let mut worst = Probe::Met;
    for probe in probes {
        match (&worst, &probe) {
            (_, Probe::Failed(_) | Probe::Forbidden(_)) => return probe,
            (Probe::Met, Probe::Waiting(_)) => worst = probe,
            _ => {}
        }
    }
    worst
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn apply(kind: Kind, name: &str) -> Action {
        Action::Kubernetes(KubernetesAction::Apply {
            object: Object::new(ObjectId::new(kind, name), &json!({})),
            secrets: BTreeMap::new(),
            adopts: None,
        })
    }

    fn delete(kind: Kind, name: &str) -> Action {
        Action::Kubernetes(KubernetesAction::Delete {
            id: ObjectId::new(kind, name),
            uid: "u".to_owned(),
        })
    }

    fn run(actions: &[Action]) -> usize {
        run_of(&actions.iter().collect::<Vec<_>>())
    }

    #[test]
    fn what_needs_no_order_is_done_together() {
        use Kind::{ConfigMap, Deployment, Namespace, Secret, Service};
        assert_eq!(run(&[]), 0);
        assert_eq!(run(&[apply(Namespace, "n"), apply(Secret, "a")]), 1);
        let read = [
            apply(Secret, "a"),
            apply(ConfigMap, "a"),
            apply(Service, "a"),
        ];
        assert_eq!(run(&read), 3);
        assert_eq!(run(&[apply(Secret, "a"), apply(Deployment, "a")]), 1);
        assert_eq!(run(&[apply(Deployment, "a"), apply(Deployment, "b")]), 2);
        // The same one twice has an order.
        assert_eq!(run(&[apply(Deployment, "a"), apply(Deployment, "a")]), 1);
        assert_eq!(run(&[delete(Deployment, "a"), apply(Deployment, "a")]), 1);
        assert_eq!(
            run(&[
                delete(Secret, "a"),
                delete(Secret, "b"),
                delete(Namespace, "n")
            ]),
            2
        );
    }

    #[test]
    fn the_worst_of_all_is_told() {
        let waits = |text: &str| Probe::Waiting(text.to_owned());
        assert_eq!(worst(vec![Probe::Met, Probe::Met]), Probe::Met);
        assert_eq!(worst(vec![Probe::Met, waits("a"), waits("b")]), waits("a"));
        let failed = Probe::Failed("c".to_owned());
        assert_eq!(worst(vec![waits("a"), failed.clone()]), failed);
    }
}
