//! One client's words and the answers.

use gaze_protocol::{EventKind, Validity};

use super::*;
use crate::clock::CaptureTime;
use crate::personal::PersonalMessage;
use crate::record::{
    CalibrationResult, Fixation, FrameRecord, OpenEvent, Por, Sample, Target, Timing,
};
use crate::server::{Control, ControlRequest, ServerSettings};

fn client(shared: &Arc<Mutex<OpenGazeShared>>) -> OpenGaze {
    client_of(shared).0
}

fn client_of(
    shared: &Arc<Mutex<OpenGazeShared>>,
) -> (OpenGaze, crossbeam_channel::Receiver<ControlRequest>) {
    let (hub, asked) = Hub::alone(ServerSettings::default());
    (OpenGaze::new(Arc::clone(shared), Arc::new(hub)), asked)
}

fn say(client: &mut OpenGaze, text: &str) -> String {
    let mut out = Vec::new();
    assert!(client.hear(text.as_bytes(), &mut out).is_continue());
    String::from_utf8(out).unwrap()
}

fn por(x: f32, y: f32) -> Por {
    Por {
        x_mm: x * 500.0,
        y_mm: y * 300.0,
        x,
        y,
    }
}

fn sample(t_us: u64) -> TimedRecord {
    TimedRecord {
        record: Record::Sample(Sample {
            seq: 7,
            frame: FrameRecord::Number(7),
            size_px: [640, 480],
            t_us,
            validity: Validity::Uncalibrated,
            face: None,
            eyes: None,
            head: None,
            gaze: None,
            features: None,
            por: Some(por(0.3, 0.6)),
            latency_us: None,
            error: None,
            drift_deg: None,
        }),
        at: Some(CaptureTime {
            mono_us: 1_000_000 + t_us,
            unix_us: 0,
        }),
    }
}

fn timed(record: Record) -> TimedRecord {
    TimedRecord { record, at: None }
}

fn told(client: &mut OpenGaze, record: &TimedRecord) -> String {
    let mut out = Vec::new();
    client.tell(record, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn only_the_groups_that_are_on_are_sent_and_each_client_has_its_own() {
    let shared = Arc::default();
    let (mut one, mut other) = (client(&shared), client(&shared));
    let answers = say(
        &mut one,
        "<SET ID=\"ENABLE_SEND_TIME\" STATE=\"1\" />\r\n<SET ID=\"ENABLE_SEND_TIME_TICK\" STATE=\"1\" />\r\n\
         <SET ID=\"ENABLE_SEND_POG_BEST\" STATE=\"1\" />\r\n<SET ID=\"ENABLE_SEND_DATA\" STATE=\"1\" />\r\n",
    );
    assert_eq!(answers.lines().count(), 4);
    assert!(answers.starts_with("<ACK ID=\"ENABLE_SEND_TIME\" STATE=\"1\" />\r\n"));
    assert_eq!(
        told(&mut one, &sample(500_000)),
        "<REC TIME=\"0.50000\" TIME_TICK=\"1500000\" BPOGX=\"0.30000\" BPOGY=\"0.60000\" BPOGV=\"1\" />\r\n"
    );
    assert_eq!(told(&mut other, &sample(500_000)), "");
    say(&mut one, "<SET ID=\"ENABLE_SEND_DATA\" STATE=\"0\" />\r\n");
    assert_eq!(told(&mut one, &sample(600_000)), "");
}

#[test]
fn a_fixation_has_its_number_and_is_valid_from_its_report_to_its_end() {
    let mut client = client(&Arc::default());
    say(
        &mut client,
        "<SET ID=\"ENABLE_SEND_POG_FIX\" STATE=\"1\" /><SET ID=\"ENABLE_SEND_DATA\" STATE=\"1\" />",
    );
    let fields = |client: &mut OpenGaze, t_us| {
        let rec = told(client, &sample(t_us));
        ["FPOGX", "FPOGS", "FPOGD", "FPOGID", "FPOGV"].map(|name| {
            let from = rec.find(&format!(" {name}=\"")).unwrap() + name.len() + 3;
            rec[from..from + rec[from..].find('"').unwrap()].to_owned()
        })
    };
    let nothing = ["0.00000", "0.00000", "0.00000", "0", "0"];
    assert_eq!(fields(&mut client, 100_000), nothing);
    let begin = Record::EventBegin(OpenEvent {
        id: 5,
        event: EventKind::Fixation,
        onset_us: 200_000,
        until_us: 280_000,
        por: Some(por(0.25, 0.5)),
    });
    told(&mut client, &timed(begin));
    assert_eq!(
        fields(&mut client, 300_000),
        ["0.25000", "0.20000", "0.10000", "5", "1"]
    );
    assert_eq!(
        fields(&mut client, 400_000),
        ["0.25000", "0.20000", "0.20000", "5", "1"]
    );
    let end = Record::Fixation(Fixation {
        onset_us: 200_000,
        offset_us: 410_000,
        por: Some(por(0.26, 0.5)),
        dispersion_deg: 1.0,
        id: 5,
    });
    told(&mut client, &timed(end));
    assert_eq!(
        fields(&mut client, 500_000),
        ["0.26000", "0.20000", "0.21000", "5", "0"]
    );
}

#[test]
fn every_setting_of_the_specification_is_answered() {
    let mut client = client(&Arc::default());
    let ids = [
        "ENABLE_SEND_DATA",
        "CALIBRATE_TIMEOUT",
        "CALIBRATE_DELAY",
        "CALIBRATE_CLEAR",
        "CALIBRATE_RESET",
        "CALIBRATE_ADDPOINT",
        "USER_DATA",
        "TIME_TICK_FREQUENCY",
        "SCREEN_SIZE",
        "CAMERA_SIZE",
        "PRODUCT_ID",
        "CALIBRATE_START",
        "CALIBRATE_SHOW",
        "CALIBRATE_RESULT_SUMMARY",
        "SERIAL_ID",
        "COMPANY_ID",
        "API_ID",
        "TRACKER_ID",
        "TRACKER_DISPLAY",
        "AAC_FILTER",
        "MARKER_PIX",
        "TTL_WRITE",
    ];
    let groups = GROUPS.map(|group| format!("ENABLE_SEND_{group}"));
    for id in ids.iter().copied().chain(groups.iter().map(String::as_str)) {
        let answer = say(&mut client, &format!("<GET ID=\"{id}\" />\r\n"));
        assert!(
            answer.starts_with(&format!("<ACK ID=\"{id}\" ")),
            "{id}: {answer}"
        );
        assert!(answer.ends_with(" />\r\n"));
    }
    assert_eq!(
        say(&mut client, "<GET ID=\"COFFEE\" />"),
        "<NACK ID=\"COFFEE\" />\r\n"
    );
    assert_eq!(
        say(&mut client, "<SET ID=\"SCREEN_SIZE\" X=\"0\" />"),
        "<NACK ID=\"SCREEN_SIZE\" />\r\n"
    );
}

#[test]
fn points_of_a_calibration_are_cleared_added_and_reset() {
    let shared = Arc::default();
    let mut one = client(&shared);
    let mut other = client(&shared);
    assert_eq!(
        say(&mut one, "<SET ID=\"CALIBRATE_CLEAR\" />"),
        "<ACK ID=\"CALIBRATE_CLEAR\" PTS=\"0\" />\r\n"
    );
    assert_eq!(
        say(
            &mut other,
            "<SET ID=\"CALIBRATE_ADDPOINT\" X=\"0.25\" Y=\"0.75\" />"
        ),
        "<ACK ID=\"CALIBRATE_ADDPOINT\" PTS=\"1\" X1=\"0.25000\" Y1=\"0.75000\" />\r\n"
    );
    assert_eq!(
        say(&mut one, "<SET ID=\"CALIBRATE_RESET\" />"),
        "<ACK ID=\"CALIBRATE_RESET\" PTS=\"5\" />\r\n"
    );
    // Asking changes nothing.
    for id in ["CALIBRATE_CLEAR", "CALIBRATE_RESET"] {
        say(
            &mut one,
            "<SET ID=\"CALIBRATE_ADDPOINT\" X=\"0.5\" Y=\"0.5\" />",
        );
        let before = say(&mut one, "<GET ID=\"CALIBRATE_ADDPOINT\" />");
        let n = &before[before.find("PTS").unwrap()..][..7];
        let asked = say(&mut one, &format!("<GET ID=\"{id}\" />"));
        assert_eq!(asked, format!("<ACK ID=\"{id}\" {n} />\r\n"));
        let after = say(&mut one, "<GET ID=\"CALIBRATE_ADDPOINT\" />");
        assert_eq!(after, before);
    }
    assert!(
        say(
            &mut one,
            "<SET ID=\"CALIBRATE_ADDPOINT\" X=\"2\" Y=\"0\" />"
        )
        .starts_with("<NACK")
    );
}

#[test]
fn user_data_has_nothing_that_clients_split_records_at() {
    let mut client = client(&Arc::default());
    let set = "<SET ID=\"ENABLE_SEND_USER_DATA\" STATE=\"1\" /><SET ID=\"ENABLE_SEND_DATA\" STATE=\"1\" />\
               <SET ID=\"USER_DATA\" VALUE=\"trial 1=go\tnow\" />";
    let answers = say(&mut client, set);
    assert!(
        answers.ends_with("<ACK ID=\"USER_DATA\" VALUE=\"trial_1_go_now\" />\r\n"),
        "{answers}"
    );
    let rec = told(&mut client, &sample(1));
    assert_eq!(rec, "<REC USER=\"trial_1_go_now\" />\r\n");
}

#[test]
fn without_a_result_the_summary_is_zero() {
    let answer = say(
        &mut client(&Arc::default()),
        "<GET ID=\"CALIBRATE_RESULT_SUMMARY\" />",
    );
    assert!(
        answer.contains("AVE_ERROR=\"0.00000\" VALID_POINTS=\"0\""),
        "{answer}"
    );
}

#[test]
fn user_data_for_one_record_reaches_every_client_once() {
    let shared = Arc::default();
    let (mut one, mut other) = (client(&shared), client(&shared));
    for client in [&mut one, &mut other] {
        say(
            client,
            "<SET ID=\"ENABLE_SEND_USER_DATA\" STATE=\"1\" /><SET ID=\"ENABLE_SEND_DATA\" STATE=\"1\" />",
        );
    }
    say(
        &mut one,
        "<SET ID=\"USER_DATA\" VALUE=\"trial\" DUR=\"1\" />",
    );
    for client in [&mut one, &mut other] {
        assert_eq!(told(client, &sample(1)), "<REC USER=\"trial\" />\r\n");
        assert_eq!(told(client, &sample(2)), "<REC USER=\"\" />\r\n");
    }
    say(&mut other, "<SET ID=\"USER_DATA\" VALUE=\"stays\" />");
    for t_us in [3, 4] {
        assert_eq!(told(&mut one, &sample(t_us)), "<REC USER=\"stays\" />\r\n");
    }
}

fn stage(
    stage: Stage,
    target: Option<(usize, u32)>,
    result: Option<CalibrationResult>,
) -> TimedRecord {
    let target = target.map(|(index, attempt)| Target {
        index,
        of: 2,
        is_validation: false,
        is_moving: false,
        x: 0.25,
        y: 0.75,
        x_mm: 125.0,
        y_mm: 225.0,
        attempt,
        progress: 0.0,
    });
    timed(Record::Calibration(Calibration {
        t_us: Some(1),
        purpose: Purpose::Calibrate,
        user: "default".to_owned(),
        stage,
        message: None,
        placement: None,
        target,
        result,
    }))
}

fn came_out(gaze: Option<[f32; 2]>) -> CalibrationResult {
    CalibrationResult {
        can_accept: gaze.is_some(),
        verdict: String::new(),
        model: None,
        reason: None,
        uncalibrated_deg: None,
        accuracy_deg: None,
        accuracy_cm: None,
        accuracy_px: None,
        precision_sd_deg: None,
        precision_sd_cm: None,
        precision_sd_px: None,
        precision_rms_s2s_deg: None,
        data_loss: 0.0,
        targets: vec![TargetResult {
            index: 0,
            is_validation: false,
            target: [0.25, 0.75],
            gaze,
            accuracy_deg: None,
            accuracy_cm: None,
            accuracy_px: None,
            precision_sd_deg: None,
            precision_sd_cm: None,
            precision_sd_px: None,
            precision_rms_s2s_deg: None,
            data_loss: 0.0,
        }],
    }
}

#[test]
fn a_client_drives_a_calibration_with_its_own_points_and_timing() {
    let (mut client, asked) = client_of(&Arc::default());
    say(
        &mut client,
        "<SET ID=\"CALIBRATE_CLEAR\" /><SET ID=\"CALIBRATE_ADDPOINT\" X=\"0.25\" Y=\"0.75\" />         <SET ID=\"CALIBRATE_TIMEOUT\" VALUE=\"1.5\" /><SET ID=\"CALIBRATE_DELAY\" VALUE=\"0.75\" />",
    );
    let answer = say(&mut client, "<SET ID=\"CALIBRATE_START\" STATE=\"1\" />");
    assert_eq!(answer, "<ACK ID=\"CALIBRATE_START\" STATE=\"1\" />\r\n");
    let Control::Personal(PersonalMessage::Calibrate(CalibrateMessage::Start(start))) =
        &asked.try_recv().unwrap().control
    else {
        panic!("not a start")
    };
    assert_eq!(start.points, [[0.25, 0.75]]);
    let timing = Timing::Fixed {
        delay_ms: 750,
        duration_ms: 1500,
    };
    assert_eq!(
        (start.timing, start.validation, start.accept),
        (timing, 0, true)
    );
    // The session that this one replaced.
    assert_eq!(told(&mut client, &stage(Stage::Discarded, None, None)), "");
    let point =
        |id: &str| format!("<CAL ID=\"{id}\" PT=\"1\" CALX=\"0.25000\" CALY=\"0.75000\" />\r\n");
    let first = stage(Stage::Target, Some((0, 1)), None);
    assert_eq!(told(&mut client, &first), point("CALIB_START_PT"));
    assert_eq!(told(&mut client, &first), "");
    let again = stage(Stage::Target, Some((0, 2)), None);
    let both = point("CALIB_RESULT_PT") + &point("CALIB_START_PT");
    assert_eq!(told(&mut client, &again), both);
    let accepted = stage(Stage::Accepted, None, Some(came_out(Some([0.375, 0.75]))));
    let result = "<CAL ID=\"CALIB_RESULT\" CALX1=\"0.25000\" CALY1=\"0.75000\" LX1=\"0.37500\" LY1=\"0.75000\" LV1=\"1\" RX1=\"0.37500\" RY1=\"0.75000\" RV1=\"1\" />\r\n";
    assert_eq!(
        told(&mut client, &accepted),
        point("CALIB_RESULT_PT") + result
    );
    assert_eq!(told(&mut client, &accepted), "");
    // An eighth of 1920 px.
    let summary = say(&mut client, "<GET ID=\"CALIBRATE_RESULT_SUMMARY\" />");
    assert_eq!(
        summary,
        "<ACK ID=\"CALIBRATE_RESULT_SUMMARY\" AVE_ERROR=\"240.00000\" VALID_POINTS=\"1\" />\r\n"
    );
    assert!(
        asked.try_recv().is_err(),
        "an accepted result is not discarded"
    );
}

#[test]
fn a_result_that_cannot_be_kept_is_told_and_discarded() {
    let (mut client, asked) = client_of(&Arc::default());
    say(&mut client, "<SET ID=\"CALIBRATE_START\" STATE=\"1\" />");
    asked.try_recv().unwrap();
    told(&mut client, &stage(Stage::Target, Some((0, 1)), None));
    let heard = told(
        &mut client,
        &stage(Stage::Review, None, Some(came_out(None))),
    );
    assert!(
        heard.contains("LV1=\"0\"") && heard.contains("ID=\"CALIB_RESULT\""),
        "{heard}"
    );
    let discard = Control::Personal(PersonalMessage::Calibrate(CalibrateMessage::Discard));
    assert_eq!(asked.try_recv().unwrap().control, discard);
}
