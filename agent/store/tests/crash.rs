//! A writer that is killed in the middle of its work, again and again.

mod footage;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use agent_media::scan;
use agent_store::Writer;
use camino::Utf8Path;

use crate::footage::{CAMERA, record, store};

const CHILD: &str = "STAKEOUT_TEST_STORE";

/// Not a test of its own: what the killed process does.
#[test]
fn child_writes_for_ever() {
    let Ok(root) = std::env::var(CHILD) else {
        return;
    };
    let store = store(Utf8Path::new(&root), 0);
    let writer = Writer::start(store, CAMERA, 1 << 20, Box::new(|_| {})).expect("started");
    for second in (1_700_000_000..).step_by(10) {
        record(&writer, second, 100, 3_000, |_| {
            while writer.queued_bytes() > 0 {
                std::thread::yield_now();
            }
            println!("\nwritten");
        });
    }
}

#[test]
fn kill_9_leaves_playable_files_and_loses_no_written_fragment() {
    let temp = tempfile::tempdir().expect("a directory");
    let root = Utf8Path::from_path(temp.path()).expect("UTF-8");
    let directory = root.join(CAMERA);
    for round in 0..8 {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "child_writes_for_ever", "--nocapture"])
            .env(CHILD, root)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let wanted = 3 + round * 7;
        let written = lines
            .map_while(Result::ok)
            .filter(|l| l == "written")
            .take(wanted)
            .count();
        assert_eq!(written, wanted);
        child.kill().expect("killed");
        child.wait().expect("ended");
        let parts = directory.read_dir_utf8().expect("listed").flatten();
        let parts = parts
            .filter(|e| e.path().extension() == Some("part"))
            .count();
        assert!(parts <= 1);

        let store = store(root, 0);
        let recordings = store.recordings(None);
        let mut frames = 0;
        for recording in &recordings {
            let mut file = std::fs::File::open(store.path_of(recording)).expect("there");
            let found = scan(&mut file).expect("readable");
            assert!(found.is_whole() && found.indexed, "{recording:?}");
            assert_eq!(recording.duration_ms, found.duration_ms);
            frames += found.video_frames;
        }
        // A fragment of this stream has 8 frames or more once it is full, 4 at a key frame.
        assert!(
            frames >= wanted as u64 * 4,
            "{frames} frames of {wanted} fragments"
        );
        assert!(!directory.join("quarantine").exists());
        for recording in recordings {
            store.remove(&recording).expect("removed");
        }
    }
}

#[test]
fn what_cannot_be_read_is_kept_aside() {
    let temp = tempfile::tempdir().expect("a directory");
    let root = Utf8Path::from_path(temp.path()).expect("UTF-8");
    let directory = root.join(CAMERA);
    std::fs::create_dir_all(&directory).expect("made");
    let part = "1700000000_1-0_gate_0-0-0-0_-1_0.mp4.part";
    std::fs::write(directory.join(part), b"not a recording at all").expect("written");
    std::fs::write(directory.join(part.replace("1-0", "1-5")), b"").expect("written");
    assert_eq!(store(root, 0).recordings(None), []);
    let kept = std::fs::read(directory.join("quarantine").join(part)).expect("kept");
    assert_eq!(kept, b"not a recording at all");
    assert!(!directory.join(part.replace("1-0", "1-5")).exists());
}
