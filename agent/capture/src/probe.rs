//! What does this camera offer, and if it offers nothing: why?

use std::time::{Duration, Instant};

use agent_api::{Offer, ProbeReport, ProbeRequest};
use agent_media::{Frame, StreamParameters, TICKS_PER_SECOND, Track};
use url::Url;

use crate::describe::{Scheme, ask};
use crate::{CaptureError, Credentials, Event, Session, Target};

/// Below this a rate means nothing, above it nobody waits.
const MEASURE_MS: std::ops::RangeInclusive<u64> = 500..=60_000;

/// Asks the camera, plays it for `measure_ms`, and reports. Never fails: a failure is a report.
pub async fn probe(request: ProbeRequest) -> ProbeReport {
    match look(request).await {
        Ok(offer) => ProbeReport::Ok(offer),
        Err(error) => ProbeReport::Failed(error.to_failure()),
    }
}

async fn look(request: ProbeRequest) -> Result<Offer, CaptureError> {
    let credentials = request.user.map(|user| Credentials {
        user,
        password: request.password.unwrap_or_default(),
    });
    let url = Url::parse(&request.rtsp).map_err(|_| CaptureError::Url {
        // What cannot be parsed cannot be cleaned of a password either, so it is not repeated.
        url: "the given text".to_owned(),
        reason: "it is not a URL",
    })?;
    let target = Target::new(url, credentials)?;
    let scheme = ask(target.url()).await?;
    if scheme != Scheme::Open && !target.has_credentials() {
        return Err(CaptureError::Unauthorized {
            address: crate::describe::address(target.url()),
            given: false,
        });
    }
    let mut session = Session::open(&target).await?;
    let span = request
        .measure_ms
        .clamp(*MEASURE_MS.start(), *MEASURE_MS.end());
    let mut tally = Tally::default();
    let mut until = None;
    loop {
        let end = until.unwrap_or_else(|| Instant::now() + Duration::from_mins(1));
        match tokio::time::timeout_at(end.into(), session.next()).await {
            Err(_) => break,
            Ok(Ok(Event::Frame(frame))) if frame.track == Track::Video => {
                until.get_or_insert_with(|| Instant::now() + Duration::from_millis(span));
                tally.add(&frame);
            }
            Ok(Ok(_)) => {}
            // A stream that breaks off was still measured up to there.
            Ok(Err(_)) if tally.frames > 1 => break,
            Ok(Err(error)) => return Err(error),
        }
    }
    let Some(parameters) = session.parameters() else {
        return Err(CaptureError::UnsupportedCodec {
            address: crate::describe::address(target.url()),
            offered: "video without usable parameter sets".to_owned(),
        });
    };
    Ok(tally.offer(parameters, scheme))
}

/// H.264 and H.265 reorder at most 16 pictures.
const DEEPEST: usize = 16;

#[derive(Debug, Default)]
struct Tally {
    frames: u64,
    bytes: u64,
    /// Presentation times in order of arrival; at most a minute of them.
    times: Vec<i64>,
    /// Frames that were seen to overtake another.
    depth: usize,
    keys: u64,
    first_key: i64,
    last_key: i64,
}

impl Tally {
    fn add(&mut self, frame: &Frame) {
        if self.frames > 0 {
            // The first frame opens the span, so its bytes lie before it.
            self.bytes += frame.data.len() as u64;
        }
        self.frames += 1;
        let recent = self.times.iter().rev().take(DEEPEST);
        self.depth = self.depth.max(recent.filter(|t| **t > frame.pts).count());
        self.times.push(frame.pts);
        if frame.key {
            if self.keys == 0 {
                self.first_key = frame.pts;
            }
            self.keys += 1;
            self.last_key = frame.pts;
        }
    }

    fn offer(&self, parameters: &StreamParameters, scheme: Scheme) -> Offer {
        // Frames at the end whose overtaken neighbours did not come any more would stretch the span.
        let mut times = self.times.clone();
        times.sort_unstable();
        times.truncate(times.len().saturating_sub(self.depth));
        let span = times
            .last()
            .zip(times.first())
            .map_or(0, |(last, first)| last - first);
        let seconds = span as f64 / TICKS_PER_SECOND as f64;
        let rate = |count: u64| {
            if seconds > 0.0 {
                count as f64 / seconds
            } else {
                0.0
            }
        };
        let gop = (self.keys > 1).then(|| {
            (self.last_key - self.first_key) as f64
                / TICKS_PER_SECOND as f64
                / (self.keys - 1) as f64
        });
        Offer {
            codec: parameters.video.codec.name().to_owned(),
            width: parameters.video.width,
            height: parameters.video.height,
            fps: (rate(times.len().saturating_sub(1) as u64) * 100.0).round() / 100.0,
            gop_seconds: gop.map(|g| (g * 100.0).round() / 100.0),
            bits_per_second: whole(rate(self.bytes * 8)),
            measured_ms: whole(seconds * 1000.0),
            audio: parameters.audio.as_ref().map(|a| a.codec.clone()),
            auth: scheme.name().to_owned(),
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, and rates are not negative"
)]
fn whole(value: f64) -> u64 {
    value.round() as u64
}

#[cfg(test)]
mod tests {
    use agent_media::{VideoCodec, VideoParameters};
    use bytes::Bytes;

    use super::*;

    #[test]
    fn rates_come_from_timestamps() {
        let mut tally = Tally::default();
        for i in 0..51 {
            tally.add(&Frame {
                track: Track::Video,
                pts: i * 3_600,
                arrival_ms: 0,
                key: i % 25 == 0,
                lost: 0,
                data: Bytes::from_static(&[0; 1000]),
            });
        }
        let video = VideoParameters {
            codec: VideoCodec::H264,
            width: 640,
            height: 360,
            sample_entry: Bytes::new(),
            parameter_sets: Vec::new(),
        };
        let offer = tally.offer(&StreamParameters { video, audio: None }, Scheme::Digest);
        assert!((offer.fps - 25.0).abs() < f64::EPSILON);
        assert_eq!(offer.gop_seconds, Some(1.0));
        assert_eq!(offer.bits_per_second, 200_000);
        assert_eq!((offer.measured_ms, offer.auth.as_str()), (2_000, "digest"));
    }
}
