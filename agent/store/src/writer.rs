//! A thread per camera between the receiver, which must never wait, and the disk, which may.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use agent_api::Recording;
use bytes::Bytes;

use crate::segment::Segment;
use crate::{Gap, GapCause, Store};

/// How often a full disk is asked again when nothing else happens.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// A run of frames with its `moof`, at most a second long.
#[derive(Debug, Clone)]
pub struct Fragment {
    /// In file order; written by one call.
    pub slices: Vec<Bytes>,
    pub frames: u64,
    /// Its first video frame is a key frame.
    pub key: bool,
    /// Wall clock of its first and last frame, Unix milliseconds.
    pub from_ms: u64,
    pub to_ms: u64,
}

impl Fragment {
    fn bytes(&self) -> u64 {
        self.slices.iter().map(|s| s.len() as u64).sum()
    }
}

/// What the writer is told, in this order: open, fragments, close, open, …
#[derive(Debug)]
pub enum Command {
    /// Begins a file; `name` is what it is called until it is finished (without `.part`).
    Open {
        name: String,
        header: Bytes,
    },
    Fragment(Fragment),
    /// Finishes the open file under its final name. `index` is appended if the file has `expected`
    /// bytes then: it holds places in the file, which a dropped fragment moves.
    Close {
        name: String,
        index: Bytes,
        expected: u64,
    },
}

/// What the writer tells; called on its thread.
#[derive(Debug)]
pub enum Written {
    Finished { recording: Recording, frames: u64 },
    Gap(Gap),
}

#[derive(Debug, Default)]
struct Queue {
    commands: VecDeque<Command>,
    bytes: u64,
    /// The front is in the middle of a system call and cannot be taken back.
    writing: bool,
    /// After a drop nothing is taken until a fragment that a decoder can start at.
    wait_for_key: bool,
    /// Gaps of dropped fragments; reported by the writer thread.
    gaps: Vec<Gap>,
    /// Since when the disk takes nothing.
    full_since: Option<Instant>,
    stopped: bool,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Handle of a camera's writer thread.
#[derive(Debug)]
pub struct Writer {
    camera: String,
    budget: u64,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread. `budget` bytes may wait for the disk; beyond, the oldest are dropped.
    pub fn start(
        store: Arc<Store>,
        camera: &str,
        budget: u64,
        report: Box<dyn Fn(Written) + Send>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue::default()),
            changed: Condvar::new(),
        });
        let camera = camera.to_owned();
        let task = Task {
            store,
            camera: camera.clone(),
            shared: Arc::clone(&shared),
            report,
            open: None,
            frames: 0,
        };
        let thread = std::thread::Builder::new()
            .name(format!("disk {camera}"))
            .spawn(|| task.run())?;
        Ok(Self {
            camera,
            budget,
            shared,
            thread: Some(thread),
        })
    }

    /// Never waits. What does not fit is dropped, oldest first, and becomes a gap.
    pub fn push(&self, command: Command) {
        let mut queue = self.shared.lock();
        if let Command::Fragment(fragment) = &command {
            if queue.wait_for_key {
                if !fragment.key {
                    queue.note_dropped(&self.camera, fragment);
                    return;
                }
                queue.wait_for_key = false;
            }
            queue.bytes += fragment.bytes();
        }
        queue.commands.push_back(command);
        while queue.bytes > self.budget && queue.drop_oldest(&self.camera) {}
        drop(queue);
        self.shared.changed.notify_one();
    }

    /// Bytes that wait for the disk.
    pub fn queued_bytes(&self) -> u64 {
        self.shared.lock().bytes
    }

    /// Writes what is queued, as far as the disk takes it, and ends the thread.
    pub fn stop(mut self) {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(camera = %self.camera, "the writer thread panicked");
        }
    }
}

impl Queue {
    /// Drops the oldest fragment that is not being written, and those behind it that need it.
    fn drop_oldest(&mut self, camera: &str) -> bool {
        let from = usize::from(self.writing);
        let mut dropped = false;
        let mut at = from;
        while let Some(command) = self.commands.get(at) {
            match command {
                Command::Fragment(fragment) if dropped && fragment.key => return true,
                Command::Fragment(_) => {
                    if let Some(Command::Fragment(fragment)) = self.commands.remove(at) {
                        self.bytes -= fragment.bytes();
                        self.note_dropped(camera, &fragment);
                        dropped = true;
                    }
                }
                // A new file begins with a key frame, so nothing behind it needs the dropped.
                Command::Open { .. } if dropped => return true,
                _ => at += 1,
            }
        }
        self.wait_for_key |= dropped;
        dropped
    }

    fn note_dropped(&mut self, camera: &str, fragment: &Fragment) {
        if let Some(last) = self.gaps.last_mut()
            && last.to_ms <= fragment.from_ms
            && fragment.from_ms - last.to_ms < 2_000
        {
            last.to_ms = fragment.to_ms;
            last.frames += fragment.frames;
            return;
        }
        self.gaps.push(Gap {
            camera: camera.to_owned(),
            cause: if self.full_since.is_some() {
                GapCause::DiskFull
            } else {
                GapCause::DiskSlow
            },
            from_ms: fragment.from_ms,
            to_ms: fragment.to_ms,
            frames: fragment.frames,
            packets: 0,
        });
    }
}

/// The front of the queue, as the writer needs it.
enum Job {
    Open(String, Bytes),
    Fragment(Fragment),
    Close {
        name: String,
        index: Bytes,
        expected: u64,
    },
}

struct Task {
    store: Arc<Store>,
    camera: String,
    shared: Arc<Shared>,
    report: Box<dyn Fn(Written) + Send>,
    open: Option<Segment>,
    /// In the open segment.
    frames: u64,
}

impl Task {
    fn run(mut self) {
        while let Some(job) = self.wait() {
            let result = self.perform(&job);
            self.settle(&job, result);
        }
        self.store.flush_gaps();
    }

    /// The oldest command, once there is one; `None` when all is written and no more comes.
    fn wait(&mut self) -> Option<Job> {
        let mut queue = self.shared.lock();
        loop {
            let gaps = std::mem::take(&mut queue.gaps);
            if !gaps.is_empty() {
                drop(queue);
                for gap in gaps {
                    self.note(gap);
                }
                queue = self.shared.lock();
                continue;
            }
            let job = match queue.commands.front() {
                Some(Command::Open { name, header }) => Job::Open(name.clone(), header.clone()),
                Some(Command::Fragment(fragment)) => Job::Fragment(fragment.clone()),
                Some(Command::Close {
                    name,
                    index,
                    expected,
                }) => Job::Close {
                    name: name.clone(),
                    index: index.clone(),
                    expected: *expected,
                },
                None if queue.stopped => return None,
                None => {
                    queue = self
                        .shared
                        .changed
                        .wait(queue)
                        .unwrap_or_else(PoisonError::into_inner);
                    continue;
                }
            };
            queue.writing = true;
            return Some(job);
        }
    }

    fn perform(&mut self, job: &Job) -> io::Result<()> {
        match job {
            Job::Open(name, header) => {
                let directory = self.store.directory(&self.camera);
                std::fs::create_dir_all(&directory)?;
                self.open = Some(Segment::create(&directory, name, header)?);
                self.frames = 0;
                self.store.note_open(&self.camera, name);
                Ok(())
            }
            Job::Fragment(fragment) => {
                let Some(segment) = &mut self.open else {
                    return Err(io::ErrorKind::NotConnected.into());
                };
                let mut slices: Vec<_> = fragment.slices.iter().map(|s| IoSlice::new(s)).collect();
                segment.append(&mut slices)?;
                self.frames += fragment.frames;
                self.store.note_footage(&self.camera, fragment.to_ms);
                if let Err(error) = segment.sync_when_due() {
                    tracing::error!(camera = %self.camera, %error, "written footage is not durable");
                }
                Ok(())
            }
            Job::Close {
                name,
                index,
                expected,
            } => self.close(name, index, *expected),
        }
    }

    fn close(&mut self, name: &str, index: &[u8], expected: u64) -> io::Result<()> {
        let Some(mut segment) = self.open.take() else {
            return Ok(());
        };
        if self.frames == 0 {
            return segment.discard();
        }
        // Players do without an index, so a full disk does not keep a file open for it.
        if segment.len() == expected
            && let Err(error) = segment.append(&mut [IoSlice::new(index)])
        {
            tracing::warn!(camera = %self.camera, %error, "a recording has no index");
        }
        let bytes = segment.len();
        segment.finish(name)?;
        if let Some(recording) = self.store.note_finished(&self.camera, name, bytes) {
            (self.report)(Written::Finished {
                recording,
                frames: self.frames,
            });
        }
        Ok(())
    }

    /// Takes a finished job from the queue, or decides what a failed one means.
    fn settle(&mut self, job: &Job, result: io::Result<()>) {
        match result {
            // A file that cannot be begun is tried again, whatever the cause: without it every
            // frame up to the next file would be lost.
            Err(error)
                if matches!(job, Job::Open(..))
                    || (is_full(&error) && !matches!(job, Job::Close { .. })) =>
            {
                self.hold(job, &error);
            }
            Err(error) => {
                tracing::error!(camera = %self.camera, %error, "footage cannot be written");
                if let Job::Fragment(fragment) = job {
                    self.note(Gap {
                        camera: self.camera.clone(),
                        cause: GapCause::DiskError,
                        from_ms: fragment.from_ms,
                        to_ms: fragment.to_ms,
                        frames: fragment.frames,
                        packets: 0,
                    });
                }
                self.take_front();
            }
            Ok(()) => self.take_front(),
        }
    }

    fn take_front(&self) {
        let mut queue = self.shared.lock();
        queue.writing = false;
        if let Some(since) = queue.full_since.take() {
            let seconds = since.elapsed().as_secs();
            tracing::info!(camera = %self.camera, seconds, "the disk takes footage again");
        }
        if let Some(Command::Fragment(fragment)) = queue.commands.pop_front() {
            queue.bytes -= fragment.bytes();
        }
    }

    /// The disk is full: frees space at once, and the same job comes again. While nothing can be
    /// freed the frames wait in memory, and `push` drops the oldest beyond the budget.
    fn hold(&self, job: &Job, error: &io::Error) {
        let needed = match job {
            Job::Fragment(fragment) => fragment.bytes(),
            Job::Open(_, header) => header.len() as u64,
            Job::Close { .. } => 0,
        };
        let freed = if is_full(error) {
            self.store.free(needed)
        } else {
            0
        };
        let mut queue = self.shared.lock();
        if freed > 0 {
            tracing::warn!(camera = %self.camera, freed, "the disk is full, the oldest made room");
        } else if queue.full_since.is_none() {
            tracing::error!(camera = %self.camera, %error, "the disk takes nothing");
            queue.full_since = Some(Instant::now());
        }
        queue.writing = false;
        if freed > 0 {
            return;
        }
        if queue.stopped {
            // Nobody waits for a full disk at the end.
            while queue.drop_oldest(&self.camera) {}
            queue
                .commands
                .retain(|c| matches!(c, Command::Close { .. }));
            return;
        }
        drop(self.shared.changed.wait_timeout(queue, ASK_AGAIN));
    }

    fn note(&self, gap: Gap) {
        tracing::warn!(camera = %gap.camera, cause = ?gap.cause, frames = gap.frames,
            ms = gap.to_ms.saturating_sub(gap.from_ms), "footage is missing");
        self.store.note_gap(&gap);
        (self.report)(Written::Gap(gap));
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
