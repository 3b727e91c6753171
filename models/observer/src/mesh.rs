//! Triangle meshes over grids.

use crate::geometry::{Vec3, vec3};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Vertex {
    pub position: Vec3,
    /// Unit, outwards.
    pub normal: Vec3,
    /// Share of the surroundings that the point sees, 0..1.
    pub openness: f32,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Mesh {
    pub vertices: Vec<Vertex>,
    pub triangles: Vec<[u32; 3]>,
}

impl Mesh {
    /// A surface through `rows` × `columns` points, row-major; the columns run to the right and
    /// the rows down when seen from outside. `wraps`: the last column joins the first.
    pub fn grid(points: Vec<(Vec3, f32)>, rows: usize, columns: usize, wraps: bool) -> Mesh {
        let at = |row: usize, column: usize| points[row * columns + column].0;
        let mut vertices = Vec::with_capacity(points.len());
        for row in 0..rows {
            for column in 0..columns {
                let (left, right) = if wraps {
                    ((column + columns - 1) % columns, (column + 1) % columns)
                } else {
                    (column.saturating_sub(1), (column + 1).min(columns - 1))
                };
                let along = at(row, right) - at(row, left);
                let down = at((row + 1).min(rows - 1), column) - at(row.saturating_sub(1), column);
                // Outwards: x right, y down, z away, seen from −z.
                let normal = down.cross(along);
                let (position, openness) = points[row * columns + column];
                vertices.push(Vertex {
                    position,
                    normal: normal.unit(),
                    openness,
                });
            }
        }
        let mut triangles = Vec::with_capacity(2 * rows * columns);
        for row in 0..rows - 1 {
            let last = if wraps { columns } else { columns - 1 };
            for column in 0..last {
                let next = (column + 1) % columns;
                let [a, b] = [row * columns + column, row * columns + next].map(|i| i as u32);
                let [c, d] =
                    [(row + 1) * columns + column, (row + 1) * columns + next].map(|i| i as u32);
                triangles.push([a, b, d]);
                triangles.push([a, d, c]);
            }
        }
        Mesh {
            vertices,
            triangles,
        }
    }

    /// An ellipsoid with half axes along x, y, z.
    pub fn ellipsoid(centre: Vec3, half: Vec3, rows: usize, columns: usize) -> Mesh {
        let mut points = Vec::with_capacity(rows * columns);
        for row in 0..rows {
            let elevation = core::f32::consts::PI * row as f32 / (rows - 1) as f32;
            let (ring, height) = libm::sincosf(elevation);
            for column in 0..columns {
                let turn = core::f32::consts::TAU * column as f32 / columns as f32;
                let (sine, cosine) = libm::sincosf(turn);
                points.push((
                    centre
                        + vec3(
                            half.x * ring * sine,
                            -half.y * height,
                            -half.z * ring * cosine,
                        ),
                    1.0,
                ));
            }
        }
        Mesh::grid(points, rows, columns, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normals_of_an_ellipsoid_point_outwards() {
        let mesh = Mesh::ellipsoid(vec3(1.0, 2.0, 3.0), vec3(5.0, 6.0, 7.0), 9, 16);
        for vertex in &mesh.vertices[16..mesh.vertices.len() - 16] {
            let outwards = vertex.position - vec3(1.0, 2.0, 3.0);
            assert!(vertex.normal.dot(outwards) > 0.0);
        }
    }
}
