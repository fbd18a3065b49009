//! What a user may write: the profile, and what is wrong with one.
//!
//! Invariant: parsing reads no file but the CSV lists that it is handed; no clock, no network.
//! It must not know any target. Start at [`Profile`].

mod profile;

pub use profile::{
    Agents, Camera, Credentials, EventSink, Isolation, Keeper, Login, Profile, Provider, Record,
    Source, Storage, TargetChoice, TestSource, When,
};
