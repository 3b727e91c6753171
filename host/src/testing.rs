//! What several tests build on.

use gaze_calibration::{
    CalibrationModel, CameraSetup, Eyes, Fitting, MadeBy, NetworkHashes, Profile, Quality,
    ScreenGeometry, UserName,
};
use gaze_protocol::Timestamp;

use crate::frame::FrameName;
use crate::vision::{CameraMatrix, Observation};

/// A camera of which nothing is known but the size of its pictures.
pub(crate) fn camera(id: &str, frame_size_px: [u32; 2]) -> CameraSetup {
    let [width, height] = frame_size_px.map(|side| side as usize);
    CameraSetup {
        id: id.to_owned(),
        frame_size_px,
        intrinsics: CameraMatrix::guess(width, height).into(),
    }
}

/// Networks that no other test's are.
pub(crate) fn networks() -> NetworkHashes {
    NetworkHashes {
        landmarks: "a".repeat(64),
        eyes: "e".repeat(64),
    }
}

/// A profile made with this camera and [`networks`] before a screen of 531 x 299 mm.
pub(crate) fn profile(user: &str, camera: CameraSetup) -> Profile {
    Profile {
        user: UserName::new(user).unwrap(),
        created_unix_s: 1_767_225_600,
        made_by: MadeBy::Session,
        eyes: Eyes::Both,
        networks: Some(networks()),
        camera,
        screen: ScreenGeometry::new(531.0, 299.0).unwrap(),
        model: CalibrationModel::IDENTITY,
        fitting: Fitting::default(),
        quality: Quality::over(Vec::new()),
        validation: None,
    }
}

/// A picture without a face.
pub(crate) fn nobody(seq: u64, size_px: [usize; 2]) -> Observation {
    Observation {
        seq,
        frame: FrameName::Number,
        captured_at: Timestamp(seq * 33_333),
        size_px,
        error: None,
        n_faces: 0,
        face: None,
    }
}
