//! The changes themselves: each one request or a few, each counted, each repeatable.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use installer_engine::{EffectError, ErrorKind, Logins, Primitives, certificate, secret};
use installer_pki::Pair;
use installer_plan::Receipt;
use installer_plan::docker::label;
use installer_plan::kubernetes::{
    Conflict, Conflicts, FIELD_MANAGER, KubernetesAction, RECEIPT, RECEIPT_KEY, SecretSource,
};
use installer_render::Layout;
use installer_render::kubernetes::{Kind, Object, ObjectId};
use serde_json::{Map, Value, json};

use crate::addon;
use crate::connect::Connection;
use crate::error::{KubernetesError, conflicts, effect, gone};
use crate::import;
use crate::list::each_item;
use crate::managed::{dated, has_applied, moved, shared};
use crate::observe::decode;
use crate::receipt;
use crate::request::{Applied, Asked, Extent, Force, RequestError, asked};

/// Up to this many Secrets are asked for by name; of more a list is cheaper.
const FEW: usize = 3;

/// Who else changes an object all the time is not waited for.
const TURNS: u32 = 5;

/// How soon to look again whether an object that is being removed is gone.
const REMOVAL: Duration = Duration::from_secs(2);

/// What came of a change.
#[derive(Debug)]
pub(crate) enum Done {
    Applied(Applied),
    Else,
}

/// A site's namespace, and everything that changing it takes.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) connection: Connection,
    pub(crate) name: String,
    pub(crate) namespace: String,
    installation: String,
    own: Option<Pair>,
    logins: Logins,
    primitives: Primitives,
    /// The data of the site's Secrets by name, while many are changed.
    secrets: Option<HashMap<String, Map<String, Value>>>,
    /// Fields of other managers that may be taken.
    conflicts: Conflicts,
}

impl Site {
    pub(crate) fn new(
        connection: Connection,
        name: String,
        namespace: String,
        installation: String,
        own: Option<Pair>,
        logins: Logins,
        primitives: Primitives,
    ) -> Self {
        Self {
            connection,
            name,
            namespace,
            installation,
            own,
            logins,
            primitives,
            secrets: None,
            conflicts: Conflicts::default(),
        }
    }

    pub(crate) fn take(&mut self, conflicts: Conflicts) {
        self.conflicts = conflicts;
    }

    pub(crate) async fn perform(&self, action: &KubernetesAction) -> Result<Done, EffectError> {
        match action {
            KubernetesAction::Apply {
                object,
                secrets,
                adopts,
            } => {
                if let Some(uid) = adopts {
                    self.adopt(&object.id, uid).await?;
                }
                let applied = if object.id.kind == Kind::Secret {
                    self.say(&object.id, &self.fill(object, secrets).await?)
                        .await
                } else {
                    self.apply(object).await
                };
                applied.map(Done::Applied)
            }
            KubernetesAction::Delete { id, uid } => {
                self.delete(id, Some(uid)).await?;
                Ok(Done::Else)
            }
            KubernetesAction::Restart { id } => {
                let restarted = self.connection.restart(&self.namespace, id).await;
                let restarted = restarted.map_err(|error| {
                    let asked = asked("patch", id.kind, &id.name);
                    self.failed(&format!("restart `{id}`"), asked, error)
                })?;
                self.count();
                Ok(Done::Applied(restarted))
            }
            // They are the world's, which keeps in mind what was noted.
            KubernetesAction::NoteCameras { .. } | KubernetesAction::AwaitCameras { .. } => {
                Ok(Done::Else)
            }
            KubernetesAction::MakeAuthority {
                secret,
                trust,
                labels,
                copies,
            } => {
                let pair = certificate::make_authority(&self.name)?;
                let trust = ObjectId::new(Kind::ConfigMap, trust);
                let kept = self.read(&trust).await?;
                let kept = kept.as_ref().and_then(|kept| kept.pointer("/data/ca.crt"));
                let bundle = certificate::trust(&pair, kept.and_then(Value::as_str))?;
                // Trusted before anything is issued by it, and the old one for as long as it lives.
                let data = json!({ "ca.crt": bundle });
                self.apply(&self.object(trust, labels, &data)).await?;
                for (namespace, name) in copies {
                    self.copy_trust(namespace, name, labels, &data).await?;
                }
                self.write_pair(secret, labels, ("ca.crt", "ca.key"), &pair)
                    .await?;
                Ok(Done::Else)
            }
            KubernetesAction::IssueCertificate {
                service,
                names,
                authority,
                secret,
                certificate,
                key,
                labels,
            } => {
                let authority = self.authority(authority).await?;
                let pair = certificate::issue(&authority, service, names)?;
                self.write_pair(secret, labels, (certificate, key), &pair)
                    .await?;
                Ok(Done::Else)
            }
            KubernetesAction::EnableAddon { name, command } => {
                addon::enable(name, command).await?;
                self.count();
                Ok(Done::Else)
            }
            KubernetesAction::ImportImage {
                reference,
                component,
                folder,
                platform,
                command,
            } => {
                import::import(reference, *component, (folder, platform), command).await?;
                self.count();
                Ok(Done::Else)
            }
            KubernetesAction::Release { release, labels } => {
                self.release(release, labels).await?;
                Ok(Done::Else)
            }
            KubernetesAction::RemoveRelease { name, namespace } => {
                self.remove_release(name, namespace).await?;
                Ok(Done::Else)
            }
            KubernetesAction::InstallCertificate {
                fingerprint,
                secret,
                certificate,
                key,
                labels,
            } => {
                let pair = certificate::planned(self.own.as_ref(), fingerprint)?;
                self.write_pair(secret, labels, (certificate, key), &pair)
                    .await?;
                Ok(Done::Else)
            }
        }
    }

    /// An object; nothing where it is not there.
    pub(crate) async fn read(&self, id: &ObjectId) -> Result<Option<Value>, EffectError> {
        let found = self.connection.get(&self.namespace, id, Extent::Whole);
        let doing = || format!("read `{id}`");
        found
            .await
            .map_err(|error| self.failed(&doing(), asked("get", id.kind, &id.name), error))
    }

    fn failed(&self, doing: &str, asked: Asked, error: RequestError) -> EffectError {
        effect(&self.connection.origin.server, doing, asked, error)
    }

    /// Another write is done.
    pub(crate) fn count(&self) {
        self.primitives.clone().done();
    }

    /// Says what we say of an object. Fields that others have are taken where the object is ours, the
    /// plan has told of them, and somebody has asked for it.
    pub(crate) async fn apply(&self, object: &Object) -> Result<Applied, EffectError> {
        self.say(&object.id, &object.value()).await
    }

    async fn say(&self, id: &ObjectId, value: &Value) -> Result<Applied, EffectError> {
        let apply = |force| {
            let connection = &self.connection;
            connection.apply(&self.namespace, id, value, force)
        };
        let mut applied = apply(Force::No).await;
        let conflict = applied.as_ref().err().and_then(RequestError::refusal);
        let conflict = conflict.map(conflicts).unwrap_or_default();
        if !conflict.is_empty() {
            self.check_takes(id, conflict).await?;
            applied = apply(Force::Yes).await;
        }
        let applied = applied.map_err(|error| {
            let asked = asked("patch", id.kind, &id.name);
            self.failed(&format!("apply `{id}`"), asked, error)
        })?;
        self.count();
        if applied.ending.is_some() {
            let operation = format!("cannot apply `{id}` while one of its name is being removed");
            let mut error = EffectError::new(ErrorKind::Transient, operation);
            error.retry_after = Some(REMOVAL);
            return Err(error);
        }
        Ok(applied)
    }

    /// An error where these fields of an object are not to be taken.
    async fn check_takes(&self, id: &ObjectId, mut all: Vec<Conflict>) -> Result<(), EffectError> {
        let words = |all: &[&Conflict]| {
            let words: Vec<_> = all.iter().map(ToString::to_string).collect();
            words.join(", ")
        };
        let found = self.metadata(id).await?;
        if let Some(found) = &found {
            dated(&mut all, found);
        }
        let whose = words(&all.iter().collect::<Vec<_>>());
        if !found.as_ref().is_some_and(|object| self.is_ours(object)) {
            let others = found.map(|object| shared(&object, FIELD_MANAGER));
            let others = others.unwrap_or_default().join(", ");
            let operation = format!("cannot apply `{id}`, which is not ours: {whose}; {others}");
            return Err(EffectError::new(ErrorKind::Conflict, operation));
        }
        // What admission writes beside an object is noted as of our own manager; and the receipt is
        // nobody else's business.
        let open: Vec<_> = all
            .iter()
            .filter(|conflict| conflict.by.manager != FIELD_MANAGER && *id != receipt::id())
            .filter(|conflict| !self.conflicts.lets_take(id, conflict))
            .collect();
        if open.is_empty() {
            tracing::info!("taking in `{id}`: {whose}");
            return Ok(());
        }
        let operation = format!(
            "cannot apply `{id}`: {}, and the plan has not asked to take it; see what \
             `stakeout plan` says of it now",
            words(&open)
        );
        Err(EffectError::new(ErrorKind::Conflict, operation))
    }

    /// What those who made an object have said of it becomes what we have said, if it still is the one
    /// with this UID.
    async fn adopt(&self, id: &ObjectId, uid: &str) -> Result<(), EffectError> {
        for turn in 1.. {
            let Some(found) = self.metadata(id).await? else {
                return Ok(());
            };
            let is_same = found.pointer("/metadata/uid").and_then(Value::as_str) == Some(uid);
            let Some(fields) = moved(&found, FIELD_MANAGER).filter(|_| is_same) else {
                return Ok(());
            };
            let version = found.pointer("/metadata/resourceVersion");
            let replaced = self
                .connection
                .replace_managed_fields(&self.namespace, id, &fields, version)
                .await;
            match replaced {
                // Somebody was quicker: what they have said is kept.
                Err(error) if error.code() == Some(409) && turn < TURNS => {}
                replaced => {
                    let asked = asked("patch", id.kind, &id.name);
                    replaced
                        .map_err(|error| self.failed(&format!("adopt `{id}`"), asked, error))?;
                    self.count();
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Says something of an object in a namespace of a chart, which is ours as a whole.
    pub(crate) async fn say_in(
        &self,
        namespace: &str,
        id: &ObjectId,
        value: &Value,
    ) -> Result<(), EffectError> {
        let applied = self
            .connection
            .apply(namespace, id, value, Force::Yes)
            .await;
        applied.map_err(|error| {
            let asked = asked("patch", id.kind, &id.name);
            self.failed(&format!("apply `{id}` in `{namespace}`"), asked, error)
        })?;
        self.count();
        Ok(())
    }

    async fn metadata(&self, id: &ObjectId) -> Result<Option<Value>, EffectError> {
        let found = self.connection.get(&self.namespace, id, Extent::Metadata);
        found.await.map_err(|error| {
            let asked = asked("get", id.kind, &id.name);
            self.failed(&format!("read `{id}`"), asked, error)
        })
    }

    fn is_ours(&self, object: &Value) -> bool {
        let labels = object.pointer("/metadata/labels");
        let has = |name: &str, value: &str| {
            let found = labels.and_then(|labels| labels.get(name));
            found.and_then(Value::as_str) == Some(value)
        };
        let free = labels.is_some_and(|labels| labels.get(label::INSTALLATION).is_none());
        let ours =
            has(label::INSTALLATION, &self.installation) && has_applied(object, FIELD_MANAGER);
        // What was made for the site is the site's.
        has(label::SITE, &self.name) && (ours || free)
    }

    pub(crate) async fn delete(&self, id: &ObjectId, uid: Option<&str>) -> Result<(), EffectError> {
        let deleted = self.connection.delete(&self.namespace, id, uid).await;
        deleted.map_err(|error| {
            let asked = asked("delete", id.kind, &id.name);
            self.failed(&format!("remove `{id}`"), asked, error)
        })?;
        self.count();
        Ok(())
    }

    pub(crate) async fn delete_path(
        &self,
        path: &str,
        asked: impl Fn() -> Asked,
    ) -> Result<(), EffectError> {
        let deleted = self.connection.delete_path(path, "Background", None).await;
        deleted.map_err(|error| self.failed(&format!("remove {path}"), asked(), error))?;
        self.count();
        Ok(())
    }

    /// The Secret with each value that it has already, and a new one where it has none.
    async fn fill(
        &self,
        object: &Object,
        sources: &BTreeMap<String, SecretSource>,
    ) -> Result<Value, EffectError> {
        let mut whole = object.value();
        let data = whole.get_mut("data").and_then(Value::as_object_mut);
        let Some(data) = data.filter(|data| data.values().any(Value::is_null)) else {
            return Ok(whole);
        };
        let live = match &self.secrets {
            Some(secrets) => secrets.get(&object.id.name).cloned(),
            None => self.read(&object.id).await?.as_ref().and_then(data_of),
        };
        let mut open: Vec<String> = Vec::new();
        for (key, value) in data.iter_mut().filter(|(_, value)| value.is_null()) {
            match live.as_ref().and_then(|live| live.get(key)) {
                Some(kept) => *value = kept.clone(),
                None => open.push(key.clone()),
            }
        }
        // What is made of another comes after it.
        open.sort_by_key(|key| sources.get(key).is_some_and(|source| source.base.is_some()));
        for key in open {
            let source = sources
                .get(&key)
                .ok_or_else(|| gone(&object.id, &format!("the value `{key}`")))?;
            let base = source.base.as_ref().and_then(|base| data.get(base));
            let base = base.and_then(Value::as_str).and_then(decode);
            let made = secret::make(
                &source.name,
                source.origin,
                source.login.as_deref(),
                &self.logins,
                base.as_deref(),
            )?;
            data.insert(key, Value::String(STANDARD.encode(made)));
        }
        Ok(whole)
    }

    /// Reads all of the site's Secrets at once, where many of these actions need to know one.
    pub(crate) async fn read_secrets(
        &mut self,
        actions: &[&KubernetesAction],
    ) -> Result<(), EffectError> {
        let needs = |action: &&&KubernetesAction| match action {
            KubernetesAction::Apply { object, .. } => {
                let open = || {
                    let value = object.value();
                    let data = value.get("data").and_then(Value::as_object);
                    data.is_some_and(|data| data.values().any(Value::is_null))
                };
                object.id.kind == Kind::Secret && open()
            }
            KubernetesAction::IssueCertificate { .. } => true,
            _ => false,
        };
        if actions.iter().filter(needs).count() <= FEW {
            return Ok(());
        }
        let failed = |error| {
            let asked = asked("list", Kind::Secret, "");
            self.failed("list the site's Secrets", asked, error)
        };
        let selector = format!("{}={}", label::SITE, self.name);
        let bytes = self
            .connection
            .list(&self.namespace, Kind::Secret, &selector, Extent::Whole)
            .await
            .map_err(failed)?;
        let mut secrets = HashMap::new();
        each_item(&bytes, |secret| {
            let name = secret.pointer("/metadata/name").and_then(Value::as_str);
            if let Some((name, data)) = name.map(str::to_owned).zip(data_of(&secret)) {
                secrets.insert(name, data);
            }
        })
        .map_err(|error| failed(RequestError::Answer(error)))?;
        self.secrets = Some(secrets);
        Ok(())
    }

    pub(crate) fn forget_secrets(&mut self) {
        self.secrets = None;
    }

    async fn authority(&self, secret: &str) -> Result<Pair, EffectError> {
        let id = ObjectId::new(Kind::Secret, secret);
        let known = self
            .secrets
            .as_ref()
            .and_then(|secrets| secrets.get(secret));
        let data = match known {
            Some(data) => Some(data.clone()),
            None => self.read(&id).await?.as_ref().and_then(data_of),
        };
        let layout = Layout::new("");
        let texts = data.into_iter().flatten().filter_map(|(key, value)| {
            Some((layout.authority().join(key), decode(value.as_str()?)?))
        });
        certificate::authority(&texts.collect(), &layout.authority())
    }

    async fn write_pair(
        &self,
        secret: &str,
        labels: &BTreeMap<String, String>,
        (certificate, key): (&str, &str),
        pair: &Pair,
    ) -> Result<(), EffectError> {
        let data = json!({
            certificate: STANDARD.encode(&pair.certificate),
            key: STANDARD.encode(pair.key.expose()),
        });
        let id = ObjectId::new(Kind::Secret, secret);
        self.apply(&self.object(id, labels, &data)).await.map(drop)
    }

    fn object(&self, id: ObjectId, labels: &BTreeMap<String, String>, data: &Value) -> Object {
        let value = json!({
            "apiVersion": id.kind.api_version(),
            "kind": id.kind.name(),
            "metadata": { "name": id.name, "namespace": self.namespace, "labels": labels },
            "data": data,
        });
        Object::new(id, &value)
    }

    /// The Secret that holds a receipt.
    pub(crate) fn receipt(&self, receipt: &Receipt) -> Result<Object, EffectError> {
        let packed = receipt::pack(receipt).map_err(|error| {
            EffectError::new(ErrorKind::Bug, "cannot pack the receipt").because(error)
        })?;
        let labels = BTreeMap::from([
            (label::SITE.to_owned(), self.name.clone()),
            (label::INSTALLATION.to_owned(), self.installation.clone()),
        ]);
        let id = ObjectId::new(Kind::Secret, RECEIPT);
        Ok(self.object(id, &labels, &json!({ RECEIPT_KEY: packed })))
    }

    /// Whether something could not be written since the namespace is not there, or on its way out.
    pub(crate) fn is_home_missing(error: &EffectError) -> bool {
        let source = error.source.as_ref();
        let refused = source.and_then(|source| source.downcast_ref::<KubernetesError>());
        match refused {
            Some(
                KubernetesError::Cluster { source, .. } | KubernetesError::Busy { source, .. },
            ) => source.refusal().is_some_and(|refusal| {
                refusal.code == 404 || refusal.has_cause("NamespaceTerminating")
            }),
            _ => false,
        }
    }
}

fn data_of(secret: &Value) -> Option<Map<String, Value>> {
    secret.get("data")?.as_object().cloned()
}
