//! Six-field file names of recordings (upstream-agent's contract):
//! `<unix_s>_<digits>-<ms>_<camera>_<x>-<y>-<w>-<h>_<changes>_<duration ms>.mp4`.

use camino::Utf8Path;

/// What a recording's name says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordingName {
    pub camera: String,
    /// Unix milliseconds.
    pub start_ms: i64,
    pub duration_ms: i64,
}

impl RecordingName {
    /// Reads the six fields; `None` when the name has another shape.
    pub fn parse(file_name: &str) -> Option<Self> {
        let fields: Vec<_> = file_name.strip_suffix(".mp4")?.split('_').collect();
        // A camera's name may hold underscores itself.
        let [seconds, fraction, camera @ .., _, _, duration] = fields.as_slice() else {
            return None;
        };
        if camera.is_empty() {
            return None;
        }
        let seconds: i64 = seconds.parse().ok()?;
        let (_, millis) = fraction.split_once('-')?;
        let millis: i64 = millis.parse().ok().filter(|ms| (0..1000).contains(ms))?;
        Some(Self {
            camera: camera.join("_"),
            start_ms: seconds.checked_mul(1000)?.checked_add(millis)?,
            duration_ms: duration.parse().unwrap_or(0).max(0),
        })
    }
}

/// A file name that is one name and nothing else: no path, no hidden file, `.mp4`.
pub fn is_file_name(name: &str) -> bool {
    let plain = !name.contains(['/', '\\', '\0']) && !name.chars().any(char::is_control);
    let mp4 = Utf8Path::new(name).extension() == Some("mp4");
    plain && mp4 && name.len() <= 255 && !name.starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_fields_tell_camera_time_and_length() {
        let name = RecordingName::parse("1564859471_1-5_gate_0-0-0-0_-1_5040.mp4").unwrap();
        let wanted = RecordingName {
            camera: "gate".into(),
            start_ms: 1_564_859_471_005,
            duration_ms: 5040,
        };
        assert_eq!(name, wanted);
        let name = RecordingName::parse("1_1-5_front_door_0-0-0-0_-1_5040.mp4").unwrap();
        assert_eq!((name.camera.as_str(), name.start_ms), ("front_door", 1005));
        assert_eq!(RecordingName::parse("1_1-5_gate_0-0-0-0_-1.mp4"), None);
        assert_eq!(RecordingName::parse("film.mp4"), None);
    }

    #[test]
    fn a_path_is_no_file_name() {
        assert!(is_file_name("a.mp4"));
        for bad in [
            "../a.mp4", "a/b.mp4", ".a.mp4", "a.mov", ".mp4", "a\n.mp4", "a\\b.mp4",
        ] {
            assert!(!is_file_name(bad), "{bad}");
        }
    }
}
