//! What wakes the uploader.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Shared by the uploader and those who have something for it.
#[derive(Debug, Default)]
pub struct Calls {
    notify: Notify,
    urgent: Mutex<VecDeque<String>>,
}

impl Calls {
    /// A recording was finished.
    pub fn finished(&self) {
        self.notify.notify_one();
    }

    /// Somebody waits for this recording: it goes first, and through a back-off.
    pub fn hurry(&self, file: &str) {
        self.lock().push_back(file.to_owned());
        self.notify.notify_one();
    }

    pub(crate) async fn called(&self) {
        self.notify.notified().await;
    }

    pub(crate) fn is_urgent(&self) -> bool {
        !self.lock().is_empty()
    }

    pub(crate) fn next_urgent(&self) -> Option<String> {
        self.lock().pop_front()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.urgent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
