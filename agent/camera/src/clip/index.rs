//! Reads the sample tables of a progressive MP4 file (ISO/IEC 14496-12 section 8.6).

use std::io;

use agent_media::VideoCodec;
use bytes::Bytes;
use shiguredo_mp4::TrackKind;
use shiguredo_mp4::boxes::{HvccBox, SampleEntry};
use shiguredo_mp4::demux::{Mp4FileDemuxer, Sample};

use super::quicktime::to_iso;
use super::{AudioTrack, Place, VideoSample, VideoTrack};
use crate::options::CameraError;

/// H.265 NAL unit types of VPS, SPS and PPS, in the order a decoder wants them (H.265 table 7-1).
const H265_PARAMETER_SETS: [u8; 3] = [32, 33, 34];

/// Sampling frequencies by index (ISO/IEC 14496-3 table 1.18).
const AAC_RATES: [u32; 13] = [
    96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350,
];

/// Reads the index of the file `clip` of `length` bytes through `read`.
pub(super) fn read(
    clip: &str,
    length: u64,
    read: impl Fn(Place) -> io::Result<Bytes>,
) -> Result<(VideoTrack, Option<AudioTrack>), CameraError> {
    let broken = |source| CameraError::Format {
        clip: clip.to_owned(),
        source,
    };
    let mut demuxer = Mp4FileDemuxer::new();
    while let Some(required) = demuxer.required_input() {
        let rest = length.saturating_sub(required.position);
        let wanted = required.size.map_or(rest, |size| size as u64);
        // A box header may be asked for with more bytes than a small last box has, hence `min`.
        let size = u32::try_from(wanted.min(rest)).map_err(|_| too_large(clip))?;
        if size == 0 {
            return Err(CameraError::Truncated {
                clip: clip.to_owned(),
            });
        }
        let data = read(Place {
            offset: required.position,
            size,
        })
        .map_err(|source| CameraError::Read {
            clip: clip.to_owned(),
            source,
        })?;
        let mut data = Vec::from(data);
        if data.get(4..8) == Some(b"moov") {
            to_iso(&mut data);
        }
        demuxer.handle_input(required.to_input(&data));
    }
    let tracks = demuxer.tracks().map_err(broken)?;
    let first = |kind| {
        tracks
            .iter()
            .find(|track| track.kind == kind)
            .map(|track| track.track_id)
    };
    let video_id = first(TrackKind::Video);
    let audio_id = first(TrackKind::Audio);

    let mut video = None;
    let mut audio = Audio::Unseen;
    while let Some(sample) = demuxer.next_sample().map_err(broken)? {
        let id = Some(sample.track.track_id);
        if id == video_id {
            add_video(clip, &mut video, &sample)?;
        } else if id == audio_id {
            add_audio(&mut audio, &sample);
        }
    }
    let video = video.and_then(|draft: VideoDraft| draft.finish());
    let video = video.ok_or_else(|| CameraError::NoVideo {
        clip: clip.to_owned(),
    })?;
    let audio: Option<AudioTrack> = match audio {
        Audio::Served(track) if !track.frames.is_empty() => Some(track),
        _ => None,
    };
    let places = video.samples.iter().map(|sample| sample.place);
    let mut places = places.chain(audio.iter().flat_map(|audio| audio.frames.iter().copied()));
    // Checked here, so that a damaged table cannot ask for more memory than the file is long.
    if places.any(|place| place.offset.saturating_add(u64::from(place.size)) > length) {
        return Err(CameraError::Truncated {
            clip: clip.to_owned(),
        });
    }
    Ok((video, audio))
}

struct VideoDraft {
    track: VideoTrack,
    /// Presentation times may lie before the first decoding time until all samples are known.
    presents: Vec<i64>,
}

fn add_video(
    clip: &str,
    draft: &mut Option<VideoDraft>,
    sample: &Sample<'_>,
) -> Result<(), CameraError> {
    if let Some(entry) = sample.sample_entry {
        if draft.is_some() {
            return Err(unsupported(clip, "video whose parameters change midway"));
        }
        let track = video_track(clip, entry, sample.track.timescale.get())?;
        *draft = Some(VideoDraft {
            track,
            presents: Vec::new(),
        });
    }
    let Some(draft) = draft else { return Ok(()) };
    // What comes before the first key frame can never be decoded.
    if draft.track.samples.is_empty() && !sample.keyframe {
        return Ok(());
    }
    let Some(place) = place(sample) else {
        return Err(too_large(clip));
    };
    let shift = sample.composition_time_offset.unwrap_or(0);
    let decode = i64::try_from(sample.timestamp).unwrap_or(i64::MAX);
    draft.presents.push(decode.saturating_add(shift));
    draft.track.samples.push(VideoSample {
        place,
        decode: sample.timestamp,
        present: 0,
        key: sample.keyframe,
    });
    draft.track.duration = sample.timestamp + u64::from(sample.duration);
    Ok(())
}

impl VideoDraft {
    /// Moves both clocks to 0; `None` when the clip cannot be looped.
    fn finish(mut self) -> Option<VideoTrack> {
        let first = self.track.samples.first()?.decode;
        let earliest = *self.presents.iter().min()?;
        for (sample, present) in self.track.samples.iter_mut().zip(&self.presents) {
            sample.decode -= first;
            sample.present = present.abs_diff(earliest);
        }
        self.track.duration -= first;
        (self.track.duration > 0).then_some(self.track)
    }
}

fn video_track(clip: &str, entry: &SampleEntry, timescale: u32) -> Result<VideoTrack, CameraError> {
    let (codec, parameter_sets, length_size) = match entry {
        SampleEntry::Avc1(avc1) => {
            let sets = avc1
                .avcc_box
                .sps_list
                .iter()
                .chain(&avc1.avcc_box.pps_list)
                .cloned();
            let length = avc1.avcc_box.length_size_minus_one.get();
            (VideoCodec::H264, sets.map(Bytes::from).collect(), length)
        }
        SampleEntry::Hvc1(hvc1) => h265(&hvc1.hvcc_box),
        SampleEntry::Hev1(hev1) => h265(&hev1.hvcc_box),
        _ => return Err(unsupported(clip, "video that is neither H.264 nor H.265")),
    };
    if parameter_sets.iter().any(Bytes::is_empty) || parameter_sets.len() < 2 {
        return Err(unsupported(
            clip,
            "video without parameter sets in its header",
        ));
    }
    Ok(VideoTrack {
        codec,
        parameter_sets,
        length_size: usize::from(length_size) + 1,
        timescale,
        duration: 0,
        samples: Vec::new(),
    })
}

fn h265(hvcc: &HvccBox) -> (VideoCodec, Vec<Bytes>, u8) {
    let of_kind = |kind| {
        hvcc.nalu_arrays
            .iter()
            .filter(move |array| array.nal_unit_type.get() == kind)
    };
    let sets = H265_PARAMETER_SETS.into_iter().flat_map(of_kind);
    let sets = sets
        .flat_map(|array| array.nalus.iter().cloned().map(Bytes::from))
        .collect();
    (VideoCodec::H265, sets, hvcc.length_size_minus_one.get())
}

enum Audio {
    Unseen,
    /// Sound that is not AAC; the clip is served without it.
    LeftOut,
    Served(AudioTrack),
}

fn add_audio(audio: &mut Audio, sample: &Sample<'_>) {
    if let (Audio::Unseen, Some(entry)) = (&audio, sample.sample_entry) {
        *audio = audio_track(entry, sample).map_or(Audio::LeftOut, Audio::Served);
    }
    if let (Audio::Served(track), Some(place)) = (audio, place(sample)) {
        track.frames.push(place);
    }
}

fn audio_track(entry: &SampleEntry, sample: &Sample<'_>) -> Option<AudioTrack> {
    let SampleEntry::Mp4a(mp4a) = entry else {
        return None;
    };
    let config = mp4a
        .esds_box
        .es
        .dec_config_descr
        .dec_specific_info
        .as_ref()?
        .payload
        .clone();
    let (clock_rate, channels) = describe_aac(&config)?;
    (sample.duration > 0).then_some(AudioTrack {
        config,
        clock_rate,
        channels,
        timescale: sample.track.timescale.get(),
        frame_duration: sample.duration,
        frames: Vec::new(),
    })
}

/// Sampling rate and channels of an AudioSpecificConfig; `None` for what needs more than the
/// plain two-byte head (escape codes, a program config element).
fn describe_aac(config: &[u8]) -> Option<(u32, u8)> {
    let head = u16::from_be_bytes([*config.first()?, *config.get(1)?]);
    let object = head >> 11;
    let rate = AAC_RATES.get(usize::from(head >> 7 & 0xf))?;
    let channels = match head >> 3 & 0xf {
        count @ 1..=6 => count.to_be_bytes()[1],
        7 => 8,
        _ => return None,
    };
    (object != 31).then_some((*rate, channels))
}

fn place(sample: &Sample<'_>) -> Option<Place> {
    Some(Place {
        offset: sample.data_offset,
        size: u32::try_from(sample.data_size).ok()?,
    })
}

fn unsupported(clip: &str, what: &str) -> CameraError {
    CameraError::Unsupported {
        clip: clip.to_owned(),
        what: what.to_owned(),
    }
}

fn too_large(clip: &str) -> CameraError {
    unsupported(clip, "an index or a sample of 4 GiB or more")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aac_heads_name_rate_and_channels() {
        assert_eq!(describe_aac(&[0x11, 0x90]), Some((48000, 2)));
        assert_eq!(describe_aac(&[0x12, 0x08]), Some((44100, 1)));
        assert_eq!(describe_aac(&[0x12]), None);
        assert_eq!(describe_aac(&[0xff, 0xff]), None);
    }

    #[test]
    fn nonsense_is_an_error_that_names_the_clip() {
        for bytes in [
            &b""[..],
            b"not an MP4 file at all, but long enough",
            &[0; 64],
        ] {
            let error = read("x.mp4", bytes.len() as u64, |place| {
                let start = usize::try_from(place.offset).expect("small");
                Ok(Bytes::copy_from_slice(
                    &bytes[start..start + place.size as usize],
                ))
            });
            assert!(error.expect_err("nonsense").to_string().contains("`x.mp4`"));
        }
    }
}
