//! Who sits there: the measures and tones of one observer, drawn from a seed.
//!
//! Measures are millimetres, tones are linear reflectances (0 black, 1 white). The means are
//! those of adults (Farkas 1994 for faces; the sources of single values stand beside them); the
//! spreads are wider than life, because networks learn from the result.

use crate::random::Random;

/// Eyeball, lids and lashes of one eye. Lid measures are in the frontal plane of the eye socket:
/// along the line of the eye, positive towards the temple, and up; origin at the rotation centre.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EyeAppearance {
    /// Inner corner (towards the nose), outer corner: [temporal, up].
    pub inner_corner: [f32; 2],
    pub outer_corner: [f32; 2],
    /// Height of the upper margin above the rotation centre, looking straight ahead, relaxed.
    /// 4 to 5 mm is the usual margin–reflex distance.
    pub upper_margin: f32,
    /// Depth of the lower margin below it.
    pub lower_margin: f32,
    /// Where the upper margin is highest and the lower lowest, as shape exponents.
    pub upper_skew: f32,
    pub lower_skew: f32,
    /// Shares of the gaze's elevation that the lids follow.
    pub upper_follows: f32,
    pub lower_follows: f32,
    /// The eye's line of sight lies nasal and above the axis of its optics by these angles
    /// (Guestrin & Eizenman 2006: about 5° and 1.5°); radians.
    pub kappa_nasal_rad: f32,
    pub kappa_up_rad: f32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HairStyle {
    Bald,
    Short,
    Bangs,
    Long,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct GlassesAppearance {
    /// Half sizes of one lens.
    pub half_width: f32,
    pub half_height: f32,
    /// 2 is an ellipse, 6 nearly a rectangle.
    pub squareness: f32,
    pub rim: f32,
    pub has_lower_rim: bool,
    pub rim_tone: f32,
    /// Share of light the lens takes; sunglasses 0.8 and more.
    pub tint: f32,
    /// Share of light that the front mirrors.
    pub reflectance: f32,
    /// In front of the rotation centres, and below them.
    pub forward: f32,
    pub down: f32,
    /// Forward lean of the upper rim; radians.
    pub lean_rad: f32,
}

#[derive(Clone, Debug)]
pub(crate) struct Appearance {
    pub ipd_mm: f32,
    pub face_width: f32,
    pub upper_face: f32,
    pub lower_face: f32,
    pub nose_length: f32,
    pub nose_width: f32,
    pub nose_height: f32,
    pub nose_hook: f32,
    pub brow_ridge: f32,
    pub cheek: f32,
    pub jaw_width: f32,
    pub chin: f32,
    pub lip_fullness: f32,
    pub mouth_half_width: f32,
    pub mouth_open: f32,
    pub smile: f32,
    pub eye_depth: f32,

    pub skin_tone: f32,
    pub skin_gloss: f32,
    pub skin_noise: f32,
    pub lip_tone: f32,
    pub blush: f32,
    /// 0 young, 1 old: lines, bags, grey hair.
    pub age: f32,
    pub mole_seed: u32,

    pub eyes: [EyeAppearance; 2],
    pub iris_radius: f32,
    pub pupil_radius: f32,
    pub iris_tone: f32,
    pub iris_contrast: f32,
    pub limbus_dark: f32,
    pub sclera_tone: f32,
    pub veins: f32,
    pub texture_seed: u32,

    /// Above the upper margin when the eye is open.
    pub crease_height: f32,
    pub crease_strength: f32,
    /// How far skin hangs over the crease towards the temple.
    pub hood: f32,
    pub lash_length: f32,
    pub lash_strength: f32,
    pub lower_lash: f32,
    pub eyeliner: f32,
    pub eye_shadow: f32,
    pub bags: f32,

    pub brow_height: f32,
    pub brow_thickness: f32,
    pub brow_density: f32,
    pub brow_arch: f32,
    pub brow_tone: f32,

    pub hair_style: HairStyle,
    pub hair_tone: f32,
    pub hair_thickness: f32,
    /// Height of the hairline above the eyes, middle of the forehead.
    pub hairline: f32,
    pub beard: f32,
    pub moustache: f32,

    pub glasses: Option<GlassesAppearance>,

    pub cloth_tone: f32,
    pub cloth_stripes: f32,
    pub shoulder: f32,
}

impl Appearance {
    pub fn from_seed(seed: u64) -> Self {
        let mut r = Random::new(seed, 20);
        let is_bearded_sex = r.chance(0.5);
        let age = r.unit() * r.unit().max(0.3);
        let skin_tone = skin_tone(&mut r);
        let hair_tone = hair_tone(&mut r, age, skin_tone);
        let ipd_mm = r.normal_within(63.0, 3.0, 56.0, 70.0);
        let eyes = eyes(&mut r, ipd_mm);
        let make_up = if is_bearded_sex { 0.0 } else { r.unit() };
        let iris_tone = iris_tone(&mut r, skin_tone);
        Appearance {
            ipd_mm,
            face_width: r.normal_within(1.0, 0.045, 0.9, 1.12) * (0.55 + 0.45 * ipd_mm / 63.0),
            upper_face: r.normal_within(1.0, 0.05, 0.88, 1.12),
            lower_face: r.normal_within(1.0, 0.05, 0.88, 1.13),
            nose_length: r.normal_within(1.0, 0.08, 0.82, 1.2),
            nose_width: r.normal_within(1.0, 0.13, 0.72, 1.4),
            nose_height: r.normal_within(1.0, 0.15, 0.6, 1.4),
            nose_hook: r.normal(0.0, 1.5),
            brow_ridge: r.uniform(0.0, 1.0) * if is_bearded_sex { 4.5 } else { 2.0 },
            cheek: r.normal(0.0, 2.0),
            jaw_width: r.normal_within(1.0, 0.07, 0.84, 1.16),
            chin: r.normal(0.0, 3.0),
            lip_fullness: r.normal_within(1.0, 0.25, 0.4, 1.6),
            mouth_half_width: r.normal_within(25.5, 2.5, 20.0, 32.0),
            mouth_open: if r.chance(0.2) {
                r.uniform(1.0, 9.0)
            } else {
                0.0
            },
            smile: r.normal(0.0, 1.0).max(-0.8),
            eye_depth: r.normal(0.0, 1.6),

            skin_tone,
            skin_gloss: r.uniform(0.1, 1.0),
            skin_noise: r.uniform(0.02, 0.10),
            lip_tone: r.uniform(0.45, 0.85) * (1.0 - 0.35 * make_up),
            blush: r.uniform(0.0, 0.2),
            age,
            mole_seed: r.seed(),

            eyes,
            iris_radius: r.normal_within(5.9, 0.15, 5.5, 6.3),
            pupil_radius: r.normal_within(2.1, 0.55, 1.3, 3.6),
            iris_tone,
            iris_contrast: r.uniform(0.1, 0.6),
            limbus_dark: r.uniform(0.2, 0.85),
            sclera_tone: r.uniform(0.26, 0.44) + 0.45 * skin_tone,
            veins: r.uniform(0.0, 0.12) + 0.08 * age,
            texture_seed: r.seed(),

            crease_height: r.uniform(1.2, 5.0),
            crease_strength: if r.chance(0.2) {
                r.uniform(0.0, 0.25)
            } else {
                r.uniform(0.3, 0.9)
            },
            hood: r.unit() * 0.4 + 0.6 * age * r.unit(),
            lash_length: r.uniform(3.0, 7.5) + 2.0 * make_up,
            lash_strength: r.uniform(0.35, 0.85) + 0.3 * make_up,
            lower_lash: r.uniform(0.0, 0.35) + 0.25 * make_up,
            eyeliner: (make_up * 1.6 - 0.8).max(0.0),
            eye_shadow: (make_up * 1.4 - 0.6).max(0.0) * r.uniform(-0.2, 0.6),
            bags: r.uniform(0.0, 0.5) + 0.5 * age,

            brow_height: r.normal_within(19.5, 2.6, 13.0, 27.0),
            brow_thickness: r.normal_within(if is_bearded_sex { 4.6 } else { 3.4 }, 0.9, 1.8, 7.0),
            brow_density: r.uniform(0.45, 1.15),
            brow_arch: r.uniform(0.5, 5.0),
            brow_tone: (hair_tone * r.uniform(0.4, 1.1)).clamp(0.008, 0.12),

            hair_style: match (r.unit(), is_bearded_sex) {
                (x, true) if x < 0.16 => HairStyle::Bald,
                (x, true) if x < 0.86 => HairStyle::Short,
                (x, false) if x < 0.22 => HairStyle::Short,
                (x, false) if x < 0.40 => HairStyle::Bangs,
                (x, true) if x < 0.93 => HairStyle::Bangs,
                _ => HairStyle::Long,
            },
            hair_tone,
            hair_thickness: r.uniform(4.0, 20.0),
            hairline: r.normal_within(66.0, 8.0, 48.0, 90.0) + 8.0 * age,
            beard: if is_bearded_sex && r.chance(0.45) {
                r.unit()
            } else {
                0.0
            },
            moustache: if is_bearded_sex && r.chance(0.3) {
                r.unit()
            } else {
                0.0
            },

            glasses: r.chance(0.3).then(|| glasses(&mut r)),

            cloth_tone: r.unit() * r.unit() * 0.8 + 0.02,
            cloth_stripes: if r.chance(0.3) {
                r.uniform(0.1, 0.6)
            } else {
                0.0
            },
            shoulder: r.normal_within(1.0, 0.08, 0.8, 1.25),
        }
    }
}

/// Luminous reflectance of skin: about 0.45 for the fairest to 0.06 for the darkest.
fn skin_tone(r: &mut Random) -> f32 {
    // Even steps of lightness, not of reflectance: dark skin is as frequent as fair skin.
    let lightness = r.uniform(0.30, 0.70);
    libm::powf(lightness, 2.2)
}

fn hair_tone(r: &mut Random, age: f32, skin_tone: f32) -> f32 {
    if r.chance(age * age.sqrt()) {
        r.uniform(0.12, 0.35)
    } else if skin_tone > 0.25 && r.chance(0.4) {
        r.uniform(0.05, 0.3)
    } else {
        r.uniform(0.01, 0.05)
    }
}

fn iris_tone(r: &mut Random, skin_tone: f32) -> f32 {
    let light_share = if skin_tone > 0.25 { 0.5 } else { 0.12 };
    if r.chance(light_share) {
        r.uniform(0.06, 0.24)
    } else {
        r.uniform(0.014, 0.06)
    }
}

fn eyes(r: &mut Random, ipd_mm: f32) -> [EyeAppearance; 2] {
    let scale = 0.6 + 0.4 * ipd_mm / 63.0;
    let width = r.normal_within(28.3, 1.5, 24.5, 32.0) * scale;
    // The middle of the fissure lies slightly nasal of the rotation centre.
    let middle = r.normal(-0.6, 0.7);
    let tilt = r.normal(1.7, 1.3);
    // Heights against the eyeball. On 2,664 photographed faces with eyes more than 35 px apart
    // (`python -m gaze_models.anatomy`) the iris stands 1.6 mm above the corners, SD 0.44 mm once
    // gaze and head are regressed out, and 0.79 and 0.80 mm are the SDs from it to the margins.
    // These hold the landmarks' own error. The differences of eyes and corners and the squint
    // below are part of the sums.
    let corners_up = r.normal(-2.2, 0.42);
    let upper = r.normal_within(4.3, 0.70, 1.8, 6.4);
    let lower = r.normal_within(5.1, 0.65, 3.4, 6.8);
    // Smiling and bright light narrow both lids.
    let squint = if r.chance(0.25) {
        r.uniform(0.0, 0.5)
    } else {
        0.0
    };
    let upper_skew = r.normal_within(0.88, 0.07, 0.72, 1.08);
    let lower_skew = r.normal_within(1.13, 0.10, 0.9, 1.4);
    let upper_follows = r.normal_within(0.84, 0.07, 0.65, 1.0);
    let lower_follows = r.normal_within(0.42, 0.09, 0.2, 0.65);
    // Angle kappa is 5.46° ± 1.33° in all (Hashemi et al. 2010, 800 eyes), most of it nasal.
    let kappa = r.normal_within(5.0, 1.3, 1.0, 8.5);
    let kappa_up = r.normal_within(1.5, 0.7, -0.5, 3.5);
    [(), ()].map(|()| EyeAppearance {
        inner_corner: [
            middle - 0.5 * width + r.normal(0.0, 0.3),
            corners_up - 0.5 * tilt + r.normal(0.0, 0.3),
        ],
        outer_corner: [
            middle + 0.5 * width + r.normal(0.0, 0.3),
            corners_up + 0.5 * tilt + r.normal(0.0, 0.3),
        ],
        upper_margin: upper - 2.2 * squint + r.normal(0.0, 0.3),
        lower_margin: lower - 2.0 * squint + r.normal(0.0, 0.25),
        upper_skew,
        lower_skew,
        upper_follows,
        lower_follows,
        kappa_nasal_rad: (kappa + r.normal(0.0, 0.4)).to_radians(),
        kappa_up_rad: (kappa_up + r.normal(0.0, 0.3)).to_radians(),
    })
}

pub(crate) fn glasses(r: &mut Random) -> GlassesAppearance {
    let half_width = r.uniform(22.0, 28.5);
    let is_metal = r.chance(0.45);
    GlassesAppearance {
        half_width,
        half_height: half_width * r.uniform(0.55, 0.92),
        squareness: r.uniform(2.0, 5.0),
        rim: if is_metal {
            r.uniform(0.7, 1.6)
        } else {
            r.uniform(1.6, 4.5)
        },
        has_lower_rim: r.chance(0.85),
        rim_tone: if is_metal {
            r.uniform(0.1, 0.6)
        } else {
            r.uniform(0.01, 0.15)
        },
        tint: if r.chance(0.06) {
            r.uniform(0.4, 0.9)
        } else {
            r.uniform(0.0, 0.1)
        },
        reflectance: 0.004 + 0.08 * r.unit() * r.unit(),
        forward: r.uniform(24.0, 28.0),
        down: r.uniform(0.0, 6.0),
        lean_rad: r.uniform(0.05, 0.2),
    }
}
