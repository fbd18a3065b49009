//! Adding and removing cameras in a text that somebody wrote by hand.

use crate::files::Folder;
use installer_spec::{
    Camera, Credentials, EditError, Login, Record, Source, SourceFile, TestSource, When,
    add_camera, parse, remove_camera,
};

const TEXT: &str = "\
version: 1   # the format
site: s
cameras:
    # the front
    - name: gate
      rtsp: rtsp://10.0.0.1/main   # recorded
      record: { when: motion }
    # the back
    - { name: yard, test: scene }  # for now

# kept for long
storage: { retention: 30d }
";

fn network(name: &str) -> Camera {
    Camera {
        name: name.to_owned(),
        source: Source::Rtsp {
            main: "rtsp://10.0.0.9/main".parse().expect("a URL"),
            sub: None,
            credentials: Some(Credentials::Environment("DOCK".to_owned())),
        },
        record: Record {
            when: When::Motion,
            ..Record::default()
        },
    }
}

fn scene(name: &str) -> Camera {
    Camera {
        name: name.to_owned(),
        source: Source::Test(TestSource::Scene),
        record: Record::default(),
    }
}

/// The lines that a change took out (`-`) and put in (`+`); all others are the same bytes.
fn difference(before: &str, after: &str) -> String {
    let (before, after): (Vec<_>, Vec<_>) = (
        before.split_inclusive('\n').collect(),
        after.split_inclusive('\n').collect(),
    );
    let same = before
        .iter()
        .zip(&after)
        .take_while(|(a, b)| a == b)
        .count();
    let rest = (before[same..].iter().rev().zip(after[same..].iter().rev()))
        .take_while(|(a, b)| a == b)
        .count();
    let gone = before[same..before.len() - rest]
        .iter()
        .map(|line| format!("-{line}"));
    let new = after[same..after.len() - rest]
        .iter()
        .map(|line| format!("+{line}"));
    gone.chain(new).collect()
}

#[track_caller]
fn check(before: &str, change: impl Fn(&str) -> Result<String, EditError>, wanted: &str) {
    let after = change(before).expect("the change is possible");
    assert_eq!(difference(before, &after), wanted);
    let crlf = before.replace('\n', "\r\n");
    assert_eq!(
        change(&crlf).expect("possible with CRLF"),
        after.replace('\n', "\r\n")
    );
}

#[test]
fn a_camera_is_added_in_the_style_of_the_list() {
    check(
        TEXT,
        |text| add_camera(text, &network("dock")),
        "+    - name: dock
+      rtsp: rtsp://10.0.0.9/main
+      credentials:
+        env: DOCK
+      record: motion
",
    );
    check(
        "version: 1\nsite: s\ncameras:\n- name: a\n  test: scene\n",
        |text| add_camera(text, &scene("b")),
        "+- name: b\n+  test: scene\n",
    );
    check(
        "version: 1\nsite: s\ncameras: [ { name: a, test: scene } ] # one\n",
        |text| add_camera(text, &scene("b")),
        "-cameras: [ { name: a, test: scene } ] # one\n\
         +cameras: [ { name: a, test: scene }, {\"name\":\"b\",\"test\":\"scene\"} ] # one\n",
    );
    check(
        "version: 1\nsite: s\ncameras: []\n",
        |text| add_camera(text, &scene("b")),
        "-cameras: []\n+cameras: [{\"name\":\"b\",\"test\":\"scene\"}]\n",
    );
    check(
        "version: 1\nsite: s\n",
        |text| add_camera(text, &scene("b")),
        "+cameras:\n+  - name: b\n+    test: scene\n",
    );
}

#[test]
fn a_text_without_a_last_newline_is_added_to() {
    let text = "version: 1\nsite: s\ncameras:\n  - name: a\n    test: scene";
    let wanted = format!("{text}\n  - name: b\n    test: scene\n");
    assert_eq!(add_camera(text, &scene("b")).expect("possible"), wanted);
}

#[test]
fn a_camera_is_removed_and_comments_stay() {
    check(
        TEXT,
        |text| remove_camera(text, "gate"),
        "-    - name: gate
-      rtsp: rtsp://10.0.0.1/main   # recorded
-      record: { when: motion }
",
    );
    check(
        TEXT,
        |text| remove_camera(text, "yard"),
        "-    - { name: yard, test: scene }  # for now\n",
    );
    for (name, left) in [("a", "b, test: scene } ]\n"), ("b", "a, test: scene } ]\n")] {
        let text = "version: 1\nsite: s\n\
                    cameras: [ { name: a, test: scene }, { name: b, test: scene } ]\n";
        let wanted = format!("version: 1\nsite: s\ncameras: [ {{ name: {left}");
        assert_eq!(remove_camera(text, name).expect("possible"), wanted);
    }
}

#[test]
fn adding_and_removing_is_no_change() {
    let folder = Folder::of_crate("../../profiles");
    for name in folder.names("yaml") {
        let text = folder.read(&name);
        let more = add_camera(&text, &network("added")).expect(&name);
        let parsed = parse(
            &SourceFile {
                name: &name,
                text: &more,
            },
            &folder,
        )
        .expect(&name);
        assert_eq!(parsed.profile.cameras.last(), Some(&network("added")));
        assert_eq!(remove_camera(&more, "added").expect(&name), text);
    }
}

#[test]
fn a_password_is_never_written() {
    let mut camera = network("dock");
    let Source::Rtsp { credentials, .. } = &mut camera.source else {
        panic!("{camera:?}")
    };
    let (user, password) = ("admin".to_owned(), "hunter2".to_owned());
    *credentials = Some(Credentials::Inline(Login { user, password }));
    let text = add_camera(TEXT, &camera).expect("possible");
    assert!(!text.contains("hunter2") && !text.contains("admin") && !text.contains("credentials"));
}

#[test]
fn what_cannot_be_changed_is_refused() {
    let only = "version: 1\nsite: s\ncameras: [ { name: a, test: scene } ]\n";
    assert_eq!(
        add_camera(TEXT, &scene("gate")),
        Err(EditError::Exists("gate".to_owned()))
    );
    assert_eq!(
        remove_camera(TEXT, "x"),
        Err(EditError::NotFound("x".to_owned()))
    );
    assert_eq!(
        remove_camera(only, "a"),
        Err(EditError::Last("a".to_owned()))
    );
    let anchored = "version: 1\nsite: s\ncameras:\n  - name: a\n    test: &t scene\n  \
                    - name: b\n    test: *t\n";
    assert_eq!(remove_camera(anchored, "a"), Err(EditError::Layout));
    let aliased = "x: &x [ { name: a, test: scene } ]\ncameras: *x\n";
    assert_eq!(add_camera(aliased, &scene("b")), Err(EditError::Layout));
    assert!(matches!(
        add_camera("a: [", &scene("b")),
        Err(EditError::Unreadable { line: 2 | 1, .. })
    ));
    assert_eq!(
        add_camera("{ version: 1 }", &scene("b")),
        Err(EditError::Layout)
    );
}
