//! Where objects lie, durably.
//!
//! Invariant: when a call says that an object is stored, its bytes and its name are on disk.
//! It must not know the catalogue. Start at [`FilesystemProvider`].

mod filesystem;
mod name;

pub use filesystem::{DiskSpace, FilesystemProvider, Object, StorageError, StoredObject};
pub use name::{RecordingName, is_file_name};
