//! Light that changes for the whole picture.

use super::{Cell, FRACTION};

/// Darker cells say nothing of a gain.
const DARK: i32 = 16 << FRACTION;
pub(super) const WHITE: i32 = 255 << FRACTION;
/// Fractional bits of a gain; 1/1024 of 255 is below one step of luma.
const GAIN: i32 = 10;

/// Moves the model to the light of `seen`, by an offset or by a gain, whichever leaves less of a difference.
///
/// Medians: whatever covers less than half of the picture does not count as light.
pub(super) fn follow(model: &mut [Cell], seen: &[i32]) {
    let pairs = || {
        model
            .iter()
            .zip(seen)
            .map(|(cell, &seen)| (cell.mean, seen))
    };
    let offset = median(pairs().map(|(mean, seen)| seen - mean).collect()).unwrap_or(0);
    // Both are below 2^16, so the shifted one stays below 2^26.
    let ratios = pairs()
        .filter(|(mean, _)| *mean > DARK)
        .map(|(mean, seen)| (seen << GAIN) / mean);
    let gain = median(ratios.collect()).unwrap_or(1 << GAIN);
    let left = |after: &dyn Fn(i32) -> i32| {
        median(
            pairs()
                .map(|(mean, seen)| (seen - after(mean).clamp(0, WHITE)).abs())
                .collect(),
        )
        .unwrap_or(0)
    };
    // Wider than a picture, so that what was clipped is right again when the light goes back.
    let clip = |mean: i32| mean.clamp(-WHITE, 4 * WHITE);
    let by_offset = |mean: i32| clip(mean + offset);
    let by_gain = |mean: i32| {
        let lit = (i64::from(mean) * i64::from(gain)) >> GAIN;
        clip(i32::try_from(lit).unwrap_or(i32::MAX))
    };
    let better = left(&by_gain) < left(&by_offset);
    for cell in model {
        cell.mean = if better {
            by_gain(cell.mean)
        } else {
            by_offset(cell.mean)
        };
    }
}

fn median(mut values: Vec<i32>) -> Option<i32> {
    let middle = values.len() / 2;
    if values.is_empty() {
        return None;
    }
    Some(*values.select_nth_unstable(middle).1)
}
