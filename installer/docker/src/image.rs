//! Bringing an image to the engine.

use bollard::query_parameters::{CreateImageOptions, ImportImageOptions};
use camino::Utf8Path;
use futures::StreamExt;
use installer_engine::{EffectError, ErrorKind};
use installer_plan::docker::ImageSource;

use crate::connect::Connection;
use crate::error::effect;

pub(crate) async fn fetch(
    connection: &Connection,
    reference: &str,
    from: &ImageSource,
) -> Result<(), EffectError> {
    match from {
        ImageSource::Folder(path) => load(connection, reference, path).await,
        ImageSource::Registry => pull(connection, reference).await,
    }
}

/// An archive as `docker save` makes it.
async fn load(
    connection: &Connection,
    reference: &str,
    path: &Utf8Path,
) -> Result<(), EffectError> {
    let operation = format!("load image `{reference}` from `{path}`");
    let file = tokio::fs::File::open(path).await.map_err(|error| {
        EffectError::new(ErrorKind::Environment, format!("cannot read `{path}`")).because(error)
    })?;
    let pieces = tokio_util::io::ReaderStream::with_capacity(file, 1 << 18);
    let mut loading = std::pin::pin!(connection.docker.import_image_stream(
        ImportImageOptions::default(),
        pieces,
        None
    ));
    while let Some(progress) = loading.next().await {
        progress.map_err(|error| effect(&operation, error))?;
    }
    Ok(())
}

async fn pull(connection: &Connection, reference: &str) -> Result<(), EffectError> {
    let options = CreateImageOptions {
        from_image: Some(reference.to_owned()),
        ..CreateImageOptions::default()
    };
    let mut pulling = std::pin::pin!(connection.docker.create_image(Some(options), None, None));
    while let Some(progress) = pulling.next().await {
        progress.map_err(|error| effect(format!("pull image `{reference}`"), error))?;
    }
    Ok(())
}
