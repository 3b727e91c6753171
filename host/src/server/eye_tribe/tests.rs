//! One client's requests and the answers.

use super::*;
use crate::personal::PersonalMessage;
use crate::record::{
    CalibrateMessage, Calibration, CalibrationResult, Purpose, Stage, TargetResult,
};
use crate::server::{Control, ControlRequest, ServerSettings, driving};

fn client() -> EyeTribe {
    client_of_session().0
}

fn client_of_session() -> (EyeTribe, crossbeam_channel::Receiver<ControlRequest>) {
    let (hub, asked) = Hub::alone(ServerSettings::default());
    (EyeTribe::new(&Arc::new(hub)), asked)
}

fn say(client: &mut EyeTribe, text: &str) -> Vec<Value> {
    let mut out = Vec::new();
    let _ = client.hear(text.as_bytes(), &mut out);
    let text = String::from_utf8(out).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn requests_without_line_ends_and_in_pieces_are_answered() {
    let mut client = client();
    let request = r#"{"category":"tracker","request":"get","values":["push","version"]}"#;
    let (first, second) = request.split_at(30);
    assert!(say(&mut client, first).is_empty());
    let answers = say(
        &mut client,
        &format!("{second}{{\"category\":\"heartbeat\"}}"),
    );
    assert_eq!(answers[0]["values"], json!({"push": false, "version": 1}));
    assert_eq!(
        answers[1],
        json!({"category": "heartbeat", "statuscode": 200})
    );
}

#[test]
fn every_value_of_the_protocol_can_be_asked_for() {
    for key in [
        "push",
        "heartbeatinterval",
        "version",
        "trackerstate",
        "framerate",
        "iscalibrated",
        "iscalibrating",
        "calibresult",
        "frame",
        "screenindex",
        "screenresw",
        "screenresh",
        "screenpsyw",
        "screenpsyh",
    ] {
        let request = json!({"category": "tracker", "request": "get", "values": [key]});
        let answers = say(&mut client(), &request.to_string());
        assert_eq!(answers[0]["statuscode"], 200, "{key}");
        assert!(answers[0]["values"].get(key).is_some());
    }
}

#[test]
fn what_is_not_json_ends_the_client_and_wrong_requests_are_told() {
    let mut client = client();
    let answers = say(
        &mut client,
        r#"{"category":"tracker","request":"get","values":["tea"]}"#,
    );
    assert_eq!(answers[0]["statuscode"], 404);
    let answers = say(
        &mut client,
        r#"{"category":"calibration","request":"start"}"#,
    );
    assert_eq!(answers[0]["statuscode"], 400);
    assert!(client.hear(b"hello", &mut Vec::new()).is_break());
}

fn header(user: Option<&str>) -> TimedRecord {
    let screen =
        json!({"width_mm": 500.0, "height_mm": 300.0, "width_px": 1280, "height_px": 1024});
    let header = json!({
        "type": "header", "version": 1, "program": "", "source": "", "frame_size_px": [640, 480],
        "models": [], "user": user, "screen": screen,
    });
    TimedRecord {
        record: serde_json::from_value(header).unwrap(),
        at: None,
    }
}

#[test]
fn a_clients_own_screen_is_taken_whole_or_refused() {
    let (mut client, asked) = client_of_session();
    client.tell(&header(None), &mut Vec::new());
    let mut set = |values: Value| {
        let request = json!({"category": "tracker", "request": "set", "values": values});
        let answer = say(&mut client, &request.to_string()).remove(0);
        let shown = ["screenresw", "screenresh", "screenpsyw", "screenpsyh"]
            .map(|key| client.value(key).unwrap());
        (answer["statuscode"].clone(), json!(shown))
    };
    let own = json!([2560, 1440, 0.6, 0.3]);
    let (status, shown) =
        set(json!({"screenindex": 1, "screenresw": 2560, "screenresh": 1440, "screenpsyw": 0.6}));
    let as_f32 = |value: &Value| value.as_f64().map(|number| number as f32);
    assert_eq!(status, 200);
    for (shown, own) in shown
        .as_array()
        .unwrap()
        .iter()
        .zip(own.as_array().unwrap())
    {
        assert_eq!(as_f32(shown), as_f32(own));
    }
    for wrong in [
        json!({"screenresw": 100, "screenresh": 0}),
        json!({"screenresw": 100, "screenpsyh": -0.3}),
        json!({"screenresw": 100, "version": 2}),
        json!({"screenresw": 100, "framerate": 60}),
    ] {
        let (status, still) = set(wrong);
        assert_eq!((status, &still), (json!(400), &shown));
    }
    // Its points are on that screen, and so is its calibration.
    let start = r#"{"category":"calibration","request":"start","values":{"pointcount":1}}"#;
    say(&mut client, start);
    let request: ControlRequest = asked.try_recv().unwrap();
    let Control::Personal(PersonalMessage::Calibrate(CalibrateMessage::Start(start))) =
        &request.control
    else {
        panic!("{:?}", request.control)
    };
    let screen = start.screen.unwrap();
    assert_eq!((screen.width_mm, screen.height_mm), (600.0, 300.0));
    assert_eq!(
        (screen.width_px, screen.height_px),
        (Some(2560), Some(1440))
    );
}

#[test]
fn another_calibration_in_force_is_told_once() {
    let mut client = client();
    let told = |client: &mut EyeTribe, record| {
        let mut out = Vec::new();
        client.tell(&record, &mut out);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(told(&mut client, header(None)), "");
    assert_eq!(told(&mut client, header(None)), "");
    let changed: Value = serde_json::from_str(&told(&mut client, header(Some("anna")))).unwrap();
    assert_eq!(changed["statuscode"], 800);
    assert_eq!(told(&mut client, header(Some("anna"))), "");
}

#[test]
fn timestamps_are_dates() {
    // `date -u -d @1473758332.091`
    assert_eq!(timestamp(1_473_758_332_091_000), "2016-09-13 09:18:52.091");
    assert_eq!(timestamp(951_782_400_000_000), "2000-02-29 00:00:00.000");
}

fn at_stage(stage: Stage) -> TimedRecord {
    let target = TargetResult {
        index: 0,
        is_validation: false,
        target: [0.25, 0.5],
        gaze: Some([0.28125, 0.5]),
        accuracy_deg: Some(1.5),
        accuracy_cm: Some(1.3),
        accuracy_px: Some(48.0),
        precision_sd_deg: Some(0.5),
        precision_sd_cm: None,
        precision_sd_px: Some(16.0),
        precision_rms_s2s_deg: Some(0.4),
        data_loss: 0.0,
    };
    let result = CalibrationResult {
        can_accept: true,
        verdict: "good".to_owned(),
        model: None,
        reason: None,
        uncalibrated_deg: None,
        accuracy_deg: Some(1.5),
        accuracy_cm: None,
        accuracy_px: None,
        precision_sd_deg: None,
        precision_sd_cm: None,
        precision_sd_px: None,
        precision_rms_s2s_deg: None,
        data_loss: 0.0,
        targets: vec![target],
    };
    let record = Record::Calibration(Calibration {
        t_us: None,
        purpose: Purpose::Calibrate,
        user: "default".to_owned(),
        stage,
        message: None,
        placement: None,
        target: None,
        result: Some(result),
    });
    TimedRecord { record, at: None }
}

#[test]
fn a_client_calibrates_with_its_own_points() {
    let (mut client, asked) = client_of_session();
    let took = |answer: Result<(), String>| {
        let request: ControlRequest = asked.try_recv().unwrap();
        let control = request.control.clone();
        request.answer(answer);
        match control {
            Control::Personal(PersonalMessage::Calibrate(message)) => message,
            other => panic!("{other:?}"),
        }
    };
    let ticked = |client: &mut EyeTribe| -> Vec<Value> {
        let mut out = Vec::new();
        client.tick(&mut out);
        let text = String::from_utf8(out).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let start = r#"{"category":"calibration","request":"start","values":{"pointcount":1}}"#;
    assert!(
        say(&mut client, start).is_empty(),
        "answered once the session has begun"
    );
    assert!(matches!(took(Ok(())), CalibrateMessage::Start(_)));
    assert_eq!(ticked(&mut client)[0]["statuscode"], 200);
    assert_eq!(client.value("iscalibrating"), Some(true.into()));
    client.tell(&at_stage(Stage::Placing), &mut Vec::new());

    let point = r#"{"category":"calibration","request":"pointstart","values":{"x":480,"y":540}}"#;
    assert!(say(&mut client, point).is_empty());
    assert_eq!(took(Ok(())), CalibrateMessage::Show { x: 0.25, y: 0.5 });
    assert_eq!(ticked(&mut client)[0]["request"], "pointstart");

    let end = r#"{"category":"calibration","request":"pointend","values":null}"#;
    assert!(say(&mut client, end).is_empty());
    assert_eq!(took(Ok(())), CalibrateMessage::Next);
    assert!(
        ticked(&mut client).is_empty(),
        "first the session is asked to finish"
    );
    assert_eq!(took(Ok(())), CalibrateMessage::Finish);
    assert!(ticked(&mut client).is_empty(), "the result is waited for");
    let mut out = Vec::new();
    // The result is there, and is accepted with the next frame.
    client.tell(&at_stage(Stage::Review), &mut out);
    assert!(out.is_empty());
    client.tell(&at_stage(Stage::Accepted), &mut out);
    let answer: Value = serde_json::from_slice(&out).unwrap();
    let result = &answer["values"]["calibresult"];
    assert_eq!(
        (&answer["request"], &result["result"]),
        (&json!("pointend"), &json!(true))
    );
    let point = &result["calibpoints"][0];
    assert_eq!(
        (&point["cp"]["x"], &point["mecp"]["x"]),
        (&json!(480.0), &json!(540.0))
    );
    assert_eq!(
        (&point["state"], &point["mepix"]["mep"]),
        (&json!(2), &json!(48.0))
    );
    // 48 px are 1.5 degrees here, so half a degree is 16 px.
    assert_eq!(point["asdp"]["asd"], json!(16.0));
    assert_eq!(client.value("calibresult").unwrap()["result"], json!(true));
    assert_eq!(client.value("iscalibrating"), Some(false.into()));
}

/// Has a client send calibration requests; the session answers as it is told.
struct Driven {
    hub: Arc<Hub>,
    client: EyeTribe,
    asked: crossbeam_channel::Receiver<ControlRequest>,
    out: Vec<u8>,
}

impl Driven {
    fn new() -> Self {
        let (hub, asked) = Hub::alone(ServerSettings::default());
        let hub = Arc::new(hub);
        Driven {
            client: EyeTribe::new(&hub),
            hub,
            asked,
            out: Vec::new(),
        }
    }

    /// A calibration of so many points has begun.
    fn begun(pointcount: u64) -> Self {
        let mut driven = Driven::new();
        driven.start(pointcount);
        driven
    }

    fn start(&mut self, pointcount: u64) {
        let started = self.send("start", json!({ "pointcount": pointcount }));
        assert_eq!(started, [(json!("start"), json!(200))]);
        assert_eq!(self.see(Stage::Placing), [json!(null); 0]);
    }

    fn send(&mut self, request: &str, values: Value) -> Vec<(Value, Value)> {
        self.say(request, values);
        self.answer(Ok(()))
    }

    fn say(&mut self, request: &str, values: Value) {
        let request = json!({"category": "calibration", "request": request, "values": values});
        self.out.extend(
            say(&mut self.client, &request.to_string())
                .iter()
                .flat_map(|answer| answer.to_string().into_bytes()),
        );
    }

    /// Answers all that is asked, and gives request and status of each answer to the client.
    fn answer(&mut self, answer: Result<(), &str>) -> Vec<(Value, Value)> {
        while let Ok(request) = self.asked.try_recv() {
            request.answer(answer.map_err(str::to_owned));
            self.client.tick(&mut self.out);
        }
        self.told()
            .iter()
            .map(|told| (told["request"].clone(), told["statuscode"].clone()))
            .collect()
    }

    fn told(&mut self) -> Vec<Value> {
        let out = std::mem::take(&mut self.out);
        serde_json::Deserializer::from_slice(&out)
            .into_iter()
            .collect::<Result<_, _>>()
            .unwrap()
    }

    /// Leaves no room for another question.
    fn fill(&self) {
        while driving::ask(&self.hub, CalibrateMessage::Next).is_some() {}
    }

    /// A record of the session; gives what the client is told.
    fn see(&mut self, stage: Stage) -> Vec<Value> {
        self.client.tell(&at_stage(stage), &mut self.out);
        self.client.tick(&mut self.out);
        self.told()
    }
}

fn middle() -> Value {
    json!({"x": 960, "y": 540})
}

fn forbidden(told: &Value) -> bool {
    told["request"] == "pointend" && told["statuscode"] == 403
}

#[test]
fn a_result_before_the_sessions_own_answer_is_the_only_answer() {
    // The session refuses to finish when somebody has discarded it meanwhile.
    for (answer, stage) in [
        (Ok(()), Stage::Accepted),
        (Err("it has ended".to_owned()), Stage::Discarded),
    ] {
        let mut driven = Driven::begun(1);
        driven.send("pointstart", middle());
        driven.say("pointend", Value::Null);
        driven.asked.try_recv().unwrap().answer(Ok(()));
        driven.client.tick(&mut driven.out);
        // Nobody has looked for the answer when the result comes.
        driven.asked.try_recv().unwrap().answer(answer);
        let told = driven.see(stage);
        assert_eq!(told.len(), 1, "{told:?}");
        let is_good = &told[0]["values"]["calibresult"]["result"];
        assert_eq!(is_good, &json!(stage == Stage::Accepted));
        assert!(!driven.client.is_waiting());
    }
}

#[test]
fn a_pointend_whose_result_will_not_come_is_told_so_once() {
    for then in ["abort", "start", "another session"] {
        let mut driven = Driven::begun(1);
        driven.see(Stage::Target);
        assert_eq!(driven.send("pointend", Value::Null), []);
        let told = match then {
            "another session" => driven.see(Stage::Placing),
            request => {
                driven.say(request, json!({"pointcount": 3}));
                driven.client.tick(&mut driven.out);
                driven.told()
            }
        };
        assert_eq!(
            told.iter().filter(|told| forbidden(told)).count(),
            1,
            "{told:?}"
        );
        assert_eq!(driven.see(Stage::Accepted), [json!(null); 0]);
    }
}

#[test]
fn what_was_asked_before_an_abort_or_a_start_counts_no_more() {
    let mut driven = Driven::begun(1);
    driven.say("pointend", Value::Null);
    driven.say("abort", Value::Null);
    let mut told = driven.answer(Ok(()));
    told.sort_by_key(|(request, _)| request.to_string());
    assert_eq!(
        told,
        [
            (json!("abort"), json!(200)),
            (json!("pointend"), json!(200))
        ]
    );
    assert_eq!(driven.client.value("iscalibrating"), Some(false.into()));
    driven.start(2);
    driven.say("pointend", Value::Null);
    driven.say("start", json!({"pointcount": 2}));
    assert_eq!(driven.answer(Ok(())).len(), 2);
    driven.see(Stage::Placing);
    let good = [(json!("pointend"), json!(200))];
    assert_eq!(driven.send("pointend", Value::Null), good);
    assert_eq!(driven.send("pointend", Value::Null), []);
    assert_eq!(driven.see(Stage::Accepted).len(), 1);
}

#[test]
fn the_end_of_a_session_before_is_not_this_ones() {
    let mut driven = Driven::new();
    driven.send("start", json!({"pointcount": 1}));
    assert_eq!(driven.see(Stage::Discarded), [json!(null); 0]);
    assert_eq!(driven.client.value("iscalibrating"), Some(true.into()));
    // Nor is this one another's: what somebody else has begun is not discarded when the client leaves.
    driven.see(Stage::Placing);
    driven.see(Stage::Target);
    driven.see(Stage::Placing);
    assert_eq!(driven.client.value("iscalibrating"), Some(false.into()));
    drop(driven.client);
    assert!(driven.asked.try_recv().is_err());
}

#[test]
fn a_point_whose_end_is_refused_is_still_left() {
    let mut driven = Driven::begun(2);
    for (answer, status) in [(Err("no"), 403), (Err("no"), 403), (Ok(()), 200)] {
        driven.say("pointend", Value::Null);
        assert_eq!(driven.answer(answer), [(json!("pointend"), json!(status))]);
    }
    driven.say("pointend", Value::Null);
    assert_eq!(driven.answer(Ok(())), [], "the result is waited for");
    assert_eq!(driven.see(Stage::Accepted).len(), 1);
}

#[test]
fn the_end_of_the_last_point_said_twice_costs_no_result() {
    let mut driven = Driven::begun(1);
    // The session takes both, since a frame came between them.
    driven.say("pointend", Value::Null);
    driven.say("pointend", Value::Null);
    assert_eq!(driven.answer(Ok(())).len(), 1);
    let refused = [(json!("pointend"), json!(403))];
    assert_eq!(driven.send("pointend", Value::Null), refused);
    let told = driven.see(Stage::Accepted);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["values"]["calibresult"]["result"], json!(true));
}

#[test]
fn a_session_without_room_can_be_asked_again() {
    let mut driven = Driven::begun(1);
    // The point is taken; then there is no room for the end.
    driven.say("pointend", Value::Null);
    driven.asked.try_recv().unwrap().answer(Ok(()));
    driven.fill();
    driven.client.tick(&mut driven.out);
    assert_eq!(driven.told()[0]["statuscode"], 403);
    driven.asked.try_iter().for_each(drop);
    driven.say("pointend", Value::Null);
    assert_eq!(driven.answer(Ok(())), []);
    assert_eq!(driven.see(Stage::Accepted).len(), 1);
    // A start that finds no room begins nothing, and an abort that finds none ends nothing.
    driven.fill();
    driven.say("start", json!({"pointcount": 9}));
    assert_eq!(driven.told()[0]["statuscode"], 403);
    assert_eq!(driven.client.value("iscalibrating"), Some(false.into()));
    assert_eq!(driven.client.value("calibresult").unwrap()["result"], true);
    let mut driven = Driven::begun(1);
    driven.fill();
    driven.say("abort", Value::Null);
    assert_eq!(driven.told()[0]["statuscode"], 403);
    assert_eq!(driven.client.value("iscalibrating"), Some(true.into()));
}

#[test]
fn a_refused_start_leaves_the_one_after_it_alone() {
    let mut driven = Driven::new();
    driven.say("start", json!({"pointcount": 3}));
    driven.say("start", json!({"pointcount": 1}));
    for answer in [Err("no".to_owned()), Ok(())] {
        driven.asked.try_recv().unwrap().answer(answer);
    }
    let told = driven.see(Stage::Placing);
    assert_eq!(
        [&told[0]["statuscode"], &told[1]["statuscode"]],
        [&json!(403), &json!(200)]
    );
    driven.say("pointend", Value::Null);
    assert_eq!(driven.answer(Ok(())), []);
    assert_eq!(driven.see(Stage::Accepted).len(), 1);
}

#[test]
fn what_the_session_refuses_the_client_is_told() {
    let (mut client, asked) = client_of_session();
    let start = r#"{"category":"calibration","request":"start","values":{"pointcount":9}}"#;
    say(&mut client, start);
    asked
        .try_recv()
        .unwrap()
        .answer(Err("no folder".to_owned()));
    let mut out = Vec::new();
    client.tick(&mut out);
    let answer: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(answer["statuscode"], 403);
    assert_eq!(answer["values"]["statusmessage"], "no folder");
    assert_eq!(client.value("iscalibrating"), Some(false.into()));
}
