//! What a user may write: the profile, and what is wrong with one.
//!
//! Invariant: parsing reads no file but the CSV lists that it is handed; no clock, no network. No
//! message ever holds a password. It must not know any target. Start at [`Profile`] and [`parse`].

mod access;
mod charts;
mod check;
mod cluster;
mod diagnostic;
mod document;
mod edit;
mod keys;
mod lists;
mod mask;
mod monitoring;
mod profile;
mod tree;
mod units;
mod vault;

pub use check::{Parsed, SourceFile, parse};
pub use diagnostic::{Diagnostic, Severity};
pub use document::{schema, to_yaml};
pub use edit::{EditError, add_camera, remove_camera};
pub use lists::{Lists, MemoryLists};
pub use mask::mask;
pub use profile::{
    Access, AccessTls, Acme, Addons, Agents, Broker, Buffer, Camera, Catalogue, Chart, ChartSource,
    ClusterAccess, ClusterMeans, Credentials, Database, EventSink, Exposure, Isolation, Issuer,
    IssuerKind, Keeper, Login, MongoAddress, Monitoring, Profile, Provider, Reachable, Record, S3,
    S3Identity, Source, Storage, TargetChoice, TestSource, Vault, When,
};
pub use units::{format_bytes, format_duration, parse_bytes, parse_duration};
