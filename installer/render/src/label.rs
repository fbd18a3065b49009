//! Labels on everything that is ours, wherever it is.

pub const SITE: &str = "stakeout.site";
/// Random, made with the first run: a name alone says nothing about who made a thing.
pub const INSTALLATION: &str = "stakeout.installation";
pub const SERVICE: &str = "stakeout.service";
/// Of pods: what the service is for.
pub const ROLE: &str = "stakeout.role";
/// Of everything that the container was made from.
pub const DIGEST: &str = "stakeout.digest";
