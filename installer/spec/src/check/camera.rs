//! The list of cameras and each camera in it.

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

use super::{Checker, DurationLimits, Fields, MOST_CAMERAS, join, kind_name};
use crate::keys::{self, Words};
use crate::profile::{Camera, Credentials, Login, Record, Source, TestSource, When};
use crate::tree::{Kind, Node, Place};
use crate::units;

const WHEN: Words<When> = Words {
    known: &[
        ("continuous", When::Continuous),
        ("motion", When::Motion),
        ("both", When::Both),
    ],
    later: &["schedule"],
};
/// Footage before motion waits in memory.
const PRE: DurationLimits = DurationLimits {
    least: Duration::ZERO,
    most: Some(Duration::from_mins(1)),
    help: "footage before motion waits in memory: 0s to 60s, usually 10s",
};
const POST: DurationLimits = DurationLimits {
    least: Duration::ZERO,
    most: Some(Duration::from_mins(10)),
    help: "footage after motion: 0s to 10m, usually 20s",
};
const LONGEST: DurationLimits = DurationLimits {
    least: Duration::from_secs(5),
    most: Some(Duration::from_hours(1)),
    help: "a file's longest duration: 5s to 1h, usually 60s",
};

impl Checker<'_> {
    pub(super) fn cameras(&mut self, fields: &Fields<'_>) -> Option<Vec<Camera>> {
        const HELP: &str =
            "list at least one: `- name: gate` and below it `rtsp: rtsp://HOST/PATH`";
        if !fields.has("cameras") {
            self.missing(fields.at, "", "cameras", HELP);
        }
        let node = fields.get("cameras")?;
        let Kind::List(items) = &node.kind else {
            let message = format!("`cameras` is a list, not {}", kind_name(node));
            self.error(node.at, "cameras", message, HELP);
            return None;
        };
        if items.len() > MOST_CAMERAS {
            self.too_many(node.at, "cameras");
            return None;
        }
        let before = self.found.len();
        let mut cameras = Vec::new();
        for (index, item) in items.iter().enumerate() {
            self.entry(item, &format!("cameras[{index}]"), &mut cameras);
            if cameras.len() > MOST_CAMERAS {
                self.too_many(item.at, "cameras");
                return None;
            }
        }
        if cameras.is_empty() && self.found.len() == before {
            self.error(node.at, "cameras", "there is no camera", HELP);
        }
        Some(cameras)
    }

    pub(super) fn too_many(&mut self, at: Place, path: &str) {
        let message = format!("there are more than {MOST_CAMERAS} cameras");
        self.error(at, path, message, "split the site");
    }

    /// One item: a camera, or a list that stands for many.
    pub(super) fn entry(&mut self, node: &Node, path: &str, cameras: &mut Vec<Camera>) {
        let Some(fields) = self.fields(node, path, keys::CAMERA) else {
            return;
        };
        if !fields.has("from") {
            let record = fields
                .get("record")
                .map(|n| self.record(n, &join(path, "record")));
            let camera = self.camera(&fields, path, Vec::new());
            if let (Some(camera), Some(record)) =
                (camera, record.unwrap_or(Some(Record::default())))
            {
                cameras.push(Camera { record, ..camera });
            }
            return;
        }
        if let Some((other, _)) = fields.entries.iter().find(|(entry, _)| entry.key != "from") {
            self.error(
                other.at,
                &join(path, &other.key),
                "`from` stands alone: the list holds everything about its cameras",
                "move this key into the list's columns, or give the camera an item of its own",
            );
        }
        let path = join(path, "from");
        if let Some(from) = fields.get("from")
            && let Some(text) = self.text(from, &path)
        {
            let text = text.to_owned();
            self.list(from.at, &path, Utf8Path::new(&text), cameras);
        }
    }

    /// Everything but `record`. `logins` are those that stand elsewhere than in a URL.
    pub(super) fn camera(
        &mut self,
        fields: &Fields<'_>,
        path: &str,
        logins: Vec<(Place, Credentials)>,
    ) -> Option<Camera> {
        if !fields.has("name") {
            self.missing(
                fields.at,
                path,
                "name",
                "name the camera, for example `name: gate`",
            );
        }
        let name = fields.get("name").and_then(|node| {
            let path = join(path, "name");
            let name = self.name(node, &path)?;
            self.unique(&name, node.at, &path).then_some(name)
        });
        let source = match (fields.has("rtsp"), fields.has("test")) {
            (true, false) => self.network(fields, path, logins),
            (false, true) => self.test(fields, path),
            (true, true) => {
                let (at, path) = (fields.key_place("test"), join(path, "test"));
                let message = "a camera has `rtsp` or `test`, not both";
                self.error(at, &path, message, "keep one of the two");
                None
            }
            (false, false) => {
                let help = "write `rtsp: rtsp://HOST/PATH`, or `test: scene` to try things out";
                self.error(
                    fields.at,
                    path,
                    "the camera has neither `rtsp` nor `test`",
                    help,
                );
                None
            }
        };
        Some(Camera {
            name: name?,
            source: source?,
            record: Record::default(),
        })
    }

    fn unique(&mut self, name: &str, at: Place, path: &str) -> bool {
        let Some(first) = self.names.get(name).copied() else {
            self.names.insert(name.to_owned(), at);
            return true;
        };
        let message = format!(
            "camera `{name}` stands twice, first at {}",
            self.position(first)
        );
        self.error(at, path, message, "give each camera a name of its own");
        false
    }

    fn network(
        &mut self,
        fields: &Fields<'_>,
        path: &str,
        mut logins: Vec<(Place, Credentials)>,
    ) -> Option<Source> {
        let main = fields
            .get("rtsp")
            .and_then(|node| self.rtsp(node, &join(path, "rtsp")));
        let sub = fields
            .get("sub")
            .map(|node| self.rtsp(node, &join(path, "sub")));
        if let Some(node) = fields.get("credentials") {
            let found = self.credentials(node, &join(path, "credentials"));
            logins.push((fields.key_place("credentials"), found?));
        }
        let (main, login) = main?;
        let (sub, sub_login) = match sub {
            Some(sub) => sub.map(|(url, login)| (Some(url), login))?,
            None => (None, None),
        };
        if let Some(rtsp) = fields.get("rtsp").filter(|_| login.is_some()) {
            self.warn_of_secret(rtsp.at, &join(path, "rtsp"));
        }
        if let Some(node) = fields
            .get("sub")
            .filter(|_| sub_login.is_some() && sub_login != login)
        {
            self.error(
                node.at,
                &join(path, "sub"),
                "the login in `sub` is not the one in `rtsp`",
                "take both out and use `credentials`: one login serves both streams",
            );
            return None;
        }
        if let Some(login) = login {
            logins.insert(0, (fields.key_place("rtsp"), Credentials::Inline(login)));
        }
        if let [_, (at, _), ..] = logins.as_slice() {
            let message = "the camera's login is given twice";
            let help = "take `user:password@` out of the URL, and keep one source";
            self.error(*at, &join(path, "credentials"), message, help);
            return None;
        }
        Some(Source::Rtsp {
            main,
            sub,
            credentials: logins.pop().map(|(_, login)| login),
        })
    }

    fn warn_of_secret(&mut self, at: Place, path: &str) {
        let told = at.file != 0
            && self
                .found
                .iter()
                .any(|d| Some(&d.file) == self.files.get(at.file) && is_secret(d));
        if !told {
            self.warn(
                at,
                path,
                SECRET_STANDS_HERE,
                "take it out of the file and use `credentials:`",
            );
        }
    }

    /// A login from the columns `user` and `password` of a list.
    pub(super) fn column_login(&mut self, at: Place, user: &str, password: &str) -> Credentials {
        self.warn_of_secret(at, "password");
        Credentials::Inline(Login {
            user: user.to_owned(),
            password: password.to_owned(),
        })
    }

    fn test(&mut self, fields: &Fields<'_>, path: &str) -> Option<Source> {
        for key in ["sub", "credentials"] {
            if fields.has(key) {
                let message = format!("a test camera has no `{key}`");
                self.error(
                    fields.key_place(key),
                    &join(path, key),
                    message,
                    "take it out",
                );
            }
        }
        let (node, path) = (fields.get("test")?, join(path, "test"));
        let text = self.text(node, &path)?;
        let mp4 = Utf8Path::new(text)
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("mp4"));
        if text == "scene" {
            Some(Source::Test(TestSource::Scene))
        } else if mp4 && !text.chars().any(char::is_control) {
            Some(Source::Test(TestSource::File(Utf8PathBuf::from(text))))
        } else {
            let message = format!("{} is not a test source", super::shown(node, text));
            self.error(
                node.at,
                &path,
                message,
                "write `scene`, or the path of an .mp4 file",
            );
            None
        }
    }

    /// `record: motion`, or the mapping.
    fn record(&mut self, node: &Node, path: &str) -> Option<Record> {
        if !matches!(node.kind, Kind::Map(_)) {
            return Some(Record {
                when: self.word(node, path, WHEN)?,
                ..Record::default()
            });
        }
        let fields = self.fields(node, path, keys::RECORD)?;
        self.record_fields(&fields, path)
    }

    pub(super) fn record_fields(&mut self, fields: &Fields<'_>, path: &str) -> Option<Record> {
        let usual = Record::default();
        let when = fields
            .get("when")
            .map(|node| self.word(node, &join(path, "when"), WHEN));
        let mut time = |key: &str, limits: DurationLimits, usual: Duration| {
            let found = fields
                .get(key)
                .map(|node| self.duration(node, &join(path, key), limits));
            found.unwrap_or(Some(usual))
        };
        let pre = time("pre", PRE, usual.pre);
        let post = time("post", POST, usual.post);
        let longest = time("longest", LONGEST, usual.longest);
        let (when, pre, post, longest) = (when.unwrap_or(Some(usual.when))?, pre?, post?, longest?);
        if when != When::Continuous && longest < pre + post {
            let written = ["longest", "post", "pre"]
                .into_iter()
                .find(|key| fields.has(key));
            let key = written.unwrap_or("longest");
            let (at, path) = (fields.key_place(key), join(path, key));
            let message = "one motion makes several files: `longest` is less than `pre` + `post`";
            let help = format!(
                "write `longest: {}` or more",
                units::format_duration(pre + post)
            );
            self.warn(at, &path, message, help);
        }
        Some(Record {
            when,
            pre,
            post,
            longest,
        })
    }
}

const SECRET_STANDS_HERE: &str =
    "a password stands in this file; it is moved into the site's secret store";

fn is_secret(diagnostic: &crate::Diagnostic) -> bool {
    diagnostic.message == SECRET_STANDS_HERE
}
