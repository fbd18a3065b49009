//! What goes wrong around the vault: it is told to stop, its disk is full, an object is lost.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Vault, name};
use camino::{Utf8Path, Utf8PathBuf};
use reqwest::StatusCode;
use rustix::process::{Pid, Signal, kill_process};
use vault_api::{Event, Page, Problem, Recording, Stored, header};

async fn page(vault: &Vault) -> Page {
    let answer = vault.admin("api/recordings").send().await;
    answer.unwrap().json().await.unwrap()
}

/// The recordings, when each has its object; retention may be between the two while we look.
async fn whole(vault: &Vault) -> Vec<Recording> {
    for _ in 0..200 {
        let recordings = page(vault).await.recordings;
        let whole = recordings.iter().all(|recording| {
            let size = fs::metadata(&recording.location).map(|found| found.len());
            size.is_ok_and(|size| i64::try_from(size) == Ok(recording.bytes))
        });
        if whole {
            return recordings;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("a recording has no object");
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..1000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not come about: {what}");
}

/// Asks the program to stop; returns its exit code.
fn terminate(vault: &mut Vault) -> Option<i32> {
    let mut process = vault.process.take().unwrap();
    kill_process(Pid::from_child(&process), Signal::TERM).unwrap();
    process.wait().unwrap().code()
}

/// A small disk of its own.
struct Disk {
    path: Utf8PathBuf,
}

impl Disk {
    /// `None` where this user may not.
    fn mount(path: &Utf8Path, size: &str) -> Option<Self> {
        fs::create_dir(path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"])
            .arg(path)
            .stderr(Stdio::null())
            .status();
        let path = path.to_owned();
        mounted.is_ok_and(|s| s.success()).then_some(Self { path })
    }

    /// Leaves not a byte free, as far as the vault does not make room meanwhile.
    fn fill(&self, name: &str) {
        let mut file = fs::File::create(self.path.join(name)).unwrap();
        for piece in [1 << 16, 1 << 12, 1] {
            while file.write_all(&vec![1; piece]).is_ok() {}
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount")
            .args(["-l", self.path.as_str()])
            .status();
        assert!(unmounted.unwrap().success());
    }
}

#[tokio::test]
async fn told_to_stop_it_ends_in_time_although_somebody_waits_for_events() {
    let mut vault = Vault::new(None);
    vault.start().await;
    let upload = vault.upload(&name("gate", 1_700_000_000)).body("footage");
    assert!(upload.send().await.unwrap().status().is_success());
    let waiting = tokio::spawn(vault.admin("api/events?after=1&wait_ms=30000").send());
    tokio::time::sleep(Duration::from_millis(200)).await;
    let began = Instant::now();
    assert_eq!(terminate(&mut vault), Some(0));
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    let events: Vec<Event> = waiting.await.unwrap().unwrap().json().await.unwrap();
    assert_eq!(events, []);
    let journal = fs::metadata(vault.root.join("data/catalogue.sqlite-wal"));
    assert!(journal.is_err() || journal.unwrap().len() == 0);
    let check = vault.command("check").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&check.stdout), "1 recordings\n");
}

#[tokio::test]
async fn somebody_who_waits_hears_of_an_event_at_once() {
    let mut vault = Vault::new(None);
    vault.start().await;
    let waiting = tokio::spawn(vault.admin("api/events?wait_ms=20000").send());
    tokio::time::sleep(Duration::from_millis(100)).await;
    let began = Instant::now();
    let upload = vault.upload(&name("gate", 1_700_000_000)).body("footage");
    assert!(upload.send().await.unwrap().status().is_success());
    let events: Vec<Event> = waiting.await.unwrap().unwrap().json().await.unwrap();
    assert_eq!(events.len(), 1);
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_second_vault_in_the_same_folder_does_not_start() {
    let mut vault = Vault::new(None);
    vault.start().await;
    let second = vault.command("run").output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("another vault keeps"), "{said}");
}

#[tokio::test]
async fn a_lost_object_is_taken_again_instead_of_called_a_duplicate() {
    let mut vault = Vault::new(None);
    vault.start().await;
    let file = name("gate", 1_700_000_000);
    let upload = || vault.upload(&file).body("footage").send();
    let first: Stored = upload().await.unwrap().json().await.unwrap();
    let page: Page = page(&vault).await;
    fs::remove_file(&page.recordings[0].location).unwrap();
    let again: Stored = upload().await.unwrap().json().await.unwrap();
    assert_eq!(again.id, first.id);
    let back = fs::read_to_string(&page.recordings[0].location).unwrap();
    assert_eq!(back, "footage");
}

#[tokio::test]
async fn health_tells_of_a_provider_that_is_gone() {
    let mut vault = Vault::new(None);
    vault.start().await;
    let health = || vault.client.get(vault.url("api/health")).send();
    assert_eq!(health().await.unwrap().status(), StatusCode::OK);
    fs::remove_dir_all(vault.root.join("recordings")).unwrap();
    let answer = health().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.json::<Problem>().await.unwrap().status, "unhealthy");
}

/// Catalogue and footage on one disk, which somebody else fills to the last byte.
#[tokio::test]
async fn a_disk_that_others_filled_is_left_by_the_oldest_footage() {
    let mut vault = Vault::new(None);
    let Some(disk) = Disk::mount(&vault.root.join("disk"), "24m") else {
        eprintln!("skipped: this user may not mount a tmpfs");
        return;
    };
    vault.config.data = disk.path.join("data");
    vault.config.provider = vault_api::ProviderConfig::Filesystem {
        path: disk.path.join("recordings"),
    };
    vault.config.retention.reserve_bytes = Some(2 << 20);
    vault.start().await;
    for n in 0..16 {
        let upload = vault.upload(&name("gate", 1_700_000_000 + n));
        let answer = upload.body(vec![7; 1 << 20]).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    }
    let ballast = disk.path.join("data/catalogue.sqlite.ballast");
    let laid = || fs::metadata(&ballast).is_ok_and(|found| found.len() == 2 << 20);
    until("the ballast lies", laid).await;

    // While it runs: an upload finds no room, and the next one does.
    disk.fill("one");
    let source = vault.root.join("agents/late.mp4");
    fs::write(&source, vec![8; 1 << 20]).unwrap();
    let hand = vault.upload(&name("gate", 1_700_000_100));
    let hand = hand.header(header::HANDOFF, source.as_str());
    let answer = hand.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "room was made for it");
    assert!(!source.exists());

    // While it does not run: it starts all the same, and makes room.
    until("the ballast lies again", laid).await;
    vault.kill();
    disk.fill("two");
    vault.start().await;
    let mut answer = StatusCode::INSUFFICIENT_STORAGE;
    for _ in 0..50 {
        let upload = vault.upload(&name("gate", 1_700_000_200));
        let sent = upload.body(vec![9; 1 << 19]).send().await.unwrap();
        answer = sent.status();
        if answer == StatusCode::OK {
            break;
        }
        assert_eq!(answer, StatusCode::INSUFFICIENT_STORAGE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(answer, StatusCode::OK);

    // While it runs, and nothing was laid by for it.
    until("the ballast lies once more", laid).await;
    fs::write(&ballast, "a crash left this").unwrap();
    disk.fill("three");
    let source = vault.root.join("agents/later.mp4");
    fs::write(&source, vec![8; 1 << 18]).unwrap();
    let hand = vault.upload(&name("gate", 1_700_000_300));
    let hand = hand.header(header::HANDOFF, source.as_str());
    let sent = hand.send().await.unwrap();
    let (answer, said) = (sent.status(), sent.text().await.unwrap());
    assert_eq!(answer, StatusCode::OK, "{said}");

    assert!(whole(&vault).await[0].start_ms >= 1_700_000_200_000);
}

/// A disk that fills: the oldest footage makes room, and what is acknowledged is there.
#[tokio::test]
async fn a_full_disk_takes_new_footage_and_gives_up_the_oldest() {
    let mut vault = Vault::new(None);
    let Some(_disk) = Disk::mount(&vault.root.join("recordings"), "4m") else {
        eprintln!("skipped: this user may not mount a tmpfs");
        return;
    };
    vault.config.retention.reserve_bytes = Some(1 << 20);
    vault.start().await;
    let mut stored = 0;
    for n in 0..40 {
        let upload = vault.upload(&name("gate", 1_700_000_000 + n));
        let answer = upload.body(vec![7; 500_000]).send().await.unwrap();
        match answer.status() {
            StatusCode::OK => stored += 1,
            StatusCode::INSUFFICIENT_STORAGE => {}
            other => panic!("{other}"),
        }
    }
    assert!(stored >= 30, "only {stored} of 40 uploads were taken");
    assert!(
        whole(&vault).await[0].start_ms >= 1_700_000_030_000,
        "the newest are kept"
    );
}

#[tokio::test]
async fn every_refusal_has_its_word() {
    let mut vault = Vault::new(None);
    vault.start().await;
    for (path, status, word) in [
        ("api/recordings/x", 404, "not_found"),
        ("api/recordings/7/media", 404, "not_found"),
        ("api/recordings?limit=many", 400, "query_invalid"),
        ("api/recordings?after=1", 400, "after_invalid"),
        ("api/events?after=x", 400, "query_invalid"),
        ("api/storage", 405, "method_not_allowed"),
        ("nowhere", 404, "not_found"),
    ] {
        let answer = vault.admin(path).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{path}");
        assert_eq!(answer.json::<Problem>().await.unwrap().status, word);
    }
    // A body that ends early leaves nothing behind.
    let address = vault.config.listen;
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let keys = format!(
        "{}: {}\r\n{}: {}\r\n",
        header::ACCESS_KEY,
        crate::support::ACCESS,
        header::SECRET_KEY,
        crate::support::SECRET
    );
    let file = format!("{}: {}\r\n", header::FILE_NAME, name("gate", 5));
    let head = "POST /api/storage HTTP/1.1\r\nhost: v\r\ncontent-length: 1000\r\n";
    stream
        .write_all(format!("{head}{keys}{file}\r\nhalf").as_bytes())
        .unwrap();
    let staging = vault.root.join("recordings/.staging");
    let staged = || staging.read_dir_utf8().unwrap().count();
    until("the upload began", || staged() == 1).await;
    drop(stream);
    until("the half was removed", || staged() == 0).await;
    assert_eq!(page(&vault).await.recordings, []);
}
