//! Two minutes of real footage from gst-rtsp-server, compared packet by packet with its source.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use e2e::{ffprobe, free_port, programs, recordings, root, send, wait_until};
use rustix::process::Signal;
use serde_json::{Value, json};

/// The two minutes.
const LENGTH: Duration = Duration::from_mins(2);
/// Frames of the source each second.
const RATE: f64 = 12.5;
const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const CAMERAS: [(&str, &str); 2] = [("h264", "h264"), ("h265", "hevc")];

/// A child that goes with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

struct Place {
    folder: tempfile::TempDir,
    camera_port: u16,
    api_port: u16,
    clips: Vec<(String, Utf8PathBuf)>,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let output = Command::new(root().join("ci/parts/clips"))
            .stderr(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "ci/parts/clips failed");
        let text = String::from_utf8(output.stdout).unwrap();
        let clips = text.lines().filter_map(|line| line.split_once('='));
        let clips = clips
            .map(|(name, path)| (name.to_owned(), path.into()))
            .collect();
        let place = Self {
            folder,
            camera_port: free_port(),
            api_port: free_port(),
            clips,
        };
        place.secret("password", "opens-it\n");
        place.secret("login", "viewer\nopens-it\n");
        place.secret("token", TOKEN);
        place
    }

    fn path(&self, name: &str) -> Utf8PathBuf {
        Utf8Path::from_path(self.folder.path()).unwrap().join(name)
    }

    fn secret(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn clip(&self, name: &str) -> &Utf8Path {
        &self.clips.iter().find(|(clip, _)| clip == name).unwrap().1
    }

    /// gst-rtsp-server with a login, one path for each camera; it is ready when this returns.
    fn serve(&self) -> Running {
        let mut command = Command::new(root().join("ci/parts/gst-rtsp"));
        command.args(["--port", &self.camera_port.to_string(), "--user", "viewer"]);
        command.args(["--password-file", self.path("password").as_str()]);
        command.args(CAMERAS.map(|(name, _)| format!("{name}={}", self.clip(name))));
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.map_while(Result::ok).any(|line| line == "listening");
        assert!(ready, "gst-rtsp-server did not start");
        Running(child)
    }

    fn record(&self) -> Running {
        let camera = |(name, _): (&str, &str)| {
            json!({
                "name": name,
                "rtsp": format!("rtsp://127.0.0.1:{}/{name}", self.camera_port),
                "credentials_file": self.path("login"),
                "record": { "when": "continuous", "pre_ms": 0, "post_ms": 0, "longest_ms": 20_000 },
            })
        };
        let config = json!({
            "version": 1,
            "site": "real",
            "data": self.path("data"),
            "http": { "listen": format!("127.0.0.1:{}", self.api_port), "token_file": self.path("token") },
            "cameras": CAMERAS.map(camera),
            "retention": {},
        });
        fs::write(self.path("agent.json"), config.to_string()).unwrap();
        let mut command = Command::new(programs().join("stakeout-agent"));
        command.args(["run", "--config", self.path("agent.json").as_str()]);
        Running(command.spawn().unwrap())
    }

    /// `GET /api/cameras`; nothing while the agent does not answer.
    fn status(&self, camera: &str) -> Value {
        let ask = || {
            let mut stream = TcpStream::connect(("127.0.0.1", self.api_port)).ok()?;
            let request = format!(
                "GET /api/cameras HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(request.as_bytes()).ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).ok()?;
            let cameras: Value = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
            cameras
                .as_array()?
                .iter()
                .find(|found| found["name"] == camera)
                .cloned()
        };
        ask().unwrap_or_default()
    }

    fn frames(&self, camera: &str) -> u64 {
        self.status(camera)["frames"].as_u64().unwrap_or(0)
    }
}

/// One packet: whether it is a key frame, and the digest of its bytes.
fn packets(path: &Utf8Path, stream: &str) -> Vec<(bool, String)> {
    let output = Command::new("ffprobe")
        .args([
            "-v",
            "warning",
            "-select_streams",
            stream,
            "-show_data_hash",
            "md5",
        ])
        .args([
            "-show_entries",
            "packet=dts_time,flags,data_hash",
            "-of",
            "json",
            path.as_str(),
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{path}: {said}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packets = found["packets"].as_array().unwrap();
    let time = |packet: &Value| packet["dts_time"].as_str().unwrap().parse::<f64>().unwrap();
    assert!(packets.is_sorted_by(|a, b| time(a) < time(b)), "{path}");
    let packet = |packet: &Value| {
        let key = packet["flags"].as_str().unwrap().starts_with('K');
        (key, packet["data_hash"].as_str().unwrap().to_owned())
    };
    packets.iter().map(packet).collect()
}

/// Start and duration of a recording in milliseconds, from the six fields of its name.
fn span(path: &Utf8Path) -> (i64, i64) {
    let fields: Vec<_> = path.file_stem().unwrap().split('_').collect();
    let millis: i64 = fields[1].split_once('-').unwrap().1.parse().unwrap();
    (
        fields[0].parse::<i64>().unwrap() * 1000 + millis,
        fields[5].parse().unwrap(),
    )
}

#[test]
fn two_minutes_of_real_footage_are_on_disk_byte_for_byte() {
    let place = Place::new();
    let _server = place.serve();
    let mut agent = place.record();
    let begun = Instant::now();
    wait_until(
        LENGTH + Duration::from_secs(20),
        "two minutes were recorded",
        || begun.elapsed() >= LENGTH && CAMERAS.iter().all(|(name, _)| place.frames(name) > 0),
    );
    let counted = CAMERAS.map(|(name, _)| place.frames(name));
    assert!(send(agent.0.id(), Signal::TERM));
    assert!(agent.0.wait().unwrap().success());

    for ((name, codec), counted) in CAMERAS.into_iter().zip(counted) {
        let files = recordings(&place.path("data").join(name));
        assert!(files.len() >= 5, "{files:?}");
        let (mut video, mut third, mut end) = (Vec::new(), 0, None);
        for file in &files {
            let probed = ffprobe(file);
            assert_eq!(probed["streams"][0]["codec_name"], codec, "{file}");
            assert_eq!(probed["streams"][0]["width"], 768);
            assert_eq!(
                probed["streams"][1]["codec_name"], "aac",
                "sound is recorded"
            );
            let clip = installer_engine::read_clip(&fs::read(file).unwrap()).unwrap();
            third += clip.frames;
            let found = packets(file, "v");
            assert_eq!(clip.frames, u64::try_from(found.len()).unwrap(), "{file}");
            let (start, duration) = span(file);
            // Arrival names a file, timestamps give its length: they agree to a frame.
            let gap = end.map_or(0, |end: i64| (start - end).abs());
            assert!(gap <= 80, "{gap} ms between {file} and the one before");
            end = Some(start + duration);
            video.extend(found);
        }
        let source = packets(place.clip(name), "v");
        // Where the clip begins anew, the server sends parameter sets before the key frame and in
        // the time of the packet before it. Every other packet is the source's, byte for byte.
        let differ = |n: usize| video[n].0 != source[n].0 || video[n].1 != source[n].1;
        let seam = |n: usize| source[n].0 || source.get(n + 1).is_some_and(|next| next.0);
        let differs = (0..video.len()).filter(|n| differ(*n)).collect::<Vec<_>>();
        assert!(
            differs.iter().all(|n| seam(*n)) && differs.len() <= 10,
            "{name}: {differs:?}"
        );
        let on_disk = u64::try_from(video.len()).unwrap();
        // A frame or two arrive between the question and the signal.
        assert!(
            on_disk >= counted && on_disk <= counted + 5,
            "{on_disk} of {counted}"
        );
        assert_eq!(third, on_disk);
        assert!(
            video.len() as f64 >= (LENGTH.as_secs_f64() - 3.0) * RATE,
            "{on_disk} frames"
        );
        println!(
            "{name}: {on_disk} frames in {} files, {counted} counted as received",
            files.len()
        );
    }
}

#[test]
fn a_camera_that_was_unplugged_is_recorded_again_when_it_is_back() {
    let place = Place::new();
    let server = place.serve();
    let agent = place.record();
    wait_until(Duration::from_mins(1), "both record", || {
        CAMERAS.iter().all(|(name, _)| place.frames(name) > 30)
    });
    drop(server);
    wait_until(Duration::from_secs(10), "the loss is noticed", || {
        place.status("h264")["state"] != "receiving"
    });
    let before = place.frames("h264");
    let _server = place.serve();
    let took = wait_until(Duration::from_secs(20), "frames come again", || {
        place.frames("h264") > before && place.frames("h265") > 0
    });
    println!("recording again {took:?} after the camera was back");
    drop(agent);
    let again = place.record();
    wait_until(
        Duration::from_secs(20),
        "a killed agent starts again",
        || place.frames("h264") > 10,
    );
    drop(again);
    for file in recordings(&place.path("data")) {
        assert!(!packets(&file, "v").is_empty(), "{file}");
    }
}

#[test]
fn a_probe_tells_what_the_server_offers_and_what_is_wrong() {
    let place = Place::new();
    let _server = place.serve();
    let probe = |path: &str, password: &str| -> Value {
        let mut command = Command::new(programs().join("stakeout-agent"));
        command
            .arg("probe")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let request = json!({
            "rtsp": format!("rtsp://127.0.0.1:{}/{path}", place.camera_port),
            "user": "viewer",
            "password": password,
            "measure_ms": 6000,
        });
        child
            .stdin
            .take()
            .unwrap()
            .write_all(request.to_string().as_bytes())
            .unwrap();
        serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap()
    };
    let offer = probe("h264", "opens-it");
    assert_eq!(
        (&offer["codec"], &offer["width"]),
        (&json!("h264"), &json!(768)),
        "{offer}"
    );
    assert_eq!(
        (&offer["audio"], &offer["auth"]),
        (&json!("aac"), &json!("digest")),
        "{offer}"
    );
    assert!(
        (offer["fps"].as_f64().unwrap() - RATE).abs() < 1.0,
        "{offer}"
    );
    assert_eq!(probe("h265", "opens-it")["codec"], "h265");
    assert_eq!(probe("h264", "wrong")["kind"], "unauthorized");
    assert_eq!(probe("absent", "opens-it")["kind"], "not-found");
}
