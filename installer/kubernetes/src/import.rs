//! Images into the containerd of the only node, where that is the machine that we run on.

use std::error::Error;
use std::fs;
use std::time::Duration;

use camino::Utf8Path;
use installer_engine::{EffectError, ErrorKind};
use installer_image::load::{Containerd, LoadError, load_containerd};
use installer_image::{Layout, OwnImage, Platform, Release, is_local};
use installer_plan::kubernetes::{Cluster, ImageWay, importer};
use installer_render::docker::Component;
use serde::Deserialize;
use tokio::time::timeout;

use crate::cluster::read_all;
use crate::connect::Connection;

/// Differs from boot to boot and from machine to machine; what shares it shares a kernel.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// containerd answers at once, or is not there.
const PATIENCE: Duration = Duration::from_secs(3);

/// How images come to the nodes of this cluster without a registry. Nothing changes.
pub async fn image_way(connection: &Connection, cluster: &Cluster) -> ImageWay {
    let found = look(connection, cluster).await;
    found.unwrap_or_else(|reason| ImageWay::None { reason })
}

async fn look(connection: &Connection, cluster: &Cluster) -> Result<ImageWay, String> {
    let name = match cluster.nodes.len() {
        0 => return Err("we may not see the cluster's nodes".to_owned()),
        1 => cluster.nodes.keys().next().cloned().unwrap_or_default(),
        count => {
            return Err(format!(
                "the cluster has {count} nodes, and each of them needs them"
            ));
        }
    };
    let command = importer(&cluster.signs)?;
    let nodes = read_all::<Node>(connection, "/api/v1/nodes", "nodes").await;
    let nodes = nodes.map_err(|error| error.to_string())?;
    let node = nodes.into_iter().find(|node| node.metadata.name == name);
    let status = node.ok_or_else(|| format!("node `{name}` is gone"))?.status;
    let runtime = &status.node_info.container_runtime_version;
    if !runtime.starts_with("containerd://") {
        return Err(format!(
            "node `{name}` runs `{runtime}`, and not containerd"
        ));
    }
    let boot = fs::read_to_string(BOOT).unwrap_or_default();
    if boot.trim() != status.node_info.boot_id || boot.is_empty() {
        return Err(format!("node `{name}` is another machine than this one"));
    }
    let containerd = Containerd { command };
    let line = containerd.command.join(" ");
    let names = timeout(PATIENCE, containerd.names()).await;
    let silent = |_| format!("`{line}` has no answer within {} s", PATIENCE.as_secs());
    let names = names.map_err(silent)?.map_err(|error| words(&error))?;
    // Others may share its kernel, as containers do.
    let mut told = status.images.iter().flat_map(|image| &image.names);
    if !told.any(|name| names.contains(name)) {
        return Err(format!(
            "`{line}` reaches another containerd than the one of node `{name}`: it has none of the \
             images that the node tells of"
        ));
    }
    Ok(ImageWay::Import {
        signs: vec![
            format!("node `{name}` is the only one"),
            "it runs on this machine's kernel".to_owned(),
            format!("it tells of images that `{line}` tells of"),
        ],
        held: names.into_iter().filter(|name| is_local(name)).collect(),
        command: containerd.command,
        node: name,
    })
}

/// An error with what is below it.
fn words(error: &LoadError) -> String {
    let mut words = error.to_string();
    let mut below = error.source();
    while let Some(source) = below {
        words = format!("{words}: {source}");
        below = source.source();
    }
    words
}

/// Has the node's containerd take an image, and sees that it has it.
pub(crate) async fn import(
    reference: &str,
    component: Component,
    (folder, platform): (&Utf8Path, &str),
    command: &[String],
) -> Result<(), EffectError> {
    let failed = |why: Box<dyn Error + Send + Sync>| {
        let operation = format!("cannot import image `{reference}` from `{folder}` into the node");
        EffectError::new(ErrorKind::Environment, operation).because(why)
    };
    let image = OwnImage::named(component.name()).ok_or_else(|| {
        let why = format!("image `{}` is in no release", component.name());
        EffectError::new(ErrorKind::Bug, why)
    })?;
    let layout = Layout::open(folder).map_err(|error| failed(error.into()))?;
    let release = Release::read(folder).map_err(|error| failed(error.into()))?;
    let platform: Platform = platform
        .parse()
        .map_err(|error: installer_image::PlatformError| failed(error.into()))?;
    let containerd = Containerd {
        command: command.to_vec(),
    };
    load_containerd(&containerd, &layout, &release, image, platform)
        .await
        .map_err(|error| failed(error.into()))?;
    let names = containerd
        .names()
        .await
        .map_err(|error| failed(error.into()))?;
    if names.contains(reference) {
        return Ok(());
    }
    Err(failed(
        "the folder has another one, see what `stakeout plan` says now".into(),
    ))
}

#[derive(Debug, Deserialize)]
struct Node {
    metadata: Metadata,
    status: Status,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    node_info: NodeInfo,
    #[serde(default)]
    images: Vec<Image>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NodeInfo {
    #[serde(rename = "bootID")]
    boot_id: String,
    container_runtime_version: String,
}

#[derive(Debug, Deserialize)]
struct Image {
    #[serde(default)]
    names: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_that_is_not_there_is_told_with_its_name() {
        let containerd = Containerd {
            command: vec!["stakeout-no-such-ctr".to_owned()],
        };
        let told = words(&containerd.names().await.unwrap_err());
        assert!(
            told.contains("`stakeout-no-such-ctr images list --quiet`"),
            "{told}"
        );
        assert!(told.contains("No such file"), "{told}");
    }
}
