//! Where objects lie, durably.
//!
//! Invariant: when a call says that an object is stored, its bytes and its name are on disk, or
//! acknowledged by the server that keeps them. It must not know the catalogue.
//! Start at [`Provider`].

mod filesystem;
mod name;
mod object;
mod provider;
mod s3;

pub use filesystem::FilesystemProvider;
pub use name::{RecordingName, is_file_name};
pub use object::{DiskSpace, Object, Sharing, StorageError, StoredObject};
pub use provider::Provider;
pub use s3::{Platform, PlatformError, RemoteError, S3Identity, S3Provider, S3Settings};
