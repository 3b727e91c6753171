//! Which places of the head the first lamp reaches: nose, brow, hair and spectacles cast shade.

use crate::geometry::{Vec3, vec3};
use crate::raster::{NOTHING, Region, Visibility};
use crate::scene::{Part, PartKind};

/// Size of a cell of the lamp's picture, mm.
const CELL: f32 = 2.2;
/// Cells each way from the middle.
const HALF: i32 = 64;
/// Depths are kept positive by this, mm.
const OFFSET: f32 = 2000.0;
/// A surface this far behind the nearest one is still lit: shade should not fall on its own
/// caster. mm.
const BIAS: f32 = 4.0;

/// Scratch for casting, kept from frame to frame.
#[derive(Default)]
pub(crate) struct ShadowCaster {
    map: Visibility,
    seen: Vec<Vec3>,
}

impl ShadowCaster {
    /// Sets `lit` of all parts of the head for a lamp in a head-local direction.
    pub fn cast(&mut self, parts: &mut [Part], lamp: Vec3) {
        let forward = -lamp;
        // Any axis that is not along the lamp will do for "up".
        let up = if lamp.y.abs() < 0.9 {
            vec3(0.0, 1.0, 0.0)
        } else {
            vec3(1.0, 0.0, 0.0)
        };
        let across = up.cross(forward).unit();
        let down = forward.cross(across);
        let middle = vec3(0.0, 5.0, 60.0);
        let region = Region {
            x0: -HALF,
            y0: -HALF,
            x1: HALF,
            y1: HALF,
        };
        let place = |p: Vec3| {
            let q = p - middle;
            vec3(
                q.dot(across) / CELL,
                q.dot(down) / CELL,
                OFFSET - q.dot(forward),
            )
        };
        self.map.reset(region, 1);
        for part in parts.iter().filter(|part| part.kind != PartKind::Body) {
            self.seen.clear();
            self.seen.extend(
                part.mesh
                    .vertices
                    .iter()
                    .map(|vertex| place(vertex.position)),
            );
            self.map
                .draw(&self.seen, &part.mesh.triangles, part.first, part.two_sided);
        }
        for part in parts.iter_mut().filter(|part| part.kind != PartKind::Body) {
            for (vertex, lit) in part.mesh.vertices.iter().zip(&mut part.lit) {
                if vertex.normal.dot(lamp) <= 0.0 {
                    // Turned away: no light falls there anyway, and a soft edge wants no cut.
                    *lit = 1.0;
                    continue;
                }
                *lit = self.share(place(vertex.position));
            }
        }
    }

    fn share(&self, at: Vec3) -> f32 {
        let (x, y) = ((at.x + 512.5) as i32 - 512, (at.y + 512.5) as i32 - 512);
        let mut lit = 0.0;
        for j in -1..=1 {
            for i in -1..=1 {
                let (triangle, nearest) = self.map.at(x + i, y + j, 0, 0);
                if triangle == NOTHING || nearest < at.z + BIAS {
                    lit += 1.0;
                }
            }
        }
        lit * (1.0 / 9.0)
    }
}
