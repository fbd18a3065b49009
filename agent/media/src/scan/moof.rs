//! Runs of samples out of `moof` (ISO/IEC 14496-12 sections 8.8.7, 8.8.8 and 8.8.12).

use super::boxes::{Fields, child, children};
use super::moov::{Movie, Track};

pub(super) struct Run {
    pub(super) track: u32,
    /// Decode time from `tfdt`.
    pub(super) start: Option<u64>,
    pub(super) frames: u64,
    pub(super) duration: u64,
    /// Number from 1 of every key frame, and its presentation relative to the run's start.
    pub(super) keys: Vec<(u32, i64)>,
}

const NOT_SYNC: u32 = 0x1_0000;
/// Samples may have no field of their own and cost a forger nothing: an hour of audio frames is more than enough.
const MOST_SAMPLES: u32 = 200_000;

/// The runs of both tracks; nothing if one reaches past `length`, the size of `moof` and `mdat` together.
pub(super) fn parse(moof: &[u8], movie: &Movie, length: u64) -> Option<Vec<Run>> {
    let mut runs = Vec::new();
    for (_, traf) in children(moof).filter(|(kind, _)| kind == b"traf") {
        let mut fields = Fields(child(traf, *b"tfhd")?);
        let flags = fields.u32()? & 0xff_ffff;
        let id = fields.u32()?;
        let tracks = [Some(movie.video), movie.audio];
        let Some(mut track) = tracks.into_iter().flatten().find(|track| track.id == id) else {
            continue;
        };
        // An explicit base is not relative to this moof; what is written here never has one.
        if flags & 0x1 != 0 {
            return None;
        }
        if flags & 0x2 != 0 {
            fields.skip(4)?;
        }
        for (bit, default) in [
            (0x8, &mut track.duration),
            (0x10, &mut track.size),
            (0x20, &mut track.flags),
        ] {
            if flags & bit != 0 {
                *default = fields.u32()?;
            }
        }
        let mut run = Run {
            track: id,
            start: None,
            frames: 0,
            duration: 0,
            keys: Vec::new(),
        };
        if let Some(tfdt) = child(traf, *b"tfdt") {
            let mut fields = Fields(tfdt);
            let [version, ..] = fields.take::<4>()?;
            run.start = Some(if version == 1 {
                fields.u64()?
            } else {
                u64::from(fields.u32()?)
            });
        }
        for (_, trun) in children(traf).filter(|(kind, _)| kind == b"trun") {
            samples(Fields(trun), track, length, &mut run)?;
        }
        runs.push(run);
    }
    Some(runs)
}

fn samples(mut fields: Fields<'_>, track: Track, length: u64, run: &mut Run) -> Option<()> {
    let flags = fields.u32()? & 0xff_ffff;
    let count = fields.u32()?;
    let mut end = if flags & 0x1 != 0 {
        u64::try_from(fields.i32()?).ok()?
    } else {
        0
    };
    let first_flags = if flags & 0x4 != 0 {
        Some(fields.u32()?)
    } else {
        None
    };
    if count > MOST_SAMPLES {
        return None;
    }
    for i in 0..count {
        let mut field = |bit: u32, default: u32| {
            if flags & bit != 0 {
                fields.u32()
            } else {
                Some(default)
            }
        };
        let duration = field(0x100, track.duration)?;
        let size = field(0x200, track.size)?;
        let sample = field(0x400, first_flags.filter(|_| i == 0).unwrap_or(track.flags))?;
        let offset = if flags & 0x800 != 0 { fields.i32()? } else { 0 };
        end = end
            .checked_add(u64::from(size))
            .filter(|&end| end <= length)?;
        run.frames += 1;
        if sample & NOT_SYNC == 0 {
            let number = u32::try_from(run.frames).ok()?;
            run.keys.push((
                number,
                i64::try_from(run.duration)
                    .ok()?
                    .saturating_add(offset.into()),
            ));
        }
        run.duration = run.duration.saturating_add(duration.into());
    }
    Some(())
}
