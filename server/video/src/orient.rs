//! Rotates and mirrors frames as the display matrix says.

/// The rotation and mirroring of a coded picture for display.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Orientation {
    /// Clockwise rotation in degrees: 0, 90, 180, 270.
    pub(crate) rotation: u16,
    /// Mirrored left to right, after rotation.
    pub(crate) mirrored: bool,
}

impl Orientation {
    /// Parses a container's display matrix (row vectors, y downwards: x' = a·x + c·y, y' = b·x + d·y).
    /// `None` when it does not map pixel rows to pixel rows or columns.
    pub(crate) fn from_matrix(matrix: &[i32; 9]) -> Option<Self> {
        let [a, b, c, d] = [matrix[0], matrix[1], matrix[3], matrix[4]].map(i64::from);
        let straight = a.abs().min(d.abs());
        let turned = b.abs().min(c.abs());
        let (rotation, mirrored) = if straight > 100 * b.abs().max(c.abs()) {
            match (a > 0, d > 0) {
                (true, true) => (0, false),
                (false, false) => (180, false),
                (false, true) => (0, true),
                (true, false) => (180, true),
            }
        } else if turned > 100 * a.abs().max(d.abs()) {
            match (b > 0, c > 0) {
                (true, false) => (90, false),
                (false, true) => (270, false),
                (true, true) => (90, true),
                (false, false) => (270, true),
            }
        } else {
            return None;
        };
        Some(Self { rotation, mirrored })
    }

    /// Returns whether rows become columns.
    pub(crate) fn turned(self) -> bool {
        !self.rotation.is_multiple_of(180)
    }

    /// Returns the display size of a `width` × `height` picture, and vice versa.
    pub(crate) fn size<T>(self, width: T, height: T) -> (T, T) {
        if self.turned() { (height, width) } else { (width, height) }
    }

    /// Rotates packed RGB8 of `width` × `height` pixels; the result has [`Self::size`].
    pub(crate) fn apply(self, rgb: Vec<u8>, width: usize, height: usize) -> Vec<u8> {
        if self == Self::default() {
            return rgb;
        }
        let (out_width, _) = self.size(width, height);
        let (pixels, _) = rgb.as_chunks::<3>();
        let mut out = vec![0u8; rgb.len()];
        for (y, row) in out.chunks_exact_mut(out_width * 3).enumerate() {
            for (x, pixel) in row.as_chunks_mut::<3>().0.iter_mut().enumerate() {
                let x = if self.mirrored { out_width - 1 - x } else { x };
                *pixel = match self.rotation {
                    90 => pixels[(height - 1 - x) * width + y],
                    180 => pixels[(height - 1 - y) * width + (width - 1 - x)],
                    270 => pixels[x * width + (width - 1 - y)],
                    _ => pixels[y * width + x],
                };
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: i32 = 1 << 16;

    fn matrix(a: i32, b: i32, c: i32, d: i32) -> [i32; 9] {
        [a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 0, 0, 1 << 30]
    }

    /// A picture of 3 × 2 pixels, numbered by rows.
    fn numbered() -> Vec<u8> {
        (0u8..6).flat_map(|n| [n; 3]).collect()
    }

    fn turned(matrix: [i32; 9]) -> Vec<u8> {
        let orientation = Orientation::from_matrix(&matrix).unwrap();
        orientation.apply(numbered(), 3, 2).into_iter().step_by(3).collect()
    }

    #[test]
    fn all_eight_matrices_put_the_pixels_where_they_say() {
        // For each matrix, x' = a·x + c·y and y' = b·x + d·y, moved back into the quadrant.
        for [a, b, c, d] in [
            [1, 0, 0, 1],
            [0, 1, -1, 0],
            [-1, 0, 0, -1],
            [0, -1, 1, 0],
            [-1, 0, 0, 1],
            [1, 0, 0, -1],
            [0, 1, 1, 0],
            [0, -1, -1, 0],
        ] {
            let place = |x: i32, y: i32| (a * x + c * y, b * x + d * y);
            let corners = [place(0, 0), place(2, 1), place(2, 0), place(0, 1)];
            let left = corners.iter().map(|p| p.0).min().unwrap();
            let top = corners.iter().map(|p| p.1).min().unwrap();
            let width = corners.iter().map(|p| p.0).max().unwrap() - left + 1;
            let mut expected = vec![0u8; 6];
            for y in 0..2 {
                for x in 0..3 {
                    let (px, py) = place(x, y);
                    expected[((py - top) * width + px - left) as usize] = (y * 3 + x) as u8;
                }
            }
            assert_eq!(turned(matrix(a, b, c, d)), expected, "matrix {a} {b} {c} {d}");
        }
    }

    #[test]
    fn slanted_and_empty_matrices_are_refused() {
        assert_eq!(Orientation::from_matrix(&matrix(1, 1, -1, 1)), None);
        assert_eq!(Orientation::from_matrix(&[0; 9]), None);
        assert_eq!(Orientation::from_matrix(&[i32::MIN; 9]), None);
    }
}
