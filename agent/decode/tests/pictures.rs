//! Real key frames: luma compared bit by bit with ffmpeg's, and the way through the pipes.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use agent_decode::{Client, ClientError, DecodeError, H264, KeyFrameDecoder, decoder, serve};
use agent_media::nal::{parameter_sets, to_length_prefixed, video_parameters};
use agent_media::{Frame, Grid, Track, VideoCodec, VideoParameters};

/// One 64 x 48 picture by x264, left half black (16), right half white (235).
const HALVES: &[u8] = include_bytes!("halves.h264");

fn split(codec: VideoCodec, annex_b: &[u8]) -> (VideoParameters, Frame) {
    let data = to_length_prefixed(annex_b);
    let parameters = video_parameters(codec, parameter_sets(codec, &data)).expect("whole sets");
    let data = data.into();
    (
        parameters,
        Frame {
            track: Track::Video,
            pts: 0,
            arrival_ms: 0,
            key: true,
            lost: 0,
            data,
        },
    )
}

fn halves() -> (VideoParameters, Frame) {
    split(VideoCodec::H264, HALVES)
}

/// What ffmpeg prints to standard output; nothing where it is missing or refuses.
fn ffmpeg(arguments: &[&str], clip: &Path, to: &[&str]) -> Option<Vec<u8>> {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg
        .args(["-v", "error"])
        .args(arguments)
        .arg("-i")
        .arg(clip)
        .args(to);
    let out = ffmpeg.output().ok()?;
    (out.status.success() && !out.stdout.is_empty()).then_some(out.stdout)
}

/// Takes key frames out of a clip and has each decoded by ffmpeg and by us.
fn compare(codec: VideoCodec, clip: &Path) {
    let format = match codec {
        VideoCodec::H264 => "h264",
        VideoCodec::H265 => "hevc",
    };
    let folder = tempfile::tempdir().expect("the helper works");
    let single = folder.path().join("frame");
    let copy = [
        "-map",
        "0:v",
        "-frames:v",
        "1",
        "-c",
        "copy",
        "-f",
        format,
        "-",
    ];
    for second in ["0", "6", "17"] {
        let Some(stream) = ffmpeg(&["-ss", second], clip, &copy) else {
            assert_ne!(second, "0", "ffmpeg reads {}", clip.display());
            continue;
        };
        std::fs::write(&single, &stream).expect("the helper works");
        let luma = [
            "-vf",
            "extractplanes=y",
            "-pix_fmt",
            "gray",
            "-f",
            "rawvideo",
            "-",
        ];
        let expected = ffmpeg(&["-f", format], &single, &luma).expect("the helper works");
        let (parameters, frame) = split(codec, &stream);
        let picture = decoder(codec)
            .decode(&parameters, &frame)
            .expect("a picture");
        assert_eq!(picture.luma.len(), expected.len());
        assert!(
            picture.luma == expected,
            "{} at {second} s differs",
            clip.display()
        );
    }
}

fn clips() -> Vec<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut clips = vec![here.join("../camera/assets/scene.mp4")];
    for name in [
        "car-detection.mp4",
        "h264-aac-360p.mp4",
        "one-by-one-person.mp4",
    ] {
        clips.push(here.join("../../../shared/media").join(name));
    }
    clips.retain(|clip| clip.exists());
    clips
}

fn has_ffmpeg() -> bool {
    Command::new("ffmpeg")
        .arg("-version")
        .output()
        .is_ok_and(|out| out.status.success())
}

#[test]
fn h264_is_ffmpegs_bit_by_bit() {
    if has_ffmpeg() {
        for clip in clips() {
            compare(VideoCodec::H264, &clip);
        }
    }
}

/// With closed groups (IDR key frames) and open ones (CRA).
#[test]
fn h265_is_ffmpegs_bit_by_bit() {
    let folder = tempfile::tempdir().unwrap();
    let source = clips().pop().unwrap();
    for (name, keys) in [
        ("closed.mp4", "open-gop=0:keyint=25"),
        ("open.mp4", "keyint=30"),
    ] {
        let clip = folder.path().join(name);
        let options = format!("log-level=none:{keys}");
        let mut make = Command::new("ffmpeg");
        make.args(["-v", "quiet", "-t", "12", "-i"])
            .arg(&source)
            .args(["-an", "-c:v", "libx265"]);
        make.args([
            "-preset",
            "ultrafast",
            "-pix_fmt",
            "yuv420p",
            "-x265-params",
            &options,
        ]);
        if make
            .arg(&clip)
            .status()
            .is_ok_and(|status| status.success())
        {
            compare(VideoCodec::H265, &clip);
        }
    }
}

#[test]
fn a_picture_is_decoded_without_any_other_program() {
    let (parameters, frame) = halves();
    let picture = H264.decode(&parameters, &frame).unwrap();
    assert_eq!((picture.width, picture.height), (64, 48));
    assert!((0..48).all(|y| picture.row(y)[2] < 20 && picture.row(y)[61] > 230));
    let mut other = parameters;
    other.codec = VideoCodec::H265;
    let (codec, found) = (VideoCodec::H264, VideoCodec::H265);
    assert_eq!(
        H264.decode(&other, &frame),
        Err(DecodeError::Codec { codec, found })
    );
}

#[test]
fn the_child_answers_frame_after_frame_and_ends_with_its_parent() {
    let (requests, to_child) = std::io::pipe().unwrap();
    let (from_child, responses) = std::io::pipe().unwrap();
    let child = std::thread::spawn(move || serve(requests, responses));
    let mut client = Client::new(from_child, to_child);
    let (parameters, frame) = halves();
    let expected = Grid::of(&H264.decode(&parameters, &frame).unwrap());
    assert_eq!(client.decode(&parameters, &frame).unwrap(), expected);
    let mut broken = frame.clone();
    broken.data = frame.data.slice(..frame.data.len() / 2);
    let refused = client.decode(&parameters, &broken);
    assert!(
        matches!(&refused, Err(e @ ClientError::Refused(_)) if !e.is_fatal()),
        "{refused:?}"
    );
    assert_eq!(
        client.decode(&parameters, &frame).unwrap(),
        expected,
        "one bad frame spoils no other"
    );
    let mut huge = frame;
    huge.data = vec![0; 17 << 20].into();
    assert!(matches!(
        client.decode(&parameters, &huge),
        Err(ClientError::TooLarge { .. })
    ));
    drop(client);
    child.join().unwrap().expect("an orderly end");
}

#[test]
fn a_child_that_is_gone_or_mad_is_told_apart() {
    let (parameters, frame) = halves();
    let (requests, to_child) = std::io::pipe().unwrap();
    let (from_child, responses) = std::io::pipe().unwrap();
    drop((requests, responses));
    let gone = Client::new(from_child, to_child).decode(&parameters, &frame);
    assert!(
        matches!(&gone, Err(e @ ClientError::Gone(_)) if e.is_fatal()),
        "{gone:?}"
    );
    // Killed in the middle of an answer.
    let gone = Client::new(&[0, 0, 1, 0, 0, 1][..], Vec::new()).decode(&parameters, &frame);
    assert!(matches!(gone, Err(ClientError::Gone(_))), "{gone:?}");
    for mad in [
        &[0xff; 8][..],
        &[0, 0, 0, 1, 9],
        &[0, 0, 0, 2, 0, 0],
        &[0, 0, 0, 0],
    ] {
        let answer = Client::new(mad, Vec::new()).decode(&parameters, &frame);
        assert!(
            matches!(&answer, Err(e @ ClientError::Nonsense) if e.is_fatal()),
            "{answer:?}"
        );
    }
    let mut out = Vec::new();
    assert!(serve(&[0xff; 40][..], &mut out).is_err());
    out.flush().unwrap();
    assert!(out.is_empty());
}

#[test]
fn damage_is_refused_or_shown_but_a_size_is_never_believed() {
    let (mut parameters, frame) = halves();
    // 16384 x 16384 pixels, Baseline, as it would come from a forger.
    let forged = [
        0x67, 0x42, 0x00, 0x33, 0xda, 0x00, 0x10, 0x00, 0x00, 0x80, 0x19,
    ];
    parameters.parameter_sets.push(forged.to_vec().into());
    let (width, height) = (16_384, 16_384);
    assert_eq!(
        H264.decode(&parameters, &frame),
        Err(DecodeError::TooLarge { width, height })
    );
    let (parameters, frame) = halves();
    for at in 0..frame.data.len() {
        let mut data = frame.data.to_vec();
        data[at] ^= 0x55;
        let damaged = Frame {
            data: data.into(),
            ..frame.clone()
        };
        if let Ok(picture) = H264.decode(&parameters, &damaged) {
            assert!(picture.luma.len() <= 7680 * 4320);
        }
    }
}
