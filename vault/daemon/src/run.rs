//! `stakeout-vault run`: wires the parts together and keeps them going.

use std::fs::File;
use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Signal, set_parent_process_death_signal};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use vault_api::{CatalogueConfig, Identity, ProviderConfig, S3Identity, VaultConfig, read_config};
use vault_catalogue::{
    Catalogue, CatalogueError, MongoCatalogue, MongoLogin, MongoSettings, SqliteCatalogue,
};
use vault_http::{Keys, Policy, Vault, now_ms, retain, router};
use vault_storage::{
    self as storage, FilesystemProvider, Platform, Provider, S3Provider, S3Settings,
};

use crate::integrations::Integrations;
use crate::judge::judge;
use crate::public;
use crate::secret::{make_folder, read_credentials, read_name, read_private, read_secret};
use crate::tls;

/// Disks fill slowly beside a reserve; uploads wake retention anyway.
const RETAIN_EVERY: Duration = Duration::from_secs(10);
/// A request that has not ended by then is cut off; its agent tries again.
const STOP_PATIENCE: Duration = Duration::from_secs(4);
/// For work beside the event loop; a service manager's five seconds are not used up.
const TASK_PATIENCE: Duration = Duration::from_millis(500);
/// Whichever vault has stored an object has noted it by then, or been told that it cannot: the server
/// of objects and the database are waited for some seconds each.
const NOTED_BY: Duration = Duration::from_mins(2);
/// Between two tries to use a server of objects.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// In a database that reads everything for it, old events are not looked for at every upload.
const TIDY_EVERY: Duration = Duration::from_mins(10);
/// What a vault that never comes back left half-way is old enough only long after others started.
const GIVE_UP_EVERY: Duration = Duration::from_hours(1);
/// An event of another vault is told after so long.
const LOOK_EVERY: Duration = Duration::from_secs(2);
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

/// The catalogue of a configuration; a database elsewhere is not asked yet.
fn open_catalogue(config: &VaultConfig) -> anyhow::Result<Arc<dyn Catalogue>> {
    let CatalogueConfig::Mongodb {
        uri,
        database,
        credentials_file,
        tls,
        ca_file,
        identity,
    } = &config.catalogue
    else {
        let path = catalogue_path(config);
        return Ok(Arc::new(SqliteCatalogue::open(&path, &config.site)?));
    };
    // The driver reads it itself.
    ca_file.as_deref().map(read_roots).transpose()?;
    let identity = identity.as_ref().map(|identity| {
        let Identity { certificate, key } = identity;
        let mut pem =
            std::fs::read(certificate).with_context(|| format!("cannot read `{certificate}`"))?;
        pem.push(b'\n');
        pem.extend(read_private(key)?);
        anyhow::Ok(pem)
    });
    let login = credentials_file.as_deref().map(read_credentials);
    let login = login.transpose()?;
    let settings = MongoSettings {
        uri: uri.clone(),
        database: database.clone(),
        login: login.map(|(user, password)| MongoLogin { user, password }),
        tls: *tls,
        ca_file: ca_file.clone(),
        identity: identity.transpose()?,
    };
    Ok(Arc::new(MongoCatalogue::new(&settings, &config.site)?))
}

/// Catalogue and provider of a configuration; a server of objects is not asked yet.
pub(crate) fn open(config: &VaultConfig) -> anyhow::Result<(Arc<dyn Catalogue>, Provider)> {
    let catalogue = open_catalogue(config)?;
    let provider = match &config.provider {
        ProviderConfig::Filesystem { path } => {
            if !FilesystemProvider::is_known(path) && catalogue.totals()?.recordings > 0 {
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
            identity,
            ca_file,
            path_style,
            create_bucket: _,
        } => {
            let settings = S3Settings {
                endpoint: endpoint.clone(),
                region: region.clone(),
                bucket: bucket.clone(),
                prefix: prefix.clone(),
                identity: read_identity(identity)?,
                roots: ca_file.as_deref().map(read_roots).transpose()?,
                path_style: *path_style,
            };
            S3Provider::new(&settings)?.into()
        }
    };
    Ok((catalogue, provider))
}

fn read_identity(identity: &S3Identity) -> anyhow::Result<storage::S3Identity> {
    Ok(match identity {
        S3Identity::Keys {
            access_key_file,
            secret_key_file,
        } => storage::S3Identity::Keys {
            access_key: read_name(access_key_file)?,
            secret_key: read_secret(secret_key_file)?,
        },
        S3Identity::Platform => {
            let platform = Platform::of_environment(|name| std::env::var(name).ok())?;
            storage::S3Identity::Platform(platform)
        }
    })
}

/// Proves that a server of objects can be used. A bucket is only made for a catalogue that knows
/// no recordings: theirs, were it gone, would have to be found first.
pub(crate) async fn prepare(
    config: &VaultConfig,
    provider: &Provider,
    catalogue: &Arc<dyn Catalogue>,
) -> anyhow::Result<()> {
    let (Provider::S3(s3), ProviderConfig::S3 { create_bucket, .. }) = (provider, &config.provider)
    else {
        return Ok(());
    };
    let catalogue = Arc::clone(catalogue);
    let totals = tokio::task::spawn_blocking(move || catalogue.totals());
    let known = totals.await??.recordings;
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
    let opened = tokio::select! {
        opened = open_patiently(config) => opened?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    let (catalogue, provider) = opened;
    let vault = Arc::new(Vault::new(
        &config.account,
        keys,
        provider,
        catalogue,
        integrations.told.clone(),
        policy(config),
    ));
    let far = vault.provider.is_remote() || vault.catalogue().is_remote();
    if !far {
        take_up(&vault).await?;
    }
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on {}", config.listen))?;
    tracing::info!("vault of site {} listens on {}", config.site, config.listen);

    integrations.start(&vault);
    if vault.catalogue().is_remote() {
        drop(tokio::spawn(look_for_news(Arc::clone(&vault))));
    }
    let (kept, of) = (Arc::clone(&vault), config.clone());
    drop(tokio::spawn(async move {
        if far {
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
    let close = tokio::task::spawn_blocking(move || catalogue.close());
    match tokio::time::timeout(TASK_PATIENCE, close).await {
        Ok(closed) => closed.context("the catalogue's task ended")??,
        Err(_) => tracing::warn!("the catalogue could not be closed in time"),
    }
    tracing::info!("stopped");
    Ok(())
}

/// Takes up what a crash left without a row. A full disk gives up its oldest footage for that, and
/// never keeps the vault from starting.
async fn take_up(vault: &Vault) -> anyhow::Result<()> {
    let mut adopted = vault.adopt(NOTED_BY).await;
    if matches!(&adopted, Err(error) if error.is_full()) {
        if let Err(error) = retain(vault, now_ms()).await {
            tracing::error!("retention failed: {:#}", anyhow::Error::from(error));
        }
        adopted = vault.adopt(NOTED_BY).await;
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

/// Opens what a start needs. Only a folder that was never used has to wait for a database: it may be
/// the mount point of a disk that is missing, and the catalogue knows.
async fn open_patiently(config: &VaultConfig) -> anyhow::Result<(Arc<dyn Catalogue>, Provider)> {
    let mut pause = FIRST_PAUSE;
    loop {
        let of = config.clone();
        let opened = tokio::task::spawn_blocking(move || open(&of)).await?;
        let away = |error: &anyhow::Error| {
            let known = error.downcast_ref::<CatalogueError>();
            known.is_some_and(CatalogueError::is_unavailable)
        };
        match opened {
            Err(error) if away(&error) => {
                tracing::error!("{error:#}; next try in {} s", pause.as_secs());
            }
            opened => return opened,
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// The same from a server of objects or with a database, as soon as they can be used; until then `/healthz` says why it
/// cannot.
async fn take_up_from_afar(vault: &Vault, config: &VaultConfig) {
    let mut pause = FIRST_PAUSE;
    loop {
        let catalogue = vault.catalogue();
        let ready = match prepare(config, &vault.provider, &catalogue).await {
            Ok(()) => {
                give_up(vault).await;
                take_up(vault).await
            }
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

/// Other vaults write events too, of which only the database tells.
async fn look_for_news(vault: Arc<Vault>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        vault.tell();
    }
}

/// Uploads that a crash left half-way cost room, and nothing else; not all keys may ask for them.
async fn give_up(vault: &Vault) {
    match vault.provider.give_up(vault.sharing()).await {
        Ok(0) => {}
        Ok(uploads) => tracing::info!("gave up {uploads} uploads that nobody will finish"),
        Err(error) => tracing::warn!("{:#}", anyhow::Error::from(error)),
    }
}

/// Retention, after every upload and from time to time.
async fn keep_within(vault: Arc<Vault>) {
    let mut tidied: Option<Instant> = None;
    let mut looked = Instant::now();
    loop {
        match retain(&vault, now_ms()).await {
            Ok(0) => {}
            Ok(gone) => tracing::info!("{gone} recordings went, oldest first"),
            Err(error) => tracing::error!("retention failed: {:#}", anyhow::Error::from(error)),
        }
        let (catalogue, names) = (vault.catalogue(), vault.integrations.iter());
        let names: Vec<_> = names.map(|one| one.name.clone()).collect();
        let tidy = tidied.is_none_or(|last| last.elapsed() >= TIDY_EVERY);
        let done = tokio::task::spawn_blocking(move || {
            catalogue.keep_room();
            if tidy {
                catalogue.forget(now_ms() - EVENTS_MS, &names)?;
            }
            Ok::<_, CatalogueError>(())
        });
        match done.await {
            Ok(Ok(())) if tidy => tidied = Some(Instant::now()),
            Ok(Err(error)) => tracing::error!("{:#}", anyhow::Error::from(error)),
            _ => {}
        }
        if looked.elapsed() >= GIVE_UP_EVERY {
            give_up(&vault).await;
            looked = Instant::now();
        }
        // Elapsing is one of the two reasons to go on.
        drop(tokio::time::timeout(RETAIN_EVERY, vault.stored()).await);
    }
}
