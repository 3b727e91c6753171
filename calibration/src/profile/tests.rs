use super::*;
use crate::model::{Affine, Features, HeadTerm, N_FEATURES, Offset, Quadratic};
use crate::quality::{Measures, TargetQuality};
use crate::screen::ScreenPose;
use gaze_protocol::PointOfRegard;
use proptest::prelude::*;

pub(crate) fn networks() -> NetworkHashes {
    NetworkHashes {
        landmarks: "a".repeat(64),
        eyes: "e".repeat(64),
    }
}

pub(crate) fn profile() -> Profile {
    Profile {
        user: UserName::new("anna").unwrap(),
        created_unix_s: 1_767_225_600,
        made_by: MadeBy::Session,
        eyes: Eyes::Both,
        networks: Some(networks()),
        camera: CameraSetup {
            id: "usb-Example_Webcam-video-index0".to_owned(),
            frame_size_px: [640, 480],
            intrinsics: Intrinsics {
                fx_px: 640.0,
                fy_px: 640.0,
                cx_px: 319.5,
                cy_px: 239.5,
            },
        },
        screen: ScreenGeometry::new(531.0, 299.0).unwrap(),
        model: CalibrationModel::Offset(Offset {
            shift: [0.01, -0.02],
            gain: [1.0; 2],
        }),
        fitting: Fitting {
            reason: "asked for".to_owned(),
            ..Fitting::default()
        },
        quality: Quality::over(vec![TargetQuality {
            target: PointOfRegard {
                x_mm: 265.5,
                y_mm: 149.5,
            },
            gaze: None,
            eyes_mm: Some([0.0, 80.0, 600.0]),
            measures: Measures {
                n_used: 2,
                n_lost: 1,
                precision_sd_deg: Some(0.7),
                ..Measures::default()
            },
        }]),
        validation: None,
    }
}

fn path() -> &'static Path {
    Path::new("anna.toml")
}

#[test]
fn a_profile_reads_back_as_it_was_written() {
    let text = profile().to_text().unwrap();
    assert_eq!(Profile::from_text(&text, path()).unwrap(), profile());
    assert!(text.starts_with("format = \"gazed-profile\"\nversion = 3\nbytes = "));
    // The whole file is TOML, header included.
    assert!(text.parse::<toml::Table>().is_ok());
}

#[test]
fn the_checksum_is_the_usual_crc_32() {
    assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
}

#[test]
fn a_newer_version_is_refused_naming_both() {
    let text = profile().to_text().unwrap();
    let newer = text.replacen("version = 3", "version = 7", 1);
    let error = Profile::from_text(&newer, path()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "anna.toml is a profile of version 7; this program reads versions 2 to 3"
    );
}

#[test]
fn a_profile_cut_anywhere_is_refused() {
    let text = profile().to_text().unwrap();
    for end in 0..text.len() {
        assert!(
            Profile::from_text(&text[..end], path()).is_err(),
            "at {end}"
        );
    }
    let error = Profile::from_text(&text[..text.len() - 1], path()).unwrap_err();
    assert!(matches!(error, ProfileError::Truncated { .. }));
}

#[test]
fn an_edited_profile_is_refused() {
    let text = profile().to_text().unwrap();
    let edited = text.replacen("319.5", "319.6", 1);
    let error = Profile::from_text(&edited, path()).unwrap_err();
    assert!(matches!(error, ProfileError::Checksum { .. }));
    let longer = format!("{text}\n[more]\n");
    let error = Profile::from_text(&longer, path()).unwrap_err();
    assert!(matches!(error, ProfileError::Checksum { .. }));
}

/// A good header, and this body.
fn sealed(version: u32, body: &str) -> String {
    format!(
        "{FORMAT_LINE}\nversion = {version}\nbytes = {}\nchecksum = \"{:08x}\"\n{body}",
        body.len(),
        crc32(body.as_bytes())
    )
}

fn body_of(text: &str) -> &str {
    text.splitn(5, '\n').nth(4).unwrap()
}

/// The text edited by hand, with a good header for whatever its body says then.
fn resealed(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from} not in {text}");
    sealed(PROFILE_VERSION, &body_of(text).replacen(from, to, 1))
}

#[test]
fn a_profile_edited_to_another_network_is_stale() {
    let text = profile().to_text().unwrap();
    let edited = resealed(&text, &networks().eyes, &"b".repeat(64));
    let edited = Profile::from_text(&edited, path()).unwrap();
    let reasons = edited.stale_reasons(&profile().camera, &profile().screen, &networks());
    assert_eq!(reasons.len(), 1);
    assert_eq!(
        (reasons[0].to_string().as_str(), reasons[0].remedy()),
        (
            "made with another eye network (bbbbbbbb, now eeeeeeee)",
            "calibrate again"
        )
    );
    // A hash that none can be is no profile's.
    let error = Profile::from_text(&resealed(&text, &networks().eyes, "8504aa86"), path());
    assert!(matches!(
        error,
        Err(ProfileError::Value {
            key: "networks",
            ..
        })
    ));
}

#[test]
fn a_profile_of_the_version_before_is_read_and_knows_no_networks() {
    let NetworkHashes { landmarks, eyes } = networks();
    let section = format!("[networks]\nlandmarks = \"{landmarks}\"\neyes = \"{eyes}\"\n\n");
    let text = profile().to_text().unwrap();
    let body = body_of(&text);
    assert!(body.contains(&section), "{body}");
    let before = Profile::from_text(&sealed(2, &body.replacen(&section, "", 1)), path()).unwrap();
    let expected = Profile {
        networks: None,
        ..profile()
    };
    assert_eq!(before, expected);
    // Written again, it is one of this version that knows as little.
    let text = before.to_text().unwrap();
    assert_eq!(Profile::from_text(&text, path()).unwrap(), expected);
}

#[test]
fn values_that_cannot_be_are_refused_even_with_a_good_checksum() {
    let text = profile().to_text().unwrap();
    let refusal =
        |from: &str, to: &str| Profile::from_text(&resealed(&text, from, to), path()).unwrap_err();
    let key = |error: ProfileError| match error {
        ProfileError::Value { key, .. } => key,
        other => panic!("{other}"),
    };
    assert_eq!(key(refusal("shift = [0.01", "shift = [nan")), "shift");
    assert_eq!(
        key(refusal("fx_px = 640.0", "fx_px = -1.0")),
        "camera.intrinsics"
    );
    assert_eq!(
        key(refusal(
            "precision_sd_deg = 0.7",
            "precision_sd_deg = inf #"
        )),
        "precision_sd_deg"
    );
    assert!(matches!(
        refusal("width_mm = 531.0", "width_mm = -531.0"),
        ProfileError::Syntax { .. }
    ));
    assert!(matches!(
        refusal("user = \"anna\"", "user = \"../anna\""),
        ProfileError::Syntax { .. }
    ));
    assert!(matches!(
        refusal("created_unix_s", "unheard_of"),
        ProfileError::Syntax { .. }
    ));
}

#[test]
fn a_profile_that_could_not_be_read_back_is_not_written() {
    let mut bad = profile();
    bad.model = CalibrationModel::Offset(Offset {
        shift: [f32::NAN, 0.0],
        gain: [1.0; 2],
    });
    assert!(matches!(
        bad.to_text(),
        Err(ProfileError::Value { key: "shift", .. })
    ));
    let mut bad = profile();
    bad.camera.id.clear();
    assert!(bad.to_text().is_err());
}

#[test]
fn recentring_takes_a_large_miss_for_drift_and_leaves_the_usual_one_half() {
    let mut before = profile();
    let missed = |before: &Profile, missing: [f32; 2]| {
        let after = before.recentred(missing, before.camera.clone(), before.screen, 1);
        let (CalibrationModel::Offset(before), CalibrationModel::Offset(after)) =
            (before.model, after.model)
        else {
            panic!("an offset stays one");
        };
        [0, 1].map(|axis| after.shift[axis] - before.shift[axis])
    };
    let is_close = |found: [f32; 2], expected: [f32; 2]| {
        [0, 1].iter().all(
            |&axis| (found[axis] - expected[axis]).abs() < 1e-5, /* f32 */
        )
    };
    // Nobody knows how far it usually misses.
    before.quality.all.accuracy_deg = None;
    assert!(is_close(missed(&before, [0.03, 0.04]), [0.03, 0.04]));
    // 0.05 is the tangent of 2.8624°: as much as it usually misses.
    before.quality.all.accuracy_deg = Some(2.862_405);
    assert!(is_close(missed(&before, [0.03, 0.04]), [0.015, 0.02]));
    // Three times that: 9 / (9 + 1).
    assert!(is_close(missed(&before, [0.09, 0.12]), [0.081, 0.108]));
    assert!(is_close(missed(&before, [0.0; 2]), [0.0; 2]));
    before.quality.all.accuracy_deg = Some(0.0);
    assert!(is_close(missed(&before, [0.0; 2]), [0.0; 2]));
}

fn number() -> impl Strategy<Value = f32> {
    -1e3f32..1e3
}

fn numbers() -> impl Strategy<Value = [f32; 2]> {
    [number(), number()]
}

fn sizes() -> impl Strategy<Value = [f32; 2]> {
    [1e-6f32..1e3, 1e-6f32..1e3]
}

fn head() -> impl Strategy<Value = Option<HeadTerm>> {
    proptest::option::of(
        ([numbers(), numbers()], numbers(), sizes(), sizes()).prop_map(
            |(gain, centre_rad, spread_rad, reach)| HeadTerm {
                gain,
                centre_rad,
                spread_rad,
                reach,
            },
        ),
    )
}

fn model() -> impl Strategy<Value = CalibrationModel> {
    let affine = || (numbers(), [numbers(), numbers()], head());
    let bend = [
        [number(), number(), number()],
        [number(), number(), number()],
    ];
    prop_oneof![
        (numbers(), numbers())
            .prop_map(|(shift, gain)| CalibrationModel::Offset(Offset { shift, gain })),
        affine().prop_map(|(shift, gain, head)| {
            CalibrationModel::Affine(Affine { shift, gain, head })
        }),
        (affine(), bend, numbers(), sizes(), sizes()).prop_map(
            |((shift, gain, head), curvature, centre, spread, reach)| {
                CalibrationModel::Quadratic(Quadratic {
                    shift,
                    gain,
                    curvature,
                    centre,
                    spread,
                    reach,
                    head,
                })
            }
        ),
        (
            affine(),
            [features(), features()],
            [features(), features(), features()]
        )
            .prop_map(|((shift, gain, head), weights, [centre, spread, reach])| {
                CalibrationModel::Features(Features {
                    shift,
                    gain,
                    weights,
                    centre,
                    // Sizes are positive.
                    spread: spread.map(|x| x.abs() + 1e-3),
                    reach: reach.map(|x| x.abs() + 1e-3),
                    head,
                })
            }),
    ]
}

fn features() -> impl Strategy<Value = [f32; N_FEATURES]> {
    proptest::array::uniform12(number())
}

proptest! {
    #[test]
    fn parsing_what_was_written_gives_the_same_profile(
        model in model(),
        name in "[A-Za-z0-9_-]{1,64}",
        id in "[^\\p{C}]{1,60}",
        created_unix_s in 0u64..(1 << 62),
        sides in [1e-3f32..5e4, 1e-3f32..5e4],
        offset_mm in [number(), number(), number()],
        tilt_rad in -1.3f32..1.3,
        size_px in proptest::option::of((1u32.., 1u32..)),
        share in 0f32..1.0,
        known in proptest::option::of(0f32..100.0),
    ) {
        let mut screen = ScreenGeometry::new(sides[0], sides[1])
            .unwrap()
            .with_pose(ScreenPose { offset_mm, tilt_rad })
            .unwrap();
        if let Some((width, height)) = size_px {
            screen = screen.with_size_px(width, height).unwrap();
        }
        let mut written = profile();
        written.user = UserName::new(&name).unwrap();
        written.created_unix_s = created_unix_s;
        written.camera.id = id;
        written.screen = screen;
        written.model = model;
        written.fitting.rate_hz = Some(share);
        written.quality.all.accuracy_deg = known;
        written.quality.targets[0].measures.bcea_deg2 = known;
        written.validation = known.map(|_| written.quality.clone());
        let text = written.to_text().unwrap();
        prop_assert_eq!(Profile::from_text(&text, path()).unwrap(), written);
    }

    #[test]
    fn a_garbled_profile_is_refused_without_a_panic(
        position in 0usize..1000,
        byte in 0u8..128,
        drop in 0usize..3,
    ) {
        let text = profile().to_text().unwrap();
        let mut bytes = text.clone().into_bytes();
        let position = position % bytes.len();
        bytes.splice(position..(position + drop).min(text.len()), [byte]);
        let garbled = String::from_utf8(bytes).unwrap();
        let read = Profile::from_text(&garbled, path());
        if garbled != text {
            // A byte of the header may change its spelling (00 before a number) but not what
            // it says.
            prop_assert!(read.is_err() || read.unwrap() == profile());
        }
    }

    #[test]
    fn any_text_is_refused_without_a_panic(text in "\\PC{0,200}") {
        prop_assert!(Profile::from_text(&text, path()).is_err());
    }

    #[test]
    fn a_good_header_before_any_text_is_refused_without_a_panic(body in "[ -~\n]{0,200}") {
        for version in OLDEST_VERSION..=PROFILE_VERSION {
            prop_assert!(Profile::from_text(&sealed(version, &body), path()).is_err());
        }
    }
}
