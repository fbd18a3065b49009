//! Bringing an image to the engine.

use std::io::{self, Write};
use std::time::Duration;

use bollard::query_parameters::{CreateImageOptions, ImportImageOptions};
use bytes::Bytes;
use camino::Utf8Path;
use futures::StreamExt;
use installer_engine::{EffectError, ErrorKind};
use installer_image::registry::told_to_wait;
use installer_image::{Layout, OwnImage, Platform, Release, docker_archive};
use installer_plan::docker::ImageSource;
use installer_render::docker::Component;
use tokio::sync::mpsc;

use crate::connect::Connection;
use crate::error::effect;

/// An archive on its way waits for the engine: this much of it at most.
const PIECES_AHEAD: usize = 16;

/// Where a registry that is busy does not say for how long, or does not say it to us.
const UNTOLD_WAIT: Duration = Duration::from_secs(10);

pub(crate) async fn fetch(
    connection: &Connection,
    component: Component,
    reference: &str,
    from: &ImageSource,
) -> Result<(), EffectError> {
    match (from, own(component)) {
        (ImageSource::Folder { path, platform }, Some(image)) => {
            load(connection, image, path, platform).await
        }
        _ => pull(connection, reference).await,
    }
}

fn own(component: Component) -> Option<OwnImage> {
    match component {
        Component::Agent => Some(OwnImage::Agent),
        Component::Vault => Some(OwnImage::Vault),
        Component::Minio | Component::Ferretdb | Component::Mosquitto | Component::Rabbitmq => None,
    }
}

/// Hands what is written to it over to the request, piece by piece.
struct Pieces(mpsc::Sender<io::Result<Bytes>>);

impl Write for Pieces {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.0
            .blocking_send(Ok(Bytes::copy_from_slice(piece)))
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sends the archive as it is made: nothing is written to a disk of ours.
async fn load(
    connection: &Connection,
    image: OwnImage,
    folder: &Utf8Path,
    platform: &str,
) -> Result<(), EffectError> {
    let operation = format!("load image `{image}` from `{folder}`");
    let unreadable = |error: Box<dyn std::error::Error + Send + Sync>| {
        EffectError::new(ErrorKind::Environment, format!("cannot {operation}")).because(error)
    };
    let layout = Layout::open(folder).map_err(|error| unreadable(error.into()))?;
    let release = Release::read(folder).map_err(|error| unreadable(error.into()))?;
    let platform: Platform = platform
        .parse()
        .map_err(|error: installer_image::PlatformError| unreadable(error.into()))?;
    let (sender, mut receiver) = mpsc::channel(PIECES_AHEAD);
    let making = tokio::task::spawn_blocking(move || {
        let to = io::BufWriter::with_capacity(1 << 18, Pieces(sender));
        docker_archive(&layout, &release, image, platform, to).map(|mut to| to.flush())
    });
    let pieces = futures::stream::poll_fn(move |context| receiver.poll_recv(context));
    let mut loading = std::pin::pin!(connection.docker.import_image_stream(
        ImportImageOptions::default(),
        pieces,
        None
    ));
    while let Some(progress) = loading.next().await {
        progress.map_err(|error| effect(&operation, error))?;
    }
    match making.await {
        Ok(Ok(Ok(()))) => Ok(()),
        Ok(Ok(Err(error))) => Err(unreadable(error.into())),
        Ok(Err(error)) => Err(unreadable(error.into())),
        Err(error) => Err(unreadable(error.into())),
    }
}

/// The engine gets it from the registry in the reference.
async fn pull(connection: &Connection, reference: &str) -> Result<(), EffectError> {
    let options = CreateImageOptions {
        from_image: Some(reference.to_owned()),
        ..CreateImageOptions::default()
    };
    let mut pulling = std::pin::pin!(connection.docker.create_image(Some(options), None, None));
    while let Some(progress) = pulling.next().await {
        if let Err(error) = progress {
            let retry_after = if is_busy(&error) {
                // The engine keeps to itself how long it was told to wait.
                let told = told_to_wait(reference).await;
                Some(told.unwrap_or(UNTOLD_WAIT))
            } else {
                None
            };
            let operation = format!("pull image `{reference}` from its registry");
            return Err(EffectError {
                retry_after,
                ..effect(operation, error)
            });
        }
    }
    Ok(())
}

/// Asks the engine whether the registry would give it an image; nothing is changed by that.
/// Returns why not. A registry that is only busy is no obstacle: pulling waits for it.
pub(crate) async fn refusal(connection: &Connection, reference: &str) -> Option<String> {
    let asked = connection.docker.inspect_registry_image(reference, None);
    match asked.await {
        Ok(_) => None,
        Err(error) if is_busy(&error) => None,
        Err(bollard::errors::Error::DockerResponseServerError { message, .. }) => {
            Some(installer_spec::mask(&message))
        }
        Err(error) => Some(error.to_string()),
    }
}

/// Engines tell this in words alone: those of the distribution specification's error code, or of
/// the HTTP status where the registry did not use one.
fn is_busy(error: &bollard::errors::Error) -> bool {
    let said = error.to_string().to_lowercase();
    ["toomanyrequests", "too many requests", "http 429"]
        .iter()
        .any(|words| said.contains(words))
}
