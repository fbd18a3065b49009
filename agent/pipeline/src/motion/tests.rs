use std::path::Path;
use std::process::Command;

use agent_media::Picture;

use super::*;

const WIDTH: usize = 640;
const HEIGHT: usize = 360;

/// A street of sorts: a gradient with a bright wall, all multiplied by `light` percent, and noise.
struct Scene {
    random: u32,
}

impl Scene {
    /// xorshift32, Marsaglia 2003.
    fn next(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.random
    }

    fn picture(
        &mut self,
        light: usize,
        noise: u32,
        block: Option<(usize, usize, usize, usize)>,
    ) -> Grid {
        let mut luma = Vec::with_capacity(WIDTH * HEIGHT);
        for y in 0..HEIGHT {
            for x in 0..WIDTH {
                let wall = if (200..400).contains(&x) && y < 180 {
                    90
                } else {
                    0
                };
                let inside = |(left, top, width, height): (usize, usize, usize, usize)| {
                    (left..left + width).contains(&x) && (top..top + height).contains(&y)
                };
                let thing = if block.is_some_and(inside) { 45 } else { 0 };
                let clean = (40 + x / 8 + y / 12 + wall + thing) * light / 100;
                let noisy = u32::try_from(clean).unwrap() + self.next() % (2 * noise + 1);
                luma.push(u8::try_from(noisy.saturating_sub(noise).min(255)).unwrap());
            }
        }
        Grid::of(&Picture {
            width: WIDTH,
            height: HEIGHT,
            stride: WIDTH,
            luma,
        })
    }
}

fn settled(noise: u32) -> (Detector, Scene) {
    let (mut detector, mut scene) = (Detector::default(), Scene { random: 1 });
    for n in 0..10 {
        assert_eq!(
            detector.look(&scene.picture(100, noise, None), n * 1000),
            None
        );
    }
    (detector, scene)
}

#[test]
fn noise_alone_is_no_motion() {
    let (mut detector, mut scene) = settled(12);
    for n in 10..60 {
        assert_eq!(
            detector.look(&scene.picture(100, 12, None), n * 1000),
            None,
            "picture {n}"
        );
    }
    // Many more of a small picture, whose cells are not averaged from many pixels and so are noisier.
    let mut detector = Detector::default();
    for n in 0..1000 {
        let mut grid = Grid::of(&Picture {
            width: 64,
            height: 36,
            stride: 64,
            luma: vec![100; 64 * 36],
        });
        for cell in &mut grid.cells.luma {
            *cell += u8::try_from(scene.next() % 11).unwrap();
        }
        assert_eq!(detector.look(&grid, n * 2000), None, "picture {n}");
    }
}

#[test]
fn a_thing_of_three_percent_of_the_height_is_seen_where_it_is() {
    let (mut detector, mut scene) = settled(6);
    for (n, x) in (0..20).map(|n| (n, 30 + n * 23)) {
        let side = HEIGHT * 3 / 100;
        let at = 10_000 + u64::try_from(n).unwrap() * 1000;
        let event = detector.look(&scene.picture(100, 6, Some((x, 211 + n, side, side))), at);
        let region = event.expect("an event for every step").region;
        let (x, y) = (u32::try_from(x).unwrap(), u32::try_from(211 + n).unwrap());
        assert!(
            region.x.abs_diff(x) <= 8 || region.x < x,
            "{region:?} for {x}"
        );
        assert!(
            region.y.abs_diff(y) <= 8 && region.height <= 24,
            "{region:?} for {y}"
        );
    }
}

#[test]
fn what_stops_is_one_event_when_it_comes_and_at_most_one_when_it_goes() {
    let parked = Some((300, 200, 60, 40));
    for (stays, leaves) in [(20, 0), (120, 1)] {
        let (mut detector, mut scene) = settled(4);
        let mut events = |from: u64, to: u64, block| {
            let look = |s: u64| {
                detector
                    .look(&scene.picture(100, 4, block), s * 1000)
                    .is_some()
            };
            (from..to)
                .step_by(4)
                .map(look)
                .filter(|&event| event)
                .count()
        };
        assert_eq!(events(12, 12 + stays, parked), 1, "it came");
        assert_eq!(
            events(12 + stays, 80 + stays, None),
            leaves,
            "after {stays} s"
        );
    }
}

#[test]
fn light_is_no_motion_and_motion_is_seen_in_any_light() {
    for light in [60, 75, 110, 130, 160] {
        let (mut detector, mut scene) = settled(6);
        assert_eq!(
            detector.look(&scene.picture(light, 6, None), 11_000),
            None,
            "{light} %"
        );
        assert_eq!(
            detector.look(&scene.picture(100, 6, None), 12_000),
            None,
            "back from {light} %"
        );
        let event = detector.look(&scene.picture(light, 6, Some((300, 250, 40, 40))), 13_000);
        let region = event
            .unwrap_or_else(|| panic!("nothing seen at {light} %"))
            .region;
        assert!(
            region.x.abs_diff(300) <= 8 && region.y.abs_diff(250) <= 8,
            "{region:?}"
        );
    }
}

#[test]
fn another_scene_is_learnt_without_an_event() {
    let (mut detector, mut scene) = settled(6);
    let other = |picture: Grid| {
        let mut luma = picture.cells.luma.clone();
        luma.reverse();
        // A checkerboard on top, so that no light explains it.
        for (i, cell) in luma.iter_mut().enumerate() {
            *cell = *cell / 4
                + if (i / 10 + i / 1600) % 2 == 0 {
                    20
                } else {
                    150
                };
        }
        Grid {
            cells: Picture {
                luma,
                ..picture.cells.clone()
            },
            ..picture
        }
    };
    assert_eq!(
        detector.look(&other(scene.picture(100, 6, None)), 11_000),
        None
    );
    assert_eq!(
        detector.look(&other(scene.picture(100, 6, None)), 12_000),
        None,
        "it is the scene now"
    );
    let small = Picture {
        width: 32,
        height: 18,
        stride: 32,
        luma: vec![9; 32 * 18],
    };
    assert_eq!(
        detector.look(&Grid::of(&small), 13_000),
        None,
        "another size"
    );
}

#[test]
fn empty_and_cut_pictures_are_no_motion() {
    let mut detector = Detector::default();
    let cut = Picture {
        width: 8,
        height: 8,
        stride: 8,
        luma: vec![0; 20],
    };
    for picture in [
        Picture {
            width: 0,
            height: 0,
            stride: 0,
            luma: Vec::new(),
        },
        cut,
    ] {
        let grid = Grid {
            cells: picture,
            width: 8,
            height: 8,
        };
        assert_eq!(
            (detector.look(&grid, 0), detector.look(&grid, 1)),
            (None, None)
        );
    }
}

/// Key frames of a clip as ffmpeg decodes them, with their times in milliseconds.
fn key_frames(clip: &Path) -> Option<Vec<(u64, Grid)>> {
    const SIZE: (usize, usize) = (768, 432);
    let ffmpeg = Command::new("ffmpeg")
        .args(["-v", "error", "-skip_frame", "nokey", "-i"])
        .arg(clip)
        .args([
            "-fps_mode",
            "passthrough",
            "-vf",
            "extractplanes=y",
            "-f",
            "rawvideo",
            "-",
        ])
        .output()
        .ok()?;
    let ffprobe = Command::new("ffprobe")
        .args([
            "-v",
            "error",
            "-select_streams",
            "v",
            "-skip_frame",
            "nokey",
            "-of",
            "csv=p=0",
        ])
        .args(["-show_entries", "frame=pts_time"])
        .arg(clip)
        .output()
        .ok()?;
    let times = String::from_utf8(ffprobe.stdout).ok()?;
    let seconds = times
        .lines()
        .filter_map(|line| line.trim_end_matches(',').parse::<f64>().ok());
    let pictures = ffmpeg.stdout.chunks_exact(SIZE.0 * SIZE.1).map(|luma| {
        Grid::of(&Picture {
            width: SIZE.0,
            height: SIZE.1,
            stride: SIZE.0,
            luma: luma.to_vec(),
        })
    });
    let found: Vec<_> = seconds
        .map(|s| u64::try_from(std::time::Duration::from_secs_f64(s).as_millis()).unwrap())
        .zip(pictures)
        .collect();
    (!found.is_empty()).then_some(found)
}

/// Seconds at which something was seen.
fn watch(name: &str) -> Option<Vec<(u64, bool)>> {
    let clip = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/media")
        .join(name);
    let mut detector = Detector::default();
    let seen = key_frames(&clip)?
        .into_iter()
        .map(|(at, grid)| (at, detector.look(&grid, at).is_some()));
    Some(seen.collect())
}

/// `labels.json` of the footage: people walk in and out; a key frame every second.
#[test]
fn people_are_seen_when_they_walk() {
    let Some(seen) = watch("one-by-one-person.mp4") else {
        return;
    };
    let walks = [
        (5_500, 8_000),
        (17_300, 19_800),
        (22_500, 24_500),
        (42_500, 44_700),
        (49_700, 52_500),
        (67_500, 69_800),
        (74_500, 77_000),
        (84_500, 86_700),
        (91_700, 94_500),
        (117_500, 119_700),
        (122_800, 126_000),
        (133_500, 135_700),
    ];
    let missed: Vec<_> = walks
        .iter()
        .filter(|(from, to)| {
            !seen
                .iter()
                .any(|(at, hit)| *hit && (*from..=*to).contains(at))
        })
        .collect();
    assert!(missed.is_empty(), "not seen: {missed:?} of {seen:?}");
    // Nobody is in the picture, two seconds of grace for shadows.
    let empty = [
        (0, 4_500),
        (22_000, 22_000),
        (46_700, 48_700),
        (71_800, 73_500),
        (88_700, 90_700),
        (137_700, 140_000),
    ];
    let invented: Vec<_> = seen
        .iter()
        .filter(|(at, hit)| *hit && empty.iter().any(|(from, to)| (*from..=*to).contains(at)))
        .collect();
    assert!(invented.is_empty(), "seen in an empty room: {invented:?}");
}

/// A key frame every 4.8 s, so only one falls into the middle of a car's way; a camera that trembles by ten
/// pixels, and exposure that darkens by a quarter. Roofs reach into the picture a second beyond the labels.
#[test]
fn cars_are_seen_where_a_key_frame_shows_one() {
    let Some(seen) = watch("car-detection.mp4") else {
        return;
    };
    let cars = [(4_200, 7_800), (14_700, 18_300), (25_200, 27_800)];
    for (at, hit) in &seen {
        let inside = cars
            .iter()
            .any(|(from, to)| (from + 500..=to - 500).contains(at));
        let outside = cars
            .iter()
            .all(|(from, to)| *at < from - 1000 || *at > to + 1000);
        assert!(*hit || !inside, "a car at {at} ms is not seen: {seen:?}");
        assert!(!*hit || !outside, "no car at {at} ms, but seen: {seen:?}");
    }
}
