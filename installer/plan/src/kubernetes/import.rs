//! Images of the release into the only node of a cluster, where that is the machine that we run on.

use std::collections::BTreeSet;

use installer_render::docker::Component;
use installer_render::kubernetes::Workload;

use super::install::Draft;
use super::{ImageWay, KubernetesAction, KubernetesFacts};
use crate::check::{Finding, Severity};
use crate::docker::{ImageFact, ImageObstacle, ImageSource};
use crate::plan::Change;

/// The images of our own that pods ask for and the node may not have, in order.
fn imported<'f>(
    facts: &'f KubernetesFacts,
    workloads: &[Workload],
) -> Vec<(Component, &'f ImageFact)> {
    let used: BTreeSet<_> = workloads.iter().map(|one| one.image).collect();
    let images = facts
        .images
        .iter()
        .map(|(component, image)| (*component, image));
    images
        .filter(|(component, image)| {
            let of_folder = matches!(image.source, Some(ImageSource::Folder { .. }));
            used.contains(component) && of_folder
        })
        .collect()
}

/// What keeps images from coming to the node.
pub(super) fn findings(facts: &KubernetesFacts, workloads: &[Workload]) -> Vec<Finding> {
    let error = |id, message, help: &str| Finding::new(Severity::Error, id, message, help);
    let (node, held) = match &facts.image_way {
        None => return Vec::new(),
        Some(ImageWay::Import { node, held, .. }) => (node, held),
        Some(ImageWay::None { reason }) => {
            let names = imported(facts, workloads).into_iter();
            let names: Vec<_> = names
                .map(|(_, image)| format!("`{}`", image.reference))
                .collect();
            if names.is_empty() {
                return Vec::new();
            }
            let message = format!(
                "no registry is named, and there is no other way for {} to the nodes: {reason}",
                names.join(" and ")
            );
            let help = "push the images with `stakeout image push`, and name the registry with \
                        --registry; on a cluster whose only node is this machine, whoever may \
                        reach its containerd needs none";
            return vec![error("image-way", message, help)];
        }
    };
    let images = imported(facts, workloads).into_iter();
    let missing = images.filter(|(_, image)| !held.contains(&image.reference));
    let found = missing.filter_map(|(_, image)| {
        let reference = &image.reference;
        if let Some(ImageObstacle::OtherInFolder { folder, named, found }) = &image.obstacle {
            let message = format!(
                "the release in `{folder}` names {named} as image `{reference}`, and {found} is there"
            );
            let help = "get the release again, whole; this folder was changed after it was made";
            return Some(error("image-digest", message, help));
        }
        (image.wanted.as_ref() != Some(reference)).then(|| {
            let message = format!(
                "node `{node}` does not have image `{reference}`, and the folder of images has another"
            );
            error("image-missing", message, "name the folder of that release with --images")
        })
    });
    found.collect()
}

impl Draft<'_> {
    /// Before any pod asks for them. What the node has by its digest is left alone.
    pub(super) fn imports(&mut self, workloads: &[Workload]) {
        let facts = self.facts;
        let Some(ImageWay::Import {
            node,
            command,
            signs,
            held,
        }) = &facts.image_way
        else {
            return;
        };
        for (component, image) in imported(facts, workloads) {
            if held.contains(&image.reference) {
                self.unchanged += 1;
                continue;
            }
            let Some(ImageSource::Folder { path, platform }) = &image.source else {
                continue;
            };
            let action = KubernetesAction::ImportImage {
                reference: image.reference.clone(),
                component,
                folder: path.clone(),
                platform: platform.clone(),
                command: command.clone(),
            };
            let id = format!("image of {} on node {node}", component.name());
            self.push(Change::Add, id, action).detail = vec![
                image.reference.clone(),
                format!(
                    "from `{path}` by `{} images import`: {}",
                    command.join(" "),
                    signs.join(", ")
                ),
            ];
        }
    }
}
