//! One person in one room before one camera: geometry that stays, and a frame at a moment.

use gaze_protocol::{PointOfRegard, Timestamp};

use crate::appearance::Appearance;
use crate::background;
use crate::eye::Eye;
use crate::geometry::{Pinhole, Pose, Rotation, Vec3, vec3};
use crate::glasses::Glasses;
use crate::head::HeadShape;
use crate::light::Lighting;
use crate::mesh::{Mesh, Vertex};
use crate::raster::{NOTHING, Region, Visibility};
use crate::script::EventLabel;
use crate::sensor::{Sensor, Shot};
use crate::shade::Shader;
use crate::shadow::ShadowCaster;
use crate::truth::{BlinkTruth, GroundTruth, direction, head_truth, normalising};

/// What moves from frame to frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub at: Timestamp,
    pub head: Pose,
    /// What is looked at; camera axes.
    pub target: Vec3,
    pub por: Option<PointOfRegard>,
    /// Lid opening, 1 as the person holds the eyes.
    pub opening: f32,
    pub label: EventLabel,
    pub blink: Option<BlinkTruth>,
    pub noise_seed: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PartKind {
    Head,
    Ear,
    Hair,
    Body,
    Temple,
}

pub(crate) struct Part {
    pub kind: PartKind,
    pub mesh: Mesh,
    /// Id of its first triangle.
    pub first: u32,
    pub two_sided: bool,
    pub projected: Vec<Vec3>,
    /// Share of the first lamp that reaches each vertex.
    pub lit: Vec<f32>,
}

pub(crate) struct Scene {
    pub appearance: Appearance,
    pub shape: HeadShape,
    pub lighting: Lighting,
    pub sensor: Sensor,
    pub camera: Pinhole,
    pub glasses: Option<Glasses>,
    /// Render only this many face measures around the face's middle; none for all.
    pub reach: Option<f32>,
    parts: Vec<Part>,
    visibility: Visibility,
    shadows: ShadowCaster,
    room: Vec<f32>,
    light: Vec<f32>,
    scratch: Vec<f32>,
}

impl Scene {
    pub fn new(
        appearance: Appearance,
        lighting: Lighting,
        sensor: Sensor,
        camera: Pinhole,
        room_seed: u64,
    ) -> Self {
        let shape = HeadShape::new(&appearance);
        let glasses = appearance
            .glasses
            .map(|g| Glasses::new(g, appearance.ipd_mm));
        let mut meshes = vec![
            (PartKind::Head, shape.mesh(), false),
            (PartKind::Ear, shape.ear(-1.0), false),
            (PartKind::Ear, shape.ear(1.0), false),
            (PartKind::Body, shape.body(), false),
        ];
        if let Some(hair) = shape.long_hair() {
            meshes.push((PartKind::Hair, hair, true));
        }
        if let Some(glasses) = &glasses {
            for side in [-1.0, 1.0] {
                meshes.push((PartKind::Temple, temple(glasses, side), true));
            }
        }
        let mut first = 0;
        let parts = meshes
            .into_iter()
            .map(|(kind, mesh, two_sided)| {
                let part = Part {
                    kind,
                    first,
                    two_sided,
                    projected: Vec::new(),
                    lit: vec![1.0; mesh.vertices.len()],
                    mesh,
                };
                first += part.mesh.triangles.len() as u32;
                part
            })
            .collect();
        let mut room = Vec::new();
        let room_light = lighting.ambient + 0.3 * lighting.lamps[0].intensity;
        background::paint(
            room_seed,
            camera.width_px,
            camera.height_px,
            room_light,
            &mut room,
        );
        Scene {
            appearance,
            shape,
            lighting,
            sensor,
            camera,
            glasses,
            reach: None,
            parts,
            visibility: Visibility::default(),
            shadows: ShadowCaster::default(),
            room,
            light: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Renders a moment into `luma` (row-major, one byte a pixel).
    pub fn render(&mut self, moment: &Moment, luma: &mut [u8]) -> GroundTruth {
        let eyes = self.eyes(moment);
        let mut truth = self.truth(moment, &eyes);
        let window = self.window(&truth);
        let body = self.body_pose(&moment.head);
        let region = self.project(&moment.head, &body).intersection(window);
        // Small faces need the finer grid; on large ones a pixel is smaller than any detail.
        let pixel_mm = moment.head.position.z / self.camera.focal_px;
        let side = if pixel_mm > 0.33 { 2 } else { 1 };
        self.visibility.reset(region, side);
        for part in &self.parts {
            self.visibility.draw(
                &part.projected,
                &part.mesh.triangles,
                part.first,
                part.two_sided,
            );
        }
        let lamp = moment
            .head
            .rotation
            .inverse_apply(self.lighting.lamps[0].direction);
        self.shadows.cast(&mut self.parts, lamp);
        truth.visible = [0, 1].map(|i| self.is_visible(&eyes[i], &moment.head));
        let mut light = core::mem::take(&mut self.light);
        light.clear();
        let pitch = self.camera.width_px as usize;
        for y in window.y0..window.y1 {
            let start = y as usize * pitch + window.x0 as usize;
            light.extend_from_slice(&self.room[start..start + window.width()]);
        }
        let shader = Shader::new(
            self,
            &self.parts,
            &self.visibility,
            &eyes,
            moment.head,
            body,
            pixel_mm / side as f32,
        );
        shader.paint(region, window, side, &mut light);
        let exposure = self.exposure(&moment.head);
        let shot = Shot {
            window,
            size_px: [self.camera.width_px, self.camera.height_px],
            exposure,
            noise_seed: moment.noise_seed,
        };
        self.sensor
            .develop(&shot, &mut light, &mut self.scratch, luma);
        self.light = light;
        truth
    }

    /// The part of the picture that is rendered.
    fn window(&self, truth: &GroundTruth) -> Region {
        let (width, height) = (self.camera.width_px as i32, self.camera.height_px as i32);
        let whole = Region {
            x0: 0,
            y0: 0,
            x1: width,
            y1: height,
        };
        let Some(reach) = self.reach else {
            return whole;
        };
        let (middle, measure) = truth.face_middle_px();
        let half = reach * measure;
        Region {
            x0: (middle[0] - half) as i32 - 1,
            y0: (middle[1] - half) as i32 - 1,
            x1: (middle[0] + half) as i32 + 2,
            y1: (middle[1] + half) as i32 + 2,
        }
        .intersection(whole)
    }

    fn eyes(&self, moment: &Moment) -> [Eye; 2] {
        let target = moment.head.to_local(moment.target);
        [0, 1].map(|i| {
            let centre = self.shape.eye_centres[i];
            Eye::new(
                &self.appearance,
                if i == 0 { -1.0 } else { 1.0 },
                centre,
                (target - centre).unit(),
                moment.opening,
            )
        })
    }

    /// The shoulders turn less than the head.
    fn body_pose(&self, head: &Pose) -> Pose {
        let [yaw, pitch, roll] = head.rotation.angles();
        Pose {
            position: head.to_camera(self.shape.neck_joint()),
            rotation: Rotation::from_angles(0.25 * yaw, 0.15 * pitch - 0.05, 0.3 * roll),
        }
    }

    /// Projects all vertices; returns the pixels they may touch.
    fn project(&mut self, head: &Pose, body: &Pose) -> Region {
        let [cx, cy] = self.camera.principal_px();
        let focal = self.camera.focal_px;
        let mut low = [f32::MAX; 2];
        let mut high = [f32::MIN; 2];
        for part in &mut self.parts {
            let pose = if part.kind == PartKind::Body {
                body
            } else {
                head
            };
            part.projected.clear();
            part.projected
                .extend(part.mesh.vertices.iter().map(|vertex| {
                    let p = pose.to_camera(vertex.position);
                    if p.z < 50.0 {
                        return Vec3::default();
                    }
                    let near = 1.0 / p.z;
                    let x = cx + focal * p.x * near;
                    let y = cy + focal * p.y * near;
                    low = [low[0].min(x), low[1].min(y)];
                    high = [high[0].max(x), high[1].max(y)];
                    vec3(x, y, near)
                }));
        }
        let clip = |value: f32, limit: u32| (value as i32).clamp(0, limit as i32);
        let (w, h) = (self.camera.width_px, self.camera.height_px);
        Region {
            x0: clip(low[0] - 2.0, w),
            y0: clip(low[1] - 2.0, h),
            x1: clip(high[0] + 3.0, w),
            y1: clip(high[1] + 3.0, h),
        }
    }

    /// From luminance to the tone curve's input: the face gets the brightness that the sensor
    /// aims at, darker for darker skin.
    fn exposure(&self, head: &Pose) -> f32 {
        let facing = -head.rotation.column(2);
        let light = self.lighting.on(head.position, facing).max(0.02);
        let face = self.appearance.skin_tone * light;
        let aim = self.sensor.face_input();
        let relative = libm::powf(self.appearance.skin_tone / 0.25, 0.45);
        aim * relative / face
    }

    fn truth(&self, moment: &Moment, eyes: &[Eye; 2]) -> GroundTruth {
        let head = &moment.head;
        let at = |p: Vec3| self.camera.project(head.to_camera(p));
        let mut landmarks = [[0.0; 2]; 49];
        for (i, eye) in eyes.iter().enumerate() {
            for (k, &place) in eye.lids.contour().iter().enumerate() {
                let [x, y] = eye.face_xy(place);
                landmarks[16 * i + k] = at(self.shape.front_point(x, y));
            }
            for (k, &p) in eye.iris_points().iter().enumerate() {
                landmarks[32 + 5 * i + k] = at(p);
            }
        }
        let marks = self.shape.marks();
        for (k, &p) in marks.face.iter().enumerate() {
            landmarks[42 + k] = at(p);
        }
        let mut low = [f32::MAX; 2];
        let mut high = [f32::MIN; 2];
        for &p in &marks.outline {
            let [x, y] = at(p);
            low = [low[0].min(x), low[1].min(y)];
            high = [high[0].max(x), high[1].max(y)];
        }
        let centres = eyes.each_ref().map(|eye| head.to_camera(eye.centre));
        let gaze = direction(head.position, moment.target);
        let mut truth = GroundTruth {
            at: moment.at,
            size_px: [self.camera.width_px, self.camera.height_px],
            focal_px: self.camera.focal_px,
            gaze,
            eye_gaze: centres.map(|centre| direction(centre, moment.target)),
            gaze_normalised: gaze,
            target_mm: moment.target.to_array(),
            por: moment.por,
            head: head_truth(head),
            head_normalised_rad: [0.0; 3],
            landmarks_px: landmarks,
            pupils_px: eyes.each_ref().map(|eye| at(eye.pupil_middle())),
            openness: eyes.each_ref().map(|eye| eye.lids.openness()),
            visible: [false; 2],
            face_box_px: [low[0], low[1], high[0] - low[0], high[1] - low[1]],
            label: moment.label,
            blink: moment.blink,
            has_glasses: self.glasses.is_some(),
        };
        let normal = normalising(&self.camera, truth.eye_centres_px());
        let sight: Vec3 = gaze.to_vector().into();
        truth.gaze_normalised =
            gaze_protocol::GazeAngles::from_vector(normal.apply(sight).to_array());
        truth.head_normalised_rad = normal.times(&head.rotation).angles();
        truth
    }

    /// Whether most of the eye's opening is in the picture with nothing in front of it.
    fn is_visible(&self, eye: &Eye, head: &Pose) -> bool {
        if self
            .glasses
            .as_ref()
            .is_some_and(|g| g.appearance.tint > 0.75)
        {
            return false;
        }
        let shares = [0.12, 0.3, 0.5, 0.7, 0.88];
        let seen = shares
            .iter()
            .filter(|&&share| {
                let upper = eye.lids.margin(true, share);
                let lower = eye.lids.margin(false, share);
                let [x, y] = eye.face_xy([upper[0], 0.5 * (upper[1] + lower[1])]);
                let point = head.to_camera(self.shape.front_point(x, y));
                let [px, py] = self.camera.project(point);
                let (column, row) = ((px + 0.5).floor() as i32, (py + 0.5).floor() as i32);
                let (triangle, near) = self.visibility.at(column, row, 0, 0);
                triangle != NOTHING && 1.0 / near > point.z - 4.0
            })
            .count();
        seen >= 4
    }
}

impl Part {
    /// A triangle's vertices and the share of each at a pixel. Pixels outside it get shares that
    /// go on beyond its edges.
    #[inline]
    pub fn weights(&self, triangle: u32, [x, y]: [f32; 2]) -> ([u32; 3], [f32; 3]) {
        let corners = self.mesh.triangles[(triangle - self.first) as usize];
        let [a, b, c] = corners.map(|i| self.projected[i as usize]);
        let area = (b.x - a.x) * (c.y - a.y) - (c.x - a.x) * (b.y - a.y);
        let inverse = if area.abs() > 1e-6 { 1.0 / area } else { 0.0 };
        let wc = ((b.x - a.x) * (y - a.y) - (x - a.x) * (b.y - a.y)) * inverse;
        let wb = ((x - a.x) * (c.y - a.y) - (c.x - a.x) * (y - a.y)) * inverse;
        let (wb, wc) = (wb.clamp(-1.0, 2.0), wc.clamp(-1.0, 2.0));
        // Perspective: shares on the surface are weighted by nearness.
        let raw = [(1.0 - wb - wc) * a.z, wb * b.z, wc * c.z];
        let sum: f32 = raw.iter().sum();
        (corners, raw.map(|w| w / sum))
    }

    pub fn vertices(&self, corners: [u32; 3]) -> [&Vertex; 3] {
        corners.map(|i| &self.mesh.vertices[i as usize])
    }
}

/// A temple of the spectacles: a ribbon from the front to the ear.
fn temple(glasses: &Glasses, side: f32) -> Mesh {
    let (start, end) = glasses.temple(side);
    let half = 1.2 + 0.5 * glasses.appearance.rim;
    let mut points = Vec::new();
    for edge in [-half, half] {
        for step in 0..=8 {
            let t = step as f32 / 8.0;
            // The hinge bends at once, then the temple runs straight.
            let p = start + (end - start) * t + vec3(side * 2.0 * (t * (1.0 - t)) * 4.0, 0.0, 0.0);
            points.push((p + vec3(0.0, edge, 0.0), 1.0));
        }
    }
    Mesh::grid(points, 2, 9, false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::light::ScreenLight;

    /// A person at 45 cm in even light with nothing to mirror, grey eyes wide open, before a
    /// camera without blur or noise.
    fn plain_scene(seed: u64) -> Scene {
        let mut appearance = Appearance::from_seed(seed);
        appearance.glasses = None;
        appearance.iris_tone = 0.15;
        appearance.limbus_dark = 0.3;
        appearance.iris_contrast = 0.1;
        appearance.pupil_radius = 1.8;
        appearance.lash_length = 3.0;
        for eye in &mut appearance.eyes {
            eye.upper_margin = 6.0;
            eye.lower_margin = 6.0;
        }
        let mut lighting = Lighting::from_seed(seed, [531.0, 299.0]);
        lighting.ambient = 1.0;
        lighting.screen = ScreenLight {
            size_mm: [531.0, 299.0],
            radiance: 0.3,
        };
        for lamp in &mut lighting.lamps {
            lamp.intensity = 0.0;
        }
        let mut sensor = Sensor::from_seed(seed);
        sensor.noise_levels = 0.0;
        sensor.blur_px = 0.0;
        let camera = Pinhole {
            width_px: 1280,
            height_px: 960,
            focal_px: 1280.0,
        };
        Scene::new(appearance, lighting, sensor, camera, seed)
    }

    fn looking_at(target: Vec3) -> Moment {
        Moment {
            at: Timestamp(0),
            head: Pose {
                position: vec3(10.0, 30.0, 450.0),
                rotation: Rotation::from_angles(0.05, -0.04, 0.03),
            },
            target,
            por: None,
            opening: 1.0,
            label: EventLabel::Fixation,
            blink: None,
            noise_seed: 1,
        }
    }

    #[test]
    fn the_pupil_is_drawn_where_the_truth_puts_it() {
        let mut luma = vec![0u8; 1280 * 960];
        for seed in 0..6 {
            let mut scene = plain_scene(seed);
            for (x, y) in [(0.0, 0.0), (150.0, 40.0), (-150.0, 40.0), (0.0, 100.0)] {
                let truth = scene.render(&looking_at(vec3(x, y, 0.0)), &mut luma);
                for (i, pupil) in truth.pupils_px.iter().enumerate() {
                    let [px, py] = pupil.map(|v| v.round() as usize);
                    let level = |x: usize, y: usize| f32::from(luma[y * 1280 + x]);
                    // Half way from the pupil's level to the iris's, where that is darkest.
                    let iris_level = level(px - 8, py)
                        .min(level(px + 8, py))
                        .min(level(px, py + 8));
                    let limit = 0.5 * (level(px, py) + iris_level);
                    let mut sum = [0.0f32; 2];
                    let mut weights = 0.0;
                    for row in py - 8..=py + 8 {
                        for column in px - 8..=px + 8 {
                            let (dx, dy) = (column as f32 - pupil[0], row as f32 - pupil[1]);
                            // Beyond lie lashes, where the lids cut across.
                            if dx * dx + dy * dy > 49.0 {
                                continue;
                            }
                            let weight = (limit - level(column, row)).max(0.0);
                            sum[0] += weight * column as f32;
                            sum[1] += weight * row as f32;
                            weights += weight;
                        }
                    }
                    let found = sum.map(|s| s / weights);
                    let off = libm::hypotf(found[0] - pupil[0], found[1] - pupil[1]);
                    let iris = truth.landmarks_px[32 + 5 * i];
                    let apart = libm::hypotf(iris[0] - pupil[0], iris[1] - pupil[1]);
                    // Shade of the lids and glints pull by a share of a pixel; 1 mm is 2.8 px.
                    assert!(off < 0.7, "seed {seed}, target {x} {y}, eye {i}: {off} px");
                    assert!(apart < 1.0, "{apart} px");
                }
            }
        }
    }
}
