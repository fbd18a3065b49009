//! Luma pictures, and the small grid of them that motion looks at.

/// One picture, luma only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Pixels.
    pub width: usize,
    pub height: usize,
    /// Bytes from one row to the next.
    pub stride: usize,
    pub luma: Vec<u8>,
}

impl Picture {
    /// The visible part of row `y`; empty past the end.
    pub fn row(&self, y: usize) -> &[u8] {
        let start = y.saturating_mul(self.stride);
        self.luma
            .get(start..start.saturating_add(self.width))
            .unwrap_or_default()
    }

    /// Averages boxes of pixels so that at most `columns` × `rows` cells remain; never enlarges.
    ///
    /// The box is square, so that cells keep the picture's shape, and it averages a sensor's noise away.
    #[must_use]
    pub fn shrink(&self, columns: usize, rows: usize) -> Self {
        let side = self
            .width
            .div_ceil(columns.max(1))
            .max(self.height.div_ceil(rows.max(1)))
            .max(1);
        let (width, height) = (self.width.div_ceil(side), self.height.div_ceil(side));
        let mut luma = Vec::with_capacity(width * height);
        let mut sums = vec![0u32; width];
        for band in 0..height {
            sums.fill(0);
            let lines = (band * side)..(self.height.min((band + 1) * side));
            let count = lines.len();
            for y in lines {
                for (sum, pixels) in sums.iter_mut().zip(self.row(y).chunks(side)) {
                    *sum += pixels.iter().map(|&p| u32::from(p)).sum::<u32>();
                }
            }
            luma.extend(sums.iter().enumerate().map(|(x, &sum)| {
                let across = side.min(self.width - x * side);
                let area = u32::try_from(across * count).unwrap_or(u32::MAX).max(1);
                u8::try_from((sum + area / 2) / area).unwrap_or(u8::MAX)
            }));
        }
        Self {
            width,
            height,
            stride: width,
            luma,
        }
    }
}

/// A picture made small, with the size it had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grid {
    pub cells: Picture,
    /// Pixels of the picture.
    pub width: usize,
    pub height: usize,
}

impl Grid {
    /// Cells at most. A 1080p picture becomes exactly this: boxes of 12 × 12 pixels average noise by 12.
    pub const COLUMNS: usize = 160;
    pub const ROWS: usize = 90;

    pub fn of(picture: &Picture) -> Self {
        let cells = picture.shrink(Self::COLUMNS, Self::ROWS);
        Self {
            cells,
            width: picture.width,
            height: picture.height,
        }
    }

    /// Side of a cell in pixels.
    pub fn side(&self) -> usize {
        self.width
            .div_ceil(self.cells.width.max(1))
            .max(self.height.div_ceil(self.cells.height.max(1)))
            .max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shrinking_averages_boxes_and_keeps_the_shape() {
        // Two columns of padding hold nonsense.
        let luma = vec![
            0, 10, 20, 30, 40, 255, 255, 0, 10, 20, 30, 40, 255, 255, 50, 50, 50, 50, 90, 255, 255,
        ];
        let picture = Picture {
            width: 5,
            height: 3,
            stride: 7,
            luma,
        };
        let small = picture.shrink(3, 2);
        assert_eq!((small.width, small.height), (3, 2));
        assert_eq!(small.luma, [5, 25, 40, 50, 50, 90]);
        assert_eq!(
            picture.shrink(160, 90).luma,
            [0, 10, 20, 30, 40, 0, 10, 20, 30, 40, 50, 50, 50, 50, 90]
        );
    }

    #[test]
    fn a_common_camera_fits_the_grid() {
        let picture = Picture {
            width: 1920,
            height: 1080,
            stride: 1920,
            luma: vec![7; 1920 * 1080],
        };
        let small = picture.shrink(160, 90);
        assert_eq!((small.width, small.height), (160, 90));
        assert!(small.luma.iter().all(|&p| p == 7));
    }
}
