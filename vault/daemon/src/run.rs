//! `stakeout-vault run`: wires the parts together and keeps them going.

use std::fs::File;
use std::future::IntoFuture;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Signal, set_parent_process_death_signal};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use vault_api::{ProviderConfig, VaultConfig, read_config};
use vault_catalogue::Catalogue;
use vault_http::{Keys, Policy, Vault, now_ms, retain, router};
use vault_integrations::{Webhook, deliver};
use vault_storage::FilesystemProvider;

use crate::judge::judge;
use crate::secret::{make_folder, read_secret};
use crate::tls;

/// Disks fill slowly beside a reserve; uploads wake retention anyway.
const RETAIN_EVERY: Duration = Duration::from_secs(10);
/// A request that has not ended by then is cut off; its agent tries again.
const STOP_PATIENCE: Duration = Duration::from_secs(4);
/// For work beside the event loop; a service manager's five seconds are not used up.
const TASK_PATIENCE: Duration = Duration::from_millis(500);
/// Events are kept for late readers.
const EVENTS_MS: i64 = 7 * 24 * 3600 * 1000;

pub(crate) fn run(config: &Utf8Path) -> anyhow::Result<()> {
    if std::env::var_os("STAKEOUT_SUPERVISED").is_some() {
        set_parent_process_death_signal(Some(Signal::TERM)).context("cannot follow our parent")?;
    }
    let config = read_config(config)?;
    judge(&config)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot make an event loop")?;
    let result = runtime.block_on(serve(&config));
    runtime.shutdown_timeout(TASK_PATIENCE);
    result
}

/// One process at a time owns the folder.
pub(crate) fn lock(config: &VaultConfig) -> anyhow::Result<File> {
    make_folder(&config.data).with_context(|| format!("cannot make `{}`", config.data))?;
    let path = config.data.join("vault.lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path);
    let file = file.with_context(|| format!("cannot open `{path}`"))?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)
        .with_context(|| format!("another vault keeps `{}`", config.data))?;
    Ok(file)
}

pub(crate) fn catalogue_path(config: &VaultConfig) -> Utf8PathBuf {
    config.data.join("catalogue.sqlite")
}

/// Catalogue and provider of a configuration.
pub(crate) fn open(config: &VaultConfig) -> anyhow::Result<(Catalogue, FilesystemProvider)> {
    let catalogue = Catalogue::open(&catalogue_path(config), &config.site)?;
    let ProviderConfig::Filesystem { path } = &config.provider else {
        bail!("this version of the vault does not store in S3");
    };
    if catalogue.totals()?.recordings > 0 && !FilesystemProvider::is_known(path) {
        bail!(
            "`{path}` is not the folder that the catalogue knows; is its disk mounted? \
             (a folder `.staging` in it says that it is)"
        );
    }
    make_folder(path).with_context(|| format!("cannot make `{path}`"))?;
    Ok((catalogue, FilesystemProvider::open(path)?))
}

async fn serve(config: &VaultConfig) -> anyhow::Result<()> {
    let keys = Keys::new(
        &read_secret(&config.account.access_key_file)?,
        &read_secret(&config.account.secret_key_file)?,
        &read_secret(&config.admin_token_file)?,
    );
    let mut webhooks = Vec::new();
    for webhook in &config.webhooks {
        webhooks.push(Webhook {
            name: webhook.name.clone(),
            url: webhook.url.clone(),
            secret: read_secret(&webhook.secret_file)?,
            client: Webhook::client(&webhook.url).with_context(|| {
                format!(
                    "cannot reach webhook `{}` (are CA certificates installed?)",
                    webhook.name
                )
            })?,
        });
    }
    let _lock = lock(config)?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle signals")?;
    let (catalogue, provider) = open(config)?;
    let names = webhooks
        .iter()
        .map(|webhook| webhook.name.clone())
        .collect();
    let vault = Arc::new(Vault::new(
        &config.account,
        keys,
        provider,
        catalogue,
        names,
        policy(config),
    ));
    take_up(&vault).await?;
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on {}", config.listen))?;
    tracing::info!("vault of site {} listens on {}", config.site, config.listen);

    for webhook in webhooks {
        drop(tokio::spawn(deliver(
            webhook,
            vault.catalogue(),
            vault.news(),
        )));
    }
    drop(tokio::spawn(keep_within(Arc::clone(&vault))));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let stopped = async {
        // Either end of the channel means the same.
        drop(stopped.await);
    };
    let router = router(Arc::clone(&vault));
    let mut server = match &config.tls {
        None => {
            let server = axum::serve(listener, router).with_graceful_shutdown(stopped);
            tokio::spawn(server.into_future())
        }
        Some(tls) => {
            let server = axum::serve(tls::listen(tls, listener)?, router);
            tokio::spawn(server.with_graceful_shutdown(stopped).into_future())
        }
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        ended = &mut server => {
            ended.context("the server's task ended")?.context("the server failed")?;
        }
    }
    vault.stop();
    drop(stop);
    if tokio::time::timeout(STOP_PATIENCE, server).await.is_err() {
        tracing::warn!("requests were cut off");
    }
    let catalogue = vault.catalogue();
    catalogue
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .checkpoint()?;
    tracing::info!("stopped");
    Ok(())
}

/// Takes up what a crash left without a row. A full disk gives up its oldest footage for that, and
/// never keeps the vault from starting.
async fn take_up(vault: &Vault) -> anyhow::Result<()> {
    let mut adopted = vault.adopt();
    if matches!(&adopted, Err(error) if error.is_full()) {
        if let Err(error) = retain(vault, now_ms()).await {
            tracing::error!("retention failed: {:#}", anyhow::Error::from(error));
        }
        adopted = vault.adopt();
    }
    match adopted {
        Ok(0) => {}
        Ok(adopted) => {
            tracing::info!("took up {adopted} recordings that the catalogue did not know");
        }
        Err(error) if error.is_full() => {
            tracing::error!("the disk is full; what the catalogue does not know stays aside");
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

fn policy(config: &VaultConfig) -> Policy {
    let age = config
        .retention
        .age_seconds
        .and_then(|age| i64::try_from(age).ok());
    Policy {
        age_ms: age.map(|age| age.saturating_mul(1000)),
        quota_bytes: config.retention.quota_bytes,
        reserve_bytes: config.retention.reserve_bytes,
    }
}

/// Retention, after every upload and from time to time.
async fn keep_within(vault: Arc<Vault>) {
    loop {
        match retain(&vault, now_ms()).await {
            Ok(0) => {}
            Ok(gone) => tracing::info!("{gone} recordings went, oldest first"),
            Err(error) => tracing::error!("retention failed: {:#}", anyhow::Error::from(error)),
        }
        let catalogue = vault.catalogue();
        let names = vault.integrations.clone();
        let forget = tokio::task::spawn_blocking(move || {
            let mut catalogue = catalogue.lock().unwrap_or_else(PoisonError::into_inner);
            catalogue.lay_ballast();
            catalogue.forget(now_ms() - EVENTS_MS, &names)
        });
        if let Ok(Err(error)) = forget.await {
            tracing::error!("{:#}", anyhow::Error::from(error));
        }
        // Elapsing is one of the two reasons to go on.
        drop(tokio::time::timeout(RETAIN_EVERY, vault.stored()).await);
    }
}
