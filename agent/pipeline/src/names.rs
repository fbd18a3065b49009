//! Six-field file names of the Kerberos.io agent, which its tools and the vault read:
//! `<unix seconds>_<digits>-<milliseconds>_<camera>_<x>-<y>-<width>-<height>_<changes>_<duration ms>.mp4`.
//!
//! Milliseconds have no leading zeros and `digits` counts them: 5 ms is `1-5`, 737 ms is `3-737`.
//! Upstream renames a file when it is closed; so do we, and an open one ends in `.part` besides, which
//! no reader of finished files takes for one.

use std::fmt;

use crate::Rect;

/// `changes` of a file that no motion started.
pub const CONTINUOUS: i64 = -1;
/// `changes` of a file that somebody asked for.
pub const MANUAL: i64 = 100_000_000;
/// Behind the name of an open file.
pub const OPEN_SUFFIX: &str = ".part";

/// What a file's name says; `Display` writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileName {
    /// Unix milliseconds of the first frame.
    pub start_ms: u64,
    camera: String,
    /// First motion, in picture pixels; all zeros without.
    pub region: Rect,
    /// Changed cells of the first motion, or [`CONTINUOUS`] or [`MANUAL`].
    pub changes: i64,
    /// 0 while the file is open.
    pub duration_ms: u64,
}

/// A name that is none of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no recording's name")]
pub struct NameError(String);

impl FileName {
    /// Name of a file that nothing but the clock started, still open.
    pub fn new(start_ms: u64, camera: &str) -> Self {
        let (camera, region) = (sanitised(camera), Rect::default());
        Self {
            start_ms,
            camera,
            region,
            changes: CONTINUOUS,
            duration_ms: 0,
        }
    }

    pub fn camera(&self) -> &str {
        &self.camera
    }

    /// What the file is called while it is written.
    pub fn open(&self) -> String {
        format!("{self}{OPEN_SUFFIX}")
    }

    /// Reads a name, open or finished, without folders.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        fields(name.strip_suffix(OPEN_SUFFIX).unwrap_or(name))
            .ok_or_else(|| NameError(name.to_owned()))
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, ms) = (self.start_ms / 1000, (self.start_ms % 1000).to_string());
        let Rect {
            x,
            y,
            width,
            height,
        } = self.region;
        write!(
            f,
            "{seconds}_{}-{ms}_{}_{x}-{y}-{width}-{height}",
            ms.len(),
            self.camera
        )?;
        write!(f, "_{}_{}.mp4", self.changes, self.duration_ms)
    }
}

/// A camera's name as a field: `_` would make seven fields of six, `/` a folder.
pub fn sanitised(camera: &str) -> String {
    let keep = |c: char| {
        if c.is_ascii_alphanumeric() || c == '.' {
            c
        } else {
            '-'
        }
    };
    let name: String = camera.chars().map(keep).collect();
    if name.is_empty() {
        "camera".to_owned()
    } else {
        name
    }
}

fn fields(name: &str) -> Option<FileName> {
    let mut parts = name.strip_suffix(".mp4")?.split('_');
    let mut next = || parts.next();
    let (seconds, fraction, camera, region, changes, duration) =
        (next()?, next()?, next()?, next()?, next()?, next()?);
    if next().is_some() || camera.is_empty() || sanitised(camera) != camera {
        return None;
    }
    let (digits, ms) = fraction.split_once('-')?;
    if digits.parse() != Ok(ms.len()) || ms.len() > 3 {
        return None;
    }
    let mut sides = region.split('-').map(number);
    let mut side = || sides.next()?.and_then(|side| u32::try_from(side).ok());
    let region = Rect {
        x: side()?,
        y: side()?,
        width: side()?,
        height: side()?,
    };
    let changes = match changes {
        "-1" => CONTINUOUS,
        _ => i64::try_from(number(changes)?).ok()?,
    };
    (sides.next().is_none()).then_some(FileName {
        start_ms: number(seconds)?
            .checked_mul(1000)?
            .checked_add(number(ms)?)?,
        camera: camera.to_owned(),
        region,
        changes,
        duration_ms: number(duration)?,
    })
}

/// Digits as we write them: no sign, no leading zeros, so that a name has one form.
fn number(digits: &str) -> Option<u64> {
    let plain = digits == "0" || !digits.starts_with(['0', '+']);
    digits.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_upstreams() {
        let mut name = FileName::new(1_564_859_471_737, "front door_2/a");
        assert_eq!(
            name.open(),
            "1564859471_3-737_front-door-2-a_0-0-0-0_-1_0.mp4.part"
        );
        name.region = Rect {
            x: 323,
            y: 8,
            width: 56,
            height: 121,
        };
        (name.changes, name.duration_ms, name.start_ms) = (24, 7160, 1_564_859_471_005);
        assert_eq!(
            name.to_string(),
            "1564859471_1-5_front-door-2-a_323-8-56-121_24_7160.mp4"
        );
    }

    #[test]
    fn other_names_are_refused() {
        for name in [
            "",
            "a.mp4",
            "1564859471_3-737_gate_0-0-0-0_-1_0",
            "1564859471_3-737_gate_0-0-0-0_0_0_.mp4",
            "1564859471_2-737_gate_0-0-0-0_-1_0.mp4",
            "1564859471_3-007_gate_0-0-0-0_-1_0.mp4",
            "1564859471_6-967003_gate_0-0-0-0_-1_0.mp4",
            "1564859471_3-737__0-0-0-0_-1_0.mp4",
            "1564859471_3-737_gate_0-0-0_-1_0.mp4",
            "1564859471_3-737_gate_0-0-0-0-0_-1_0.mp4",
            "1564859471_3-737_../gate_0-0-0-0_-1_0.mp4",
            "99999999999999999999_3-737_gate_0-0-0-0_-1_0.mp4",
        ] {
            assert!(FileName::parse(name).is_err(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn every_name_reads_back(
            start_ms in 0..u64::MAX / 2, camera in "[a-z0-9-]{1,20}", sides in any::<[u32; 4]>(),
            changes in -1i64.., duration_ms in any::<u64>(),
        ) {
            let [x, y, width, height] = sides;
            let mut name = FileName::new(start_ms, &camera);
            name.region = Rect { x, y, width, height };
            (name.changes, name.duration_ms) = (changes, duration_ms);
            prop_assert_eq!(FileName::parse(&name.to_string()), Ok(name.clone()));
            prop_assert_eq!(FileName::parse(&name.open()), Ok(name.clone()));
            prop_assert_eq!(name.to_string().split('_').count(), 6);
        }

        #[test]
        fn what_is_read_is_written_the_same(text in "[0-9a-z_.-]{0,60}|[0-9]{1,4}_[0-4]-[0-9]{0,4}_[a-z_]{0,3}_[0-9-]{0,9}_-?[0-9]{0,3}_[0-9]{0,3}\\.mp4") {
            if let Ok(name) = FileName::parse(&text) {
                prop_assert_eq!(name.to_string(), text);
            }
        }

        #[test]
        fn any_camera_name_makes_six_fields(camera in any::<String>()) {
            let name = FileName::new(1_700_000_000_000, &camera).to_string();
            prop_assert_eq!(name.split('_').count(), 6);
            prop_assert!(!name.contains('/') && FileName::parse(&name).is_ok());
        }
    }
}
