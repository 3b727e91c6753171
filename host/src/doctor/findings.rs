//! What the facts mean, and what to do about it.

use std::path::Path;

use gaze_protocol::Validity;

use super::Finding;
use super::facts::{self, DaemonFacts, Facts, ProfileFacts, Running, Watched};
use crate::config::{Config, ConfigError, DEFAULT_SCREEN_MM, SYSTEM_PATH};
use crate::edid::ConnectedScreen;
use crate::machine::{Health, Throttling};
use crate::metrics::{Activity, View};
use crate::vision::light::Light;

/// A camera that gives less than this share of the rate asked for is slow.
const SLOW: f32 = 0.8;

/// The networks, or unpacking, may take this share of the time between frames before it is close to too much.
const BUSY: f32 = 0.75;

/// A face darker than this has little contrast left for its eyes, of 255.
const DARK: f32 = 40.0;
/// A face this much of which is burnt out has lost parts of its eyes.
const GLARE: f32 = 0.2;

/// Distances that the networks were trained on, mm.
const NEAREST_MM: f32 = 350.0;
const FURTHEST_MM: f32 = 900.0;

/// Calibrations worse than this are worth another try, degrees.
const COARSE_DEG: f32 = 3.0;

/// A ruler's reading error on both sides, mm.
const SAME_SIDE_MM: f32 = 10.0;

pub(super) fn settings(named: Option<&Path>, problem: Option<&ConfigError>) -> Finding {
    let path = named.unwrap_or(SYSTEM_PATH.as_ref());
    match problem {
        Some(error) => Finding::fault(
            "settings",
            error.to_string(),
            "correct the file; `gazed check-config FILE` tells when it is right",
        ),
        None if path.exists() => Finding::fine("settings", format!("{}", path.display())),
        None => Finding::fine(
            "settings",
            format!("none at {}: the defaults", path.display()),
        ),
    }
}

/// One finding for each thing, in the order of the data flow.
pub(super) fn all(config: &Config, facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![
        daemon(&facts.daemon),
        permissions(&facts.missing_groups),
        camera(&facts.watched),
    ];
    if let Ok(watched) = &facts.watched {
        findings.push(rate(watched, config.source.frames_per_s, &facts.daemon));
        if let Some(view) = &watched.view {
            findings.push(light(view));
            findings.push(face(view));
        }
        findings.push(speed(watched, config.source.frames_per_s));
    }
    findings.push(machine(&facts.health, config.power.warm_above_c));
    findings.push(screen(config, facts));
    findings.push(profile(facts));
    findings.push(ports(facts));
    findings.extend(facts::board_port(config).map(|port| match port {
        Some(port) => Finding::fine("board", format!("{}", port.display())),
        None => Finding::fault(
            "board",
            "no board is plugged in",
            "plug it in; `gazed board info` and `gazed board flash-help` tell more",
        ),
    }));
    findings
}

fn daemon(daemon: &DaemonFacts) -> Finding {
    let running = match daemon {
        DaemonFacts::Absent => {
            return Finding::fine(
                "daemon",
                "not running; the camera was looked through directly",
            );
        }
        DaemonFacts::Unreachable(why) => {
            return Finding::fault("daemon", why, "the message says what to do; then ask again");
        }
        DaemonFacts::Running(running) => running,
    };
    let Some(status) = &running.status else {
        if running.is_page_closed {
            return Finding::fine(
                "daemon",
                format!(
                    "running; its page at {} asks for a token or encryption and was not asked",
                    running.page
                ),
            );
        }
        return Finding::doubt(
            "daemon",
            format!("running; its page does not answer at {}", running.page),
            "give the address of its page with --listen",
        );
    };
    let running_for = match status.uptime_s {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds => format!("{} min", seconds / 60),
    };
    let found = format!(
        "{} running for {running_for}: {}",
        status.program, status.state.message
    );
    match status.state.activity {
        Activity::SourceLost => Finding::fault(
            "daemon",
            found,
            "it tries again by itself; the message says what to do",
        ),
        _ => Finding::fine("daemon", found),
    }
}

fn permissions(missing_groups: &[&str]) -> Finding {
    if missing_groups.is_empty() {
        return Finding::fine("permissions", "this user may use what it needs");
    }
    let groups = missing_groups.join(",");
    Finding::doubt(
        "permissions",
        format!("this user is not in the group(s) {groups}"),
        format!("`sudo usermod -aG {groups} $USER`, then log in again"),
    )
}

fn camera(watched: &Result<Watched, String>) -> Finding {
    match watched {
        Ok(watched) => Finding::fine("camera", &watched.source),
        Err(why) => Finding::fault(
            "camera",
            why,
            "`gazed list-cameras` shows what there is; CSI cameras need \
             source = \"command:rpicam-vid …\" (host/CAMERAS.md)",
        ),
    }
}

fn rate(watched: &Watched, asked_per_s: f32, daemon: &DaemonFacts) -> Finding {
    let Some(rate_per_s) = watched.rate_per_s else {
        return Finding::fault(
            "frame rate",
            "not even two frames came",
            "another USB port or cable; close other programs that use the camera",
        );
    };
    let found = format!("{rate_per_s:.1} a second of {asked_per_s:.0} asked for");
    if let DaemonFacts::Running(running) = daemon
        && let Some(status) = &running.status
        && let Some(because) = &status.pace.because
    {
        return Finding::doubt(
            "frame rate",
            format!(
                "{found}: {because}, one frame of {} is taken",
                status.pace.keep_every
            ),
            "less load on this machine, better cooling, or a lower source.frames_per_s",
        );
    }
    if rate_per_s < SLOW * asked_per_s
        && let Some(decoding_ms) = watched.decoding_ms
        && decoding_ms * rate_per_s * 1e-3 > BUSY
    {
        return Finding::doubt(
            "frame rate",
            format!(
                "{found}: this machine needs {decoding_ms:.0} ms to unpack a picture; the camera may give more"
            ),
            "format = \"yuyv\" or another that is not compressed, a smaller picture, or less load on \
             this machine",
        );
    }
    if rate_per_s < SLOW * asked_per_s {
        return Finding::doubt(
            "frame rate",
            found,
            "more light (cameras expose longer in the dark), a shorter \
             source.controls.exposure_us, format = \"mjpeg\", or a smaller picture",
        );
    }
    Finding::fine("frame rate", found)
}

fn light(view: &View) -> Finding {
    let Some(Light { mean, burnt_out }) = view.light else {
        return Finding::fault(
            "light",
            "the picture cannot be read",
            "another format (source.format), cable or USB port",
        );
    };
    let of_what = if view.n_faces > 0 { "face" } else { "picture" };
    let found = format!(
        "{of_what}: mean grey {mean:.0} of 255, {:.0} % burnt out",
        100.0 * burnt_out
    );
    if mean < DARK {
        Finding::doubt(
            "light",
            format!("too dark; {found}"),
            "light on the face from the front, or a longer exposure or more gain (source.controls)",
        )
    } else if burnt_out > GLARE {
        Finding::doubt(
            "light",
            format!("too bright; {found}"),
            "no window or lamp straight onto the face, or a shorter exposure (source.controls)",
        )
    } else {
        Finding::fine("light", found)
    }
}

fn face(view: &View) -> Finding {
    let Some(distance_mm) = view.face_distance_mm else {
        return Finding::doubt(
            "face",
            "no face in the picture",
            "sit before the camera and ask again; the page shows its picture",
        );
    };
    let found = format!("{:.0} cm from the camera", distance_mm * 0.1);
    if distance_mm < NEAREST_MM {
        Finding::doubt("face", format!("too near: {found}"), "move back a little")
    } else if distance_mm > FURTHEST_MM {
        Finding::doubt(
            "face",
            format!("too far: {found}"),
            "come nearer, or choose a larger picture (source.width_px, source.height_px)",
        )
    } else if view.n_faces > 1 {
        Finding::doubt(
            "face",
            format!("{found}, and {} more", view.n_faces - 1),
            "gazed follows one person: the nearest to the middle when found",
        )
    } else {
        Finding::fine("face", found)
    }
}

fn speed(watched: &Watched, asked_per_s: f32) -> Finding {
    let Some(vision_ms) = watched.vision_ms else {
        return Finding::fine("speed", "not measured");
    };
    let rate_per_s = watched.rate_per_s.unwrap_or(asked_per_s);
    let share = vision_ms * rate_per_s * 1e-3;
    let found = format!(
        "{vision_ms:.1} ms a frame: {:.0} % of one core",
        100.0 * share
    );
    if share > BUSY {
        Finding::doubt(
            "speed",
            found,
            "frames will be passed over; a lower source.frames_per_s, or less load on this machine",
        )
    } else {
        Finding::fine("speed", found)
    }
}

fn machine(health: &Health, warm_above_c: f32) -> Finding {
    let throttling = health.throttling.unwrap_or(Throttling(0));
    let found = health.to_string();
    if throttling.is_under_voltage() {
        return Finding::fault(
            "machine",
            found,
            "a stronger power supply and a short cable: 5.1 V, 3 A for a Pi 4, 5 A for a Pi 5",
        );
    }
    let is_warm = health
        .temperature_c
        .is_some_and(|found| found > warm_above_c);
    if is_warm || throttling.is_slowed() {
        return Finding::doubt(
            "machine",
            found,
            "a heat sink or fan; until then gazed takes fewer frames",
        );
    }
    let before = throttling.since_start();
    if !before.is_empty() {
        return Finding::doubt(
            "machine",
            format!("{found}; since it was switched on: {}", before.join(", ")),
            "a stronger power supply if it says under-voltage, else a heat sink or fan",
        );
    }
    Finding::fine("machine", found)
}

fn screen(config: &Config, facts: &Facts) -> Finding {
    let given = config.screen.width_mm.zip(config.screen.height_mm);
    let of_daemon = match &facts.daemon {
        DaemonFacts::Running(running) => running
            .header
            .as_ref()
            .map(|header| (header.screen.width_mm, header.screen.height_mm)),
        _ => None,
    };
    let of_profile = match &facts.profile {
        ProfileFacts::Read { profile, .. } => {
            Some((profile.screen.width_mm(), profile.screen.height_mm()))
        }
        _ => None,
    };
    let [default_width, default_height] = DEFAULT_SCREEN_MM;
    let is_known = given.is_some() || of_profile.is_some() || is_calibrated(&facts.daemon);
    let (width_mm, height_mm) = of_daemon
        .or(given)
        .or(of_profile)
        .unwrap_or((default_width, default_height));
    let found = format!("{width_mm:.0} x {height_mm:.0} mm");
    let fits = |screen: &&ConnectedScreen| {
        (screen.width_mm as f32 - width_mm).abs() <= SAME_SIDE_MM
            && (screen.height_mm as f32 - height_mm).abs() <= SAME_SIDE_MM
    };
    match facts.screens.iter().find(fits) {
        Some(screen) => Finding::fine("screen", format!("{found}, as {} says", screen.connector)),
        None if facts.screens.is_empty() && is_known => Finding::fine("screen", found),
        None if facts.screens.is_empty() => Finding::doubt(
            "screen",
            format!("size not known: {found} is assumed"),
            "calibrate on the page, which asks for it, or set screen.width_mm and screen.height_mm",
        ),
        None => {
            let there: Vec<String> = facts
                .screens
                .iter()
                .map(|screen| {
                    format!(
                        "{} {} x {} mm",
                        screen.connector, screen.width_mm, screen.height_mm
                    )
                })
                .collect();
            Finding::doubt(
                "screen",
                format!("{found}, but connected: {}", there.join(", ")),
                "set screen.width_mm and screen.height_mm to the screen that is looked at, or \
                 calibrate on it",
            )
        }
    }
}

/// Whether a running daemon uses a profile, which knows its screen.
fn is_calibrated(daemon: &DaemonFacts) -> bool {
    match daemon {
        DaemonFacts::Running(running) => running
            .header
            .as_ref()
            .is_some_and(|header| header.calibration.is_some()),
        _ => false,
    }
}

fn profile(facts: &Facts) -> Finding {
    if let DaemonFacts::Running(running) = &facts.daemon {
        return profile_in_use(running);
    }
    match &facts.profile {
        ProfileFacts::None => uncalibrated(),
        ProfileFacts::Unusable(why) => Finding::fault(
            "profile",
            why,
            "`gazed users list` shows what there is; calibrate anew, or take an older one back with \
             `gazed users undo NAME`",
        ),
        ProfileFacts::Read { profile, stale } => {
            let user = profile.user.to_string();
            if let Some(stale) = stale {
                return stale_profile(&user, Some(&stale.message));
            }
            let camera = facts.watched.as_ref().ok().and_then(|watched| watched.view);
            let size_px = camera.map(|view| view.size_px.map(|side| side as u32));
            if size_px.is_some_and(|size_px| size_px != profile.camera.frame_size_px) {
                return stale_profile(&user, None);
            }
            quality(&user, profile.quality.all.error_deg)
        }
    }
}

fn profile_in_use(running: &Running) -> Finding {
    let Some(header) = &running.header else {
        return Finding::doubt(
            "profile",
            "the daemon did not say",
            "ask again when it is not busy",
        );
    };
    let (Some(user), Some(calibration)) = (&header.user, &header.calibration) else {
        return uncalibrated();
    };
    if running.validity == Some(Validity::StaleCalibration) {
        let message = calibration
            .stale
            .as_ref()
            .map(|stale| stale.message.as_str());
        return stale_profile(user, message);
    }
    quality(user, calibration.accuracy_deg)
}

fn uncalibrated() -> Finding {
    Finding::doubt(
        "profile",
        "nobody is calibrated: gaze is off by a few degrees",
        "calibrate: half a minute at /calibrate of the page, or `gazed calibrate --user NAME`",
    )
}

fn stale_profile(user: &str, why: Option<&str>) -> Finding {
    let why = why.unwrap_or("this camera gives pictures of another size");
    Finding::doubt(
        "profile",
        format!("{user}'s does not hold any more: {why}"),
        "calibrate again",
    )
}

fn quality(user: &str, accuracy_deg: Option<f32>) -> Finding {
    match accuracy_deg {
        Some(accuracy_deg) if accuracy_deg > COARSE_DEG => Finding::doubt(
            "profile",
            format!("{user}'s is coarse: {accuracy_deg:.1}°"),
            "calibrate again with better light and the face 50 to 70 cm away",
        ),
        Some(accuracy_deg) => Finding::fine("profile", format!("{user}, {accuracy_deg:.1}°")),
        None => Finding::fine("profile", user),
    }
}

fn ports(facts: &Facts) -> Finding {
    if let DaemonFacts::Running(running) = &facts.daemon {
        return match &running.status {
            Some(_) => Finding::fine("ports", format!("page at http://{}/", running.page)),
            None => Finding::doubt(
                "ports",
                format!("nothing of gazed answers at {}", running.page),
                "give the address of its page with --listen",
            ),
        };
    }
    if facts.taken.is_empty() {
        return Finding::fine("ports", "those of the settings are free");
    }
    let taken: Vec<String> = facts
        .taken
        .iter()
        .map(|(name, address)| format!("{name} = {address}"))
        .collect();
    Finding::fault(
        "ports",
        format!("taken by another program: {}", taken.join(", ")),
        "stop that program (`ss -ltnp` names it), or choose other ports in the settings",
    )
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    fn view(mean: f32, burnt_out: f32, n_faces: usize, distance_mm: Option<f32>) -> View {
        View {
            size_px: [640, 480],
            light: Some(Light { mean, burnt_out }),
            n_faces,
            face_distance_mm: distance_mm,
        }
    }

    fn watched(rate_per_s: f32, vision_ms: f32) -> Watched {
        Watched {
            source: "v4l2:video0 640x480 YUYV 30/s".to_owned(),
            rate_per_s: Some(rate_per_s),
            view: None,
            decoding_ms: None,
            vision_ms: Some(vision_ms),
        }
    }

    /// What is not fine has a remedy, what is fine has none.
    fn level(finding: &Finding) -> Level {
        assert_eq!(
            finding.remedy.is_some(),
            finding.level != Level::Fine,
            "{finding:?}"
        );
        finding.level
    }

    #[test]
    fn light_is_judged_on_the_face() {
        assert_eq!(level(&light(&view(110.0, 0.01, 1, None))), Level::Fine);
        let dark = light(&view(25.0, 0.0, 1, None));
        assert_eq!(level(&dark), Level::Doubt);
        assert!(
            dark.found.contains("too dark; face: mean grey 25"),
            "{dark:?}"
        );
        let bright = light(&view(210.0, 0.3, 0, None));
        assert_eq!(level(&bright), Level::Doubt);
        assert!(
            bright.found.contains("picture") && bright.found.contains("30 %"),
            "{bright:?}"
        );
    }

    #[test]
    fn a_face_is_near_far_alone_or_missing() {
        for (n_faces, distance_mm, expected, words) in [
            (1, Some(600.0), Level::Fine, "60 cm"),
            (1, Some(300.0), Level::Doubt, "too near"),
            (1, Some(1200.0), Level::Doubt, "too far"),
            (3, Some(600.0), Level::Doubt, "and 2 more"),
            (0, None, Level::Doubt, "no face"),
        ] {
            let finding = face(&view(100.0, 0.0, n_faces, distance_mm));
            assert_eq!(level(&finding), expected, "{finding:?}");
            assert!(finding.found.contains(words), "{finding:?}");
        }
    }

    #[test]
    fn a_camera_slower_than_asked_for_and_busy_networks_are_doubtful() {
        let absent = DaemonFacts::Absent;
        assert_eq!(
            level(&rate(&watched(29.8, 5.0), 30.0, &absent)),
            Level::Fine
        );
        assert_eq!(
            level(&rate(&watched(15.0, 5.0), 30.0, &absent)),
            Level::Doubt
        );
        assert_eq!(level(&speed(&watched(30.0, 5.0), 30.0)), Level::Fine);
        // 27 ms of 33 ms.
        let busy = speed(&watched(30.0, 27.0), 30.0);
        assert_eq!(level(&busy), Level::Doubt);
        assert!(busy.found.contains("81 % of one core"), "{busy:?}");
        let none = Watched {
            rate_per_s: None,
            ..watched(0.0, 1.0)
        };
        assert_eq!(level(&rate(&none, 30.0, &absent)), Level::Fault);
    }

    #[test]
    fn a_rate_that_unpacking_limits_is_not_blamed_on_the_camera() {
        let absent = DaemonFacts::Absent;
        let at = |rate_per_s, decoding_ms| {
            let watched = Watched {
                decoding_ms: Some(decoding_ms),
                ..watched(rate_per_s, 5.0)
            };
            rate(&watched, 30.0, &absent)
        };
        // 62 of the 62.5 ms between two pictures.
        let limited = at(16.0, 62.0);
        assert_eq!(level(&limited), Level::Doubt);
        assert!(limited.found.contains("62 ms to unpack"), "{limited:?}");
        assert!(limited.remedy.unwrap().contains("yuyv"));
        // 6 of 67 ms: the camera is slow.
        let slow = at(15.0, 6.0);
        assert_eq!(level(&slow), Level::Doubt);
        assert!(slow.remedy.unwrap().contains("more light"));
        // 30 of 33 ms, and every picture is there.
        assert_eq!(level(&at(30.0, 30.0)), Level::Fine);
    }

    #[test]
    fn heat_and_lack_of_power_are_told_apart() {
        let at = |temperature_c, bits| {
            let health = Health {
                temperature_c: Some(temperature_c),
                throttling: Some(Throttling(bits)),
            };
            machine(&health, 75.0)
        };
        assert_eq!(level(&at(60.0, 0)), Level::Fine);
        assert_eq!(level(&at(78.0, 0)), Level::Doubt);
        assert_eq!(level(&at(60.0, 0x5)), Level::Fault);
        let before = at(60.0, 0x10000);
        assert_eq!(level(&before), Level::Doubt);
        assert!(
            before
                .found
                .ends_with("since it was switched on: under-voltage"),
            "{before:?}"
        );
        assert_eq!(level(&machine(&Health::default(), 75.0)), Level::Fine);
    }

    #[test]
    fn a_screen_is_held_against_what_is_connected() {
        let mut config = Config::default();
        let mut facts = Facts {
            daemon: DaemonFacts::Absent,
            watched: Err(String::new()),
            profile: ProfileFacts::None,
            health: Health::default(),
            screens: Vec::new(),
            missing_groups: Vec::new(),
            taken: Vec::new(),
        };
        assert_eq!(level(&screen(&config, &facts)), Level::Doubt);
        (config.screen.width_mm, config.screen.height_mm) = (Some(345.0), Some(194.0));
        assert_eq!(level(&screen(&config, &facts)), Level::Fine);
        facts.screens.push(ConnectedScreen {
            connector: "HDMI-A-1".to_owned(),
            width_mm: 527,
            height_mm: 296,
            width_px: 1920,
            height_px: 1080,
        });
        let other = screen(&config, &facts);
        assert_eq!(level(&other), Level::Doubt);
        assert!(other.found.contains("HDMI-A-1 527 x 296 mm"), "{other:?}");
        (config.screen.width_mm, config.screen.height_mm) = (Some(531.0), Some(299.0));
        assert_eq!(level(&screen(&config, &facts)), Level::Fine);
        assert_eq!(level(&profile(&facts)), Level::Doubt);
        assert_eq!(level(&ports(&facts)), Level::Fine);
        assert_eq!(level(&permissions(&facts.missing_groups)), Level::Fine);
        let alone = permissions(&["video", "gaze"]);
        assert_eq!(level(&alone), Level::Doubt);
        assert!(alone.remedy.unwrap().contains("usermod -aG video,gaze"));
        facts.taken.push(("server.listen", config.server.listen));
        assert_eq!(level(&ports(&facts)), Level::Fault);
    }
}
