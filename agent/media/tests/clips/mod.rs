//! Real clips as frames, and readers that are not ours.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use agent_media::nal::{self, units};
use agent_media::{AudioParameters, Frame, StreamParameters, Track, VideoCodec, Writer};
use bytes::Bytes;
use shiguredo_mp4::boxes::SampleEntry;
use shiguredo_mp4::demux::{Fmp4FileDemuxer, Input, Mp4FileDemuxer};
use shiguredo_mp4::{Encode, TrackKind};

/// The test camera's own scene, and real footage where a checkout stands beside it.
///
/// Footage passes through `ffmpeg -c copy`, because the reader used here refuses the sound of one clip.
pub(crate) fn all() -> &'static [PathBuf] {
    static FOUND: OnceLock<Vec<PathBuf>> = OnceLock::new();
    FOUND.get_or_init(|| {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut found = vec![here.join("../camera/assets/scene.mp4")];
        for name in [
            "car-detection.mp4",
            "h264-aac-360p.mp4",
            "one-by-one-person.mp4",
        ] {
            let clip = here.join("../../../shared/media").join(name);
            let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
            let mut ffmpeg = Command::new("ffmpeg");
            ffmpeg
                .args(["-v", "quiet", "-y", "-i"])
                .arg(clip)
                .args(["-c", "copy"])
                .arg(&copy);
            if ffmpeg.status().is_ok_and(|status| status.success()) {
                found.push(copy);
            }
        }
        found
    })
}

pub(crate) struct Clip {
    pub(crate) parameters: StreamParameters,
    /// In the order of their bytes in the file, which is how a camera interleaves them.
    pub(crate) frames: Vec<Frame>,
}

pub(crate) fn load(path: &Path) -> Clip {
    let bytes = std::fs::read(path).unwrap();
    let mut demuxer = Mp4FileDemuxer::new();
    while let Some(wanted) = demuxer.required_input() {
        let start = usize::try_from(wanted.position).unwrap();
        let end = wanted
            .size
            .map_or(bytes.len(), |size| bytes.len().min(start + size));
        demuxer.handle_input(Input {
            position: wanted.position,
            data: &bytes[start..end],
        });
    }
    let (mut codec, mut sets, mut audio) = (VideoCodec::H264, Vec::new(), None);
    let mut frames = Vec::new();
    while let Some(sample) = demuxer.next_sample().unwrap() {
        let scale = i64::from(sample.track.timescale.get());
        if let Some(entry) = sample.sample_entry {
            let complete = Bytes::from(entry.encode_to_vec().unwrap());
            match entry {
                SampleEntry::Avc1(entry) => {
                    codec = VideoCodec::H264;
                    let avcc = &entry.avcc_box;
                    sets = [avcc.sps_list.as_slice(), avcc.pps_list.as_slice()].concat();
                }
                SampleEntry::Hvc1(entry) => {
                    codec = VideoCodec::H265;
                    sets = entry
                        .hvcc_box
                        .nalu_arrays
                        .iter()
                        .flat_map(|a| a.nalus.clone())
                        .collect();
                }
                SampleEntry::Hev1(entry) => {
                    codec = VideoCodec::H265;
                    sets = entry
                        .hvcc_box
                        .nalu_arrays
                        .iter()
                        .flat_map(|a| a.nalus.clone())
                        .collect();
                }
                SampleEntry::Mp4a(_) => {
                    audio = Some(AudioParameters {
                        codec: "aac".to_owned(),
                        sample_rate: u32::try_from(scale).unwrap(),
                        channels: 2,
                        sample_entry: Some(complete),
                    });
                }
                other => panic!("no camera sends {other:?}"),
            }
        }
        let start = usize::try_from(sample.data_offset).unwrap();
        let time =
            i64::try_from(sample.timestamp).unwrap() + sample.composition_time_offset.unwrap_or(0);
        frames.push((
            sample.data_offset,
            Frame {
                track: if sample.track.kind == TrackKind::Video {
                    Track::Video
                } else {
                    Track::Audio
                },
                pts: time * 90_000 / scale,
                arrival_ms: 1_700_000_000_000,
                key: sample.keyframe,
                lost: 0,
                data: Bytes::copy_from_slice(&bytes[start..start + sample.data_size]),
            },
        ));
    }
    frames.sort_by_key(|(offset, _)| *offset);
    let frames: Vec<_> = frames.into_iter().map(|(_, frame)| frame).collect();
    for frame in frames.iter().filter(|frame| frame.track == Track::Video) {
        assert!(units(&frame.data).count() > 0);
        assert_eq!(
            nal::is_key(codec, &frame.data),
            frame.key,
            "our key frames are the clip's"
        );
    }
    let sets = sets.into_iter().map(Bytes::from);
    let video = nal::video_parameters(codec, sets).unwrap();
    Clip {
        parameters: StreamParameters { video, audio },
        frames,
    }
}

/// The file as it grows: every fragment's bytes, then the tail's.
pub(crate) fn record(parameters: &StreamParameters, frames: &[Frame]) -> Vec<Vec<u8>> {
    let mut writer = Writer::new(parameters);
    let mut parts = Vec::new();
    for frame in frames {
        parts.extend(writer.push(frame.clone()).map(|fragment| joined(&fragment)));
    }
    let tail = writer.finish();
    parts.extend(tail.fragment.map(|fragment| joined(&fragment)));
    parts.push(tail.index.to_vec());
    parts
}

fn joined(fragment: &agent_media::Fragment) -> Vec<u8> {
    let mut out = fragment.head.to_vec();
    fragment
        .frames
        .iter()
        .for_each(|frame| out.extend_from_slice(frame));
    assert_eq!(out.len() as u64, fragment.bytes);
    out
}

/// One sample as another reader sees it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) video: bool,
    pub(crate) key: bool,
    pub(crate) dts: u64,
    pub(crate) duration: u32,
    pub(crate) pts: i64,
    pub(crate) data: Bytes,
}

pub(crate) fn demux(bytes: &[u8]) -> Vec<Seen> {
    let mut demuxer = Fmp4FileDemuxer::new();
    let mut seen = Vec::new();
    loop {
        while let Some(wanted) = demuxer.required_input() {
            let start = usize::try_from(wanted.position).unwrap();
            let end = wanted
                .size
                .map_or(bytes.len(), |size| bytes.len().min(start + size));
            demuxer.handle_input(Input {
                position: wanted.position,
                data: bytes.get(start..end).unwrap_or(&[]),
            });
        }
        let Some(sample) = demuxer.next_sample().expect("a whole file") else {
            return seen;
        };
        let start = usize::try_from(sample.data_offset).unwrap();
        seen.push(Seen {
            video: sample.track.kind == TrackKind::Video,
            key: sample.keyframe,
            dts: sample.timestamp,
            duration: sample.duration,
            pts: i64::try_from(sample.timestamp).unwrap()
                + sample.composition_time_offset.unwrap_or(0),
            data: Bytes::copy_from_slice(&bytes[start..start + sample.data_size]),
        });
    }
}

pub(crate) fn has(program: &str) -> bool {
    Command::new(program)
        .arg("-version")
        .output()
        .is_ok_and(|out| out.status.success())
}

/// `pts_time,dts_time,flags` of every packet of a stream, by ffprobe.
pub(crate) fn ffprobe(path: &Path, stream: &str) -> Vec<(f64, f64, bool)> {
    let out = Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", stream, "-of", "csv=p=0"])
        .args(["-show_entries", "packet=pts_time,dts_time,flags"])
        .arg(path)
        .output()
        .unwrap();
    assert!(
        out.status.success() && out.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let text = String::from_utf8(out.stdout).unwrap();
    let line = |line: &str| {
        let mut fields = line.split(',');
        let mut next = || fields.next().unwrap_or_default().to_owned();
        Some((
            next().parse().ok()?,
            next().parse().ok()?,
            next().starts_with('K'),
        ))
    };
    text.lines()
        .filter(|text| !text.is_empty())
        .map(|text| line(text).expect(text))
        .collect()
}
