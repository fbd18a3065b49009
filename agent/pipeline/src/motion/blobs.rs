//! Changed cells that hang together.

pub(super) struct Blobs<'a> {
    columns: usize,
    /// Changed and in a changed square of 2 × 2.
    open: Vec<bool>,
    lively: &'a [bool],
}

/// Box around everything that is large enough; cells, all inclusive.
#[derive(Clone, Copy)]
pub(super) struct Found {
    pub(super) left: usize,
    pub(super) top: usize,
    pub(super) right: usize,
    pub(super) bottom: usize,
    pub(super) cells: u32,
    /// Those of them that were not changed in the same way before.
    pub(super) lively: u32,
}

impl<'a> Blobs<'a> {
    pub(super) fn new(columns: usize, changed: &[bool], lively: &'a [bool]) -> Self {
        let mut open = vec![false; changed.len()];
        // The outermost cells lack the neighbours that tell a tremble from a thing.
        let inner = |at: usize| {
            (1..columns - 1).contains(&(at % columns))
                && (columns..changed.len() - columns).contains(&at)
        };
        let is = |at: usize| inner(at) && changed.get(at).copied().unwrap_or(false);
        for at in (0..changed.len()).filter(|at| at % columns + 1 < columns) {
            let square = [at, at + 1, at + columns, at + columns + 1];
            if square.iter().all(|&at| is(at)) {
                for at in square {
                    if let Some(cell) = open.get_mut(at) {
                        *cell = true;
                    }
                }
            }
        }
        Self {
            columns,
            open,
            lively,
        }
    }

    /// The box around all components with `smallest` lively cells and more.
    pub(super) fn found(mut self, smallest: u32) -> Option<Found> {
        let mut found: Option<Found> = None;
        for start in 0..self.open.len() {
            let Some(blob) = self.component(start).filter(|blob| blob.lively >= smallest) else {
                continue;
            };
            found = Some(found.map_or(blob, |all| all.with(blob)));
        }
        found
    }

    /// Takes the component of `start` out of the picture.
    fn component(&mut self, start: usize) -> Option<Found> {
        let mut waiting = Vec::new();
        let mut blob: Option<Found> = None;
        self.visit(start, &mut waiting);
        while let Some(at) = waiting.pop() {
            let (x, y) = (at % self.columns, at / self.columns);
            let lively = u32::from(self.lively.get(at).copied().unwrap_or(false));
            let cell = Found {
                left: x,
                top: y,
                right: x,
                bottom: y,
                cells: 1,
                lively,
            };
            blob = Some(blob.map_or(cell, |blob| blob.with(cell)));
            if x > 0 {
                self.visit(at - 1, &mut waiting);
            }
            if x + 1 < self.columns {
                self.visit(at + 1, &mut waiting);
            }
            if y > 0 {
                self.visit(at - self.columns, &mut waiting);
            }
            self.visit(at + self.columns, &mut waiting);
        }
        blob
    }

    fn visit(&mut self, at: usize, waiting: &mut Vec<usize>) {
        if let Some(cell) = self.open.get_mut(at).filter(|cell| **cell) {
            *cell = false;
            waiting.push(at);
        }
    }
}

impl Found {
    fn with(self, other: Self) -> Self {
        Self {
            left: self.left.min(other.left),
            top: self.top.min(other.top),
            right: self.right.max(other.right),
            bottom: self.bottom.max(other.bottom),
            cells: self.cells + other.cells,
            lively: self.lively + other.lively,
        }
    }
}
