//! Light: lamps and windows, the screen, the room; how they fall on skin and mirror in eyes.
//!
//! Intensities are in units of the luminance that a white matt surface facing the light has.

use core::f32::consts::PI;

use crate::geometry::{Rotation, Vec3, mix, smoothstep, vec3};
use crate::random::Random;

/// A light far away.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lamp {
    /// From the observer towards the light, unit, camera axes.
    pub direction: Vec3,
    pub intensity: f32,
    /// Half sizes as tangents of angles.
    pub half_width: f32,
    pub half_height: f32,
    /// Windows have bars and edges; lamps are round.
    pub is_window: bool,
}

/// The lit screen in front of the observer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScreenLight {
    pub size_mm: [f32; 2],
    pub radiance: f32,
}

#[derive(Clone, Debug)]
pub(crate) struct Lighting {
    pub ambient: f32,
    /// Share of the ambient light that comes from above.
    pub from_above: f32,
    /// The first casts shadows.
    pub lamps: Vec<Lamp>,
    pub screen: ScreenLight,
}

/// The lighting in the axes of a body.
#[derive(Clone, Debug)]
pub(crate) struct LocalLighting {
    ambient: f32,
    from_above: f32,
    up: Vec3,
    lamps: Vec<LocalLamp>,
}

#[derive(Clone, Copy, Debug)]
struct LocalLamp {
    direction: Vec3,
    intensity: f32,
    /// Halfway between lamp and camera, where highlights are; the camera is far enough for one
    /// direction to do.
    half: Vec3,
}

impl Lighting {
    pub fn from_seed(seed: u64, screen_mm: [f32; 2]) -> Self {
        let mut r = Random::new(seed, 30);
        let mut lamps = Vec::new();
        let ambient = r.uniform(0.18, 0.8);
        let key = r.uniform(0.15, 1.2);
        let key_yaw = r.normal(0.0, 0.7).clamp(-1.5, 1.5);
        let key_pitch = r.normal_within(0.62, 0.35, -0.1, 1.3);
        lamps.push(lamp(&mut r, key_yaw, key_pitch, key));
        if r.chance(0.6) {
            let yaw = -key_yaw.signum() * r.uniform(0.2, 1.4);
            let pitch = r.uniform(0.0, 0.9);
            let fill = key * r.uniform(0.1, 0.7);
            lamps.push(lamp(&mut r, yaw, pitch, fill));
        }
        Lighting {
            ambient,
            from_above: r.uniform(0.35, 1.0),
            lamps,
            screen: ScreenLight {
                size_mm: screen_mm,
                radiance: r.uniform(0.0, 1.0) * r.uniform(0.2, 2.2),
            },
        }
    }

    /// The light on a surface at `position` with a normal; camera axes, no shadows.
    pub fn on(&self, position: Vec3, normal: Vec3) -> f32 {
        let rotation = Rotation::IDENTITY;
        self.local(&rotation, position).on(normal, 1.0, 1.0)
    }

    pub fn local(&self, rotation: &Rotation, position: Vec3) -> LocalLighting {
        let view = rotation.inverse_apply((-position).unit());
        let local = |direction: Vec3, intensity: f32| {
            let direction = rotation.inverse_apply(direction);
            LocalLamp {
                direction,
                intensity,
                half: (direction + view).unit(),
            }
        };
        let mut lamps: Vec<LocalLamp> = self
            .lamps
            .iter()
            .map(|lamp| local(lamp.direction, lamp.intensity))
            .collect();
        let [width, height] = self.screen.size_mm;
        let to_screen = vec3(0.0, 0.5 * height, 0.0) - position;
        let distance = to_screen.length().max(100.0);
        let facing = (-to_screen.z / distance).max(0.0);
        let solid_angle = width * height * facing / (distance * distance);
        lamps.push(local(
            to_screen.unit(),
            self.screen.radiance * solid_angle / PI,
        ));
        LocalLighting {
            ambient: self.ambient,
            from_above: self.from_above,
            up: rotation.inverse_apply(vec3(0.0, -1.0, 0.0)),
            lamps,
        }
    }

    /// What a mirror at `from` sees in direction `towards`; camera axes. Edges are blurred over
    /// `blur_rad`, which is how far the direction turns within one sample.
    pub fn mirrored(&self, from: Vec3, towards: Vec3, blur_rad: f32) -> f32 {
        let above = 0.5 - 0.5 * towards.y;
        let mut out = self.ambient * mix(0.25, 0.55, above);
        if towards.z < -0.05 {
            let t = -from.z / towards.z;
            let [width, height] = self.screen.size_mm;
            let soft = (blur_rad * t * 0.6).max(2.0);
            let x = from.x + t * towards.x;
            let y = from.y + t * towards.y;
            let inside = edge(0.5 * width - x.abs(), soft) * edge(y, soft) * edge(height - y, soft);
            out = mix(out, self.screen.radiance, inside);
        }
        for lamp in &self.lamps {
            let ahead = towards.dot(lamp.direction);
            if ahead < 0.3 {
                continue;
            }
            let across = vec3(lamp.direction.z, 0.0, -lamp.direction.x).unit();
            let down = lamp.direction.cross(across);
            let x = towards.dot(across) / ahead;
            let y = towards.dot(down) / ahead;
            let soft = 0.6 * blur_rad;
            let (w, h) = (lamp.half_width, lamp.half_height);
            let radiance = lamp.intensity * PI / (4.0 * w * h);
            let share = if lamp.is_window {
                let bars = edge((x.abs() - 0.03).min((y - 0.2 * h).abs() - 0.03), soft);
                edge(w - x.abs(), soft) * edge(h - y.abs(), soft) * mix(0.3, 1.0, bars)
            } else {
                // A lamp smaller than the blur spreads its light over it.
                let (we, he) = (w.max(soft), h.max(soft));
                let d2 = (x / we) * (x / we) + (y / he) * (y / he);
                (1.0 - smoothstep(0.6, 1.5, d2)) * w * h / (we * he)
            };
            out += radiance * share;
        }
        out
    }
}

/// 0 outside, 1 inside, over ±`soft` around the edge.
fn edge(inside: f32, soft: f32) -> f32 {
    (0.5 + 0.5 * inside / soft.max(1e-6)).clamp(0.0, 1.0)
}

fn lamp(r: &mut Random, yaw: f32, pitch: f32, intensity: f32) -> Lamp {
    let direction = gaze_protocol::GazeAngles {
        yaw_rad: yaw,
        pitch_rad: pitch,
    };
    let is_window = r.chance(0.5);
    let half = if is_window {
        r.uniform(0.2, 0.5)
    } else {
        r.uniform(0.05, 0.2)
    };
    Lamp {
        direction: direction.to_vector().into(),
        intensity,
        half_width: half,
        half_height: half * r.uniform(0.6, 1.4),
        is_window,
    }
}

impl LocalLighting {
    /// The light on a surface. `openness`: share of the room it sees; `lit`: share of the first
    /// lamp that reaches it.
    #[inline]
    pub fn on(&self, normal: Vec3, openness: f32, lit: f32) -> f32 {
        self.wrapped(normal, openness, lit, 0.0)
    }

    /// As [`LocalLighting::on`]; light creeps `wrap` (0..1) around the edge of shade, as it does
    /// in skin.
    #[inline]
    pub fn wrapped(&self, normal: Vec3, openness: f32, lit: f32, wrap: f32) -> f32 {
        let above = 0.5 + 0.5 * normal.dot(self.up);
        let mut out = self.ambient
            * openness
            * (1.0 - self.from_above + 2.0 * self.from_above * above * openness);
        let scale = 1.0 / (1.0 + wrap);
        let mut reach = lit;
        for lamp in &self.lamps {
            let cosine = (normal.dot(lamp.direction) + wrap) * scale;
            if cosine > 0.0 {
                out += lamp.intensity * cosine * reach * (0.35 + 0.65 * openness);
            }
            reach = 1.0;
        }
        out
    }

    /// Highlights of a rough coat.
    #[inline]
    pub fn highlight(&self, normal: Vec3, lit: f32) -> f32 {
        let mut out = 0.0;
        let mut reach = lit;
        for lamp in &self.lamps {
            let c = normal.dot(lamp.half).max(0.0);
            let c2 = c * c;
            let c4 = c2 * c2;
            let c8 = c4 * c4;
            out += lamp.intensity * reach * (0.12 * c8 + 0.30 * c8 * c8 * c8);
            reach = 1.0;
        }
        out
    }

    pub fn first_direction(&self) -> Vec3 {
        self.lamps[0].direction
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_facing_the_screen_sees_the_screen() {
        let mut lighting = Lighting::from_seed(1, [531.0, 299.0]);
        lighting.lamps.clear();
        lighting.screen.radiance = 50.0;
        let eye = vec3(0.0, 0.0, 600.0);
        let at = |x: f32, y: f32| lighting.mirrored(eye, (vec3(x, y, 0.0) - eye).unit(), 0.001);
        assert!((at(0.0, 150.0) - 50.0).abs() < 1e-3);
        assert!((at(250.0, 290.0) - 50.0).abs() < 1e-3);
        assert!(at(0.0, -50.0) < 2.0 && at(300.0, 150.0) < 2.0);
    }
}
