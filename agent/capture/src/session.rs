//! A session: from `rtsp://` to frames.

use std::pin::Pin;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use agent_media::{
    AudioParameters, Frame, StreamParameters, Track, VideoCodec, VideoParameters, nal,
};
use bytes::Bytes;
use futures::StreamExt;
use retina::client::{
    Demuxed, Described, InitialTimestampPolicy, PlayOptions, SessionOptions, SetupOptions,
    TcpTransportOptions, Transport,
};
use retina::codec::{CodecItem, FrameFormat, ParametersRef, VideoParametersCodec};
use tokio::time::timeout;
use url::Url;

use crate::describe::{address, by_status, connect, protocol};
use crate::stall::Stall;
use crate::timeline::Timeline;
use crate::{CaptureError, Credentials};

pub(crate) const USER_AGENT: &str = concat!("stakeout-agent/", env!("CARGO_PKG_VERSION"));
/// DESCRIBE, SETUP and PLAY, each. A camera that needs longer is not usable.
const STEP: Duration = Duration::from_secs(10);

/// A stream to open.
#[derive(Debug, Clone)]
pub struct Target {
    url: Url,
    credentials: Option<Credentials>,
}

impl Target {
    /// Takes an `rtsp` URL; user and password inside it are moved out, so nothing shows them.
    pub fn new(mut url: Url, credentials: Option<Credentials>) -> Result<Self, CaptureError> {
        let reject = |url: &Url, reason| {
            let mut shown = url.clone();
            strip(&mut shown);
            Err(CaptureError::Url {
                url: shown.to_string(),
                reason,
            })
        };
        match url.scheme() {
            "rtsp" => {}
            "rtsps" => return reject(&url, "RTSP over TLS is not supported yet"),
            _ => return reject(&url, "its scheme is not rtsp"),
        }
        if url.host_str().is_none_or(str::is_empty) {
            return reject(&url, "it names no host");
        }
        let inside = (!url.username().is_empty()).then(|| Credentials {
            user: decoded(url.username()),
            password: decoded(url.password().unwrap_or_default()),
        });
        strip(&mut url);
        Ok(Self {
            url,
            credentials: credentials.or(inside),
        })
    }

    /// Without user and password.
    pub fn url(&self) -> &Url {
        &self.url
    }

    pub(crate) fn has_credentials(&self) -> bool {
        self.credentials.is_some()
    }

    fn by_status(&self, status: u16) -> CaptureError {
        by_status(&self.url, status, self.has_credentials())
    }

    /// Names the kind of an error that retina only describes. Where it has no status, a second
    /// connection tells "nobody there" from "spoke nonsense".
    async fn diagnose(&self, error: &retina::Error) -> CaptureError {
        tracing::debug!(camera = %self.url, %error, "rtsp failed");
        match error.status_code() {
            Some(status) if !(200..300).contains(&status) => self.by_status(status),
            Some(_) => protocol(&self.url, "its description cannot be used"),
            None => match connect(&self.url).await {
                Err(unreachable) => unreachable,
                Ok(_) => protocol(&self.url, "the connection broke or its data made no sense"),
            },
        }
    }

    /// One step of the way to PLAY, with its deadline.
    async fn step<T>(
        &self,
        what: &str,
        work: impl Future<Output = Result<T, retina::Error>>,
    ) -> Result<T, CaptureError> {
        match timeout(STEP, work).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(self.diagnose(&error).await),
            Err(_) => match connect(&self.url).await {
                Err(unreachable) => Err(unreachable),
                Ok(_) => Err(protocol(
                    &self.url,
                    &format!("no answer to {what} within {} s", STEP.as_secs()),
                )),
            },
        }
    }
}

/// What a session yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Comes before the first frame, and again when the camera changes its stream.
    Parameters(StreamParameters),
    Frame(Frame),
}

/// A playing stream.
pub struct Session {
    target: Target,
    demuxed: Pin<Box<Demuxed>>,
    video: usize,
    audio: Option<usize>,
    /// Audio as described by the camera, recorded or not.
    audio_parameters: Option<AudioParameters>,
    parameters: Option<StreamParameters>,
    /// A frame that waits behind its new parameters.
    held: Option<Frame>,
    timeline: Timeline,
    stall: Stall,
    last_frame: Instant,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Connects, describes, sets video (and audio that MP4 can hold) up over TCP, and plays.
    pub async fn open(target: &Target) -> Result<Self, CaptureError> {
        let creds = target
            .credentials
            .as_ref()
            .map(|c| retina::client::Credentials {
                username: c.user.clone(),
                password: c.password.clone(),
            });
        let options = SessionOptions::default()
            .creds(creds)
            .user_agent(USER_AGENT.to_owned());
        let mut session = target
            .step(
                "DESCRIBE",
                retina::client::Session::describe(target.url.clone(), options),
            )
            .await?;
        let video = find_video(target, &session)?;
        target.step("SETUP", session.setup(video, tcp())).await?;
        let audio_parameters = session
            .streams()
            .iter()
            .find(|s| s.media() == "audio")
            .map(audio_of);
        let mut audio = session
            .streams()
            .iter()
            .position(|s| s.media() == "audio")
            .filter(|_| {
                audio_parameters
                    .as_ref()
                    .is_some_and(|a| a.sample_entry.is_some())
            });
        if let Some(index) = audio {
            // A camera that describes audio and refuses to send it is recorded without.
            if let Err(error) = target.step("SETUP", session.setup(index, tcp())).await {
                tracing::warn!(camera = %target.url, %error, "audio is offered and cannot be set up");
                audio = None;
            }
        }
        let play = PlayOptions::default().initial_timestamp(InitialTimestampPolicy::Permissive);
        let playing = target.step("PLAY", session.play(play)).await?;
        let demuxed = match playing.demuxed() {
            Ok(demuxed) => Box::pin(demuxed),
            Err(error) => return Err(target.diagnose(&error).await),
        };
        Ok(Self {
            target: target.clone(),
            demuxed,
            video,
            audio,
            audio_parameters,
            parameters: None,
            held: None,
            timeline: Timeline::default(),
            stall: Stall::default(),
            last_frame: Instant::now(),
        })
    }

    /// What is recorded, once known.
    pub fn parameters(&self) -> Option<&StreamParameters> {
        self.parameters.as_ref()
    }

    /// The next event, or why there is none. Safe to cancel between polls: nothing is lost.
    pub async fn next(&mut self) -> Result<Event, CaptureError> {
        if let Some(frame) = self.held.take() {
            return Ok(Event::Frame(frame));
        }
        loop {
            let silent = self.last_frame.elapsed();
            let left = self.stall.deadline().saturating_sub(silent);
            let item = match timeout(left, self.demuxed.next()).await {
                Err(_) => {
                    return Err(CaptureError::NoPackets {
                        address: address(&self.target.url),
                        seconds: self.last_frame.elapsed().as_secs(),
                    });
                }
                Ok(None) => {
                    return Err(CaptureError::Ended {
                        address: address(&self.target.url),
                    });
                }
                Ok(Some(Err(error))) => return Err(self.target.diagnose(&error).await),
                Ok(Some(Ok(item))) => item,
            };
            match item {
                CodecItem::VideoFrame(frame) if frame.stream_id() == self.video => {
                    if let Some(event) = self.take_video(frame) {
                        return Ok(event);
                    }
                }
                CodecItem::AudioFrame(frame)
                    if Some(frame.stream_id()) == self.audio && self.parameters.is_some() =>
                {
                    return Ok(Event::Frame(self.take_audio(&frame)));
                }
                _ => {}
            }
        }
    }

    fn take_video(&mut self, frame: retina::codec::VideoFrame) -> Option<Event> {
        let now = Instant::now();
        self.stall.note(now.duration_since(self.last_frame));
        self.last_frame = now;
        let fresh = self.parameters.is_none() || frame.has_new_parameters();
        let changed = if fresh { self.read_parameters() } else { None };
        let codec = changed.as_ref().or(self.parameters.as_ref())?.video.codec;
        let stamp = frame.timestamp();
        let arrival_ms = unix_ms(frame.start_ctx().received_wall().into());
        let pts = self
            .timeline
            .place(0, stamp.elapsed(), stamp.clock_rate().get(), arrival_ms);
        let lost = u32::from(frame.loss());
        let data = Bytes::from(frame.into_data());
        // retina calls an H.265 CRA picture no random access point; it is one.
        let key = nal::is_key(codec, &data);
        let frame = Frame {
            track: Track::Video,
            pts,
            arrival_ms,
            key,
            lost,
            data,
        };
        match changed {
            None => Some(Event::Frame(frame)),
            Some(parameters) => {
                self.parameters = Some(parameters.clone());
                self.held = Some(frame);
                Some(Event::Parameters(parameters))
            }
        }
    }

    fn take_audio(&mut self, frame: &retina::codec::AudioFrame) -> Frame {
        let stamp = frame.timestamp();
        let arrival_ms = unix_ms(frame.ctx().received_wall().into());
        let pts = self
            .timeline
            .place(1, stamp.elapsed(), stamp.clock_rate().get(), arrival_ms);
        Frame {
            track: Track::Audio,
            pts,
            arrival_ms,
            key: true,
            lost: u32::from(frame.loss()),
            data: Bytes::copy_from_slice(frame.data()),
        }
    }

    /// The parameters as retina knows them now, if they differ from what was said last.
    fn read_parameters(&self) -> Option<StreamParameters> {
        let stream = self.demuxed.streams().get(self.video)?;
        let Some(ParametersRef::Video(video)) = stream.parameters() else {
            return None;
        };
        let video = match video_of(video) {
            Ok(video) => video?,
            Err(error) => {
                tracing::warn!(camera = %self.target.url, %error, "stream parameters cannot be used");
                return None;
            }
        };
        let mut audio = self.audio_parameters.clone();
        if self.audio.is_none()
            && let Some(audio) = &mut audio
        {
            audio.sample_entry = None;
        }
        let read = StreamParameters { video, audio };
        (self.parameters.as_ref() != Some(&read)).then_some(read)
    }
}

/// Removes user and password. It fails only for URLs that can hold none.
fn strip(url: &mut Url) {
    url.set_username("").unwrap_or_default();
    url.set_password(None).unwrap_or_default();
}

fn tcp() -> SetupOptions {
    SetupOptions::default()
        .transport(Transport::Tcp(TcpTransportOptions::default()))
        .frame_format(FrameFormat::MP4)
}

fn find_video(
    target: &Target,
    session: &retina::client::Session<Described>,
) -> Result<usize, CaptureError> {
    let usable = |s: &retina::client::Stream| {
        s.media() == "video" && matches!(s.encoding_name(), "h264" | "h265")
    };
    session.streams().iter().position(usable).ok_or_else(|| {
        let offered = session
            .streams()
            .iter()
            .find(|s| matches!(s.media(), "video" | "image"))
            .map_or_else(
                || "no video".to_owned(),
                |s| format!("video as {}", s.encoding_name()),
            );
        CaptureError::UnsupportedCodec {
            address: address(&target.url),
            offered,
        }
    })
}

fn video_of(
    video: &retina::codec::VideoParameters,
) -> Result<Option<VideoParameters>, retina::Error> {
    let (codec, parameter_sets) = match video.codec_params() {
        VideoParametersCodec::H264 { sps, pps } => {
            (VideoCodec::H264, vec![sps.clone(), pps.clone()])
        }
        VideoParametersCodec::H265 { vps, sps, pps } => (
            VideoCodec::H265,
            vec![vps.clone(), sps.clone(), pps.clone()],
        ),
        _ => return Ok(None),
    };
    let (width, height) = video.pixel_dimensions();
    let sample_entry = Bytes::from(video.mp4_sample_entry().build()?);
    Ok(Some(VideoParameters {
        codec,
        width,
        height,
        sample_entry,
        parameter_sets,
    }))
}

fn audio_of(stream: &retina::client::Stream) -> AudioParameters {
    let codec = match stream.encoding_name() {
        "mpeg4-generic" | "mp4a-latm" => "aac",
        other => other,
    };
    let mut audio = AudioParameters {
        codec: codec.to_owned(),
        sample_rate: stream.clock_rate_hz(),
        channels: stream.channels().map_or(1, std::num::NonZeroU16::get),
        sample_entry: None,
    };
    audio.sample_entry = nal::g711_sample_entry(codec, audio.sample_rate, audio.channels);
    if let Some(ParametersRef::Audio(known)) = stream.parameters() {
        audio.sample_rate = known.clock_rate();
        audio.channels = known.channels().get();
        // retina knows an entry for AAC only.
        if let Ok(entry) = known.mp4_sample_entry().build() {
            audio.sample_entry = Some(Bytes::from(entry));
        }
    }
    audio
}

fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Percent-decoding, for user and password that were inside a URL.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while let Some(&byte) = bytes.get(i) {
        let escape = (byte == b'%')
            .then(|| bytes.get(i + 1..i + 3))
            .flatten()
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match escape {
            Some(value) => {
                out.push(value);
                i += 3;
            }
            None => {
                out.push(byte);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_leave_the_url() {
        let url = Url::parse("rtsp://ad%40min:p%3Ass@camera:8554/main").expect("a URL");
        let target = Target::new(url, None).expect("usable");
        assert_eq!(target.url().as_str(), "rtsp://camera:8554/main");
        let credentials = target.credentials.expect("moved out");
        assert_eq!(
            (credentials.user.as_str(), credentials.password.as_str()),
            ("ad@min", "p:ss")
        );
    }

    #[test]
    fn other_schemes_are_refused_without_showing_a_password() {
        let url = Url::parse("https://admin:hunter2@camera/").expect("a URL");
        let shown = Target::new(url, None).expect_err("not rtsp").to_string();
        assert!(
            shown.contains("camera") && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}
