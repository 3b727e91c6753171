//! The brightness of each pixel that the person covers.

use crate::eye::{Eye, EyeLight};
use crate::geometry::{Pose, Vec3, mix, smoothstep, vec3};
use crate::light::LocalLighting;
use crate::random::noise;
use crate::raster::{NOTHING, Region, Visibility};
use crate::scene::{Part, PartKind, Scene};
use crate::skin::{Skin, Surface};

pub(crate) struct Shader<'a> {
    scene: &'a Scene,
    parts: &'a [Part],
    visibility: &'a Visibility,
    eyes: &'a [Eye; 2],
    head: Pose,
    head_light: LocalLighting,
    body_light: LocalLighting,
    /// The camera in head-local axes.
    origin: Vec3,
    skin: Skin<'a>,
    /// Size of a sample on the face, mm.
    footprint: f32,
    /// Pixels that spectacles may cover: x0, y0, x1, y1.
    glasses_box: Option<[i32; 4]>,
    /// Pixels where the lids' opening and lashes are.
    eye_boxes: [[i32; 4]; 2],
}

fn is_within(bounds: Option<[i32; 4]>, x: i32, y: i32) -> bool {
    bounds.is_some_and(|[x0, y0, x1, y1]| x >= x0 && x <= x1 && y >= y0 && y <= y1)
}

/// A point of a mesh as a sample sees it, in the part's own axes.
struct Spot {
    position: Vec3,
    normal: Vec3,
    openness: f32,
    lit: f32,
}

impl<'a> Shader<'a> {
    pub fn new(
        scene: &'a Scene,
        parts: &'a [Part],
        visibility: &'a Visibility,
        eyes: &'a [Eye; 2],
        head: Pose,
        body: Pose,
        footprint: f32,
    ) -> Self {
        let bounds = |centre: Vec3, half: Vec3| {
            let mut bounds = [i32::MAX, i32::MAX, i32::MIN, i32::MIN];
            for i in 0..8 {
                let sign = |bit: i32| if i & bit == 0 { -1.0 } else { 1.0 };
                let corner = vec3(half.x * sign(1), half.y * sign(2), half.z * sign(4));
                let [px, py] = scene.camera.project(head.to_camera(centre + corner));
                let (x, y) = (px as i32, py as i32);
                bounds = [
                    bounds[0].min(x - 1),
                    bounds[1].min(y - 1),
                    bounds[2].max(x + 1),
                    bounds[3].max(y + 1),
                ];
            }
            bounds
        };
        let glasses_box = scene.glasses.as_ref().map(|glasses| {
            let a = &glasses.appearance;
            let x = 0.5 * scene.shape.ipd + a.half_width + 6.0;
            let y = a.half_height + 9.0;
            bounds(vec3(0.0, a.down, -a.forward), vec3(x, y, 6.0))
        });
        let eye_boxes = scene.shape.eye_centres.map(|centre| {
            let middle = centre + vec3(0.0, 1.0, -8.0);
            bounds(middle, vec3(17.0, 9.5, 6.0))
        });
        Shader {
            scene,
            parts,
            visibility,
            eyes,
            head,
            head_light: scene.lighting.local(&head.rotation, head.position),
            body_light: scene.lighting.local(&body.rotation, body.position),
            origin: head.to_local(Vec3::default()),
            skin: Skin {
                appearance: &scene.appearance,
                shape: &scene.shape,
                footprint,
            },
            footprint,
            glasses_box,
            eye_boxes,
        }
    }

    /// Adds the person to `light`, which holds the room within `window`.
    pub fn paint(&self, region: Region, window: Region, side: i32, light: &mut [f32]) {
        let width = window.width();
        for y in region.y0..region.y1 {
            for x in region.x0..region.x1 {
                let index = (y - window.y0) as usize * width + (x - window.x0) as usize;
                let (behind, near) = self.pixel(x, y, side, light[index]);
                light[index] = if is_within(self.glasses_box, x, y) {
                    self.through_glasses(behind, near, [x as f32, y as f32], side)
                } else {
                    behind
                };
            }
        }
    }

    /// The person or the room at a pixel, without spectacles, and 1 / its depth.
    fn pixel(&self, x: i32, y: i32, side: i32, room: f32) -> (f32, f32) {
        let middle = [x as f32, y as f32];
        if side == 1 {
            let (triangle, near) = self.visibility.at(x, y, 0, 0);
            return (self.sample(triangle, middle, room), near);
        }
        let (triangles, nears) = self.visibility.four(x, y);
        let (first, near) = (triangles[0], nears[0]);
        if triangles == [NOTHING; 4] {
            return (room, 0.0);
        }
        let part = self.part_index(first);
        let is_plain = (1..4).all(|i| {
            (triangles[i] == first || self.part_index(triangles[i]) == part)
                && (nears[i] - near).abs() < 0.006 * near
        });
        if is_plain
            && !self
                .eye_boxes
                .iter()
                .any(|&zone| is_within(Some(zone), x, y))
        {
            return (self.sample(first, middle, room), near);
        }
        let mut sum = 0.0;
        for (k, &triangle) in triangles.iter().enumerate() {
            let k = k as i32;
            let at = self.visibility.sample_px(x, y, k & 1, k >> 1);
            sum += self.sample(triangle, at, room);
        }
        (0.25 * sum, near)
    }

    fn part_index(&self, triangle: u32) -> usize {
        if triangle == NOTHING {
            return usize::MAX;
        }
        self.parts
            .iter()
            .rposition(|part| part.first <= triangle)
            .unwrap_or(0)
    }

    fn spot(&self, part: &Part, triangle: u32, at: [f32; 2]) -> Spot {
        let (corners, weights) = part.weights(triangle, at);
        let [a, b, c] = part.vertices(corners);
        let [wa, wb, wc] = weights;
        let [la, lb, lc] = corners.map(|i| part.lit[i as usize]);
        Spot {
            position: a.position * wa + b.position * wb + c.position * wc,
            normal: (a.normal * wa + b.normal * wb + c.normal * wc).unit(),
            openness: a.openness * wa + b.openness * wb + c.openness * wc,
            lit: la * wa + lb * wb + lc * wc,
        }
    }

    fn sample(&self, triangle: u32, at: [f32; 2], room: f32) -> f32 {
        let Some(part) = self.parts.get(self.part_index(triangle)) else {
            return room;
        };
        let spot = self.spot(part, triangle, at);
        match part.kind {
            PartKind::Head => self.head(&spot, at),
            PartKind::Ear => self.ear(&spot),
            PartKind::Hair => self.hair(&spot),
            PartKind::Body => self.body(&spot),
            PartKind::Temple => self.temple(&spot),
        }
    }

    /// Lays lens and frame over what is behind them. Their edges are soft over a pixel, so one
    /// ray will do.
    fn through_glasses(&self, behind: f32, near: f32, at: [f32; 2], side: i32) -> f32 {
        let Some(glasses) = &self.scene.glasses else {
            return behind;
        };
        let towards = self.towards(at);
        let pixel = self.footprint * side as f32;
        let Some(hit) = glasses.hit(self.origin, towards, pixel) else {
            return behind;
        };
        let depth = self.head.to_camera(hit.point).z;
        if depth * near > 1.0 {
            return behind;
        }
        let a = &glasses.appearance;
        let mirrored = glasses.mirrored(
            &hit,
            towards,
            &self.scene.lighting,
            &self.head,
            self.footprint,
        );
        let seen = behind * (1.0 - a.tint * hit.lens) + mirrored * hit.lens;
        if hit.frame <= 0.0 {
            return seen;
        }
        let rim_light = self.head_light.on(hit.normal, 1.0, 1.0);
        let shine = 0.25 * self.head_light.highlight(hit.normal, 1.0);
        mix(seen, a.rim_tone * rim_light + shine, hit.frame)
    }

    /// The direction of a pixel's ray, unit, head-local.
    fn towards(&self, at: [f32; 2]) -> Vec3 {
        self.head
            .rotation
            .inverse_apply(self.scene.camera.ray(at).unit())
    }

    fn lit(&self, spot: &Spot) -> f32 {
        match &self.scene.glasses {
            Some(glasses) if spot.position.z < 30.0 => {
                spot.lit * glasses.lets_through(spot.position, self.head_light.first_direction())
            }
            _ => spot.lit,
        }
    }

    fn head(&self, spot: &Spot, at: [f32; 2]) -> f32 {
        let p = spot.position;
        let lit = self.lit(spot);
        let mut surface = self.skin.at(p);
        let eye = &self.eyes[if p.x < 0.0 { 0 } else { 1 }];
        let socket = eye.socket(p);
        let is_near_eye =
            p.z < 25.0 && (-26.0..36.0).contains(&socket[0]) && (-34.0..26.0).contains(&socket[1]);
        if !is_near_eye || surface.is_hair {
            return self.lit_skin(spot, &surface, lit);
        }
        let towards = self.towards(at);
        let place = eye.lids.place(socket[0], socket[1]);
        let is_between = (0.0..1.0).contains(&place.share);
        let inside = place.below_upper.min(place.above_lower);
        let soft = 0.7 * self.footprint.max(0.12);
        let opening = if is_between {
            smoothstep(-soft, soft, inside)
        } else {
            0.0
        };
        let mut out = 0.0;
        if opening < 1.0 {
            self.skin.around_eye(eye, socket, place, &mut surface);
            out += (1.0 - opening) * self.lit_skin(spot, &surface, lit);
        }
        if opening > 0.0 {
            let skin_light = self
                .head_light
                .wrapped(spot.normal, spot.openness * 0.85, lit, 0.3);
            let light = EyeLight {
                appearance: &self.scene.appearance,
                lighting: &self.scene.lighting,
                local: &self.head_light,
                pose: &self.head,
                footprint: self.footprint,
                skin_light,
                lit,
            };
            let mut inner = eye.shade(self.origin, towards, place, &light);
            inner = self.lid_edges(eye, place, inner, skin_light, spot, towards);
            out += opening * inner;
        }
        if place.below_upper > -12.0 && place.above_lower > -6.0 {
            let lean = -towards.y / towards.z.max(0.2);
            let cover = self.skin.lashes(eye, place, lean);
            out *= 1.0 - cover;
            out += cover * 0.012 * self.head_light.on(spot.normal, 0.7, lit);
        }
        out
    }

    /// The moist edge of the lower lid, two millimetres of skin that face up, and the tear line
    /// on it; on the upper lid the edge is hidden by lashes and shade.
    fn lid_edges(
        &self,
        eye: &Eye,
        place: crate::lids::LidPlace,
        inner: f32,
        skin_light: f32,
        spot: &Spot,
        towards: Vec3,
    ) -> f32 {
        let a = &self.scene.appearance;
        // Seen from above the edge shows wide, from below not at all.
        let from_above = (towards.y * 1.6 + 0.55).clamp(0.1, 1.3);
        let reach = 1.15
            * from_above
            * smoothstep(0.03, 0.25, place.share)
            * (1.0 - smoothstep(0.93, 1.0, place.share));
        let soft = 0.25 + 0.5 * self.footprint;
        let edge = 1.0 - smoothstep(reach - soft, reach + soft, place.above_lower + 0.5 * soft);
        let edge = edge * (reach / (reach + soft));
        let tone = mix(a.skin_tone * 1.12, 0.42, 0.35) * (1.0 - 0.6 * a.eyeliner);
        let wet = 0.10 * self.head_light.highlight(vec3(0.0, -0.6, -0.8), spot.lit);
        let lower = tone * skin_light * 1.05 + wet;
        let mut out = mix(inner, lower, edge);
        let line = (place.above_lower - reach - 0.15) / (0.18 + 0.5 * self.footprint);
        let tears = crate::geometry::bell(0.5 * line * line) / (1.0 + 3.0 * self.footprint);
        out += 0.05 * tears * skin_light * eye.lids.opening;
        out
    }

    fn lit_skin(&self, spot: &Spot, surface: &Surface, lit: f32) -> f32 {
        let [bx, by] = surface.bump;
        let normal = if bx != 0.0 || by != 0.0 {
            (spot.normal + vec3(bx, by, 0.0)).unit()
        } else {
            spot.normal
        };
        let wrap = if surface.is_hair { 0.1 } else { 0.25 };
        let diffuse = surface.tone * self.head_light.wrapped(normal, spot.openness, lit, wrap);
        let shine = 0.11 * surface.gloss * spot.openness;
        diffuse + shine * self.head_light.highlight(normal, lit)
    }

    fn ear(&self, spot: &Spot) -> f32 {
        let a = &self.scene.appearance;
        let p = spot.position;
        let fold = noise().fractal(p.y * 0.13, p.z * 0.13);
        let surface = Surface {
            tone: a.skin_tone * (0.82 + 0.28 * fold),
            gloss: 0.5 * a.skin_gloss,
            bump: [0.3 * fold, 0.3 * fold],
            is_hair: false,
        };
        self.lit_skin(spot, &surface, spot.lit)
    }

    fn hair(&self, spot: &Spot) -> f32 {
        let p = spot.position;
        let across = p.x + p.x.signum() * 0.8 * p.z;
        let surface = self.skin.hair(across, p.y, 33.0);
        // The inside of the curtain is seen where the normal turns away.
        let away = spot.normal.dot(p - self.origin) > 0.0;
        let normal = if away { -spot.normal } else { spot.normal };
        let spot = Spot {
            normal,
            openness: if away { 0.35 } else { spot.openness },
            position: p,
            lit: spot.lit,
        };
        self.lit_skin(&spot, &surface, spot.lit)
    }

    fn temple(&self, spot: &Spot) -> f32 {
        let tone = self
            .scene
            .glasses
            .as_ref()
            .map_or(0.05, |g| g.appearance.rim_tone);
        tone * self.head_light.on(spot.normal, 0.9, 1.0)
    }

    fn body(&self, spot: &Spot) -> f32 {
        let a = &self.scene.appearance;
        let p = spot.position;
        // A collar that dips in front.
        let collar = 46.0 + 0.09 * p.x.abs() - 14.0 * smoothstep(0.0, 70.0, p.x.abs());
        let dip = if p.z < 0.0 { 18.0 } else { 0.0 };
        let cloth = smoothstep(collar + dip - 1.5, collar + dip + 1.5, p.y);
        // Bands of 20 mm.
        let band = p.y * 0.05 + 64.0;
        let is_dark = band - ((band as i32) as f32) < 0.4;
        let stripes = 1.0 + a.cloth_stripes * if is_dark { 1.0 } else { -0.6 };
        let folds = noise().at(p.x * 0.02 + 60.0, p.y * 0.012);
        let mut tone = 0.0;
        if cloth < 1.0 {
            let mottle = noise().at(p.x * 0.05, p.y * 0.05);
            tone += (1.0 - cloth) * a.skin_tone * (1.0 + 0.06 * mottle);
        }
        tone += cloth * a.cloth_tone * stripes * (1.0 + 0.1 * folds);
        let normal = (spot.normal + vec3(0.35 * folds * cloth, 0.0, 0.0)).unit();
        tone.max(0.004)
            * self
                .body_light
                .wrapped(normal, spot.openness, spot.lit, 0.15)
    }
}
