//! Pictures that a camera should not give and does: the real networks answer with the right
//! validity, finite numbers and no panic.

use gaze_host::frame::Frame;
use gaze_host::inference::Engine;
use gaze_host::vision::{FaceObservation, Vision, VisionSettings};
use gaze_models::Models;
use gaze_observer::{Observer, ObserverSettings};
use gaze_protocol::Timestamp;
use proptest::prelude::*;

const WIDTH: usize = 640;
const HEIGHT: usize = 480;

/// Looks at single pictures.
struct Looker {
    vision: Vision,
    frame: Frame,
}

impl Looker {
    fn new() -> Self {
        let models = Models::embedded().unwrap();
        Looker {
            vision: Vision::new(&models, Engine::Tract, VisionSettings::default()).unwrap(),
            frame: Frame::new(),
        }
    }

    fn look(&mut self, width: usize, height: usize, luma: &[u8]) -> Option<FaceObservation> {
        self.vision.reset();
        (self.frame.width, self.frame.height) = (width, height);
        self.frame.luma = luma.to_vec();
        let face = self.vision.step(&self.frame).unwrap().face;
        if let Some(face) = &face {
            assert_finite(face);
        }
        face
    }
}

fn assert_finite(face: &FaceObservation) {
    let eyes = [face.left_eye, face.right_eye].into_iter().flatten();
    let gaze = face.gaze.iter().flat_map(|gaze| {
        let angles = [gaze.angles.yaw_rad, gaze.angles.pitch_rad, gaze.sigma_rad];
        [angles, gaze.origin_mm].concat()
    });
    let head = face.head;
    let numbers = face
        .box_px
        .into_iter()
        .chain(face.landmarks_px.concat())
        .chain(face.features)
        .chain(head.position_mm)
        .chain([head.yaw_rad, head.pitch_rad, head.roll_rad, face.confidence])
        .chain(
            eyes.flat_map(|eye| [eye.center_px.as_slice(), &eye.iris_px, &[eye.openness]].concat()),
        )
        .chain(gaze);
    for number in numbers {
        assert!(number.is_finite(), "{face:?}");
    }
}

/// A rendered person: the picture and the places of the right and left eye.
struct Person {
    luma: Vec<u8>,
    eyes_px: [[f32; 2]; 2],
}

/// The first frame of a person in which the eyes are open, or shut.
fn person(seed: u64, is_blinking: bool) -> Person {
    let settings = ObserverSettings {
        seed,
        ..ObserverSettings::default()
    };
    let mut observer = Observer::new(settings).unwrap();
    let mut luma = vec![0; WIDTH * HEIGHT];
    for frame in 0..600 {
        let truth = observer.render(Timestamp(frame * 33_333), &mut luma);
        let is_shut = truth.openness.iter().all(|&openness| openness < 0.05);
        if is_shut == is_blinking && (is_blinking || truth.blink.is_none()) {
            let eyes_px = truth.eye_centres_px();
            return Person { luma, eyes_px };
        }
    }
    panic!("nobody blinks but once in twenty seconds");
}

/// Paints a dark rectangle of so many eye distances around a place.
fn cover(luma: &mut [u8], [x, y]: [f32; 2], [half_width, half_height]: [f32; 2]) {
    for row in 0..HEIGHT {
        for column in 0..WIDTH {
            let (dx, dy) = (column as f32 - x, row as f32 - y);
            if dx.abs() <= half_width && dy.abs() <= half_height {
                luma[row * WIDTH + column] = 12;
            }
        }
    }
}

const SEEDS: [u64; 4] = [301, 302, 303, 304];

#[test]
fn open_eyes_have_gaze_and_shut_ones_have_none() {
    let mut looker = Looker::new();
    for seed in SEEDS {
        let open = looker.look(WIDTH, HEIGHT, &person(seed, false).luma);
        let face = open.expect("a rendered face is found");
        assert!(face.gaze.is_some() && !face.lids_are_down, "{seed}");
        let shut = looker.look(WIDTH, HEIGHT, &person(seed, true).luma);
        let face = shut.expect("a face with shut eyes is found");
        assert!(
            face.gaze.is_none() && face.lids_are_down,
            "{seed}: {face:?}"
        );
        assert!(face.left_eye.is_some() && face.right_eye.is_some());
    }
}

#[test]
fn one_covered_eye_leaves_the_other() {
    let mut looker = Looker::new();
    let mut with_gaze = 0;
    for seed in SEEDS {
        let Person { mut luma, eyes_px } = person(seed, false);
        let distance = (eyes_px[0][0] - eyes_px[1][0]).hypot(eyes_px[0][1] - eyes_px[1][1]);
        // A patch over the observer's right eye.
        cover(&mut luma, eyes_px[0], [0.4 * distance, 0.3 * distance]);
        if let Some(face) = looker.look(WIDTH, HEIGHT, &luma) {
            let right_is_used = face.right_eye.is_some_and(|eye| eye.is_open);
            with_gaze += usize::from(face.gaze.is_some() && !right_is_used);
        }
    }
    assert!(with_gaze >= 3, "{with_gaze} of {} people", SEEDS.len());
}

#[test]
fn dark_glasses_give_no_confident_gaze() {
    let mut looker = Looker::new();
    let limit_rad = Models::embedded()
        .unwrap()
        .thresholds
        .low_confidence_sigma_rad;
    for seed in SEEDS {
        let Person { mut luma, eyes_px } = person(seed, false);
        let distance = (eyes_px[0][0] - eyes_px[1][0]).hypot(eyes_px[0][1] - eyes_px[1][1]);
        for eye in eyes_px {
            cover(&mut luma, eye, [0.42 * distance, 0.32 * distance]);
        }
        let gaze = looker.look(WIDTH, HEIGHT, &luma).and_then(|face| face.gaze);
        assert!(
            gaze.is_none_or(|gaze| gaze.sigma_rad > limit_rad),
            "{seed}: {gaze:?}"
        );
    }
}

#[test]
fn of_two_people_the_one_nearer_to_the_middle_is_followed() {
    let mut looker = Looker::new();
    let (near, far) = (person(301, false), person(302, false));
    // Two pictures side by side, the first in the middle of the whole.
    let width = 2 * WIDTH;
    let mut luma = vec![90; width * HEIGHT];
    for row in 0..HEIGHT {
        let line = &mut luma[row * width..][..width];
        line[WIDTH / 2..WIDTH / 2 + WIDTH].copy_from_slice(&near.luma[row * WIDTH..][..WIDTH]);
        line[WIDTH / 2 + WIDTH..]
            .copy_from_slice(&far.luma[row * WIDTH + WIDTH / 4..][..WIDTH / 2]);
    }
    let face = looker.look(width, HEIGHT, &luma).expect("there are two");
    let right_eye = face.right_eye.expect("it is open").center_px;
    let expected = [near.eyes_px[0][0] + WIDTH as f32 / 2.0, near.eyes_px[0][1]];
    let apart = (right_eye[0] - expected[0]).hypot(right_eye[1] - expected[1]);
    assert!(apart < 15.0, "{right_eye:?}, expected {expected:?}");
}

#[test]
fn pictures_without_a_face_have_none() {
    let mut looker = Looker::new();
    let ramp = |n: usize, width: usize| (n % width * 255 / width) as u8;
    for (width, height) in [(1, 1), (1, 900), (900, 1), (3, 2), (640, 480), (8000, 6000)] {
        for luma in [
            vec![0; width * height],
            vec![255; width * height],
            (0..width * height).map(|n| ramp(n, width)).collect(),
        ] {
            assert!(
                looker.look(width, height, &luma).is_none(),
                "{width}x{height}"
            );
        }
    }
}

#[test]
fn a_face_that_leaves_the_picture_or_stands_on_its_head_is_finite_or_none() {
    let mut looker = Looker::new();
    for seed in SEEDS {
        let Person { luma, eyes_px } = person(seed, false);
        let upside_down: Vec<u8> = luma.iter().rev().copied().collect();
        looker.look(WIDTH, HEIGHT, &upside_down);
        // The picture is cut ever nearer to, and through, the left eye.
        let left = eyes_px[1][0];
        for cut in [left + 40.0, left, left - 40.0] {
            let width = (cut as usize).clamp(1, WIDTH);
            let rows = luma.chunks_exact(WIDTH).map(|row| &row[..width]);
            let face = looker.look(width, HEIGHT, &rows.collect::<Vec<_>>().concat());
            if let Some(eye) = face.and_then(|face| face.left_eye) {
                assert!(eye.center_px[0] < width as f32 + 40.0, "{eye:?} of {width}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_picture_gives_finite_numbers(
        width in 1usize..300,
        height in 1usize..300,
        seed in any::<u64>(),
        contrast in 0u32..=255,
    ) {
        let mut state = seed | 1;
        let luma: Vec<u8> = (0..width * height)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                ((state >> 33) as u32 % (contrast + 1)) as u8
            })
            .collect();
        Looker::new().look(width, height, &luma);
    }

    #[test]
    fn a_damaged_face_gives_finite_numbers(
        damages in proptest::collection::vec(
            (0usize..WIDTH, 0usize..HEIGHT, 1usize..400, 1usize..300, any::<u8>()),
            0..5,
        ),
        from in (0usize..WIDTH - 1, 0usize..HEIGHT - 1),
    ) {
        let mut luma = FACE.luma.clone();
        for (x, y, width, height, grey) in damages {
            for row in luma.chunks_exact_mut(WIDTH).skip(y).take(height) {
                let end = (x + width).min(WIDTH);
                row[x..end].fill(grey);
            }
        }
        // What is left of the picture after its left and upper part are gone.
        let rows = luma.chunks_exact(WIDTH).skip(from.1).map(|row| &row[from.0..]);
        let rest = rows.collect::<Vec<_>>().concat();
        Looker::new().look(WIDTH - from.0, HEIGHT - from.1, &rest);
    }
}

static FACE: std::sync::LazyLock<Person> = std::sync::LazyLock::new(|| person(305, false));
