//! The tone of each place on the head: skin, lips, brows, beard, hair, lines, lashes, make-up.

use crate::appearance::{Appearance, HairStyle};
use crate::eye::Eye;
use crate::geometry::{Vec3, bell, mix, smoothstep};
use crate::head::{HeadShape, MOUTH_Y};
use crate::lids::LidPlace;
use crate::random::noise;

/// What a place is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Surface {
    /// Reflectance, 0..1.
    pub tone: f32,
    /// Strength of the highlight.
    pub gloss: f32,
    /// Bend of the surface that the mesh does not have: change of depth per mm to the temple's
    /// side (+x) and down (+y).
    pub bump: [f32; 2],
    pub is_hair: bool,
}

pub(crate) struct Skin<'a> {
    pub appearance: &'a Appearance,
    pub shape: &'a HeadShape,
    /// Size of a sample on the face, mm.
    pub footprint: f32,
}

impl Skin<'_> {
    /// The surface at a head-local point of the head's mesh.
    pub fn at(&self, p: Vec3) -> Surface {
        let a = self.appearance;
        let n = noise();
        let offset = (a.mole_seed & 127) as f32;
        let turn = 1.1 * (p.z - 20.0).max(0.0);
        // Unrolled over the side of the head, so that the texture does not smear there.
        let across = p.x + p.x.signum() * turn;
        // No hairline comes within the middle of the face.
        let is_far_from_hair = p.z < 25.0 && p.y > -0.38 * a.hairline;
        let cover = if is_far_from_hair {
            0.0
        } else {
            self.hair_edge(p, across, offset)
        };
        if cover > 0.985 {
            return self.hair(across, p.y, offset);
        }
        let fine = (1.0 - 0.7 * self.footprint).clamp(0.0, 1.0);
        let mottle = 0.7 * n.at(across * 0.09 + offset, p.y * 0.09)
            + 0.3 * n.at(across * 0.21, p.y * 0.21 + offset);
        let pores = if fine > 0.0 {
            0.8 * n.at(across * 1.1 + offset, p.y * 1.1 + 50.0)
        } else {
            0.0
        };
        let mut tone = a.skin_tone * (1.0 + a.skin_noise * (0.8 * mottle + fine * pores));
        let mut gloss = a.skin_gloss;
        if p.z < 45.0 {
            tone *= self.features(p, &mut gloss);
            self.lines(p, &mut tone);
            self.brow(p, &mut tone);
            self.beard(p, &mut tone);
            self.freckles(p, offset, &mut tone);
        }
        if cover > 0.0 {
            let hair = self.hair(across, p.y, offset);
            tone = mix(tone, hair.tone, cover);
            gloss *= 1.0 - cover;
        }
        Surface {
            tone,
            gloss,
            bump: [0.0; 2],
            is_hair: cover > 0.5,
        }
    }

    fn hair_edge(&self, p: Vec3, across: f32, offset: f32) -> f32 {
        let frayed = noise().at(across * 0.55 + offset, p.y * 0.06) * 2.5
            + noise().at(across * 0.12 + offset, p.y * 0.1) * 5.0;
        let cover = self
            .shape
            .hair_cover(crate::geometry::vec3(p.x, p.y + frayed, p.z), 5.0);
        smoothstep(0.25, 0.75, cover)
    }

    pub fn hair(&self, across: f32, y: f32, offset: f32) -> Surface {
        let a = self.appearance;
        let n = noise();
        let strand_size = if a.hair_style == HairStyle::Long {
            0.02
        } else {
            0.07
        };
        let strands = n.at(across * 0.9 + offset, y * strand_size)
            + 0.6 * n.at(across * 0.22 + offset, y * 0.05 + 70.0);
        Surface {
            tone: (a.hair_tone * (1.0 + 0.55 * strands)).max(0.006),
            gloss: 0.5 * (1.0 + strands).max(0.0),
            bump: [0.25 * strands, 0.0],
            is_hair: true,
        }
    }

    /// Lips, nostrils, cheeks: a factor on the skin's tone.
    fn features(&self, p: Vec3, gloss: &mut f32) -> f32 {
        let a = self.appearance;
        let x = self.shape.reference_x(p.x);
        let y = self.shape.reference_y(p.y);
        let ax = x.abs();
        let mut factor = 1.0;
        if (50.0..92.0).contains(&y) {
            let m = a.mouth_half_width;
            let arch = 1.2 * a.smile * (ax / m) * (ax / m);
            let lip_y = y + arch;
            let across = (1.0 - (ax / m) * (ax / m)).max(0.0);
            let line = MOUTH_Y;
            let dent = 1.6 * bell(ax * ax / 14.0);
            let top = line - (6.2 * a.lip_fullness * across.sqrt() - dent * across);
            let low = line + a.mouth_open + 8.2 * a.lip_fullness * across;
            let soft = 0.8 + self.footprint;
            let lips = smoothstep(top - soft, top + soft, lip_y)
                * (1.0 - smoothstep(low - soft, low + soft, lip_y))
                * smoothstep(0.0, 0.12, across);
            factor *= mix(1.0, a.lip_tone, lips);
            *gloss += 0.4 * lips;
            let parting = (lip_y - line - 0.5 * a.mouth_open).abs();
            let half = 0.5 + 0.5 * a.mouth_open * across.sqrt();
            let inside = (1.0 - smoothstep(half, half + 0.5 + 0.5 * self.footprint, parting))
                * smoothstep(-0.02, 0.06, 1.0 - ax / (m * 1.04));
            let teeth = if a.mouth_open > 3.0 && lip_y < line + 0.55 * a.mouth_open {
                1.5
            } else {
                0.22
            };
            factor *= mix(1.0, teeth, inside);
        }
        if (44.0..62.0).contains(&y) {
            let nose_y = 6.0 + (y - 6.0) / a.nose_length;
            let dx = (ax - 6.8 * a.nose_width) / (4.0 * a.nose_width);
            let dy = (nose_y - 52.5) / 2.2;
            factor *= 1.0 - 0.85 * bell(0.8 * (dx * dx + dy * dy));
        }
        let cheek =
            bell(0.5 * ((ax - 40.0) * (ax - 40.0) / 150.0 + (y - 32.0) * (y - 32.0) / 150.0));
        factor * (1.0 - a.blush * cheek)
    }

    /// Lines of age and expression.
    fn lines(&self, p: Vec3, tone: &mut f32) {
        let a = self.appearance;
        let x = self.shape.reference_x(p.x);
        let y = self.shape.reference_y(p.y);
        let ax = x.abs();
        let mut depth = 0.0;
        // From the wing of the nose to the corner of the mouth.
        if (38.0..80.0).contains(&y) {
            let t = (y - 40.0) / 36.0;
            let cx = 17.0 + 13.0 * t + 3.0 * t * t;
            let d = (ax - cx) / (1.4 + self.footprint);
            let strength = 0.06 + 0.25 * a.age + 0.10 * a.smile.max(0.0);
            depth += strength
                * bell(0.5 * d * d)
                * smoothstep(-0.05, 0.15, t)
                * (1.0 - smoothstep(0.7, 1.1, t));
        }
        if a.age > 0.15 && y < -24.0 {
            let wave = noise().at(x * 0.03 + 5.0, y * 0.02);
            let row = (y + 4.0 * wave) / 8.5;
            let d = (row - row.floor_fast() - 0.5) * 8.5 / (1.0 + self.footprint);
            depth += 0.22 * (a.age - 0.15) * bell(0.5 * d * d) * bell(0.5 * x * x / 900.0);
        }
        // Frown lines between the brows.
        if a.age > 0.3 && (-26.0..-8.0).contains(&y) {
            let d = (ax - 6.0) / (1.0 + self.footprint);
            depth += 0.22 * (a.age - 0.3) * bell(0.5 * d * d);
        }
        *tone *= 1.0 - depth;
    }

    fn brow(&self, p: Vec3, tone: &mut f32) {
        let a = self.appearance;
        let half_ipd = 0.5 * self.shape.ipd;
        let temporal = p.x.abs() - half_ipd;
        let up = -p.y;
        if !(-22.0..32.0).contains(&temporal) || !(6.0..42.0).contains(&up) {
            return;
        }
        // The arch peaks over the outer third and falls towards the temple.
        let t = (temporal + 17.0) / 43.0;
        let peak = (t - 0.62) / 0.5;
        let centre = a.brow_height + a.brow_arch * (1.0 - peak * peak) - 0.5 * a.brow_arch;
        let half = a.brow_thickness
            * smoothstep(-0.08, 0.16, t)
            * mix(1.0, 0.28, smoothstep(0.45, 1.0, t));
        let n = noise();
        let side = if p.x < 0.0 { 40.0 } else { 0.0 };
        let slant = mix(0.9, -0.2, t.clamp(0.0, 1.0));
        let strand = n.at(
            (temporal - slant * up) * 1.1 + side,
            up * 0.28 + 0.25 * temporal,
        );
        let frayed = half * (1.0 + 0.28 * strand);
        let inside = 1.0 - smoothstep(0.55 * frayed, frayed + 0.8, (up - centre).abs());
        let ends = smoothstep(-0.06, 0.10, t) * (1.0 - smoothstep(0.90, 1.04, t));
        let fine = (1.3 - 0.8 * self.footprint).clamp(0.0, 1.0);
        let density = a.brow_density * (0.90 + 0.35 * fine * strand);
        let cover = (inside * ends * density).clamp(0.0, 0.96);
        *tone = mix(*tone, a.brow_tone.min(0.8 * a.skin_tone), cover);
    }

    fn beard(&self, p: Vec3, tone: &mut f32) {
        let a = self.appearance;
        if a.beard <= 0.0 && a.moustache <= 0.0 {
            return;
        }
        let x = self.shape.reference_x(p.x);
        let y = self.shape.reference_y(p.y);
        let ax = x.abs();
        let n = noise();
        let frayed = 5.0 * n.at(x * 0.25 + 3.0, y * 0.25);
        let edge = mix(60.0, 8.0, smoothstep(44.0, 67.0, ax)) + frayed;
        let lips = bell(
            0.35 * ((ax / 17.0) * (ax / 17.0) + (y - MOUTH_Y - 1.0) * (y - MOUTH_Y - 1.0) / 40.0),
        );
        let jaw = smoothstep(edge - 4.0, edge + 5.0, y) * (1.0 - lips);
        let lip_beard = smoothstep(53.0, 56.0, y)
            * (1.0 - smoothstep(62.0, 65.0, y))
            * (1.0 - smoothstep(22.0, 30.0, ax));
        let strands = n.at(x * 1.2, y * 0.45) * 0.5 + 0.5 * n.at(x * 0.5 + 9.0, y * 0.3);
        let cover = (a.beard * jaw).max(a.moustache.max(0.8 * a.beard) * lip_beard);
        // Below 0.4 it is stubble: a shade on the skin.
        let cover = (cover * (0.9 + 0.4 * strands)).clamp(0.0, 0.92);
        *tone = mix(
            *tone,
            (a.hair_tone * (1.0 + 0.5 * strands)).min(*tone),
            cover,
        );
    }

    fn freckles(&self, p: Vec3, offset: f32, tone: &mut f32) {
        let spot = noise().at(p.x * 0.35 + offset, p.y * 0.35 + 2.0 * offset);
        if spot > 0.78 {
            *tone *= 1.0 - 0.9 * self.appearance.skin_noise * (spot - 0.78) * 10.0;
        }
    }

    /// Skin around an eye: crease, bags, lashes, liner. Changes `surface`; `place` is where the
    /// point lies with regard to the lids, (temporal, up) where it lies in the socket.
    pub fn around_eye(
        &self,
        eye: &Eye,
        [temporal, up]: [f32; 2],
        place: LidPlace,
        surface: &mut Surface,
    ) {
        let a = self.appearance;
        let share = place.share;
        let above = -place.below_upper;
        let below = -place.above_lower;
        let inside_ends = smoothstep(-0.10, 0.06, share) * (1.0 - smoothstep(0.98, 1.16, share));
        let blur = self.footprint;
        if above > -0.5 && below < 0.0 || above > below {
            // The crease: parallel to the lid, higher over a lowered lid, hidden by a hood.
            let fold = a.crease_height + 0.62 * eye.lids.drop.max(-1.5)
                - a.hood * 2.2 * smoothstep(0.45, 1.0, share);
            let d = (above - fold) / (0.5 + 0.6 * blur);
            let open = eye.lids.opening.clamp(0.15, 1.0);
            let line = a.crease_strength * open * bell(0.5 * d * d);
            // Above the crease the skin bulges over it and shades it.
            let overhang = bell(0.5 * ((above - fold - 1.6) / 1.8) * ((above - fold - 1.6) / 1.8));
            if fold > 0.2 {
                surface.tone *= 1.0 - 0.55 * line * inside_ends / (1.0 + 0.4 * blur);
                surface.bump[1] += 0.35 * a.crease_strength * open * overhang * inside_ends;
            }
            let lid =
                smoothstep(-0.5, 0.5, above) * (1.0 - smoothstep(fold - 0.5, fold + 4.0, above));
            surface.tone *= 1.0 - a.eye_shadow * lid * inside_ends;
            surface.gloss *= 1.0 + 0.3 * lid;
            let liner = a.eyeliner
                * (1.0 - smoothstep(0.6, 1.4 + blur, above))
                * smoothstep(0.05, 0.3, share)
                * (1.0 - smoothstep(1.0, 1.12, share));
            surface.tone = mix(surface.tone, 0.02, 0.8 * liner);
        }
        // The bag below: a bulge and a furrow under it.
        if (4.0..26.0).contains(&below) || (below > 0.0 && temporal < 18.0) {
            let furrow_at = 8.5 + 2.5 * (1.0 - share);
            let d = (below - furrow_at) / 2.0;
            let furrow = bell(0.5 * d * d)
                * smoothstep(-0.35, 0.15, share)
                * (1.0 - smoothstep(0.7, 1.1, share));
            surface.tone *= 1.0 - 0.16 * a.bags * furrow;
            let bulge = (below - 4.5) / 2.5;
            surface.bump[1] -= 0.10 * a.bags * bulge * bell(0.5 * bulge * bulge) * inside_ends;
            let ring =
                bell(0.5 * (below - 4.0) * (below - 4.0) / 30.0) * smoothstep(-0.3, 0.1, share);
            surface.tone *= 1.0 - 0.06 * a.bags * ring;
            let liner = 0.6 * a.eyeliner * (1.0 - smoothstep(0.4, 0.9 + blur, below)) * inside_ends;
            surface.tone = mix(surface.tone, 0.03, liner);
        }
        // Lines that fan out from the outer corner.
        let [ox, oy] = eye.lids.outer_corner();
        let (dx, dy) = (temporal - ox, up - oy);
        if a.age > 0.2 && dx > 1.0 && dx < 18.0 {
            let ray = dy / dx * 3.2;
            let d = (ray - ray.floor_fast() - 0.5) * dx / 3.2 / (0.5 + blur);
            let line = bell(0.5 * d * d) * (1.0 - (ray.abs() / 3.2).min(1.0)) * (1.0 - dx / 18.0);
            surface.tone *= 1.0 - 0.3 * (a.age - 0.2) * line;
        }
    }

    /// Share of light that lashes take on its way out at a place of the socket: a dark rim and
    /// hairs beyond it. `lean`: how far the view moves a point 1 mm in front of the lid, up, mm.
    pub fn lashes(&self, eye: &Eye, place: LidPlace, lean: f32) -> f32 {
        let a = self.appearance;
        let share = place.share;
        if !(-0.05..1.15).contains(&share) {
            return 0.0;
        }
        let grown = smoothstep(0.02, 0.45, share) * (1.0 - smoothstep(1.02, 1.14, share));
        let above = -place.below_upper;
        let fine = (1.2 - 0.7 * self.footprint).clamp(0.0, 1.0);
        let n = noise();
        // The root line.
        let thick = 0.45 + 0.45 * a.lash_strength + 0.5 * self.footprint;
        let d = (above - 0.1) / thick;
        let mut cover = a.lash_strength * 0.95 * bell(0.5 * d * d) * (0.35 + 0.65 * grown);
        // The hairs stand forwards and up; a lowered lid points them down.
        let droop = (eye.lids.drop / 7.0).clamp(-0.4, 1.4);
        let tip = a.lash_length * (mix(0.55, -0.65, droop) + 0.75 * lean);
        let along = if tip.abs() > 0.3 { above / tip } else { 2.0 };
        if (0.0..1.0).contains(&along) {
            let fan = share + 0.10 * along * (share - 0.35);
            let hair = 0.55 + 0.9 * fine * n.at(fan * 42.0 + 3.0 * eye.side, along * 0.8);
            let thinning = (1.0 - along) * (1.0 - along);
            cover += a.lash_strength * 0.75 * grown * thinning * hair.max(0.0);
        }
        let below = -place.above_lower;
        if below > -0.4 && below < 3.5 {
            let hair = 0.5 + 0.9 * fine * n.at(share * 30.0 + 9.0, below * 0.5);
            let t = (1.0 - (below - 0.2).abs() / 3.2).max(0.0);
            cover += a.lower_lash * 0.6 * grown * t * t * hair.max(0.0);
        }
        cover.clamp(0.0, 0.95)
    }
}

/// Cheap substitutes for functions that are slow or differ between platforms.
trait Shortcuts {
    /// Next whole number below, for |x| < 4096.
    fn floor_fast(self) -> f32;
}

impl Shortcuts for f32 {
    fn floor_fast(self) -> f32 {
        (self + 4096.0) as i32 as f32 - 4096.0
    }
}
