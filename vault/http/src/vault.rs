//! The vault itself: provider and catalogue, and the order in which they are told.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use camino::Utf8PathBuf;
use tokio::sync::watch;
use vault_catalogue::{Added, Catalogue, CatalogueError, NewRecording};
use vault_storage::{Object, Provider, RecordingName, Sharing, StorageError, StoredObject};

use crate::auth::Keys;
use crate::retention::Policy;

#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("a task of the vault did not end")]
    Task(#[from] tokio::task::JoinError),
}

impl VaultError {
    /// The disk has no room.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Catalogue(error) => error.is_full(),
            Self::Storage(error) => error.is_full(),
            Self::Task(_) => false,
        }
    }
}

/// Everything that serving a request takes.
#[derive(Debug)]
pub struct Vault {
    pub account: String,
    /// First part of every key; `*` lets the agent choose.
    pub directory: String,
    /// Folders from which files may be taken over.
    pub handoff: Vec<Utf8PathBuf>,
    pub keys: Keys,
    pub provider: Provider,
    /// Whom events go to.
    pub integrations: Vec<Integration>,
    /// What stays, and for how long.
    pub policy: Policy,
    /// Held while footage goes, so that nobody counts the same excess twice.
    pub(crate) retaining: tokio::sync::Mutex<()>,
    catalogue: Arc<dyn Catalogue>,
    /// Counts changes of the outbox, so that nobody has to poll it.
    news: watch::Sender<u64>,
    /// Wakes retention after an upload.
    stored: tokio::sync::Notify,
    stopping: AtomicBool,
}

/// One whom events go to.
#[derive(Debug, Clone)]
pub struct Integration {
    pub name: String,
    /// Why it takes no events now.
    pub trouble: watch::Receiver<Option<String>>,
}

/// What is known of an upload before its bytes are.
#[derive(Debug, Clone)]
pub(crate) struct Announced {
    pub(crate) key: String,
    pub(crate) camera: String,
    pub(crate) start_ms: i64,
    pub(crate) duration_ms: i64,
}

impl Vault {
    pub fn new(
        account: &vault_api::AccountConfig,
        keys: Keys,
        provider: Provider,
        catalogue: Arc<dyn Catalogue>,
        integrations: Vec<Integration>,
        policy: Policy,
    ) -> Self {
        Self {
            account: account.name.clone(),
            directory: account.directory.clone(),
            handoff: account.handoff.clone(),
            keys,
            provider,
            integrations,
            policy,
            retaining: tokio::sync::Mutex::new(()),
            catalogue,
            news: watch::Sender::new(0),
            stored: tokio::sync::Notify::new(),
            stopping: AtomicBool::new(false),
        }
    }

    /// Shared with the deliveries.
    pub fn catalogue(&self) -> Arc<dyn Catalogue> {
        Arc::clone(&self.catalogue)
    }

    /// Changes with every event.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Resolves after an upload was stored.
    pub async fn stored(&self) {
        self.stored.notified().await;
    }

    /// Asks the catalogue beside the event loop.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn Catalogue) -> Result<T, CatalogueError> + Send + 'static,
    ) -> Result<T, VaultError> {
        ask(&self.catalogue, question).await
    }

    /// Notes an object that is on disk; only then it may be acknowledged.
    ///
    /// A client that leaves meanwhile changes nothing: the event is still told of at once.
    pub(crate) async fn note(
        self: &Arc<Self>,
        announced: Announced,
        object: StoredObject,
    ) -> Result<Added, VaultError> {
        let new = NewRecording {
            account: self.account.clone(),
            key: announced.key,
            camera: announced.camera,
            start_ms: announced.start_ms,
            duration_ms: announced.duration_ms,
            bytes: i64::try_from(object.bytes).unwrap_or(i64::MAX),
            sha256: object.sha256,
            stored_ms: now_ms(),
            location: object.location.into_string(),
        };
        let vault = Arc::clone(self);
        let noted = tokio::task::spawn_blocking(move || {
            let added = vault.catalogue.add(&new)?;
            vault.tell();
            vault.stored.notify_one();
            Ok(added)
        });
        noted.await?
    }

    /// Lets go of everyone who waits for events; the process is about to end.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.tell();
    }

    pub(crate) fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Wakes everyone who waits for events; those of other vaults are only found by looking.
    pub fn tell(&self) {
        self.news.send_modify(|count| *count += 1);
    }

    /// Others may store objects and note them where this vault does.
    pub fn sharing(&self) -> Sharing {
        // A folder and a file are locked by whoever has them open.
        if self.provider.is_remote() && self.catalogue.is_remote() {
            Sharing::Shared
        } else {
            Sharing::Alone
        }
    }

    /// Takes up objects that nobody noted: a crash came between the two, or the catalogue is new.
    /// Returns how many there were.
    ///
    /// Nothing goes meanwhile: an object whose row went a moment ago would come back. Where another
    /// vault may have stored one just now, it is first given the time to note it, with all that it
    /// knows: `noted_by`.
    pub async fn adopt(&self, noted_by: Duration) -> Result<usize, VaultError> {
        let (account, provider, catalogue) = (&self.account, &self.provider, &self.catalogue);
        let adopted = match self.sharing() {
            Sharing::Alone => {
                let _turn = self.retaining.lock().await;
                adopt(account, provider, catalogue).await?
            }
            Sharing::Shared => {
                let unknown = unknown(account, provider, catalogue).await?;
                if unknown.is_empty() {
                    return Ok(0);
                }
                tokio::time::sleep(noted_by).await;
                let _turn = self.retaining.lock().await;
                take_in(account, provider, catalogue, unknown).await?
            }
        };
        self.tell();
        Ok(adopted)
    }
}

/// Takes up whatever nobody has noted at this moment; see [`Vault::adopt`].
pub async fn adopt(
    account: &str,
    provider: &Provider,
    catalogue: &Arc<dyn Catalogue>,
) -> Result<usize, VaultError> {
    let unknown = unknown(account, provider, catalogue).await?;
    take_in(account, provider, catalogue, unknown).await
}

/// Objects that lie in the provider and not in the catalogue.
async fn unknown(
    account: &str,
    provider: &Provider,
    catalogue: &Arc<dyn Catalogue>,
) -> Result<Vec<Object>, VaultError> {
    // The catalogue may be on another machine, so it is asked beside the walk.
    let (sender, objects) = mpsc::channel::<Object>();
    let of = account.to_owned();
    let unknown = ask(catalogue, move |catalogue| {
        let mut unknown = Vec::new();
        for object in objects {
            if catalogue.by_key(&of, &object.key)?.is_none() {
                unknown.push(object);
            }
        }
        Ok(unknown)
    });
    let walk = async move {
        // Nobody listens where the catalogue failed, which is told below.
        provider.walk(|object| drop(sender.send(object))).await
    };
    let (unknown, walked) = tokio::join!(unknown, walk);
    let unknown = unknown?;
    walked?;
    Ok(unknown)
}

/// Notes objects with what their names tell; returns how many nobody else had noted.
async fn take_in(
    account: &str,
    provider: &Provider,
    catalogue: &Arc<dyn Catalogue>,
    objects: Vec<Object>,
) -> Result<usize, VaultError> {
    let mut adopted = 0;
    for object in objects {
        let name = object.key.rsplit('/').next().unwrap_or_default();
        // A name of another shape tells neither camera nor start.
        let name = RecordingName::parse(name).unwrap_or_else(|| RecordingName {
            camera: String::new(),
            start_ms: object.modified_ms,
            duration_ms: 0,
        });
        // Another vault may have let it go: there the object goes before its row does.
        if provider.is_remote() && provider.size(&object.location).await?.is_none() {
            continue;
        }
        // The crash may have come between its name and the disk.
        provider.sync(&object.location)?;
        let new = NewRecording {
            account: account.to_owned(),
            key: object.key,
            camera: name.camera,
            start_ms: name.start_ms,
            duration_ms: name.duration_ms,
            bytes: i64::try_from(object.bytes).unwrap_or(i64::MAX),
            sha256: None,
            stored_ms: object.modified_ms,
            location: object.location.into_string(),
        };
        let added = ask(catalogue, move |catalogue| {
            // Where the catalogue was lost, numbers of the old one may be known outside.
            catalogue.start_at(now_ms())?;
            catalogue.add(&new)
        });
        if matches!(added.await?, Added::New(_)) {
            adopted += 1;
        }
    }
    Ok(adopted)
}

async fn ask<T: Send + 'static>(
    catalogue: &Arc<dyn Catalogue>,
    question: impl FnOnce(&dyn Catalogue) -> Result<T, CatalogueError> + Send + 'static,
) -> Result<T, VaultError> {
    let catalogue = Arc::clone(catalogue);
    let answer = tokio::task::spawn_blocking(move || question(&*catalogue));
    Ok(answer.await??)
}

/// Unix milliseconds.
pub fn now_ms() -> i64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
