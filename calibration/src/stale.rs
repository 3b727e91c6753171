//! Whether a profile still holds for the camera, screen and networks in use.

use crate::profile::{CameraSetup, Intrinsics, MadeBy, NetworkHashes, Profile};
use crate::screen::ScreenGeometry;

/// Sides of a screen differ when they do so by more than this, mm: a ruler's reading error.
const SIDE_TOLERANCE_MM: f32 = 1.0;

/// The screen has moved when its offset differs by more than this, mm.
const OFFSET_TOLERANCE_MM: f32 = 2.0;

/// The screen has been tilted when its tilt differs by more than this, rad (0.5°).
const TILT_TOLERANCE_RAD: f32 = 0.0087;

/// The lens differs when a focal length does so by more than this share.
const FOCAL_TOLERANCE: f32 = 0.01;

/// Why a profile does not hold for the present camera, screen and networks.
#[derive(Clone, Debug, PartialEq)]
pub enum StaleReason {
    /// Another camera.
    Camera {
        /// In the profile.
        profile: String,
        /// Now.
        now: String,
    },
    /// Frames of another size.
    FrameSize {
        /// In the profile, px.
        profile: [u32; 2],
        /// Now, px.
        now: [u32; 2],
    },
    /// Another focal length or principal point.
    Intrinsics,
    /// A screen of another size.
    ScreenSize {
        /// In the profile, mm.
        profile: [f32; 2],
        /// Now, mm.
        now: [f32; 2],
    },
    /// Another resolution.
    ScreenResolution {
        /// In the profile, px.
        profile: [u32; 2],
        /// Now, px.
        now: [u32; 2],
    },
    /// The screen stands elsewhere relative to the camera.
    ScreenPose,
    /// Another network.
    Network {
        /// `eye` or `landmark`.
        name: &'static str,
        /// Hash in the profile.
        profile: String,
        /// Hash now.
        now: String,
    },
    /// Nobody knows with which networks it was made.
    UnknownNetworks,
}

impl StaleReason {
    /// Whether one target is enough to make the profile hold again. Gains and curvature are a
    /// network's own: where that is another, a shift leaves them wrong.
    pub fn can_be_recentred(&self) -> bool {
        !matches!(
            self,
            StaleReason::Network { .. } | StaleReason::UnknownNetworks
        )
    }

    /// What makes gaze good again, for the person who reads the reason.
    pub fn remedy(&self) -> &'static str {
        if self.can_be_recentred() {
            "recentre or calibrate again"
        } else {
            "calibrate again"
        }
    }
}

impl std::fmt::Display for StaleReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StaleReason::Camera { profile, now } => {
                write!(f, "made with camera {profile}, now {now}")
            }
            StaleReason::FrameSize { profile, now } => write!(
                f,
                "made with frames of {}x{} px, now {}x{} px",
                profile[0], profile[1], now[0], now[1]
            ),
            StaleReason::Intrinsics => f.write_str("made with another camera matrix"),
            StaleReason::ScreenSize { profile, now } => write!(
                f,
                "made on a screen of {}x{} mm, now {}x{} mm",
                profile[0], profile[1], now[0], now[1]
            ),
            StaleReason::ScreenResolution { profile, now } => write!(
                f,
                "made on a screen of {}x{} px, now {}x{} px",
                profile[0], profile[1], now[0], now[1]
            ),
            StaleReason::ScreenPose => {
                f.write_str("made with the screen elsewhere relative to the camera")
            }
            StaleReason::Network { name, profile, now } => write!(
                f,
                "made with another {name} network ({profile:.8}, now {now:.8})"
            ),
            StaleReason::UnknownNetworks => {
                f.write_str("made by a gazed that did not say with which networks")
            }
        }
    }
}

impl Profile {
    /// Why the profile does not hold for this camera, this screen and these networks; empty when it
    /// does.
    ///
    /// A resolution that is not known on either side is not compared. Networks that are not known
    /// are taken for others: they may be, and gaze that is off by degrees must not be called valid,
    /// while half a minute of calibrating settles it.
    pub fn stale_reasons(
        &self,
        camera: &CameraSetup,
        screen: &ScreenGeometry,
        networks: &NetworkHashes,
    ) -> Vec<StaleReason> {
        let mut reasons = Vec::new();
        // A recording does not tell its camera's name.
        if self.camera.id != camera.id && self.made_by != MadeBy::Recording {
            reasons.push(StaleReason::Camera {
                profile: self.camera.id.clone(),
                now: camera.id.clone(),
            });
        }
        if self.camera.frame_size_px != camera.frame_size_px {
            reasons.push(StaleReason::FrameSize {
                profile: self.camera.frame_size_px,
                now: camera.frame_size_px,
            });
        } else if self.camera.intrinsics.differs_from(&camera.intrinsics) {
            reasons.push(StaleReason::Intrinsics);
        }
        let size = |screen: &ScreenGeometry| [screen.width_mm(), screen.height_mm()];
        if differ(&size(&self.screen), &size(screen), SIDE_TOLERANCE_MM) {
            reasons.push(StaleReason::ScreenSize {
                profile: size(&self.screen),
                now: size(screen),
            });
        }
        if let (Some(profile), Some(now)) = (self.screen.size_px(), screen.size_px())
            && profile != now
        {
            reasons.push(StaleReason::ScreenResolution { profile, now });
        }
        let (profile, now) = (self.screen.pose(), screen.pose());
        if differ(&profile.offset_mm, &now.offset_mm, OFFSET_TOLERANCE_MM)
            || differ(&[profile.tilt_rad], &[now.tilt_rad], TILT_TOLERANCE_RAD)
        {
            reasons.push(StaleReason::ScreenPose);
        }
        let Some(made_with) = &self.networks else {
            reasons.push(StaleReason::UnknownNetworks);
            return reasons;
        };
        for (name, profile, now) in [
            ("landmark", &made_with.landmarks, &networks.landmarks),
            ("eye", &made_with.eyes, &networks.eyes),
        ] {
            if profile != now {
                reasons.push(StaleReason::Network {
                    name,
                    profile: profile.clone(),
                    now: now.clone(),
                });
            }
        }
        reasons
    }
}

impl Intrinsics {
    fn differs_from(&self, other: &Intrinsics) -> bool {
        let focal = FOCAL_TOLERANCE * self.fx_px.max(self.fy_px);
        let numbers = |i: &Intrinsics| [i.fx_px, i.fy_px, i.cx_px, i.cy_px];
        differ(&numbers(self), &numbers(other), focal)
    }
}

/// Whether any two numbers differ by more than the tolerance.
fn differ(a: &[f32], b: &[f32], tolerance: f32) -> bool {
    a.iter().zip(b).any(|(a, b)| (a - b).abs() > tolerance)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::tests::{networks, profile};
    use crate::screen::ScreenPose;

    #[test]
    fn a_profile_holds_for_the_setup_it_was_made_with() {
        let profile = profile();
        assert_eq!(
            profile.stale_reasons(&profile.camera, &profile.screen, &networks()),
            Vec::new()
        );
        // A resolution that became known says nothing about the calibration.
        let screen = profile.screen.with_size_px(1920, 1080).unwrap();
        assert!(
            profile
                .stale_reasons(&profile.camera, &screen, &networks())
                .is_empty()
        );
    }

    #[test]
    fn everything_that_changed_is_a_reason() {
        let profile = profile();
        let camera = CameraSetup {
            id: "other".to_owned(),
            frame_size_px: [1280, 720],
            ..profile.camera.clone()
        };
        let screen = ScreenGeometry::new(600.0, 340.0)
            .unwrap()
            .with_pose(ScreenPose {
                offset_mm: [0.0, 15.0, 0.0],
                tilt_rad: 0.0,
            })
            .unwrap();
        let retrained = NetworkHashes {
            eyes: "b".repeat(64),
            ..networks()
        };
        let reasons = profile.stale_reasons(&camera, &screen, &retrained);
        let words: Vec<String> = reasons.iter().map(ToString::to_string).collect();
        assert_eq!(
            words,
            [
                "made with camera usb-Example_Webcam-video-index0, now other",
                "made with frames of 640x480 px, now 1280x720 px",
                "made on a screen of 531x299 mm, now 600x340 mm",
                "made with the screen elsewhere relative to the camera",
                "made with another eye network (eeeeeeee, now bbbbbbbb)",
            ]
        );
        let mut lens = profile.camera.clone();
        lens.intrinsics.fx_px = 700.0;
        assert_eq!(
            profile.stale_reasons(&lens, &profile.screen, &networks()),
            [StaleReason::Intrinsics]
        );
    }

    #[test]
    fn a_network_is_not_mended_by_recentring_and_one_that_nobody_knows_may_be_another() {
        let mut profile = profile();
        profile.networks = None;
        let (camera, screen) = (profile.camera.clone(), profile.screen);
        let recentred = profile.recentred([0.1, 0.0], camera.clone(), screen, 1);
        for profile in [&profile, &recentred] {
            let reasons = profile.stale_reasons(&camera, &screen, &networks());
            assert_eq!(reasons, [StaleReason::UnknownNetworks]);
            assert_eq!(reasons[0].remedy(), "calibrate again");
        }
        assert_eq!(
            StaleReason::Intrinsics.remedy(),
            "recentre or calibrate again"
        );
    }
}
