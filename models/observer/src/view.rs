//! Single random views for training: anyone, anywhere in front of any webcam, looking anywhere.

use gaze_protocol::{GazeAngles, Timestamp};

use crate::appearance::Appearance;
use crate::geometry::{Pinhole, Pose, Rotation, Vec3, vec3};
use crate::light::Lighting;
use crate::observer::por_of;
use crate::random::Random;
use crate::scene::{Moment, Scene};
use crate::script::{EventLabel, blink_opening};
use crate::sensor::Sensor;
use crate::truth::{BlinkTruth, GroundTruth};

/// One rendered picture and what is known about it.
#[derive(Clone, Debug)]
pub struct View {
    /// Row-major, one byte a pixel.
    pub luma: Vec<u8>,
    /// Width of the picture.
    pub width_px: u32,
    /// Height of the picture.
    pub height_px: u32,
    /// The truth about it.
    pub truth: GroundTruth,
}

/// Renders the view of a seed: random person, light, camera, pose and gaze.
///
/// Head: yaw to ±30°, pitch to ±24°, roll to ±20°, 0.3 to 1.2 m away, anywhere in the picture
/// that keeps the eyes inside. Gaze: to ±34° yaw and ±25° pitch from the direction to the camera,
/// and within 32° and 28° of the head's own direction. One view in twelve has shut or shutting
/// lids.
pub fn random_view(seed: u64) -> View {
    view(seed, seed, None)
}

/// As [`random_view`], but only what lies within `reach` face measures
/// ([`GroundTruth::face_middle_px`]) of the face's middle, each way, is rendered; the rest is
/// black. For crops, at a fraction of the time.
pub fn random_view_within(seed: u64, reach: f32) -> View {
    view(seed, seed, Some(reach))
}

/// As [`random_view_within`], of the person whose seed is `person`; all else is the seed's.
pub fn random_view_of(person: u64, seed: u64, reach: f32) -> View {
    view(person, seed, Some(reach))
}

/// One of the views of a session: a person before a screen, in one light, before one camera, who
/// looks at places on the screen.
///
/// `person` is the person's seed and the session's; `seed` that of the moment. Some people keep
/// the head still, some move it by 6 cm and 10° (standard deviations), some turn it towards what
/// they look at. Screens are those of phones (70 mm wide) to monitors (650 mm), 0.25 to 0.9 m
/// away. One view in thirty has shut or shutting lids. Rendered within `reach` as in
/// [`random_view_within`].
pub fn session_view(person: u64, seed: u64, reach: f32) -> View {
    let mut whole = Random::new(person, 71);
    let mut r = Random::new(seed, 72);
    let camera = random_camera(&mut whole);
    let screen_mm = {
        let width = if whole.chance(0.3) {
            whole.uniform(70.0, 250.0)
        } else {
            whole.uniform(250.0, 650.0)
        };
        let is_portrait = width < 200.0 && whole.chance(0.5);
        let aspect = whole.uniform(0.5, 0.75);
        [
            width,
            width * if is_portrait { 1.0 / aspect } else { aspect },
        ]
    };
    let distance = if screen_mm[0] < 250.0 {
        whole.uniform(250.0, 500.0)
    } else {
        whole.uniform(380.0, 900.0)
    };
    let place = vec3(
        whole.normal_within(0.0, 40.0, -90.0, 90.0),
        whole.normal_within(20.0, 40.0, -60.0, 110.0),
        distance,
    );
    // What the head does: how far it moves, how far it turns, how far it follows the eyes.
    let (moved_mm, turned) = match whole.unit() {
        x if x < 0.45 => (4.0, 1.0f32.to_radians()),
        x if x < 0.8 => (15.0, 4.0f32.to_radians()),
        _ => (60.0, 10.0f32.to_radians()),
    };
    let follows = whole.uniform(-0.4, 0.5).max(0.0);
    let held =
        [6.0f32, 8.0, 4.0].map(|deg| whole.normal_within(0.0, 1.0, -2.0, 2.0) * deg.to_radians());
    let held_open = whole.normal_within(1.0, 0.1, 0.6, 1.15);

    let position = place
        + vec3(
            moved_mm * r.normal_within(0.0, 1.0, -2.0, 2.0),
            moved_mm * r.normal_within(0.0, 0.7, -1.4, 1.4),
            moved_mm * r.normal_within(0.0, 1.0, -1.6, 1.6),
        );
    let middle = vec3(0.0, 0.5 * screen_mm[1], 0.0);
    let ahead = GazeAngles::from_vector((middle - position).to_array());
    let turn = [turned, turned, 0.5 * turned].map(|sd| sd * r.normal_within(0.0, 1.0, -2.0, 2.0));
    let [max_yaw, max_pitch] = [32.0f32, 28.0].map(f32::to_radians);
    let [yaw, pitch, roll] = [30.0f32, 24.0, 20.0].map(f32::to_radians);
    let mut target = middle;
    let mut pose = Pose {
        position,
        rotation: Rotation::from_angles(ahead.yaw_rad, ahead.pitch_rad, 0.0),
    };
    for _ in 0..20 {
        target = vec3(
            screen_mm[0] * r.uniform(-0.5, 0.5),
            screen_mm[1] * r.unit(),
            0.0,
        );
        let sight = GazeAngles::from_vector((target - position).to_array());
        let lead = [
            follows * (sight.yaw_rad - ahead.yaw_rad),
            follows * (sight.pitch_rad - ahead.pitch_rad),
        ];
        pose.rotation = Rotation::from_angles(
            (ahead.yaw_rad + held[0] + turn[0] + lead[0]).clamp(-yaw, yaw),
            (ahead.pitch_rad + held[1] + turn[1] + lead[1]).clamp(-pitch, pitch),
            (held[2] + turn[2]).clamp(-roll, roll),
        );
        let local = pose.rotation.inverse_apply(sight.to_vector().into());
        let in_head = GazeAngles::from_vector(local.to_array());
        if in_head.yaw_rad.abs() < max_yaw && in_head.pitch_rad.abs() < max_pitch {
            break;
        }
        // What no try reaches is replaced by the middle of the screen.
        target = middle;
    }
    let (mut opening, blink) = random_opening(&mut r, 0.033);
    if blink.is_none() {
        opening = held_open * (1.0 + 0.5 * (opening - 1.0));
    }
    let moment = Moment {
        at: Timestamp(0),
        head: pose,
        target,
        por: por_of(target, screen_mm),
        opening,
        label: label_of(blink.as_ref()),
        blink,
        noise_seed: r.seed(),
    };
    let mut scene = Scene::new(
        Appearance::from_seed(person),
        Lighting::from_seed(person, screen_mm),
        Sensor::wild_from_seed(person),
        camera,
        person,
    );
    scene.reach = Some(reach);
    picture(&mut scene, &moment, &camera)
}

fn picture(scene: &mut Scene, moment: &Moment, camera: &Pinhole) -> View {
    let (width_px, height_px) = (camera.width_px, camera.height_px);
    let mut luma = vec![0; width_px as usize * height_px as usize];
    let truth = scene.render(moment, &mut luma);
    View {
        luma,
        width_px,
        height_px,
        truth,
    }
}

fn label_of(blink: Option<&BlinkTruth>) -> EventLabel {
    if blink.is_some() {
        EventLabel::Blink
    } else {
        EventLabel::Fixation
    }
}

fn random_camera(r: &mut Random) -> Pinhole {
    let (width_px, height_px) = match r.unit() {
        x if x < 0.66 => (640, 480),
        x if x < 0.76 => (320, 240),
        x if x < 0.90 => (640, 360),
        _ => (960, 540),
    };
    Pinhole {
        width_px,
        height_px,
        focal_px: width_px as f32 * r.uniform(0.75, 1.3),
    }
}

fn view(person: u64, seed: u64, reach: Option<f32>) -> View {
    let mut r = Random::new(seed, 70);
    let camera = random_camera(&mut r);
    let screen_mm = {
        let width = r.uniform(250.0, 650.0);
        [width, width * r.uniform(0.5, 0.7)]
    };
    let pose = random_pose(&mut r, &camera);
    let (target, por) = random_target(&mut r, &pose, screen_mm);
    let (opening, blink) = random_opening(&mut r, 0.085);
    let moment = Moment {
        at: Timestamp(0),
        head: pose,
        target,
        por,
        opening,
        label: label_of(blink.as_ref()),
        blink,
        noise_seed: r.seed(),
    };
    let mut scene = Scene::new(
        Appearance::from_seed(person),
        Lighting::from_seed(seed, screen_mm),
        Sensor::wild_from_seed(seed),
        camera,
        seed,
    );
    scene.reach = reach;
    picture(&mut scene, &moment, &camera)
}

/// Uniform over ±`limit`, with two thirds of the cases in its middle half.
fn spread(r: &mut Random, limit: f32) -> f32 {
    if r.chance(0.33) {
        r.uniform(-limit, limit)
    } else {
        r.uniform(-0.5 * limit, 0.5 * limit)
    }
}

fn random_pose(r: &mut Random, camera: &Pinhole) -> Pose {
    // Most people sit at 40 to 80 cm.
    let distance = if r.chance(0.7) {
        r.uniform(380.0, 800.0)
    } else {
        r.uniform(300.0, 1200.0)
    };
    let half_width = 0.5 * camera.width_px as f32 / camera.focal_px * distance;
    let half_height = 0.5 * camera.height_px as f32 / camera.focal_px * distance;
    let x = spread(r, (half_width - 80.0).max(10.0));
    let y = spread(r, (half_height - 90.0).max(15.0));
    let [yaw, pitch, roll] = [30.0f32, 24.0, 20.0].map(f32::to_radians);
    // Turns are relative to the direction to the camera in half of the cases: a face off the
    // picture's middle mostly still faces what is in front of it.
    let facing = if r.chance(0.5) {
        GazeAngles::from_vector([-x, -y, -distance])
    } else {
        GazeAngles::default()
    };
    Pose {
        position: vec3(x, y, distance),
        rotation: Rotation::from_angles(
            (facing.yaw_rad + spread(r, yaw)).clamp(-yaw, yaw),
            (facing.pitch_rad + spread(r, pitch)).clamp(-pitch, pitch),
            spread(r, roll),
        ),
    }
}

fn random_target(
    r: &mut Random,
    pose: &Pose,
    screen_mm: [f32; 2],
) -> (Vec3, Option<gaze_protocol::PointOfRegard>) {
    let to_camera = GazeAngles::from_vector((-pose.position).to_array());
    let [max_yaw, max_pitch] = [34.0f32, 25.0].map(f32::to_radians);
    let [eye_yaw, eye_pitch] = [32.0f32, 28.0].map(f32::to_radians);
    let facing = GazeAngles::from_vector((-pose.rotation.column(2)).to_array());
    let mut angles = to_camera;
    let mut is_on_screen = false;
    for _ in 0..40 {
        is_on_screen = r.chance(0.4);
        angles = if is_on_screen {
            let target = vec3(
                screen_mm[0] * r.uniform(-0.5, 0.5),
                screen_mm[1] * r.unit(),
                0.0,
            );
            GazeAngles::from_vector((target - pose.position).to_array())
        } else {
            GazeAngles {
                yaw_rad: to_camera.yaw_rad + r.uniform(-max_yaw, max_yaw),
                pitch_rad: to_camera.pitch_rad + r.uniform(-max_pitch, max_pitch),
            }
        };
        let local = pose.rotation.inverse_apply(angles.to_vector().into());
        let in_head = GazeAngles::from_vector(local.to_array());
        if in_head.yaw_rad.abs() < eye_yaw
            && in_head.pitch_rad.abs() < eye_pitch
            && (angles.yaw_rad - to_camera.yaw_rad).abs() < max_yaw
            && (angles.pitch_rad - to_camera.pitch_rad).abs() < max_pitch
        {
            break;
        }
        // What no try reaches is looked at straight ahead.
        angles = facing;
        is_on_screen = false;
    }
    let sight: Vec3 = angles.to_vector().into();
    let reach = if is_on_screen {
        -pose.position.z / sight.z
    } else {
        r.uniform(300.0, 1000.0)
    };
    let mut target = pose.position + sight * reach;
    if is_on_screen {
        target.z = 0.0;
    }
    (target, por_of(target, screen_mm).filter(|_| is_on_screen))
}

/// When in the second half of a blink, in which lids open, they are open so far; in the middle of the
/// shut part where they are shut.
fn progress_of(opening: f32) -> f32 {
    if opening <= 0.0 {
        return 0.375;
    }
    // The opening grows with the time: halve the half that holds it.
    let (mut shut, mut open) = (0.5, 1.0);
    for _ in 0..20 {
        let middle = 0.5 * (shut + open);
        if blink_opening(middle) < opening {
            shut = middle;
        } else {
            open = middle;
        }
    }
    0.5 * (shut + open)
}

fn random_opening(r: &mut Random, blinks: f32) -> (f32, Option<BlinkTruth>) {
    if !r.chance(blinks) {
        // How wide the eyes are held varies from moment to moment.
        return (r.normal_within(1.0, 0.08, 0.55, 1.15), None);
    }
    let opening = if r.chance(0.6) {
        0.0
    } else {
        r.uniform(0.0, 0.6)
    };
    let progress = progress_of(opening);
    (opening, Some(BlinkTruth { progress, opening }))
}
