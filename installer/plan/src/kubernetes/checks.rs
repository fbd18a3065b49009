//! What must hold before the first effect on a cluster.

use std::collections::BTreeSet;

use installer_render::docker::is_loopback;
use installer_render::kubernetes::{Kind, ObjectId, Site, claims};
use installer_spec::{Monitoring, Profile, Source, TestSource};

use super::install::own_objects;
use super::{KubernetesFacts, entrance, judge};
use crate::check::{Finding, Severity, login_missing};
use crate::docker::{ImageStanding, Ownership};
use crate::storage::{Promise, StorageEstimate, retention_finding};

pub(super) fn findings(
    profile: &Profile,
    facts: &KubernetesFacts,
    site: &Site,
    storage: Option<&StorageEstimate>,
    promise: Promise,
) -> Vec<Finding> {
    let mut found = foreign(profile, facts, site);
    let mut say = |severity, id: &str, message: String, help: &str| {
        found.push(Finding::new(severity, id, message, help));
    };
    if let Some(receipt) = &facts.receipt
        && receipt.site != profile.site
    {
        say(
            Severity::Error,
            "other-site",
            format!(
                "namespace `{}` holds site `{}`",
                facts.namespace, receipt.site
            ),
            "uninstall that one first, or give this site another name",
        );
    }
    if profile.monitoring == Monitoring::On
        && [Kind::PodMonitor, Kind::PrometheusRule]
            .iter()
            .any(|kind| facts.unserved.contains(kind))
    {
        say(
            Severity::Error,
            "monitoring",
            "`monitoring: on`: the cluster has no Prometheus Operator, or does not let us see its \
             objects"
                .to_owned(),
            "install it, or write `monitoring: auto`",
        );
    }
    for camera in &profile.cameras {
        match &camera.source {
            Source::Rtsp { main, .. } if is_loopback(main) => say(
                Severity::Error,
                "camera-loopback",
                format!(
                    "camera `{}` is at this machine's own address, which no pod reaches",
                    camera.name
                ),
                "write the machine's address in its network instead of 127.0.0.1",
            ),
            Source::Test(TestSource::File(path)) => say(
                Severity::Error,
                "clip-cluster",
                format!(
                    "test camera `{}` plays `{path}`, which no pod sees",
                    camera.name
                ),
                "write `test: scene`",
            ),
            _ => {}
        }
    }
    let missing = claims(profile)
        .into_iter()
        .find(|claim| {
            let id = ObjectId::new(Kind::PersistentVolumeClaim, claim.clone());
            !facts.objects.contains_key(&id)
        })
        .filter(|_| {
            !facts
                .cluster
                .storage_classes
                .values()
                .any(|class| class.default)
        });
    if let Some(claim) = missing {
        say(
            Severity::Error,
            "storage-class",
            format!(
                "nothing in the cluster would give claim `{claim}` a disk: no storage class is the default"
            ),
            judge(&facts.cluster.signs).map_or(
                "install a provisioner, or mark a class as default",
                |(flavour, _)| flavour.storage.as_str(),
            ),
        );
    }
    for (component, image) in &facts.images {
        if !site.workloads.iter().any(|one| one.image == *component) {
            continue;
        }
        let reference = &image.reference;
        match image.standing {
            ImageStanding::Unverified => say(
                Severity::Error,
                "image-unverified",
                format!("nobody has looked up the digest of image `{reference}`"),
                "run `stakeout catalogue refresh` where there is a network, or insist with \
                 --allow-unverified-images",
            ),
            ImageStanding::Insisted => say(
                Severity::Warning,
                "image-unverified",
                format!("image `{reference}` may be anything, as you insist"),
                "the cluster's rule that images are named by digest is left out",
            ),
            // Where there might have been a way without a registry, it is said why there is none.
            ImageStanding::Pinned if !reference.contains('@') && facts.image_way.is_none() => say(
                Severity::Error,
                "image-missing",
                format!(
                    "image `{reference}` has no digest: this build of `stakeout` has no release"
                ),
                "make the images with `stakeout image build`, push them with `stakeout image push`, \
                 and name the registry with --registry",
            ),
            ImageStanding::Pinned => {}
        }
    }
    found.extend(entrance::findings(profile, facts));
    for (camera, reason) in &facts.missing_logins {
        found.push(login_missing(camera, reason));
    }
    found.extend(storage.and_then(|storage| retention_finding(storage, promise)));
    found.extend(shared(facts));
    found
}

/// What others have put into objects of ours: it stays, and is told.
fn shared(facts: &KubernetesFacts) -> Option<Finding> {
    const NAMED: usize = 5;
    let ours = facts
        .objects
        .iter()
        .filter(|(_, fact)| fact.ownership == Ownership::Ours && !fact.shared.is_empty());
    let told: Vec<_> = ours
        .map(|(id, fact)| format!("{id}: {}", fact.shared.join(", ")))
        .collect();
    let more = match told.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!("; and {more} more objects"),
    };
    let named: Vec<_> = told.iter().take(NAMED).map(String::as_str).collect();
    (!named.is_empty()).then(|| {
        Finding::new(
            Severity::Info,
            "object-shared",
            format!("others have set fields of our objects: {}{more}", named.join("; ")),
            "of these, fields that we say are taken back with --force-conflicts; what we say nothing of \
             stays until somebody takes it out",
        )
    })
}

/// What is somebody else's: in the way where it has a name of ours, and left alone anywhere.
fn foreign(profile: &Profile, facts: &KubernetesFacts, site: &Site) -> Vec<Finding> {
    let made = own_objects(profile);
    let rendered = site.objects.iter().map(|one| &one.object.id);
    let workloads = site.workloads.iter().map(|one| &one.object.id);
    let wanted: BTreeSet<_> = rendered.chain(workloads).chain(&made).collect();
    let objects = facts.objects.iter().filter(|(_, fact)| !fact.offered);
    let named = objects.filter_map(|(id, fact)| {
        let Ownership::Foreign(sign) = &fact.ownership else {
            return None;
        };
        if !wanted.contains(id) {
            return Some(Finding::new(
                Severity::Warning,
                "look-alike",
                format!("{id} looks like ours and is not: {sign}"),
                "it stays; take the label `stakeout.site` off it, so that nobody takes it for ours",
            ));
        }
        Some(Finding::new(
            Severity::Error,
            "foreign-object",
            format!(
                "{id} in namespace `{}` is not ours: {sign}",
                facts.namespace
            ),
            "rename or remove it yourself, or give the site another name; we do not touch it",
        ))
    });
    named.collect()
}
