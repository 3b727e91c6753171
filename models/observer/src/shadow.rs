//! Which places of the head the first lamp reaches: nose, brow, hair and spectacles cast shade.

use gaze_protocol::GazeAngles;

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
const BIAS: f32 = 3.5;

/// Scratch for casting, kept from frame to frame.
#[derive(Default)]
pub(crate) struct ShadowCaster {
    map: Visibility,
    seen: Vec<Vec3>,
    /// The direction, in steps, that `lit` stands for.
    cast_for: Option<[i32; 2]>,
}

/// Directions of the lamp are rounded to this, so that most frames can keep the shade of the
/// one before, and frames asked for in another order still come out the same; radians (1°).
const STEP_RAD: f32 = 0.0175;

impl ShadowCaster {
    /// Sets `lit` of all parts of the head for a lamp in a head-local direction.
    pub fn cast(&mut self, parts: &mut [Part], lamp: Vec3) {
        let angles = GazeAngles::from_vector(lamp.to_array());
        let steps =
            [angles.yaw_rad, angles.pitch_rad].map(|angle| libm::roundf(angle / STEP_RAD) as i32);
        if self.cast_for == Some(steps) {
            return;
        }
        self.cast_for = Some(steps);
        let [yaw_rad, pitch_rad] = steps.map(|step| step as f32 * STEP_RAD);
        let lamp: Vec3 = GazeAngles { yaw_rad, pitch_rad }.to_vector().into();
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
                // Where light grazes, one cell spans more depth.
                let cosine = vertex.normal.dot(lamp).max(0.17);
                let slope = (1.0 - cosine * cosine).max(0.0).sqrt() / cosine;
                *lit = self.share(place(vertex.position), BIAS + 1.5 * CELL * slope);
            }
        }
    }

    /// Share of the lamp's light at a place of its picture: cells around it, weighted so that
    /// the edge of shade is smooth, as a lamp of some size makes it.
    fn share(&self, at: Vec3, bias: f32) -> f32 {
        let (sx, sy) = (at.x + 511.5, at.y + 511.5);
        let (ix, iy) = (sx as i32, sy as i32);
        let (fx, fy) = (sx - ix as f32, sy - iy as f32);
        let across = [1.0 - fx, 1.0, 1.0, fx];
        let down = [1.0 - fy, 1.0, 1.0, fy];
        let mut lit = 0.0;
        for (j, wy) in (-1..).zip(down) {
            for (i, wx) in (-1..).zip(across) {
                let (triangle, nearest) = self.map.at(ix - 511 + i, iy - 511 + j, 0, 0);
                if triangle == NOTHING || nearest < at.z + bias {
                    lit += wx * wy;
                }
            }
        }
        // Light comes back from all around, so shade is never complete.
        const DEEPEST: f32 = 0.12;
        DEEPEST + (1.0 - DEEPEST) * lit * (1.0 / 9.0)
    }
}
