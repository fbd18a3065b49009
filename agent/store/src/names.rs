//! Six-field file names, as upstream's agent writes them:
//! `<unix seconds>_<digits>-<milliseconds>_<camera>_<region>_<changes>_<duration ms>.mp4`.

pub(crate) struct Name {
    pub(crate) start_ms: u64,
    pub(crate) duration_ms: u64,
}

pub(crate) fn parse(file: &str) -> Option<Name> {
    let fields: Vec<_> = file.strip_suffix(".mp4")?.split('_').collect();
    let [seconds, fraction, _, _, _, duration] = fields.as_slice() else {
        return None;
    };
    let (_, ms) = fraction.split_once('-')?;
    let ms = ms.parse::<u64>().ok().filter(|ms| *ms < 1000)?;
    let start_ms = seconds
        .parse::<u64>()
        .ok()?
        .checked_mul(1000)?
        .checked_add(ms)?;
    Some(Name {
        start_ms,
        duration_ms: duration.parse().ok()?,
    })
}

/// The name of an open file with its duration.
pub(crate) fn finished(open: &str, duration_ms: u64) -> Option<String> {
    parse(open)?;
    let (stem, _) = open.strip_suffix(".mp4")?.rsplit_once('_')?;
    Some(format!("{stem}_{duration_ms}.mp4"))
}
