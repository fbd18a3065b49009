//! A disk that is full, and one that is too slow.

mod footage;

use std::process::Command;
use std::sync::{Arc, Mutex};

use agent_media::scan;
use agent_store::{Gap, GapCause, Writer, Written};
use camino::Utf8Path;

use crate::footage::{CAMERA, record, store};

type Seen = Arc<Mutex<(Vec<String>, Vec<Gap>)>>;

fn observed() -> (Seen, Box<dyn Fn(Written) + Send>) {
    let seen = Seen::default();
    let writes = Arc::clone(&seen);
    let report = move |written| {
        let mut seen = writes.lock().expect("lock");
        match written {
            Written::Finished { recording, .. } => seen.0.push(recording.file),
            Written::Gap(gap) => seen.1.push(gap),
        }
    };
    (seen, Box::new(report))
}

/// A file system of 4 MiB; `None` where this process may not mount.
struct Small<'a>(&'a Utf8Path);

impl<'a> Small<'a> {
    fn mount(path: &'a Utf8Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=4m", "tmpfs", path.as_str()]);
        mount.output().ok()?.status.success().then_some(Self(path))
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}

#[test]
fn a_full_disk_makes_room_by_the_oldest_and_loses_nothing() {
    let temp = tempfile::tempdir().expect("a directory");
    let root = Utf8Path::from_path(temp.path()).expect("UTF-8");
    let Some(_small) = Small::mount(root) else {
        println!("this process may not mount a file system");
        return;
    };
    let store = store(root, 0);
    let (seen, report) = observed();
    let writer = Writer::start(Arc::clone(&store), CAMERA, 64 << 20, report).expect("started");
    // Twelve files of 1 MB do not fit into 4 MiB.
    for file in 0..12 {
        record(&writer, 1_700_000_000 + file * 10, 100, 10_000, |_| {});
    }
    writer.stop();
    let seen = seen.lock().expect("lock");
    assert_eq!(seen.1, [], "no gap");
    assert_eq!(seen.0.len(), 12);
    let left = store.recordings(None);
    assert!(left.len() >= 2, "{left:?}");
    assert_eq!(
        left.last().map(|r| &r.file),
        seen.0.last(),
        "the newest is there"
    );
    for recording in left {
        let mut file = std::fs::File::open(store.path_of(&recording)).expect("there");
        let found = scan(&mut file).expect("readable");
        assert!(found.is_whole());
        assert_eq!(found.video_frames, 100);
    }
}

#[test]
fn a_disk_that_others_filled_costs_the_oldest_frames_and_says_so() {
    let temp = tempfile::tempdir().expect("a directory");
    let root = Utf8Path::from_path(temp.path()).expect("UTF-8");
    let Some(_small) = Small::mount(root) else {
        println!("this process may not mount a file system");
        return;
    };
    let store = store(root, 0);
    let (seen, report) = observed();
    let writer = Writer::start(Arc::clone(&store), CAMERA, 300_000, report).expect("started");
    let foreign = root.join("foreign");
    let mut filled = std::fs::File::create(&foreign).expect("created");
    std::io::copy(&mut std::io::repeat(1), &mut filled).expect_err("until it is full");
    drop(filled);
    record(&writer, 1_700_000_000, 100, 10_000, |_| {});
    std::fs::remove_file(&foreign).expect("removed");
    record(&writer, 1_700_000_010, 100, 10_000, |_| {});
    while writer.queued_bytes() > 0 {
        std::thread::yield_now();
    }
    writer.stop();
    let seen = seen.lock().expect("lock");
    assert!(!seen.1.is_empty());
    let known = |gap: &Gap| matches!(gap.cause, GapCause::DiskFull | GapCause::DiskSlow);
    assert!(seen.1.iter().all(known), "{:?}", seen.1);
    let lost: u64 = seen.1.iter().map(|gap| gap.frames).sum();
    let mut written = 0;
    for recording in store.recordings(None) {
        let mut file = std::fs::File::open(store.path_of(&recording)).expect("there");
        let found = scan(&mut file).expect("readable");
        assert!(found.is_whole());
        written += found.video_frames;
    }
    assert_eq!(
        lost + written,
        200,
        "every frame is on disk or in a gap record"
    );
    let noted = std::fs::read_to_string(root.join("gaps.jsonl")).expect("there");
    assert_eq!(noted.lines().count(), seen.1.len());
}
