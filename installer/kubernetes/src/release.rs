//! Charts and their releases: what Helm has noted in the cluster, and what it is told to do.
//!
//! Facts come from the Secrets in which Helm keeps its releases, so that a run that changes nothing
//! asks Helm for its version only. Readiness is ours.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use camino::Utf8Path;
use futures::future::try_join_all;
use installer_engine::{EffectError, ErrorKind, Probe, parse_login};
use installer_helm::{ClusterAccess, Helm, HelmError, Upgrade, read_chart};
use installer_plan::docker::label;
use installer_plan::kubernetes::{ChartFact, DIGEST_LABEL, ReleaseFact, TRUST};
use installer_plan::{Finding, Receipt, Severity};
use installer_render::kubernetes::{Kind, ObjectId, Release, chart_home, chart_namespace};
use installer_spec::{Chart, ChartSource, Login, Profile};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::connect::Connection;
use crate::effects::Site;
use crate::error::{KubernetesError, gone};
use crate::list::{Labelled, each_item};
use crate::observe::decode;
use crate::readiness::{Deployment, Picture, Pod, ReplicaSet, Whose, judge};
use crate::request::{Extent, RequestError, asked};

/// Labels by which Helm finds its Secrets again.
const OWNER: &str = "owner=helm";

/// Label of a release: the revision that its other labels speak of.
const REVISION_LABEL: &str = "stakeout.revision";

/// What is known of charts and releases before anything is decided.
#[derive(Debug, Default)]
pub(crate) struct Charts {
    pub(crate) charts: BTreeMap<String, Result<ChartFact, Finding>>,
    pub(crate) releases: BTreeMap<String, ReleaseFact>,
}

/// Reads the releases of the site, and the charts that it wants.
pub(crate) async fn observe(
    connection: &Connection,
    profile: Option<(&Profile, &Utf8Path)>,
    namespace: &str,
    installation: &str,
    receipt: Option<&Receipt>,
) -> Result<Charts, KubernetesError> {
    let wanted: &[Chart] = profile.map_or(&[], |(profile, _)| &profile.charts);
    let mut places: BTreeMap<String, String> = wanted
        .iter()
        .map(|chart| (chart.name.clone(), chart_namespace(namespace, &chart.name)))
        .collect();
    for owned in receipt.into_iter().flat_map(|receipt| {
        let pending = receipt.pending.iter().map(|pending| &pending.owned);
        pending.chain([&receipt.owned])
    }) {
        places.extend(owned.releases.clone());
    }
    if places.is_empty() {
        return Ok(Charts::default());
    }
    let read = places.iter().map(async |(name, namespace)| {
        let fact = read_release(connection, name, namespace, installation).await?;
        Ok::<_, KubernetesError>(fact.map(|fact| (name.clone(), fact)))
    });
    let found = try_join_all(read).await?;
    let mut releases: BTreeMap<_, _> = found.into_iter().flatten().collect();
    let helm = Helm::find(access(connection)).await;
    let folder = profile.map_or(Utf8Path::new(""), |(_, folder)| folder);
    let mut charts = BTreeMap::new();
    for chart in wanted {
        let known = releases.get(&chart.name);
        let fact = read_source(helm.as_ref(), chart, folder, known).await;
        charts.insert(chart.name.clone(), fact);
    }
    // What is not wanted goes, and takes its claims along if nobody looks.
    for (name, fact) in releases.iter_mut().filter(|(name, _)| {
        let name = name.as_str();
        wanted.iter().all(|chart| chart.name != name)
    }) {
        match claims(helm.as_ref(), name, &fact.namespace).await {
            Ok(claims) => fact.claims = claims,
            Err(finding) => {
                charts.insert(name.clone(), Err(finding));
            }
        }
    }
    Ok(Charts { charts, releases })
}

pub(crate) fn access(connection: &Connection) -> ClusterAccess {
    ClusterAccess {
        kubeconfig: connection.choice.kubeconfig.clone(),
        context: connection.choice.context.clone(),
    }
}

fn obstacle(chart: &str, error: &HelmError) -> Finding {
    let mut message = format!("chart `{chart}`: {error}");
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        source = cause.source();
    }
    let help = error.remedy();
    Finding {
        severity: Severity::Error,
        id: "chart".to_owned(),
        message,
        help: help
            .unwrap_or("see that `charts` names it rightly")
            .to_owned(),
    }
}

async fn read_source(
    helm: Result<&Helm, &HelmError>,
    chart: &Chart,
    folder: &Utf8Path,
    known: Option<&ReleaseFact>,
) -> Result<ChartFact, Finding> {
    let failed = |error: &HelmError| obstacle(&chart.name, error);
    let helm = helm.map_err(failed)?;
    match &chart.source {
        ChartSource::Path(path) => {
            let contents = read_chart(helm, &folder.join(path)).await;
            let contents = contents.map_err(|error| failed(&error))?;
            Ok(ChartFact {
                version: contents.version,
                digest: Some(contents.digest),
            })
        }
        ChartSource::Registry { reference, version } => {
            // One that is installed is not looked for again by every run.
            if known.is_none_or(|known| known.digest.is_none()) {
                let shown = helm.show(reference, Some(version)).await;
                shown.map_err(|error| failed(&error))?;
            }
            Ok(ChartFact {
                version: version.clone(),
                digest: None,
            })
        }
    }
}

/// The claims that Helm made for a release, and would take away with it.
async fn claims(
    helm: Result<&Helm, &HelmError>,
    name: &str,
    namespace: &str,
) -> Result<BTreeSet<String>, Finding> {
    let failed = |error: &HelmError| obstacle(name, error);
    let objects = helm.map_err(failed)?.objects(name, namespace).await;
    let objects = objects.map_err(|error| failed(&error))?;
    let claims = objects.iter().filter_map(|object| {
        let claim = object.strip_prefix(Kind::PersistentVolumeClaim.name())?;
        claim.strip_prefix('/').map(str::to_owned)
    });
    Ok(claims.collect())
}

async fn read_release(
    connection: &Connection,
    name: &str,
    namespace: &str,
    installation: &str,
) -> Result<Option<ReleaseFact>, KubernetesError> {
    let failed = |error| {
        let asked = asked("list", Kind::Secret, "");
        KubernetesError::of(&connection.origin.server, asked, error)
    };
    let selector = format!("{OWNER},name={name}");
    let bytes = connection
        .list(namespace, Kind::Secret, &selector, Extent::Metadata)
        .await
        .map_err(failed)?;
    let mut newest: Option<(u64, BTreeMap<String, String>)> = None;
    each_item(&bytes, |secret| {
        let Ok(labelled) = Labelled::deserialize(&secret) else {
            return;
        };
        let labels = labelled.metadata.labels;
        let revision = labels.get("version").and_then(|text| text.parse().ok());
        let revision = revision.unwrap_or(0);
        if newest.as_ref().is_none_or(|(known, _)| *known < revision) {
            newest = Some((revision, labels));
        }
    })
    .map_err(|error| failed(RequestError::Answer(error)))?;
    let Some((revision, labels)) = newest else {
        return Ok(None);
    };
    let state = judge_workloads(connection, namespace).await;
    let is = |name: &str, value: &str| labels.get(name).is_some_and(|found| found == value);
    let ours = is(label::INSTALLATION, installation) && is(REVISION_LABEL, &revision.to_string());
    Ok(Some(ReleaseFact {
        namespace: namespace.to_owned(),
        revision,
        status: labels.get("status").cloned().unwrap_or_default(),
        digest: labels.get(DIGEST_LABEL).filter(|_| ours).cloned(),
        ready: state.map_err(failed)? == Probe::Met,
        claims: BTreeSet::new(),
    }))
}

/// Whether everything that runs in a release's namespace is as ready as it is meant to be.
pub(crate) async fn probe(connection: &Connection, namespace: &str) -> Probe {
    match judge_workloads(connection, namespace).await {
        Ok(probe) => probe,
        Err(error) => Probe::Waiting(error.to_string()),
    }
}

async fn judge_workloads(connection: &Connection, namespace: &str) -> Result<Probe, RequestError> {
    let list = async |group: &str, plural: &str| {
        let path = format!("/{group}/namespaces/{namespace}/{plural}");
        connection.get_path(&path).await
    };
    let apps = "apis/apps/v1";
    let mut picture = Picture::default();
    for (kind, plural) in [
        ("Deployment", "deployments"),
        ("StatefulSet", "statefulsets"),
        ("DaemonSet", "daemonsets"),
    ] {
        each_item(&list(apps, plural).await?, |mut object| {
            if kind == "DaemonSet" {
                counts_nodes(&mut object);
            }
            if let Ok(workload) = Deployment::deserialize(&object) {
                let name = workload.metadata.name.clone().unwrap_or_default();
                picture
                    .deployments
                    .insert(format!("{kind}/{name}"), workload);
            }
        })
        .map_err(RequestError::Answer)?;
    }
    each_item(&list(apps, "replicasets").await?, |object| {
        if let Ok(set) = ReplicaSet::deserialize(&object) {
            let name = set.metadata.name.clone().unwrap_or_default();
            picture.sets.insert(name, set);
        }
    })
    .map_err(RequestError::Answer)?;
    each_item(&list("api/v1", "pods").await?, |object| {
        if let Ok(pod) = Pod::deserialize(&object) {
            let name = pod.metadata.name.clone().unwrap_or_default();
            picture.pods.insert(name, pod);
        }
    })
    .map_err(RequestError::Answer)?;
    let names = picture.deployments.keys().cloned().collect();
    Ok(judge(
        &picture,
        &names,
        &HashMap::new(),
        Whose::Others,
        Timestamp::now(),
    ))
}

/// A DaemonSet counts nodes where others count replicas.
fn counts_nodes(object: &mut Value) {
    let number = |name: &str| object.pointer(&format!("/status/{name}")).cloned();
    let wanted = number("desiredNumberScheduled");
    let counts = [
        ("replicas", number("currentNumberScheduled")),
        ("updatedReplicas", number("updatedNumberScheduled")),
        ("availableReplicas", number("numberAvailable")),
    ];
    for (name, count) in counts {
        object["status"][name] = count.unwrap_or_else(|| 0.into());
    }
    object["spec"]["replicas"] = wanted.unwrap_or_else(|| 0.into());
}

impl Site {
    /// Installs or changes a release, and notes on it what was wanted.
    pub(crate) async fn release(
        &self,
        release: &Release,
        labels: &BTreeMap<String, String>,
    ) -> Result<(), EffectError> {
        self.hand_over(release, labels).await?;
        if let Some(name) = &release.trust {
            let id = ObjectId::new(Kind::ConfigMap, TRUST);
            let kept = self.read(&id).await?;
            let data = kept.as_ref().and_then(|kept| kept.get("data"));
            let data = data.ok_or_else(|| gone(&id, "what the site's parts trust"))?;
            self.copy_trust(&release.namespace, name, labels, data)
                .await?;
        }
        let upgrade = upgrade_to(release);
        let done = self.helm().await?.upgrade(&upgrade).await;
        let released = done.map_err(|error| by_helm(&release.name, error))?;
        self.count();
        // Helm hands all labels on to the next revision, whoever makes that: they are of this one.
        let mut labels = labels.clone();
        labels.insert(REVISION_LABEL.to_owned(), released.revision.to_string());
        let name = format!("sh.helm.release.v1.{}.v{}", release.name, released.revision);
        let id = ObjectId::new(Kind::Secret, name);
        let noted = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": { "name": id.name, "namespace": release.namespace, "labels": labels },
        });
        self.say_in(&release.namespace, &id, &noted).await
    }

    pub(crate) async fn remove_release(
        &self,
        name: &str,
        namespace: &str,
    ) -> Result<(), EffectError> {
        let done = self.helm().await?.uninstall(name, namespace).await;
        done.map_err(|error| by_helm(name, error))?;
        self.count();
        Ok(())
    }

    /// Puts what the site's parts trust where a chart's pods see it.
    pub(crate) async fn copy_trust(
        &self,
        namespace: &str,
        name: &str,
        labels: &BTreeMap<String, String>,
        data: &Value,
    ) -> Result<(), EffectError> {
        let id = ObjectId::new(Kind::ConfigMap, name);
        let map = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": id.name, "namespace": namespace, "labels": labels },
            "data": data,
        });
        self.say_in(namespace, &id, &map).await
    }

    async fn helm(&self) -> Result<Helm, EffectError> {
        let found = Helm::find(access(&self.connection)).await;
        found.map_err(|error| {
            EffectError::new(ErrorKind::Environment, "cannot use Helm").because(error)
        })
    }

    /// Puts the chart's logins where its pods can see them.
    async fn hand_over(
        &self,
        release: &Release,
        labels: &BTreeMap<String, String>,
    ) -> Result<(), EffectError> {
        if release.logins.is_empty() {
            return Ok(());
        }
        let home = ObjectId::new(Kind::Secret, chart_home(&release.name));
        let kept = self.read(&home).await?;
        let kept = kept.as_ref().and_then(|secret| secret.get("data"));
        let mut data = Map::new();
        for (name, secret) in &release.logins {
            let text = kept.and_then(|data| data.get(secret.to_string()));
            let text = text.and_then(Value::as_str).and_then(decode);
            let login = text.as_deref().and_then(parse_login);
            let Login { user, password } =
                login.ok_or_else(|| gone(&home, &format!("the login `{secret}`")))?;
            for (what, value) in [("user", user), ("password", password)] {
                data.insert(format!("{name}-{what}"), STANDARD.encode(value).into());
            }
        }
        let id = ObjectId::new(Kind::Secret, &release.secret);
        let secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": { "name": id.name, "namespace": release.namespace, "labels": labels },
            "data": data,
        });
        self.say_in(&release.namespace, &id, &secret).await
    }
}

/// A release as Helm is told of it.
pub(crate) fn upgrade_to(release: &Release) -> Upgrade<'_> {
    let (chart, version) = match &release.chart {
        ChartSource::Path(path) => (path.as_str(), None),
        ChartSource::Registry { reference, version } => (reference.as_str(), Some(version)),
    };
    Upgrade {
        name: &release.name,
        namespace: &release.namespace,
        chart,
        version: version.map(String::as_str),
        values: &release.values,
    }
}

pub(crate) fn by_helm(release: &str, error: HelmError) -> EffectError {
    let kind = if error.is_passing() {
        ErrorKind::Transient
    } else {
        ErrorKind::Environment
    };
    EffectError::new(kind, format!("cannot change release `{release}`")).because(error)
}
