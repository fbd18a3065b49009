use super::*;

const NAME: &str = "1700000000_3-123_gate_0-0-0-0_-1_5000.mp4";

fn folder() -> (tempfile::TempDir, Utf8PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = Utf8PathBuf::from_path_buf(folder.path().canonicalize().unwrap()).unwrap();
    (folder, path)
}

fn body(pieces: &[&'static str]) -> impl Stream<Item = Result<Bytes, io::Error>> + Unpin {
    futures::stream::iter(
        pieces
            .iter()
            .map(|piece| Ok(Bytes::from_static(piece.as_bytes()))),
    )
}

#[tokio::test]
async fn an_upload_lies_in_the_folder_of_its_day() {
    let (_folder, root) = folder();
    let provider = FilesystemProvider::open(&root).unwrap();
    let stored = provider
        .put(&format!("a/{NAME}"), body(&["foo", "tage"]), None)
        .await
        .unwrap();
    assert_eq!(stored.location, root.join("a/2023-11-14").join(NAME));
    assert_eq!(read(&stored.location, 3, 2).await.unwrap(), "ta");
    let mut found = Vec::new();
    provider.walk(|object| found.push(object.key)).unwrap();
    assert_eq!(found, [format!("a/{NAME}")]);
    provider.delete(&stored.location).await.unwrap();
    assert!(!root.join("a/2023-11-14").exists());
}

#[tokio::test]
async fn a_cut_upload_leaves_nothing() {
    let (_folder, root) = folder();
    let provider = FilesystemProvider::open(&root).unwrap();
    let cut = [
        Ok(Bytes::from_static(b"half")),
        Err(io::Error::other("gone")),
    ];
    let result = provider
        .put("a/x.mp4", futures::stream::iter(cut), None)
        .await;
    assert!(matches!(result, Err(StorageError::Cut(_))));
    assert_eq!(root.join(STAGING).read_dir_utf8().unwrap().count(), 0);
    assert!(matches!(
        provider.put("a/x.mp4", body(&[]), None).await,
        Err(StorageError::Empty)
    ));
    let wrong = provider.put("a/x.mp4", body(&["x"]), Some("00")).await;
    assert!(matches!(wrong, Err(StorageError::Checksum)));
}

#[tokio::test]
async fn an_object_is_never_replaced_by_another() {
    let (_folder, root) = folder();
    let provider = FilesystemProvider::open(&root).unwrap();
    let key = format!("a/{NAME}");
    let first = provider.put(&key, body(&["one"]), None).await.unwrap();
    assert_eq!(
        provider.put(&key, body(&["one"]), None).await.unwrap(),
        first
    );
    let other = provider.put(&key, body(&["two"]), None).await;
    assert!(matches!(other, Err(StorageError::Exists { .. })));
    assert_eq!(read(&first.location, 0, 9).await.unwrap(), "one");
}

#[tokio::test]
async fn a_file_is_taken_by_rename_and_only_from_where_it_may() {
    let (_folder, root) = folder();
    let (_other, agents) = folder();
    let provider = FilesystemProvider::open(&root).unwrap();
    let source = agents.join(NAME);
    fs::write(&source, "footage").unwrap();
    let inode = fs::metadata(&source).unwrap().ino();
    let key = format!("a/{NAME}");
    let refused = provider
        .take(&key, &source, std::slice::from_ref(&root))
        .await;
    assert!(matches!(refused, Err(StorageError::Refused { .. })));
    let allowed = [agents.clone()];
    let stored = provider.take(&key, &source, &allowed).await.unwrap();
    assert_eq!(
        fs::metadata(&stored.location).unwrap().ino(),
        inode,
        "it was moved, not copied"
    );
    assert!(!source.exists());
    // The agent did not hear of it and asks again.
    assert_eq!(
        provider.take(&key, &source, &allowed).await.unwrap().bytes,
        7
    );
    let link = agents.join("link.mp4");
    std::os::unix::fs::symlink(&stored.location, &link).unwrap();
    for bad in [
        &link,
        &agents.join("../x.mp4"),
        &agents.join("absent.mp4"),
        &agents,
    ] {
        let refused = provider.take("a/other.mp4", bad, &allowed).await;
        assert!(
            matches!(refused, Err(StorageError::Refused { .. })),
            "{bad}"
        );
    }
}

#[tokio::test]
async fn a_pipe_is_refused_and_holds_nobody_up() {
    let (_folder, root) = folder();
    let (_other, agents) = folder();
    let provider = FilesystemProvider::open(&root).unwrap();
    let pipe = agents.join("pipe.mp4");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(CWD, pipe.as_str(), rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let refused = provider.take("a/pipe.mp4", &pipe, &[agents]).await;
    assert!(matches!(refused, Err(StorageError::Refused { .. })));
}

#[tokio::test]
async fn a_link_inside_of_a_hand_off_folder_leads_nowhere() {
    let (_folder, root) = folder();
    let (_other, agents) = folder();
    let (_third, private) = folder();
    let provider = FilesystemProvider::open(&root).unwrap();
    fs::write(private.join(NAME), "private").unwrap();
    std::os::unix::fs::symlink(&private, agents.join("gate")).unwrap();
    let source = agents.join("gate").join(NAME);
    let refused = provider
        .take(&format!("a/{NAME}"), &source, &[agents])
        .await;
    assert!(matches!(refused, Err(StorageError::Refused { .. })));
    assert!(private.join(NAME).exists());
}

/// Shared memory is a file system of its own on every Linux.
#[tokio::test]
async fn a_file_of_another_disk_is_copied_and_a_crash_in_between_is_settled() {
    let (_folder, root) = folder();
    let Ok(other) = tempfile::tempdir_in("/dev/shm") else {
        eprintln!("skipped: there is no second file system");
        return;
    };
    let agents = Utf8PathBuf::from_path_buf(other.path().to_owned()).unwrap();
    let provider = FilesystemProvider::open(&root).unwrap();
    let (key, source, allowed) = (format!("a/{NAME}"), agents.join(NAME), [agents.clone()]);
    // The second time is the crash between copy and removal.
    for _ in 0..2 {
        fs::write(&source, "footage").unwrap();
        let stored = provider.take(&key, &source, &allowed).await.unwrap();
        assert_eq!(fs::read_to_string(&stored.location).unwrap(), "footage");
        assert!(!source.exists());
    }
    fs::write(&source, "another").unwrap();
    let other = provider.take(&key, &source, &allowed).await;
    assert!(matches!(other, Err(StorageError::Exists { .. })));
    assert!(source.exists());
    assert_eq!(root.join(STAGING).read_dir_utf8().unwrap().count(), 0);
}
