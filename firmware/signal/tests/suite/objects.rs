//! Visits to objects on the screen.

use gaze_protocol::{GazeEvent, GazeSample, PointOfRegard, Validity};
use gaze_signal::{EventBuf, MAX_OBJECTS, ObjectBox, ObjectError, ObjectSettings, Objects};

use crate::simulated::{Dice, sample};

const FRAME_MS: f64 = 1000.0 / 30.0;

fn area(x_mm: f32, y_mm: f32, width_mm: f32, height_mm: f32) -> ObjectBox {
    ObjectBox {
        x_mm,
        y_mm,
        width_mm,
        height_mm,
    }
}

fn screen(objects: &[(&str, ObjectBox)]) -> Objects {
    let mut screen = Objects::new(ObjectSettings::default()).expect("defaults are in range");
    for (id, area) in objects {
        screen.add(id, *area).expect("it fits");
    }
    screen
}

/// Follows a gaze frame by frame and writes down what happens as `+id onset` and `-id onset offset`,
/// times in frames.
struct Play {
    screen: Objects,
    frame: u64,
    log: Vec<String>,
}

impl Play {
    fn new(screen: Objects) -> Self {
        Play {
            screen,
            frame: 0,
            log: Vec::new(),
        }
    }

    fn look(self, frames: u64, x_mm: f32, y_mm: f32) -> Self {
        self.frames(frames, Validity::Valid, Some(PointOfRegard { x_mm, y_mm }))
    }

    fn miss(self, frames: u64, validity: Validity) -> Self {
        self.frames(frames, validity, None)
    }

    fn frames(mut self, frames: u64, validity: Validity, por: Option<PointOfRegard>) -> Self {
        for _ in 0..frames {
            let ms = self.frame as f64 * FRAME_MS;
            let sample = GazeSample {
                por,
                ..sample(self.frame, ms, validity, [0.0, 0.0])
            };
            let mut out = EventBuf::new();
            self.screen.step(&sample, &mut out);
            self.frame += 1;
            self.note(&out);
        }
        self
    }

    fn change(mut self, change: impl FnOnce(&mut Objects, &mut EventBuf)) -> Self {
        let mut out = EventBuf::new();
        change(&mut self.screen, &mut out);
        self.note(&out);
        self
    }

    fn end(self) -> Vec<String> {
        self.change(|screen, out| screen.finish(out)).log
    }

    fn note(&mut self, out: &EventBuf) {
        let frame = |us: u64| (us as f64 / 1000.0 / FRAME_MS).round() as u64;
        for event in out {
            self.log.push(match event {
                GazeEvent::ObjectEnter(visit) => {
                    format!("+{} {}", visit.object, frame(visit.onset.as_us()))
                }
                GazeEvent::ObjectLeave(visit) => {
                    let [onset, offset] = [visit.onset, visit.offset].map(|t| frame(t.as_us()));
                    format!("-{} {onset} {offset}", visit.object)
                }
                other => format!("{other:?}"),
            });
        }
    }
}

#[test]
fn a_visit_runs_from_the_first_sample_on_to_the_first_sample_off() {
    let screen = screen(&[("cup", area(0.0, 0.0, 50.0, 50.0))]);
    let log = Play::new(screen)
        .look(5, 200.0, 25.0)
        .look(10, 25.0, 25.0)
        .look(9, 200.0, 25.0);
    assert_eq!(log.end(), ["+cup 5", "-cup 5 15"]);
}

#[test]
fn an_open_visit_ends_with_the_stream() {
    let screen = screen(&[("cup", area(0.0, 0.0, 50.0, 50.0))]);
    assert_eq!(
        Play::new(screen).look(10, 25.0, 25.0).end(),
        ["+cup 0", "-cup 0 9"]
    );
}

#[test]
fn a_blink_does_not_end_a_visit() {
    let screen = screen(&[("cup", area(0.0, 0.0, 50.0, 50.0))]);
    let play = Play::new(screen)
        .look(10, 25.0, 25.0)
        .miss(9, Validity::EyeClosed);
    assert_eq!(play.look(10, 25.0, 25.0).end(), ["+cup 0", "-cup 0 28"]);
}

#[test]
fn a_long_absence_ends_a_visit_where_it_began() {
    let screen = screen(&[("cup", area(0.0, 0.0, 50.0, 50.0))]);
    let play = Play::new(screen)
        .look(10, 25.0, 25.0)
        .miss(30, Validity::NoFace);
    let log = play.look(10, 25.0, 25.0).end();
    assert_eq!(log, ["+cup 0", "-cup 0 10", "+cup 40", "-cup 40 49"]);
}

#[test]
fn passing_over_an_object_is_no_visit() {
    let screen = screen(&[("cup", area(0.0, 0.0, 50.0, 50.0))]);
    let play = Play::new(screen).look(10, -60.0, 25.0).look(2, 25.0, 25.0);
    assert!(play.look(10, 120.0, 25.0).end().is_empty());
}

#[test]
fn the_smallest_object_under_the_gaze_wins() {
    let screen = screen(&[
        ("window", area(0.0, 0.0, 200.0, 200.0)),
        ("button", area(50.0, 50.0, 30.0, 30.0)),
    ]);
    let hit = |x_mm, y_mm| screen.hit(PointOfRegard { x_mm, y_mm });
    assert_eq!(hit(60.0, 60.0), Some("button"));
    assert_eq!(hit(20.0, 60.0), Some("window"));
    assert_eq!(hit(300.0, 60.0), None);
    let log = Play::new(screen)
        .look(10, 20.0, 60.0)
        .look(10, 65.0, 65.0)
        .look(10, 20.0, 60.0);
    let expected = [
        "+window 0",
        "-window 0 10",
        "+button 10",
        "-button 10 20",
        "+window 20",
        "-window 20 29",
    ];
    assert_eq!(log.end(), expected);
}

#[test]
fn a_margin_catches_near_misses_but_not_from_an_object_that_is_really_hit() {
    let settings = ObjectSettings {
        margin_mm: 10.0,
        ..ObjectSettings::default()
    };
    let mut screen = Objects::new(settings).expect("in range");
    screen
        .add("big", area(0.0, 0.0, 100.0, 100.0))
        .expect("it fits");
    screen
        .add("small", area(105.0, 0.0, 20.0, 20.0))
        .expect("it fits");
    let hit = |x_mm, y_mm| screen.hit(PointOfRegard { x_mm, y_mm });
    assert_eq!(hit(98.0, 10.0), Some("big"));
    assert_eq!(hit(102.0, 10.0), Some("small"));
    assert_eq!(hit(109.0, 60.0), Some("big"));
    assert_eq!(hit(111.0, 60.0), None);
}

#[test]
fn noise_at_a_border_does_not_flicker() {
    let mut dice = Dice::new(5);
    let screen = screen(&[
        ("left", area(0.0, 0.0, 100.0, 100.0)),
        ("right", area(100.0, 0.0, 100.0, 100.0)),
    ]);
    let mut play = Play::new(screen);
    for _ in 0..900 {
        // 0.4° at 60 cm, resting on the left object, one standard deviation from its edge.
        play = play.look(1, 96.0 + 4.0 * dice.normal() as f32, 50.0);
    }
    let log = play.end();
    assert_eq!(log.len(), 2, "{log:?}");
}

#[test]
fn boxes_may_move_and_go_while_they_are_visited() {
    let screen = screen(&[
        ("cup", area(0.0, 0.0, 50.0, 50.0)),
        ("jug", area(200.0, 0.0, 50.0, 50.0)),
    ]);
    let log = Play::new(screen)
        .look(10, 25.0, 25.0)
        .change(|screen, _| {
            screen
                .move_to("cup", area(10.0, 0.0, 60.0, 50.0))
                .expect("known")
        })
        .look(10, 25.0, 25.0)
        .change(|screen, _| {
            screen
                .move_to("cup", area(300.0, 0.0, 60.0, 50.0))
                .expect("known")
        })
        .look(10, 25.0, 25.0)
        .change(|screen, _| {
            screen
                .move_to("jug", area(0.0, 0.0, 60.0, 50.0))
                .expect("known")
        })
        .look(10, 25.0, 25.0)
        .change(|screen, out| screen.remove("jug", out).expect("known"))
        .look(10, 25.0, 25.0);
    assert_eq!(log.end(), ["+cup 0", "-cup 0 20", "+jug 30", "-jug 30 39"]);
}

#[test]
fn clearing_the_screen_ends_the_visit() {
    let screen = screen(&[("cup", area(0.0, 0.0, 50.0, 50.0))]);
    let play = Play::new(screen)
        .look(10, 25.0, 25.0)
        .change(Objects::clear);
    assert!(play.screen.is_empty() && play.screen.visited().is_none());
    assert_eq!(play.end(), ["+cup 0", "-cup 0 9"]);
}

#[test]
fn unsure_gaze_enters_nothing() {
    let screen = screen(&[("cup", area(0.0, 0.0, 50.0, 50.0))]);
    let por = PointOfRegard {
        x_mm: 25.0,
        y_mm: 25.0,
    };
    let play = Play::new(screen).frames(20, Validity::LowConfidence, Some(por));
    assert!(play.end().is_empty());
}

#[test]
fn what_is_no_object_is_refused_and_changes_nothing() {
    let mut screen = screen(&[("cup", area(0.0, 0.0, 50.0, 50.0))]);
    let good = area(0.0, 0.0, 1.0, 1.0);
    let mut out = EventBuf::new();
    assert_eq!(screen.add("cup", good), Err(ObjectError::DuplicateId));
    assert_eq!(screen.add("", good), Err(ObjectError::BadId));
    assert_eq!(screen.add(&"x".repeat(65), good), Err(ObjectError::BadId));
    assert_eq!(
        screen.add("a", area(0.0, 0.0, 0.0, 1.0)),
        Err(ObjectError::BadBox)
    );
    assert_eq!(
        screen.add("a", area(f32::NAN, 0.0, 1.0, 1.0)),
        Err(ObjectError::BadBox)
    );
    assert_eq!(screen.move_to("a", good), Err(ObjectError::UnknownId));
    assert_eq!(screen.remove("a", &mut out), Err(ObjectError::UnknownId));
    assert_eq!(screen.len(), 1);
    for i in 1..MAX_OBJECTS {
        screen
            .add(&format!("object {i}"), good)
            .expect("there is room");
    }
    assert_eq!(screen.add("one more", good), Err(ObjectError::Full));
}
