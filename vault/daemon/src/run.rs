//! `stakeout-vault run`: wires the parts together and keeps them going.

use std::fs::File;
use std::future::IntoFuture;
use std::sync::{Arc, Mutex, PoisonError};
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
use vault_storage::{FilesystemProvider, Provider, S3Provider, S3Settings};

use crate::integrations::Integrations;
use crate::judge::judge;
use crate::public;
use crate::secret::{make_folder, read_name, read_secret};
use crate::tls;

/// Disks fill slowly beside a reserve; uploads wake retention anyway.
const RETAIN_EVERY: Duration = Duration::from_secs(10);
/// A request that has not ended by then is cut off; its agent tries again.
const STOP_PATIENCE: Duration = Duration::from_secs(4);
/// For work beside the event loop; a service manager's five seconds are not used up.
const TASK_PATIENCE: Duration = Duration::from_millis(500);
/// Between two tries to use a server of objects.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
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

/// Runs a command that has to wait for others.
pub(crate) fn wait<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot make an event loop")?;
    runtime.block_on(work)
}

/// Catalogue and provider of a configuration; a server of objects is not asked yet.
pub(crate) fn open(config: &VaultConfig) -> anyhow::Result<(Catalogue, Provider)> {
    let catalogue = Catalogue::open(&catalogue_path(config), &config.site)?;
    let provider = match &config.provider {
        ProviderConfig::Filesystem { path } => {
            if catalogue.totals()?.recordings > 0 && !FilesystemProvider::is_known(path) {
                bail!(
                    "`{path}` is not the folder that the catalogue knows; is its disk mounted? \
                     (a folder `.staging` in it says that it is)"
                );
            }
            make_folder(path).with_context(|| format!("cannot make `{path}`"))?;
            FilesystemProvider::open(path)?.into()
        }
        ProviderConfig::S3 {
            endpoint,
            region,
            bucket,
            prefix,
            access_key_file,
            secret_key_file,
            ca_file,
            path_style,
            create_bucket: _,
        } => {
            let settings = S3Settings {
                endpoint: endpoint.clone(),
                region: region.clone(),
                bucket: bucket.clone(),
                prefix: prefix.clone(),
                access_key: read_name(access_key_file)?,
                secret_key: read_secret(secret_key_file)?,
                roots: ca_file.as_deref().map(read_roots).transpose()?,
                path_style: *path_style,
            };
            S3Provider::new(&settings)?.into()
        }
    };
    Ok((catalogue, provider))
}

/// Proves that a server of objects can be used. A bucket is only made for a catalogue that knows
/// no recordings: theirs, were it gone, would have to be found first.
pub(crate) async fn prepare(
    config: &VaultConfig,
    provider: &Provider,
    catalogue: &Mutex<Catalogue>,
) -> anyhow::Result<()> {
    let (Provider::S3(s3), ProviderConfig::S3 { create_bucket, .. }) = (provider, &config.provider)
    else {
        return Ok(());
    };
    let known = catalogue
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .totals()?
        .recordings;
    s3.prepare(*create_bucket && known == 0).await?;
    Ok(())
}

/// PEM of a private authority, which is judged where it is used.
pub(crate) fn read_roots(path: &Utf8Path) -> anyhow::Result<Vec<u8>> {
    tls::read_chain(path)?;
    std::fs::read(path).with_context(|| format!("cannot read `{path}`"))
}

async fn serve(config: &VaultConfig) -> anyhow::Result<()> {
    let keys = Keys::new(
        &read_secret(&config.account.access_key_file)?,
        &read_secret(&config.account.secret_key_file)?,
        &read_secret(&config.admin_token_file)?,
    );
    let integrations = Integrations::read(config)?;
    let _lock = lock(config)?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle signals")?;
    let (catalogue, provider) = open(config)?;
    let vault = Arc::new(Vault::new(
        &config.account,
        keys,
        provider,
        catalogue,
        integrations.told.clone(),
        policy(config),
    ));
    if !vault.provider.is_remote() {
        take_up(&vault).await?;
    }
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on {}", config.listen))?;
    tracing::info!("vault of site {} listens on {}", config.site, config.listen);

    integrations.start(&vault);
    let (kept, of) = (Arc::clone(&vault), config.clone());
    drop(tokio::spawn(async move {
        if kept.provider.is_remote() {
            take_up_from_afar(&kept, &of).await;
        }
        keep_within(kept).await;
    }));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let stopped = async {
        // Either end of the channel means the same.
        drop(stopped.await);
    };
    let (end_public, public_ends) = tokio::sync::watch::channel(());
    let public = config
        .public
        .clone()
        .map(|public| tokio::spawn(public::serve(public, Arc::clone(&vault), public_ends)));
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
    drop((stop, end_public));
    let ended = async {
        if let Some(public) = public {
            drop(public.await);
        }
        drop(server.await);
    };
    if tokio::time::timeout(STOP_PATIENCE, ended).await.is_err() {
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
    let mut adopted = vault.adopt().await;
    if matches!(&adopted, Err(error) if error.is_full()) {
        if let Err(error) = retain(vault, now_ms()).await {
            tracing::error!("retention failed: {:#}", anyhow::Error::from(error));
        }
        adopted = vault.adopt().await;
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

/// The same from a server of objects, as soon as it can be used; until then `/healthz` says why it
/// cannot.
async fn take_up_from_afar(vault: &Vault, config: &VaultConfig) {
    let mut pause = FIRST_PAUSE;
    loop {
        let catalogue = vault.catalogue();
        let ready = match prepare(config, &vault.provider, &catalogue).await {
            Ok(()) => take_up(vault).await,
            failed => failed,
        };
        let Err(error) = ready else { return };
        tracing::error!("{error:#}; next try in {} s", pause.as_secs());
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
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
        let names = vault.integrations.iter().map(|one| one.name.clone());
        let names: Vec<_> = names.collect();
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
