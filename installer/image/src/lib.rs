//! The images that stakeout ships and the catalogue of those that it does not: makes them, names
//! them by digest, and brings them to engines and registries.
//!
//! Invariant: the same input gives the same bytes. No clock is read; times come from the commit.
//! It must not know what a site is, or which target wants an image.
//! Start at [`build`] for how an image comes to be, at [`Release`] for what a release knows of
//! itself, and at [`Catalogue`] for the images of others.

mod archive;
pub mod attach;
pub mod build;
mod catalogue;
mod digest;
mod layout;
pub mod load;
pub mod oci;
mod pem;
mod platform;
mod program;
pub mod registry;
mod release;
mod sign;
mod subset;
mod tree;

pub use archive::{ArchiveError, containerd_archive, docker_archive, is_local};
pub use catalogue::{
    Catalogue, CatalogueError, Entry, FoundPins, Origin, Pin, PinError, Pinned, Unverified,
};
pub use digest::{Digest, DigestError};
pub use layout::{Layout, LayoutError};
pub use platform::{Platform, PlatformError};
pub use program::{ElfError, Program, ProgramError};
pub use release::{OwnImage, PlatformDigests, Release, ReleaseImage};
pub use sign::{SignatureError, SigningKey, verify_signature};
pub use subset::platform_files;
pub use tree::Tree;
