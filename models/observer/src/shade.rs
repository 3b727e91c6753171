//! The brightness of each pixel that the person covers.

use crate::eye::{Eye, EyeLight};
use crate::geometry::{Pose, Vec3, mix, smoothstep, vec3};
use crate::glasses::GlassesHit;
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
    glasses_box: Option<[f32; 4]>,
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
        let glasses_box = scene.glasses.as_ref().map(|glasses| {
            let a = &glasses.appearance;
            let x = 0.5 * scene.shape.ipd + a.half_width + 6.0;
            let y = a.half_height + 9.0;
            let mut bounds = [f32::MAX, f32::MAX, f32::MIN, f32::MIN];
            for (sx, sy) in [(-1.0, -1.0), (1.0, -1.0), (-1.0, 1.0), (1.0, 1.0)] {
                for forward in [a.forward - 6.0, a.forward + 6.0] {
                    let corner = vec3(sx * x, a.down + sy * y, -forward);
                    let [px, py] = scene.camera.project(head.to_camera(corner));
                    bounds = [
                        bounds[0].min(px),
                        bounds[1].min(py),
                        bounds[2].max(px),
                        bounds[3].max(py),
                    ];
                }
            }
            bounds
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
        }
    }

    /// Adds the person to `light`, which holds the room.
    pub fn paint(&self, region: Region, side: i32, light: &mut [f32]) {
        let width = self.scene.camera.width_px as usize;
        for y in region.y0..region.y1 {
            for x in region.x0..region.x1 {
                let index = y as usize * width + x as usize;
                let has_glass = self.glasses_box.is_some_and(|[x0, y0, x1, y1]| {
                    let (fx, fy) = (x as f32, y as f32);
                    fx >= x0 && fx <= x1 && fy >= y0 && fy <= y1
                });
                light[index] = self.pixel(x, y, side, has_glass, light[index]);
            }
        }
    }

    fn pixel(&self, x: i32, y: i32, side: i32, has_glass: bool, room: f32) -> f32 {
        let (first, first_near) = self.visibility.at(x, y, 0, 0);
        let mut is_plain = !has_glass;
        let mut is_empty = first == NOTHING;
        if side > 1 {
            for (i, j) in [(1, 0), (0, 1), (1, 1)] {
                let (triangle, near) = self.visibility.at(x, y, i, j);
                is_empty &= triangle == NOTHING;
                is_plain &= self.part_index(triangle) == self.part_index(first)
                    && (near - first_near).abs() < 0.006 * first_near;
            }
        }
        if is_empty && !has_glass {
            return room;
        }
        let middle = [x as f32, y as f32];
        if is_plain && side > 1 && !self.is_in_eye_zone(first, middle) {
            return self.sample(first, middle, false, room);
        }
        let mut sum = 0.0;
        for j in 0..side {
            for i in 0..side {
                let (triangle, _) = self.visibility.at(x, y, i, j);
                let at = self.visibility.sample_px(x, y, i, j);
                sum += self.sample(triangle, at, has_glass, room);
            }
        }
        sum / (side * side) as f32
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

    fn is_in_eye_zone(&self, triangle: u32, at: [f32; 2]) -> bool {
        let Some(part) = self.parts.get(self.part_index(triangle)) else {
            return false;
        };
        if part.kind != PartKind::Head {
            return false;
        }
        let p = self.spot(part, triangle, at).position;
        let eye = &self.eyes[if p.x < 0.0 { 0 } else { 1 }];
        let [temporal, up] = eye.socket(p);
        p.z < 20.0 && temporal.abs() < 19.0 && up.abs() < 12.0
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

    fn sample(&self, triangle: u32, at: [f32; 2], has_glass: bool, room: f32) -> f32 {
        let towards = self
            .head
            .rotation
            .inverse_apply(self.scene.camera.ray(at).unit());
        let part = self.parts.get(self.part_index(triangle));
        let mut depth = f32::MAX;
        let behind = match part {
            None => room,
            Some(part) => {
                let spot = self.spot(part, triangle, at);
                if part.kind != PartKind::Body {
                    depth = (spot.position - self.origin).dot(towards);
                }
                match part.kind {
                    PartKind::Head => self.head(&spot, towards),
                    PartKind::Ear => self.ear(&spot, towards),
                    PartKind::Hair => self.hair(&spot, towards),
                    PartKind::Body => self.body(&spot),
                    PartKind::Temple => self.temple(&spot),
                }
            }
        };
        if !has_glass {
            return behind;
        }
        let Some(glasses) = &self.scene.glasses else {
            return behind;
        };
        let Some(hit) = glasses.hit(self.origin, towards, self.footprint) else {
            return behind;
        };
        if (hit.point - self.origin).dot(towards) > depth {
            return behind;
        }
        self.through_glasses(behind, &hit, towards)
    }

    fn through_glasses(&self, behind: f32, hit: &GlassesHit, towards: Vec3) -> f32 {
        let Some(glasses) = &self.scene.glasses else {
            return behind;
        };
        let a = &glasses.appearance;
        let mirrored = glasses.mirrored(
            hit,
            towards,
            &self.scene.lighting,
            &self.head,
            self.footprint,
        );
        let seen = behind * (1.0 - a.tint * hit.lens) + mirrored * hit.lens;
        let rim_light = self.head_light.on(hit.normal, 1.0, 1.0);
        let shine = 0.25 * self.head_light.highlight(hit.normal, -towards, 1.0);
        let rim = a.rim_tone * rim_light + shine;
        mix(seen, rim, hit.frame)
    }

    fn lit(&self, spot: &Spot) -> f32 {
        match &self.scene.glasses {
            Some(glasses) if spot.position.z < 30.0 => {
                spot.lit * glasses.lets_through(spot.position, self.head_light.first_direction())
            }
            _ => spot.lit,
        }
    }

    fn head(&self, spot: &Spot, towards: Vec3) -> f32 {
        let p = spot.position;
        let lit = self.lit(spot);
        let mut surface = self.skin.at(p);
        let eye = &self.eyes[if p.x < 0.0 { 0 } else { 1 }];
        let socket = eye.socket(p);
        let is_near_eye =
            p.z < 25.0 && (-26.0..36.0).contains(&socket[0]) && (-34.0..26.0).contains(&socket[1]);
        if !is_near_eye || surface.is_hair {
            return self.lit_skin(spot, &surface, lit, towards);
        }
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
            out += (1.0 - opening) * self.lit_skin(spot, &surface, lit, towards);
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
        let wet = 0.10
            * self
                .head_light
                .highlight(vec3(0.0, -0.6, -0.8), -towards, spot.lit);
        let lower = tone * skin_light * 1.05 + wet;
        let mut out = mix(inner, lower, edge);
        let line = (place.above_lower - reach - 0.15) / (0.18 + 0.5 * self.footprint);
        let tears = crate::geometry::bell(0.5 * line * line) / (1.0 + 3.0 * self.footprint);
        out += 0.05 * tears * skin_light * eye.lids.opening;
        out
    }

    fn lit_skin(&self, spot: &Spot, surface: &Surface, lit: f32, towards: Vec3) -> f32 {
        let normal = (spot.normal + vec3(surface.bump[0], surface.bump[1], 0.0)).unit();
        let wrap = if surface.is_hair { 0.1 } else { 0.25 };
        let diffuse = surface.tone * self.head_light.wrapped(normal, spot.openness, lit, wrap);
        let shine = 0.11 * surface.gloss * spot.openness;
        diffuse + shine * self.head_light.highlight(normal, -towards, lit)
    }

    fn ear(&self, spot: &Spot, towards: Vec3) -> f32 {
        let a = &self.scene.appearance;
        let p = spot.position;
        let fold = noise().fractal(p.y * 0.13, p.z * 0.13);
        let surface = Surface {
            tone: a.skin_tone * (0.82 + 0.28 * fold),
            gloss: 0.5 * a.skin_gloss,
            bump: [0.3 * fold, 0.3 * fold],
            is_hair: false,
        };
        self.lit_skin(spot, &surface, spot.lit, towards)
    }

    fn hair(&self, spot: &Spot, towards: Vec3) -> f32 {
        let p = spot.position;
        let across = p.x + p.x.signum() * 0.8 * p.z;
        let surface = self.skin.hair(across, p.y, 33.0);
        // The inside of the curtain is seen where the normal turns away.
        let away = spot.normal.dot(towards) > 0.0;
        let normal = if away { -spot.normal } else { spot.normal };
        let spot = Spot {
            normal,
            openness: if away { 0.35 } else { spot.openness },
            position: p,
            lit: spot.lit,
        };
        self.lit_skin(&spot, &surface, spot.lit, towards)
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
        let stripes = 1.0
            + a.cloth_stripes
                * (if (p.y * 0.05).rem_euclid(1.0) < 0.4 {
                    1.0
                } else {
                    -0.6
                });
        let folds = noise().fractal(p.x * 0.02 + 60.0, p.y * 0.012);
        let tone = mix(
            a.skin_tone * (1.0 + 0.1 * noise().fractal(p.x * 0.05, p.y * 0.05)),
            a.cloth_tone * stripes * (1.0 + 0.15 * folds),
            cloth,
        );
        let normal = (spot.normal + vec3(0.35 * folds * cloth, 0.0, 0.0)).unit();
        tone.max(0.004)
            * self
                .body_light
                .wrapped(normal, spot.openness, spot.lit, 0.15)
    }
}
