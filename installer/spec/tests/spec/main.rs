//! The profile from the outside: what is refused and why, what is accepted, edits, the schema.

mod bad;
mod campaign;
mod edits;
mod files;
mod good;
mod schema;
