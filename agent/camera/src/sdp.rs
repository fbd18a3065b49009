//! The session description of a clip (RFC 4566, RFC 6184, RFC 7798, RFC 3640).

use std::fmt::Write as _;
use std::net::IpAddr;

use agent_media::{Track, VideoCodec};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::clip::{AudioTrack, Clip, VideoTrack};
use crate::timeline::clock_rate;

/// First dynamic payload types (RFC 3551 section 6).
pub(crate) fn payload_type(track: Track) -> u8 {
    match track {
        Track::Video => 96,
        Track::Audio => 97,
    }
}

/// What `a=control` names a track.
pub(crate) fn control(track: Track) -> &'static str {
    match track {
        Track::Video => "trackID=0",
        Track::Audio => "trackID=1",
    }
}

/// The description that DESCRIBE answers with; `host` is the camera's own address.
pub(crate) fn describe(clip: &Clip, host: IpAddr) -> String {
    let family = if host.is_ipv4() { "IP4" } else { "IP6" };
    let mut text = format!(
        "v=0\r\no=- 1 1 IN {family} {host}\r\ns=stakeout test camera\r\nc=IN {family} {}\r\n\
         t=0 0\r\na=type:broadcast\r\na=control:*\r\na=range:npt=now-\r\n",
        if host.is_ipv4() { "0.0.0.0" } else { "::" },
    );
    let mut line = |arguments: std::fmt::Arguments<'_>| {
        text.write_fmt(arguments)
            .expect("invariant: writing to a string succeeds");
        text.push_str("\r\n");
    };
    let mut media = |track: Track, kind: &str, name: &str, format: &str| {
        let number = payload_type(track);
        line(format_args!("m={kind} 0 RTP/AVP {number}"));
        line(format_args!("a=rtpmap:{number} {name}"));
        line(format_args!("a=fmtp:{number} {format}"));
        if track == Track::Video {
            line(format_args!("a=framerate:{:.3}", frame_rate(&clip.video)));
        }
        line(format_args!("a=control:{}", control(track)));
    };
    let (name, format) = video_format(&clip.video);
    let clock = clock_rate(clip, Track::Video);
    media(Track::Video, "video", &format!("{name}/{clock}"), &format);
    if let Some(audio) = &clip.audio {
        let name = format!("mpeg4-generic/{}/{}", audio.clock_rate, audio.channels);
        media(Track::Audio, "audio", &name, &audio_format(audio));
    }
    text
}

fn video_format(video: &VideoTrack) -> (&'static str, String) {
    let sets = |first: &str, codec_kind: u8| {
        let of_kind = video
            .parameter_sets
            .iter()
            .filter(|set| set[0] >> 1 & 0x3f == codec_kind);
        let sets: Vec<_> = of_kind.map(|set| STANDARD.encode(set)).collect();
        format!("{first}={}", sets.join(","))
    };
    match video.codec {
        VideoCodec::H264 => {
            let all: Vec<_> = video
                .parameter_sets
                .iter()
                .map(|set| STANDARD.encode(set))
                .collect();
            // profile_idc, constraint flags and level_idc are the SPS's first bytes.
            let profile = video.parameter_sets[0]
                .get(1..4)
                .map(hex::encode)
                .unwrap_or_default();
            let sets = all.join(",");
            let format = format!(
                "packetization-mode=1;profile-level-id={profile};sprop-parameter-sets={sets}"
            );
            ("H264", format)
        }
        VideoCodec::H265 => {
            let parts = [
                sets("sprop-vps", 32),
                sets("sprop-sps", 33),
                sets("sprop-pps", 34),
            ];
            ("H265", parts.join(";"))
        }
    }
}

fn audio_format(audio: &AudioTrack) -> String {
    format!(
        "streamtype=5;profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;\
         indexdeltalength=3;config={}",
        hex::encode(&audio.config)
    )
}

fn frame_rate(video: &VideoTrack) -> f64 {
    video.samples.len() as f64 * f64::from(video.timescale) / video.duration as f64
}
