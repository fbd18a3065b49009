//! One run at a time: a Lease that the run holds, and that anybody may take who finds it unrenewed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Method;
use installer_plan::kubernetes::{FIELD_MANAGER, LEASE};
use jiff::Timestamp;
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::connect::Connection;
use crate::error::KubernetesError;
use crate::request::{Asked, Extent, RequestError, patiently};

/// Unrenewed for so long, its holder is no more.
const LIFE: Duration = Duration::from_secs(30);
/// Three may be lost.
const RENEWAL: Duration = Duration::from_secs(8);

const JSON: &str = "application/json";

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("`{holder}` has been changing this site since {since}")]
    Held { holder: String, since: String },
    #[error("the site cannot be locked")]
    Cluster(#[source] KubernetesError),
}

/// Held until [`Lock::release`], or for half a minute after the process is gone.
#[derive(Debug)]
pub struct Lock {
    hold: Hold,
    lost: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

/// Whose lease, and where it is.
#[derive(Debug, Clone)]
struct Hold {
    connection: Connection,
    path: String,
    holder: String,
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn leases(namespace: &str) -> String {
    format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases")
}

pub(crate) fn lease_path(namespace: &str) -> String {
    format!("{}/{LEASE}", leases(namespace))
}

/// How often a site's lock has been taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    number: u64,
    held: bool,
}

impl Turn {
    /// As it is now; nothing where it was never taken, or cannot be read.
    pub async fn read(connection: &Connection, namespace: &str) -> Option<Self> {
        let bytes = connection.get_path(&lease_path(namespace)).await.ok()?;
        Self::of(&parse(&bytes).ok()?)
    }

    fn of(lease: &Value) -> Option<Self> {
        let holder = lease.pointer("/spec/holderIdentity")?.as_str()?;
        Some(Self {
            number: lease.pointer("/spec/leaseTransitions")?.as_u64()?,
            held: !holder.is_empty(),
        })
    }

    /// Whether nobody else has held the lock since `before`, up to whoever holds it now.
    pub fn follows(self, before: Self) -> bool {
        self.held && !before.held && self.number == before.number + 1
    }
}

fn failed(connection: &Connection, verb: &'static str, error: RequestError) -> LockError {
    let asked = Asked {
        verb,
        resource: "leases.coordination.k8s.io".to_owned(),
        name: LEASE.to_owned(),
    };
    let server = &connection.origin.server;
    LockError::Cluster(KubernetesError::of(server, asked, error))
}

impl Lock {
    /// Takes the lock; nothing where the namespace is not there yet, so that nobody else can hold
    /// it either. `holder` tells who it is, as `MACHINE/PROCESS`; `stop` is set when it is lost.
    pub async fn acquire(
        connection: &Connection,
        namespace: &str,
        holder: &str,
        stop: &Arc<AtomicBool>,
    ) -> Result<Option<Self>, LockError> {
        let path = lease_path(namespace);
        // Another one may be quicker; then it holds it.
        for _ in 0..3 {
            let found = match connection.get_path(&path).await {
                Ok(bytes) => Some(parse(&bytes).map_err(|e| failed(connection, "get", e))?),
                Err(error) if error.code() == Some(404) => None,
                Err(error) => return Err(failed(connection, "get", error)),
            };
            let now = Timestamp::now();
            if let Some(lease) = &found
                && let Some((other, since)) = held_by_other(lease, holder, now)
            {
                return Err(LockError::Held {
                    holder: other,
                    since,
                });
            }
            let (verb, method, at) = match &found {
                Some(_) => ("update", Method::PUT, path.clone()),
                None => ("create", Method::POST, leases(namespace)),
            };
            let body = lease(found.as_ref(), holder, now);
            let written = patiently(|| write(connection, method.clone(), &at, &body));
            match written.await {
                Ok(lease) => {
                    let hold = Hold {
                        connection: connection.clone(),
                        path,
                        holder: holder.to_owned(),
                    };
                    return Ok(Some(Self::hold(hold, lease, Arc::clone(stop))));
                }
                Err(error) if error.code() == Some(409) => {}
                // The namespace is not there, or on its way out.
                Err(error) if found.is_none() && is_homeless(&error) => return Ok(None),
                Err(error) => return Err(failed(connection, verb, error)),
            }
        }
        Err(LockError::Held {
            holder: "another run".to_owned(),
            since: "now".to_owned(),
        })
    }

    fn hold(hold: Hold, lease: Value, stop: Arc<AtomicBool>) -> Self {
        let lost = Arc::new(AtomicBool::new(false));
        let (mine, told) = (hold.clone(), Arc::clone(&lost));
        let task = tokio::spawn(async move {
            if mine.renew(lease).await == Renewal::Lost {
                told.store(true, Ordering::Relaxed);
                stop.store(true, Ordering::Relaxed);
            }
        });
        Self { hold, lost, task }
    }

    /// Another run has taken it, since this one did not renew it for too long.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// Lets the next one in at once. Whoever took it over keeps it.
    pub async fn release(self) {
        self.task.abort();
        let Ok(Some(mut lease)) = self.hold.read().await else {
            return;
        };
        if let Some(holder) = lease.pointer_mut("/spec/holderIdentity") {
            *holder = json!("");
        }
        if let Err(error) = self.hold.write(&lease).await {
            // It ends by itself.
            tracing::debug!("lease: {error}");
        }
    }
}

/// How keeping a lease ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Renewal {
    /// The site is being removed, and its lease with it.
    Gone,
    Lost,
}

impl Hold {
    /// The lease as it is, where it is still ours.
    async fn read(&self) -> Result<Option<Value>, RequestError> {
        let lease = parse(&self.connection.get_path(&self.path).await?)?;
        let holder = lease.pointer("/spec/holderIdentity");
        let ours = holder.and_then(Value::as_str) == Some(&self.holder);
        Ok(ours.then_some(lease))
    }

    async fn write(&self, lease: &Value) -> Result<Value, RequestError> {
        write(&self.connection, Method::PUT, &self.path, lease).await
    }

    /// Keeps the lease for as long as it is ours: a write on an older state of it is refused.
    async fn renew(&self, mut lease: Value) -> Renewal {
        loop {
            tokio::time::sleep(RENEWAL).await;
            if let Some(time) = lease.pointer_mut("/spec/renewTime") {
                *time = json!(written(Timestamp::now()));
            }
            let error = match self.write(&lease).await {
                Ok(renewed) => {
                    lease = renewed;
                    continue;
                }
                // The answer to our own last write may have been lost.
                Err(error) if error.code() == Some(409) => match self.read().await {
                    Ok(Some(current)) => {
                        lease = current;
                        continue;
                    }
                    Ok(None) => return Renewal::Lost,
                    Err(error) => error,
                },
                Err(error) => error,
            };
            if error.code() == Some(404) {
                return Renewal::Gone;
            }
            tracing::debug!("lease: {error}");
        }
    }
}

fn is_homeless(error: &RequestError) -> bool {
    let refusal = error.refusal();
    refusal.is_some_and(|r| r.code == 404 || r.has_cause("NamespaceTerminating"))
}

fn parse(bytes: &[u8]) -> Result<Value, RequestError> {
    serde_json::from_slice(bytes).map_err(RequestError::Answer)
}

async fn write(
    connection: &Connection,
    method: Method,
    path: &str,
    lease: &Value,
) -> Result<Value, RequestError> {
    let body = serde_json::to_vec(lease).map_err(RequestError::Answer)?;
    let path = format!("{path}?fieldManager={FIELD_MANAGER}");
    let answer = connection
        .send(method, &path, Extent::Whole.accept(), Some((JSON, body)))
        .await?;
    parse(&answer)
}

/// The lease as this holder takes it; `found` is what there was.
fn lease(found: Option<&Value>, holder: &str, now: Timestamp) -> Value {
    let now = written(now);
    let taken = found.and_then(|lease| lease.pointer("/spec/leaseTransitions")?.as_u64());
    let mut metadata = json!({ "name": LEASE });
    // Nobody else may have changed it since it was read.
    let version = found.and_then(|lease| lease.pointer("/metadata/resourceVersion"));
    if let (Some(version), Some(metadata)) = (version, metadata.as_object_mut()) {
        metadata.insert("resourceVersion".to_owned(), version.clone());
    }
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": metadata,
        "spec": {
            "holderIdentity": holder,
            "leaseDurationSeconds": LIFE.as_secs(),
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": taken.map_or(0, |taken| taken + 1),
        },
    })
}

/// With microseconds, as the API wants it.
fn written(time: Timestamp) -> String {
    format!("{time:.6}")
}

/// Another one that holds the lease now, and since when.
fn held_by_other(lease: &Value, holder: &str, now: Timestamp) -> Option<(String, String)> {
    let spec = lease.get("spec")?;
    let text = |name: &str| spec.get(name).and_then(Value::as_str).unwrap_or_default();
    let other = text("holderIdentity");
    let renewed: Timestamp = text("renewTime").parse().ok()?;
    let life = spec.get("leaseDurationSeconds").and_then(Value::as_i64);
    let life = life.map_or(LIFE.as_secs(), i64::unsigned_abs);
    let lives = now.duration_since(renewed).as_secs() < i64::try_from(life).ok()?;
    let held = !other.is_empty() && other != holder && lives && !is_dead(other, holder);
    held.then(|| (other.to_owned(), text("acquireTime").to_owned()))
}

/// Whether the other one was a process of this machine that is no more: who runs the same command
/// again after a crash need not wait.
fn is_dead(other: &str, holder: &str) -> bool {
    let Some(((machine, process), (this, _))) = other.rsplit_once('/').zip(holder.rsplit_once('/'))
    else {
        return false;
    };
    let process = process.parse().ok().and_then(Pid::from_raw);
    let gone = |process| test_kill_process(process) == Err(Errno::SRCH);
    machine == this && process.is_some_and(gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_follows_one_that_had_ended() {
        let now = Timestamp::now();
        let turn = |lease: &Value| Turn::of(lease).unwrap();
        let first = lease(None, "a/1", now);
        let mut ended = first.clone();
        ended["spec"]["holderIdentity"] = json!("");
        let second = lease(Some(&ended), "b/2", now);
        let third = lease(Some(&second), "c/3", now);
        assert!(turn(&second).follows(turn(&ended)));
        // It was held meanwhile, or at that time.
        assert!(!turn(&third).follows(turn(&ended)));
        assert!(!turn(&second).follows(turn(&first)));
    }

    fn at(time: &str) -> Timestamp {
        time.parse().unwrap()
    }

    #[test]
    fn a_lease_is_held_until_it_is_released_or_old() {
        let taken = lease(None, "a", at("2026-11-21T18:00:00Z"));
        let holder = |lease: &Value, me: &str, now: &str| held_by_other(lease, me, at(now));
        let held = holder(&taken, "b", "2026-11-21T18:00:29Z");
        let since = "2026-11-21T18:00:00.000000Z".to_owned();
        assert_eq!(held, Some(("a".to_owned(), since)));
        assert_eq!(holder(&taken, "a", "2026-11-21T18:00:29Z"), None);
        assert_eq!(holder(&taken, "b", "2026-11-21T18:00:30Z"), None);
        let mut released = taken;
        released["spec"]["holderIdentity"] = json!("");
        assert_eq!(holder(&released, "b", "2026-11-21T18:00:01Z"), None);
    }

    #[test]
    fn a_process_of_this_machine_that_is_gone_holds_nothing() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let gone = format!("m/{}", child.id());
        child.wait().unwrap();
        assert!(is_dead(&gone, "m/1"));
        assert!(!is_dead(&gone, "other/1"));
        assert!(!is_dead(&format!("m/{}", std::process::id()), "m/1"));
        assert!(!is_dead("somebody", "m/1"));
    }

    #[test]
    fn a_takeover_counts_and_is_bound_to_what_was_read() {
        let mut first = lease(None, "a", at("2026-11-21T18:00:00Z"));
        first["metadata"]["resourceVersion"] = json!("7");
        let second = lease(Some(&first), "b", at("2026-11-21T19:00:00Z"));
        assert_eq!(second["metadata"]["resourceVersion"], "7");
        assert_eq!(second["spec"]["leaseTransitions"], 1);
    }
}
