//! Which triangle each sample of the picture sees.

use crate::geometry::Vec3;

/// No triangle.
pub(crate) const NOTHING: u32 = u32::MAX;

/// A rectangle of pixels, ends excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    pub x0: i32,
    pub y0: i32,
    pub x1: i32,
    pub y1: i32,
}

impl Region {
    pub fn width(&self) -> usize {
        (self.x1 - self.x0).max(0) as usize
    }

    pub fn height(&self) -> usize {
        (self.y1 - self.y0).max(0) as usize
    }

    pub fn intersection(&self, other: Region) -> Region {
        let (x0, y0) = (self.x0.max(other.x0), self.y0.max(other.y0));
        Region {
            x0,
            y0,
            x1: self.x1.min(other.x1).max(x0),
            y1: self.y1.min(other.y1).max(y0),
        }
    }
}

/// Nearest triangle by sample; each pixel has `SIDE` × `SIDE` samples, evenly spaced.
#[derive(Default)]
pub(crate) struct Visibility {
    region: Option<Region>,
    side: i32,
    width: i32,
    height: i32,
    /// 1 / depth; 0 where there is nothing.
    nearness: Vec<f32>,
    triangle: Vec<u32>,
}

impl Visibility {
    /// Empties it for a region, with `side` × `side` samples a pixel.
    pub fn reset(&mut self, region: Region, side: i32) {
        self.region = Some(region);
        self.side = side;
        self.width = (region.x1 - region.x0).max(0) * side;
        self.height = (region.y1 - region.y0).max(0) * side;
        let count = (self.width * self.height) as usize;
        self.nearness.clear();
        self.nearness.resize(count, 0.0);
        self.triangle.clear();
        self.triangle.resize(count, NOTHING);
    }

    /// Picture coordinates of a sample of a pixel.
    pub fn sample_px(&self, x: i32, y: i32, i: i32, j: i32) -> [f32; 2] {
        let step = 1.0 / self.side as f32;
        [
            x as f32 - 0.5 + step * (i as f32 + 0.5),
            y as f32 - 0.5 + step * (j as f32 + 0.5),
        ]
    }

    /// The triangle at a sample, and 1 / its depth.
    #[inline]
    pub fn at(&self, x: i32, y: i32, i: i32, j: i32) -> (u32, f32) {
        let Some(region) = self.region else {
            return (NOTHING, 0.0);
        };
        let column = (x - region.x0) * self.side + i;
        let row = (y - region.y0) * self.side + j;
        if column < 0 || row < 0 || column >= self.width || row >= self.height {
            return (NOTHING, 0.0);
        }
        let index = (row * self.width + column) as usize;
        (self.triangle[index], self.nearness[index])
    }

    /// What the four samples of a pixel of the region see, at two samples a side; in the order
    /// (0, 0), (1, 0), (0, 1), (1, 1).
    #[inline]
    pub fn four(&self, x: i32, y: i32) -> ([u32; 4], [f32; 4]) {
        let (x0, y0) = self.region.map_or((0, 0), |region| (region.x0, region.y0));
        let top = ((y - y0) * 2 * self.width + (x - x0) * 2) as usize;
        let bottom = top + self.width as usize;
        let (a, b) = (
            &self.triangle[top..top + 2],
            &self.triangle[bottom..bottom + 2],
        );
        let (c, d) = (
            &self.nearness[top..top + 2],
            &self.nearness[bottom..bottom + 2],
        );
        ([a[0], a[1], b[0], b[1]], [c[0], c[1], d[0], d[1]])
    }

    /// Draws triangles; `projected` are (x px, y px, 1/depth) by vertex, with 0 for vertices that
    /// are behind the camera. Triangle `i` is stored as `first + i`.
    pub fn draw(
        &mut self,
        projected: &[Vec3],
        triangles: &[[u32; 3]],
        first: u32,
        two_sided: bool,
    ) {
        let Some(region) = self.region else {
            return;
        };
        let side = self.side as f32;
        let to_sample = |v: Vec3| {
            (
                (v.x + 0.5 - region.x0 as f32) * side - 0.5,
                (v.y + 0.5 - region.y0 as f32) * side - 0.5,
            )
        };
        for (i, &[a, b, c]) in triangles.iter().enumerate() {
            let (va, mut vb, mut vc) = (
                projected[a as usize],
                projected[b as usize],
                projected[c as usize],
            );
            let mut area = (vb.x - va.x) * (vc.y - va.y) - (vc.x - va.x) * (vb.y - va.y);
            if area <= 0.0 {
                if !two_sided || area == 0.0 {
                    continue;
                }
                core::mem::swap(&mut vb, &mut vc);
                area = -area;
            }
            if va.z <= 0.0 || vb.z <= 0.0 || vc.z <= 0.0 {
                continue;
            }
            let (ax, ay) = to_sample(va);
            let (bx, by) = to_sample(vb);
            let (cx, cy) = to_sample(vc);
            area *= side * side;
            let x_low = ax.min(bx).min(cx).max(0.0);
            let x_high = ax.max(bx).max(cx).min((self.width - 1) as f32);
            let y_low = ay.min(by).min(cy).max(0.0);
            let y_high = ay.max(by).max(cy).min((self.height - 1) as f32);
            let (x0, x1) = ((x_low + 0.999_99) as i32, x_high as i32);
            let (y0, y1) = ((y_low + 0.999_99) as i32, y_high as i32);
            if x_low > x_high || y_low > y_high || x0 > x1 || y0 > y1 {
                continue;
            }
            // Shares of b and c, times the area, and nearness are planes over the picture.
            let inverse = 1.0 / area;
            let near_b = (vb.z - va.z) * inverse;
            let near_c = (vc.z - va.z) * inverse;
            let (c_by_x, b_by_x) = (ay - by, cy - ay);
            let a_by_x = -(b_by_x + c_by_x);
            let is_wide = x1 - x0 > 5;
            for y in y0..y1 + 1 {
                let fy = y as f32;
                let c_row = (bx - ax) * (fy - ay) + ax * (by - ay);
                let b_row = (ax - cx) * (fy - ay) - ax * (cy - ay);
                let (mut from, mut to) = (x0, x1 + 1);
                if is_wide {
                    // Skip what lies outside an edge; the test below settles the ends.
                    let a_row = area - b_row - c_row;
                    for (row, slope) in [(a_row, a_by_x), (b_row, b_by_x), (c_row, c_by_x)] {
                        if slope > 1e-3 {
                            from = from.max((-row / slope) as i32 - 1);
                        } else if slope < -1e-3 {
                            to = to.min((-row / slope) as i32 + 2);
                        }
                    }
                }
                if from >= to {
                    continue;
                }
                let start = (y * self.width) as usize;
                let span = start + from as usize..start + to as usize;
                let nearness = self.nearness[span.clone()].iter_mut();
                let triangle = self.triangle[span].iter_mut();
                let mut fx = from as f32;
                for (stored, seen) in nearness.zip(triangle) {
                    let wc = c_row + fx * c_by_x;
                    let wb = b_row + fx * b_by_x;
                    fx += 1.0;
                    let near = va.z + wb * near_b + wc * near_c;
                    if wb >= 0.0 && wc >= 0.0 && wb + wc <= area && near > *stored {
                        *stored = near;
                        *seen = first + i as u32;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::vec3;

    #[test]
    fn the_nearer_triangle_is_seen() {
        let mut visibility = Visibility::default();
        let region = Region {
            x0: 0,
            y0: 0,
            x1: 8,
            y1: 8,
        };
        visibility.reset(region, 2);
        let square = |near: f32| {
            [
                vec3(-1.0, -1.0, near),
                vec3(9.0, -1.0, near),
                vec3(9.0, 9.0, near),
                vec3(-1.0, 9.0, near),
            ]
        };
        let triangles = [[0, 1, 2], [0, 2, 3]];
        visibility.draw(&square(0.01), &triangles, 0, false);
        visibility.draw(&square(0.02), &triangles, 10, false);
        visibility.draw(&square(0.005), &triangles, 20, false);
        for (x, y) in [(0, 0), (7, 0), (7, 7), (3, 4)] {
            assert!((10..12).contains(&visibility.at(x, y, 1, 1).0));
        }
        assert_eq!(visibility.at(8, 0, 0, 0).0, NOTHING);
    }
}
