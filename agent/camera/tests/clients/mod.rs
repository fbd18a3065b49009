//! Runs ffprobe and ffmpeg against a camera in this process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use agent_camera::{Options, Server};
use tokio::sync::oneshot;

/// A camera on its own thread; ends when dropped.
pub(crate) struct Camera {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Camera {
    pub(crate) fn start(options: Options) -> Self {
        let (ready, address) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let server = Server::bind(options).await.unwrap();
                ready.send(server.local_addr()).unwrap();
                server.run(async { drop(stopped.await) }).await.unwrap();
            });
        });
        let address = address.recv().unwrap();
        Self {
            address,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("rtsp://{}{path}", self.address)
    }

    pub(crate) fn url_with_login(&self, login: &str) -> String {
        format!("rtsp://{login}@{}/", self.address)
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the camera did not panic");
        }
    }
}

/// Says so when the tools are missing; CI installs them.
#[expect(clippy::print_stdout, reason = "a test that tests nothing must say so")]
pub(crate) fn tools_present() -> bool {
    let present = ["ffmpeg", "ffprobe"].into_iter().all(|tool| {
        let version = Command::new(tool)
            .arg("-version")
            .stdout(Stdio::null())
            .status();
        version.is_ok_and(|status| status.success())
    });
    if !present {
        println!("ffmpeg is not on PATH: nothing was tested");
    }
    present
}

/// A clip of the shared footage, where it is present.
pub(crate) fn clip(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/media")
        .join(name);
    path.exists().then_some(path)
}

fn run(tool: &str, arguments: &[&str]) -> Output {
    Command::new("timeout")
        // Half a second is enough to know these streams by; the default is five.
        .args(["20", tool, "-v", "error", "-analyzeduration", "500000"])
        .args(arguments)
        .output()
        .expect("coreutils' timeout")
}

fn text(output: &Output) -> Result<String, String> {
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// `codec,width,height` of each video stream and `codec,rate,channels` of sound, a line each.
pub(crate) fn probe(url: &str, transport: &str) -> Result<String, String> {
    let entries = "stream=codec_name,width,height,sample_rate,channels";
    text(&run(
        "ffprobe",
        &[
            "-rtsp_transport",
            transport,
            "-show_entries",
            entries,
            "-of",
            "csv=p=0",
            url,
        ],
    ))
}

/// Makes a file out of another with ffmpeg.
pub(crate) fn convert(arguments: &[&str]) {
    text(&run("ffmpeg", arguments)).expect("ffmpeg converts");
}

/// Hashes of the first `count` decoded pictures; `input` ends with the file or URL.
pub(crate) fn pictures(input: &[&str], count: usize) -> Vec<String> {
    let count = count.to_string();
    let output = [
        "-frames:v",
        &count,
        "-map",
        "0:v",
        "-fps_mode",
        "passthrough",
    ];
    let format = ["-f", "framehash", "-hash", "md5", "-"];
    let hashes = text(&run("ffmpeg", &[input, &output, &format].concat())).expect("decodes");
    let lines = hashes.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.rsplit(',').next().unwrap().to_owned())
        .collect()
}

/// Packets that ffmpeg received: stream index, presentation time in seconds.
pub(crate) struct Packets(Vec<(u32, Option<f64>)>);

/// Receives for `length` of stream time.
pub(crate) fn packets(url: &str, transport: &str, length: Duration) -> Packets {
    let seconds = length.as_secs_f64().to_string();
    let output = run(
        "ffmpeg",
        &[
            "-rtsp_transport",
            transport,
            "-i",
            url,
            "-t",
            &seconds,
            "-map",
            "0",
            "-c",
            "copy",
            "-copyts",
            "-f",
            "framehash",
            "-hash",
            "md5",
            "-",
        ],
    );
    // stream, dts, pts, duration, size, hash; time bases are in `#tb N: A/B` lines.
    let text = text(&output).expect("ffmpeg receives");
    let mut bases = Vec::new();
    let mut packets = Vec::new();
    for line in text.lines() {
        if let Some(base) = line.strip_prefix("#tb ") {
            let (_, fraction) = base.split_once(": ").unwrap();
            let (a, b) = fraction.split_once('/').unwrap();
            bases.push(a.parse::<f64>().unwrap() / b.parse::<f64>().unwrap());
        } else if !line.starts_with('#') {
            let fields: Vec<_> = line.split(',').map(str::trim).collect();
            let stream: u32 = fields[0].parse().unwrap();
            let base = bases[stream as usize];
            // ffmpeg leaves the first packet of a stream with B-frames without a time.
            let time = fields[2].parse::<i64>().unwrap();
            packets.push((stream, (time != i64::MIN).then_some(time as f64 * base)));
        }
    }
    Packets(packets)
}

impl Packets {
    pub(crate) fn times(&self, stream: u32) -> Vec<f64> {
        let of_stream = self.0.iter().filter(|packet| packet.0 == stream);
        let mut times: Vec<_> = of_stream.filter_map(|packet| packet.1).collect();
        times.sort_by(f64::total_cmp);
        times
    }

    /// Video of `rate` frames per second for `seconds`, each step the same, the seam included.
    pub(crate) fn expect_steady(&self, rate: f64, seconds: f64) {
        let mut times = self.times(0);
        let wanted = rate * seconds;
        let count = times.len() as f64;
        assert!(
            (count - wanted).abs() <= 2.0,
            "{count} frames instead of {wanted}"
        );
        // The end is cut in sending order: B-frames of the last pictures may be missing.
        times.truncate(times.len() - 4);
        for pair in times.windows(2) {
            let step = pair[1] - pair[0];
            assert!(
                (step * rate - 1.0).abs() < 0.05,
                "step of {step} s at {} s",
                pair[0]
            );
        }
    }

    /// Sound in frames of `step` seconds without hole or overlap, for about `seconds`.
    pub(crate) fn expect_sound(&self, step: f64, seconds: f64) {
        let times = self.times(1);
        assert!(
            (times.len() as f64 * step - seconds).abs() < 0.3,
            "{} sound frames",
            times.len()
        );
        for pair in times.windows(2) {
            let seen = pair[1] - pair[0];
            assert!(
                (seen - step).abs() < step / 10.0,
                "step of {seen} s at {} s",
                pair[0]
            );
        }
    }
}
