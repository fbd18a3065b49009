//! Motion in luma pictures, made for one key frame every few seconds.
//!
//! Every cell of a small grid has a running mean and a mean absolute deviation. A new picture is first
//! brought to the light of the model (clouds, exposure: one gain or one offset for all cells), then cells
//! that differ from their mean by much more than they usually do count as changed; specks are removed and
//! what hangs together is an event if it is large enough and was not there in the picture before. When most of the picture changes, the scene did
//! (infrared switched, camera turned): it is learnt anew without an event.
//!
//! Learning goes by elapsed time, so the distance of key frames does not matter. Integers only.

mod blobs;
mod light;
#[cfg(test)]
mod tests;

use agent_media::Grid;

use blobs::Blobs;

/// A part of the picture, in its pixels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rect {
    pub x: u32,
    pub y: u32,
    pub width: u32,
    pub height: u32,
}

/// Something moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MotionEvent {
    /// Around all that moved.
    pub region: Rect,
    /// Changed cells in it, of [`Grid`].
    pub cells: u32,
}

/// Fractional bits of what is learnt.
const FRACTION: u32 = 8;
/// Smallest change in luma steps that counts. Boxes of a key frame at camera bit rates differ by 1 to 4 between
/// pictures of a still scene; people in grey at dusk differ from the street by 15 and more.
const FLOOR: i32 = 12 << FRACTION;
/// Times its usual deviation a cell must differ: leaves in wind differ by 2 to 3 times.
const DEVIATIONS: i32 = 5;
/// The smallest thing, in cells: 2 × 2 is what the opening leaves, 2 % of the picture's height.
const SMALLEST: u32 = 4;
/// Percent of cells after which it is the scene that changed.
const SCENE: usize = 60;
/// Time in which a background that drifts is followed.
const LEARN_MS: u64 = 15_000;
/// A thing that stands still for so long becomes background. Until then the background behind it is not
/// touched, so that nothing is seen where it stood when it leaves.
const ABSORB_MS: u64 = 60_000;

/// Looks at the pictures of one stream.
#[derive(Debug, Default)]
pub struct Detector {
    model: Option<Model>,
}

#[derive(Debug)]
struct Model {
    columns: usize,
    rows: usize,
    at_ms: u64,
    cells: Vec<Cell>,
}

#[derive(Debug, Clone, Copy)]
struct Cell {
    /// May lie outside of what a picture can show, where light has clipped it.
    mean: i32,
    deviation: i32,
    /// What stands before the background, and for how long.
    other: i32,
    other_ms: u64,
}

impl Detector {
    /// Takes the next picture, shown at `at_ms` (any origin), and says what moved in it.
    ///
    /// The first picture, and the first after the picture's size or most of the scene changed, is learnt.
    pub fn look(&mut self, grid: &Grid, at_ms: u64) -> Option<MotionEvent> {
        let (columns, rows) = (grid.cells.width, grid.cells.height);
        let seen: Vec<i32> = (0..rows)
            .flat_map(|y| grid.cells.row(y))
            .map(|&v| i32::from(v) << FRACTION)
            .collect();
        if seen.len() != columns * rows || seen.is_empty() {
            return None;
        }
        let Some(model) = self
            .model
            .as_mut()
            .filter(|model| (model.columns, model.rows) == (columns, rows))
        else {
            self.model = Some(Model::new(columns, rows, at_ms, &seen));
            return None;
        };
        light::follow(&mut model.cells, &seen);
        let changed = model.changed(&seen);
        if changed.iter().filter(|&&changed| changed).count() * 100 > changed.len() * SCENE {
            self.model = Some(Model::new(columns, rows, at_ms, &seen));
            return None;
        }
        let lively = model.learn(&seen, &changed, at_ms);
        let found = Blobs::new(columns, &changed, &lively).found(SMALLEST)?;
        let side = grid.side();
        let pixels =
            |cells: usize, most: usize| u32::try_from((cells * side).min(most)).unwrap_or(u32::MAX);
        let (left, top) = (
            pixels(found.left, grid.width),
            pixels(found.top, grid.height),
        );
        let region = Rect {
            x: left,
            y: top,
            width: pixels(found.right + 1, grid.width) - left,
            height: pixels(found.bottom + 1, grid.height) - top,
        };
        Some(MotionEvent {
            region,
            cells: found.cells,
        })
    }
}

impl Cell {
    fn new(mean: i32) -> Self {
        Self {
            mean,
            deviation: 1 << FRACTION,
            other: mean,
            other_ms: 0,
        }
    }

    /// The mean as a picture can show it.
    fn shown(self) -> i32 {
        self.mean.clamp(0, light::WHITE)
    }

    fn learn(&mut self, seen: i32, weight: i64) {
        let difference = seen - self.shown();
        self.mean += scaled(difference, weight);
        self.deviation += scaled(difference.abs() - self.deviation, weight);
        self.other_ms = 0;
    }

    /// Takes note of something before the background; true if it was not here in the picture before.
    fn absorb(&mut self, seen: i32, elapsed: u64) -> bool {
        let still = self.other_ms > 0 && (seen - self.other).abs() <= FLOOR;
        self.other_ms = if still { self.other_ms + elapsed } else { 1 };
        self.other = seen;
        if self.other_ms > ABSORB_MS {
            *self = Self::new(seen);
        }
        !still
    }
}

impl Model {
    fn new(columns: usize, rows: usize, at_ms: u64, seen: &[i32]) -> Self {
        Self {
            columns,
            rows,
            at_ms,
            cells: seen.iter().map(|&seen| Cell::new(seen)).collect(),
        }
    }

    /// Cells that differ from what they, or their neighbours, usually are.
    ///
    /// The neighbours, because a pole that trembles in the wind moves every edge by half a cell.
    fn changed(&self, seen: &[i32]) -> Vec<bool> {
        let (low, high) = self.spans();
        let limits = self
            .cells
            .iter()
            .map(|cell| FLOOR.max(DEVIATIONS * cell.deviation));
        let spans = low.into_iter().zip(high).zip(limits);
        spans
            .zip(seen)
            .map(|(((low, high), limit), &seen)| seen > high + limit || seen < low - limit)
            .collect()
    }

    /// Smallest and largest mean of every cell and its eight neighbours, by rows and then by columns.
    fn spans(&self) -> (Vec<i32>, Vec<i32>) {
        let shown: Vec<_> = self.cells.iter().map(|cell| cell.shown()).collect();
        let across = |pick: fn(i32, i32) -> i32| {
            let rows = shown.chunks(self.columns);
            let wide = rows.flat_map(|row| {
                let around = move |x: usize| {
                    row.get(x.saturating_sub(1)..row.len().min(x + 2))
                        .unwrap_or_default()
                };
                (0..row.len())
                    .map(move |x| around(x).iter().copied().reduce(pick).unwrap_or_default())
            });
            let wide: Vec<_> = wide.collect();
            let row = |y: usize| {
                wide.get(y * self.columns..(y + 1) * self.columns)
                    .unwrap_or_default()
            };
            let tall = (0..self.rows).flat_map(|y| {
                let (above, below) = (row(y.saturating_sub(1)), row((y + 1).min(self.rows - 1)));
                row(y)
                    .iter()
                    .zip(above)
                    .zip(below)
                    .map(move |((&here, &above), &below)| pick(pick(here, above), below))
            });
            tall.collect()
        };
        (across(i32::min), across(i32::max))
    }

    /// Which of the changed cells show something that was not there in the picture before.
    fn learn(&mut self, seen: &[i32], changed: &[bool], at_ms: u64) -> Vec<bool> {
        let elapsed = at_ms.saturating_sub(self.at_ms);
        self.at_ms = at_ms;
        let weight = weight(elapsed, LEARN_MS);
        let cells = self.cells.iter_mut().zip(seen).zip(changed);
        let learn = |((cell, &seen), &changed): ((&mut Cell, &i32), &bool)| {
            if changed {
                return cell.absorb(seen, elapsed);
            }
            cell.learn(seen, weight);
            false
        };
        cells.map(learn).collect()
    }
}

/// Share of a new value after `elapsed`, in 1/65536: the first order of 1 - exp(-elapsed / time).
fn weight(elapsed: u64, time: u64) -> i64 {
    i64::try_from((elapsed.min(time) << 16) / (elapsed.min(time) + time)).unwrap_or(0)
}

fn scaled(value: i32, weight: i64) -> i32 {
    i32::try_from((i64::from(value) * weight) >> 16).unwrap_or(0)
}
