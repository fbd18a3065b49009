//! Observes and changes one host: files, secrets, services.
//!
//! Invariant: nothing is written but through [`effects::Effects`], and every effect can be
//! repeated. It must not know what is wanted. Start at [`observe()`] and [`HostWorld`].

pub mod effects;
mod files;
mod locate;
mod lock;
mod log;
mod observe;
mod probe;
mod services;
mod status;
mod supervisor;
mod world;

pub use locate::{default_data, default_parent, programs_folder};
pub use lock::{Lock, LockError};
pub use log::read_log;
pub use observe::{ObserveError, Observed, observe, read_receipt};
pub use probe::{ProbeError, probe_camera};
pub use services::RunningService;
pub use status::{CameraReport, ServiceReport, SiteStatus, read_status};
pub use supervisor::{SuperviseError, supervise};
pub use world::{HostWorld, read_secret};
