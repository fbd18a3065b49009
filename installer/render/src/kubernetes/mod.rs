//! A site in a cluster: objects of one namespace.

mod object;

pub use object::{Kind, Object, ObjectId};
