//! Prometheus text (exposition format 0.0.4).

use std::fmt::Write;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;

use crate::Api;

/// What one camera's task counts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CameraMetrics {
    pub camera: String,
    pub receiving: bool,
    /// Video frames received.
    pub frames: u64,
    /// Bytes of all frames received.
    pub bytes: u64,
    pub lost_packets: u64,
    pub reconnects: u64,
    pub motion_events: u64,
    pub decoder_restarts: u64,
    /// Seconds since the last frame; absent before the first.
    pub last_frame_age: Option<f64>,
    /// Bytes that wait for the disk.
    pub queued_bytes: u64,
    pub pending_uploads: u64,
    pub uploads: u64,
    pub upload_failures: u64,
    pub gaps: u64,
    pub recordings: u64,
    pub recording_bytes: u64,
}

/// Name, type, help, value.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    fn(&CameraMetrics) -> Option<f64>,
);

const ROWS: [Row; 16] = [
    ("receiving", "gauge", "1 while frames arrive.", |m| {
        Some(f64::from(u8::from(m.receiving)))
    }),
    ("frames_total", "counter", "Video frames received.", |m| {
        Some(m.frames as f64)
    }),
    (
        "received_bytes_total",
        "counter",
        "Bytes of frames received.",
        |m| Some(m.bytes as f64),
    ),
    ("lost_packets_total", "counter", "RTP packets lost.", |m| {
        Some(m.lost_packets as f64)
    }),
    (
        "reconnects_total",
        "counter",
        "Sessions after the first.",
        |m| Some(m.reconnects as f64),
    ),
    (
        "motion_events_total",
        "counter",
        "Beginnings of motion.",
        |m| Some(m.motion_events as f64),
    ),
    (
        "decoder_restarts_total",
        "counter",
        "Restarts of the motion decoder.",
        |m| Some(m.decoder_restarts as f64),
    ),
    (
        "last_frame_age_seconds",
        "gauge",
        "Seconds since the last frame.",
        |m| m.last_frame_age,
    ),
    (
        "queued_bytes",
        "gauge",
        "Bytes that wait for the disk.",
        |m| Some(m.queued_bytes as f64),
    ),
    (
        "pending_uploads",
        "gauge",
        "Recordings that wait for upload.",
        |m| Some(m.pending_uploads as f64),
    ),
    (
        "uploads_total",
        "counter",
        "Recordings that the vault took.",
        |m| Some(m.uploads as f64),
    ),
    (
        "upload_failures_total",
        "counter",
        "Upload attempts that failed.",
        |m| Some(m.upload_failures as f64),
    ),
    ("gaps_total", "counter", "Gaps in the footage.", |m| {
        Some(m.gaps as f64)
    }),
    (
        "recordings",
        "gauge",
        "Finished recordings on this disk.",
        |m| Some(m.recordings as f64),
    ),
    (
        "recordings_bytes",
        "gauge",
        "Bytes of finished recordings.",
        |m| Some(m.recording_bytes as f64),
    ),
    // Kept last: dashboards count cameras by it.
    ("camera_info", "gauge", "One per camera.", |_| Some(1.0)),
];

pub(crate) async fn scrape(State(api): State<Api>) -> Response {
    let mut text = render(&api.site.metrics());
    if let Some(disk) = api.store.disk() {
        for (name, help, value) in [
            (
                "disk_free_bytes",
                "Free bytes of the disk with the recordings.",
                disk.free,
            ),
            ("disk_total_bytes", "Size of that disk.", disk.total),
        ] {
            line(
                &mut text,
                format_args!("# HELP stakeout_agent_{name} {help}"),
            );
            line(
                &mut text,
                format_args!("# TYPE stakeout_agent_{name} gauge"),
            );
            line(&mut text, format_args!("stakeout_agent_{name} {value}"));
        }
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

fn render(cameras: &[CameraMetrics]) -> String {
    let mut text = String::new();
    for (name, kind, help, value) in ROWS {
        line(
            &mut text,
            format_args!("# HELP stakeout_agent_{name} {help}"),
        );
        line(
            &mut text,
            format_args!("# TYPE stakeout_agent_{name} {kind}"),
        );
        for metrics in cameras {
            let Some(value) = value(metrics) else {
                continue;
            };
            let camera = escaped(&metrics.camera);
            line(
                &mut text,
                format_args!("stakeout_agent_{name}{{camera=\"{camera}\"}} {value}"),
            );
        }
    }
    let version = env!("CARGO_PKG_VERSION");
    line(
        &mut text,
        format_args!("# HELP stakeout_agent_build_info Version of the agent."),
    );
    line(
        &mut text,
        format_args!("# TYPE stakeout_agent_build_info gauge"),
    );
    line(
        &mut text,
        format_args!("stakeout_agent_build_info{{version=\"{version}\"}} 1"),
    );
    text
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    writeln!(text, "{content}").expect("invariant: a String takes every write");
}

fn escaped(label: &str) -> String {
    label
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_has_its_type_and_labels_are_escaped() {
        let camera = CameraMetrics {
            camera: "ga\"te".into(),
            frames: 1250,
            last_frame_age: Some(0.04),
            ..CameraMetrics::default()
        };
        let text = render(&[camera]);
        assert!(
            text.contains("# TYPE stakeout_agent_frames_total counter\n"),
            "{text}"
        );
        assert!(
            text.contains("stakeout_agent_frames_total{camera=\"ga\\\"te\"} 1250\n"),
            "{text}"
        );
        assert!(
            text.contains("last_frame_age_seconds{camera=\"ga\\\"te\"} 0.04\n"),
            "{text}"
        );
    }

    #[test]
    fn an_unknown_age_has_no_sample() {
        let text = render(&[CameraMetrics {
            camera: "a".into(),
            ..CameraMetrics::default()
        }]);
        assert!(!text.contains("last_frame_age_seconds{"), "{text}");
    }
}
