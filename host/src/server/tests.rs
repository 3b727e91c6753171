//! The server as its clients see it, over real sockets.

mod network;
mod page;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread::JoinHandle;

use serde_json::Value;

use self::page::WebSocketClient;
use super::*;
use crate::record::{Header, Interval, ScreenRecord};

/// A folder of its own for each test, removed at the end.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("gazed-test-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A server at work, with the tracking stage's ends of its channels.
struct Running {
    folder: Folder,
    page: SocketAddr,
    outputs: Vec<SocketAddr>,
    publisher: Option<Publisher>,
    scenes: crossbeam_channel::Receiver<ControlRequest>,
    metrics: Arc<Metrics>,
    preview: Arc<PreviewSlot>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn start(name: &str, settings: ServerSettings) -> Self {
        Running::start_at(name, SocketAddr::from(([127, 0, 0, 1], 0)), settings)
    }

    fn start_at(name: &str, listen: SocketAddr, settings: ServerSettings) -> Self {
        let folder = Folder::new(name);
        let metrics = Arc::new(Metrics::new());
        let settings = ServerSettings {
            socket: Some(folder.0.join("gazed.sock")),
            listen: Some(listen),
            ..settings
        };
        let server = Server::bind(settings, Arc::clone(&metrics)).unwrap();
        let page = server.page_address().unwrap();
        let outputs = server.outputs().map(|(_, address)| address).collect();
        let publisher = server.publisher();
        let (to_tracking, scenes) = crossbeam_channel::bounded(1);
        let (to_scanpath, _) = crossbeam_channel::bounded(1);
        let preview = Arc::new(PreviewSlot::new());
        let links = ServerLinks {
            preview: Arc::clone(&preview),
            controls: to_tracking,
            paths: to_scanpath,
            demand: Demand::default(),
        };
        let thread = std::thread::spawn(move || server.run(links).unwrap());
        publisher.publish(header("first"), None);
        Running {
            folder,
            page,
            outputs,
            publisher: Some(publisher),
            scenes,
            metrics,
            preview,
            thread: Some(thread),
        }
    }

    fn publish(&self, record: &Record) {
        let publisher = self.publisher.as_ref().unwrap();
        publisher.publish(record.clone(), None);
    }

    fn connect(&self) -> Client {
        let stream = UnixStream::connect(self.folder.0.join("gazed.sock")).unwrap();
        Client(BufReader::new(stream))
    }

    /// A client that has its header, so that what is published from now on reaches it.
    fn subscribed(&self, message: &str) -> Client {
        let mut client = self.connect();
        client.say(message);
        assert_eq!(client.hear()["type"], "header");
        client
    }

    /// The head of the answer to an HTTP request.
    fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.page).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8(answer).unwrap()
    }

    fn get(&self, path: &str, headers: &str) -> String {
        let host = self.page;
        self.ask(&format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n"
        ))
    }

    fn stop(&mut self) {
        self.publisher = None;
        self.thread.take().unwrap().join().unwrap();
    }
}

struct Client(BufReader<UnixStream>);

impl Client {
    fn say(&mut self, message: &str) {
        self.0.get_mut().write_all(message.as_bytes()).unwrap();
        self.0.get_mut().write_all(b"\n").unwrap();
    }

    /// The next record; null at the end.
    fn hear(&mut self) -> Value {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            // A connection that is ended with words unread.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Value::Null,
            n => match n.unwrap() {
                0 => Value::Null,
                _ => serde_json::from_str(&line).unwrap(),
            },
        }
    }

    fn onsets(&mut self, n: usize) -> Vec<u64> {
        (0..n)
            .map(|_| self.hear()["onset_us"].as_u64().unwrap())
            .collect()
    }
}

const ALL: &str = r#"{"type":"subscribe"}"#;

/// Waits for what another thread does; a minute is for ever.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}: never");
        std::thread::yield_now();
    }
}

fn header(source: &str) -> Record {
    Record::Header(Header {
        version: crate::record::VERSION,
        program: String::from("gazed test"),
        source: String::from(source),
        frame_size_px: Some([640, 480]),
        models: Vec::new(),
        user: None,
        calibration: None,
        screen: ScreenRecord {
            width_mm: 531.0,
            height_mm: 299.0,
            width_px: None,
            height_px: None,
        },
    })
}

fn blink(onset_us: u64) -> Record {
    Record::Blink(Interval {
        onset_us,
        offset_us: onset_us + 120_000,
        id: 1,
    })
}

fn gap(onset_us: u64) -> Record {
    Record::Gap(Interval {
        onset_us,
        offset_us: onset_us + 1,
        id: 1,
    })
}

#[test]
fn two_clients_get_the_same_events_while_a_third_that_never_reads_is_dropped() {
    let settings = ServerSettings {
        client_queue: 16,
        ..ServerSettings::default()
    };
    let mut running = Running::start("third", settings);
    let mut first = running.subscribed(ALL);
    let mut second = running.subscribed(ALL);
    let mut never = running.subscribed(ALL);
    // Reading along keeps the two within their queues; the third's kernel buffer and queue fill.
    let mut published = 0;
    while running.metrics.counted(Counter::ClientsDropped) == 0 {
        assert!(published < 1_000_000, "the client is never dropped");
        running.publish(&blink(published));
        assert_eq!(first.onsets(1), [published]);
        assert_eq!(second.onsets(1), [published]);
        published += 1;
        assert!(published < 100_000, "the third client is never dropped");
    }
    running.publish(&blink(published));
    assert_eq!(first.onsets(1), [published]);
    assert_eq!(second.onsets(1), [published]);
    // What reached the third is in order and without holes, then it ends.
    let mut rest = String::new();
    never.0.read_to_string(&mut rest).unwrap();
    let got = rest.lines().count() as u64;
    assert!(got > 16 && got < published, "{got} of {published}");
    assert_eq!(running.metrics.counted(Counter::ClientsDropped), 1);
    running.stop();
}

#[test]
fn a_client_gets_only_the_kinds_it_asked_for_and_may_change_its_mind() {
    let running = Running::start("kinds", ServerSettings::default());
    let mut client = running.subscribed(r#"{"type":"subscribe","types":["gap"]}"#);
    for onset in 0..3 {
        running.publish(&blink(onset));
        running.publish(&gap(onset));
    }
    assert_eq!(client.onsets(3), [0, 1, 2]);
    client.say(r#"{"type":"subscribe","types":["blink"]}"#);
    assert_eq!(client.hear()["type"], "header");
    running.publish(&gap(8));
    running.publish(&blink(9));
    assert_eq!(client.hear()["onset_us"], 9);
}

#[test]
fn a_client_that_does_not_subscribe_gets_nothing() {
    let mut running = Running::start("silent", ServerSettings::default());
    let mut silent = running.connect();
    let mut witness = running.subscribed(ALL);
    running.publish(&blink(1));
    assert_eq!(witness.onsets(1), [1]);
    running.stop();
    assert_eq!(silent.hear(), Value::Null);
}

#[test]
fn rubbish_is_answered_and_the_client_may_go_on() {
    let running = Running::start("rubbish", ServerSettings::default());
    let mut client = running.connect();
    client.say("GET / HTTP/1.1");
    let error = client.hear();
    assert_eq!(error["type"], "error");
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("one JSON object a line")
    );
    client.0.get_mut().write_all(b"\xff\xfe\n").unwrap();
    assert_eq!(client.hear()["type"], "error");
    client.say(ALL);
    assert_eq!(client.hear()["type"], "header");
    assert_eq!(running.metrics.counted(Counter::MessagesRefused), 2);
}

#[test]
fn a_flood_of_rubbish_ends_its_own_connection_only() {
    let running = Running::start("flood", ServerSettings::default());
    let mut witness = running.subscribed(ALL);
    let mut flood = running.connect();
    for _ in 0..MAX_BAD_MESSAGES {
        flood.say("rubbish");
    }
    let last = (0..MAX_BAD_MESSAGES).map(|_| flood.hear()).last().unwrap();
    assert!(last["message"].as_str().unwrap().contains("closed"));
    assert_eq!(flood.hear(), Value::Null);
    running.publish(&blink(7));
    assert_eq!(witness.onsets(1), [7]);
}

#[test]
fn a_message_without_end_ends_its_connection() {
    let running = Running::start("endless", ServerSettings::default());
    let mut client = running.connect();
    let endless = vec![b'x'; MAX_MESSAGE_BYTES + 1];
    client.0.get_mut().write_all(&endless).unwrap();
    let error = client.hear();
    assert!(error["message"].as_str().unwrap().contains("1048576 bytes"));
    assert_eq!(client.hear(), Value::Null);
}

#[test]
fn a_client_may_stop_talking_and_go_on_listening() {
    let running = Running::start("half", ServerSettings::default());
    let mut client = running.subscribed(ALL);
    client
        .0
        .get_mut()
        .shutdown(std::net::Shutdown::Write)
        .unwrap();
    running.publish(&blink(3));
    assert_eq!(client.onsets(1), [3]);
}

#[test]
fn scenes_reach_tracking_in_order_and_its_complaints_come_back() {
    let running = Running::start("scene", ServerSettings::default());
    let mut client = running.connect();
    client.say(
        r#"{"type":"scene","scene_id":"desk","width_px":1920,"height_px":1080,"image":null,
            "objects":[{"id":1,"box":[0,0,100,50],"class":"button","score":0.9}]}"#
            .replace('\n', " ")
            .as_str(),
    );
    client.say(r#"{"type":"scene_update","scene_id":"sofa","remove":[1]}"#);
    let first = running.scenes.recv().unwrap();
    assert!(
        matches!(&first.control, Control::Scene(SceneChange::Replace(scene)) if scene.objects.len() == 1)
    );
    first.answer(Ok(()));
    let second = running.scenes.recv().unwrap();
    assert!(
        matches!(&second.control, Control::Scene(SceneChange::Update(update)) if update.scene_id == "sofa")
    );
    second.answer(Err(String::from(
        "scene_id: the scene is \"desk\", not \"sofa\"",
    )));
    let error = client.hear();
    assert_eq!(error["type"], "error");
    assert!(error["message"].as_str().unwrap().contains("not \"sofa\""));
}

#[test]
fn what_was_published_before_the_stop_is_still_sent() {
    let mut running = Running::start("stop", ServerSettings::default());
    let mut client = running.subscribed(ALL);
    for onset in 0..100 {
        running.publish(&blink(onset));
    }
    running.stop();
    assert_eq!(client.onsets(100), (0..100).collect::<Vec<_>>());
    assert_eq!(client.hear(), Value::Null);
    assert!(!running.folder.0.join("gazed.sock").exists());
}

#[test]
fn a_client_that_takes_nothing_for_too_long_is_dropped_whatever_its_queue_holds() {
    let settings = ServerSettings {
        client_queue: 1 << 20,
        write_timeout: Duration::from_millis(20),
        ..ServerSettings::default()
    };
    let running = Running::start("patience", settings);
    let never = running.subscribed(ALL);
    // More than any kernel buffer takes.
    for onset in 0..50_000 {
        running.publish(&blink(onset));
    }
    until("the client is dropped", || {
        running.metrics.counted(Counter::ClientsDropped) > 0
    });
    drop(never);
}

/// The other end of a WebSocket, as far as a test needs it.
#[test]
fn the_time_is_told_with_the_clients_own_number() {
    let running = Running::start("time", ServerSettings::default());
    let mut client = running.connect();
    let before = CaptureTime::now();
    client.say(r#"{"type":"time","echo":17}"#);
    let answer = client.hear();
    assert_eq!(
        (&answer["type"], &answer["echo"]),
        (&"time".into(), &17.into())
    );
    let told = answer["mono_us"].as_u64().unwrap();
    assert!((before.mono_us..=CaptureTime::now().mono_us).contains(&told));
    assert!(answer["unix_us"].is_u64());
}

#[test]
fn a_record_that_is_replayed_keeps_its_bytes() {
    let running = Running::start("bytes", ServerSettings::default());
    let mut client = running.subscribed(ALL);
    // Not as this program would write it.
    let line = r#"{"type":"blink", "onset_us":5, "offset_us":6, "mono_us":7,"unix_us":8}"#;
    let record = serde_json::from_str(line).unwrap();
    running
        .publisher
        .as_ref()
        .unwrap()
        .publish_line(record, line);
    let mut heard = String::new();
    client.0.read_line(&mut heard).unwrap();
    assert_eq!(heard.trim_end(), line);
}

#[test]
fn outputs_are_for_this_machine_alone() {
    let settings = ServerSettings {
        listen: None,
        outputs: OutputSettings {
            open_gaze: Some(SocketAddr::from(([0, 0, 0, 0], 4242))),
            ..OutputSettings::default()
        },
        ..ServerSettings::default()
    };
    let refused = Server::bind(settings, Arc::new(Metrics::new())).unwrap_err();
    assert!(
        refused.to_string().contains("ssh -L 4242:127.0.0.1:4242"),
        "{refused}"
    );
}

/// Each protocol at a port of the system's choosing.
fn every_output() -> ServerSettings {
    let any = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    ServerSettings {
        outputs: OutputSettings {
            open_gaze: any,
            pupil: any,
            eye_tribe: any,
            ..OutputSettings::default()
        },
        ..ServerSettings::default()
    }
}

#[test]
fn every_output_has_a_port_and_a_greeting() {
    let running = Running::start("outputs", every_output());
    let [open_gaze, pupil, _, _, eye_tribe] = running.outputs[..] else {
        panic!("{:?}", running.outputs)
    };
    for (address, question, answer) in [
        (
            open_gaze,
            &b"<GET ID=\"API_ID\" />\r\n"[..],
            &b"<ACK ID=\"API_ID\""[..],
        ),
        (pupil, b"\xff", b"\xff\0\0\0\0\0\0\0\0\x7f\x03\0NULL"),
        (
            eye_tribe,
            b"{\"category\":\"heartbeat\"}",
            b"{\"category\":\"heartbeat\"",
        ),
    ] {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(question).unwrap();
        let mut heard = vec![0; answer.len()];
        stream.read_exact(&mut heard).unwrap();
        assert_eq!(heard, answer);
    }
}

#[test]
fn the_first_answer_is_right() {
    let running = Running::start("first answers", every_output());
    let mut client = running.subscribed(ALL);
    let Record::Header(mut known) = header("screen") else {
        unreachable!("it was made as one")
    };
    (known.screen.width_px, known.screen.height_px) = (Some(1280), Some(1024));
    running.publish(&Record::Header(known));
    for t_us in [0, 50_000] {
        let sample = serde_json::json!({
            "type": "sample", "seq": t_us / 50_000, "frame": 0, "size_px": [640, 480], "t_us": t_us,
            "validity": "no_face", "face": null, "eyes": null, "head": null, "gaze": null,
            "features": null, "por": null, "latency_us": null,
        });
        running.publish(&serde_json::from_value(sample).unwrap());
    }
    assert_eq!(client.hear()["source"], "screen");
    assert_eq!(
        (&client.hear()["seq"], &client.hear()["seq"]),
        (&0.into(), &1.into())
    );
    let ask = |address, question: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(question.as_bytes()).unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        line
    };
    let [open_gaze, _, _, _, eye_tribe] = running.outputs[..] else {
        panic!("{:?}", running.outputs)
    };
    for (id, answer) in [
        ("SCREEN_SIZE", r#"X="0" Y="0" WIDTH="1280" HEIGHT="1024""#),
        ("CAMERA_SIZE", r#"WIDTH="640" HEIGHT="480""#),
        ("PRODUCT_ID", r#"RATE="20""#),
    ] {
        let heard = ask(open_gaze, &format!("<GET ID=\"{id}\" />\r\n"));
        assert!(heard.contains(answer), "{heard}");
    }
    let heard = ask(
        eye_tribe,
        r#"{"category":"tracker","request":"get","values":["trackerstate","framerate","screenresw","screenpsyw"]}"#,
    );
    let values = &serde_json::from_str::<Value>(&heard).unwrap()["values"];
    assert_eq!(
        (
            &values["trackerstate"],
            &values["framerate"],
            &values["screenresw"]
        ),
        (&0.into(), &20.0.into(), &1280.into())
    );
    assert!((values["screenpsyw"].as_f64().unwrap() - 0.531).abs() < 1e-6);
}

#[test]
fn one_client_too_many_is_told_so_and_the_others_stay() {
    let settings = ServerSettings {
        max_clients: 1,
        ..ServerSettings::default()
    };
    let running = Running::start("full", settings);
    let mut first = running.subscribed(ALL);
    let mut second = running.connect();
    let words = second.hear()["message"].as_str().unwrap().to_owned();
    assert!(words.contains("server.max_clients"), "{words}");
    assert_eq!(second.hear(), Value::Null);
    // 1013 of RFC 6455's registry: try again later.
    let (kind, content) = WebSocketClient::connect(&running, "/events?types=").hear();
    assert_eq!((kind, &content[..2]), (8, &1013_u16.to_be_bytes()[..]));
    assert!(String::from_utf8_lossy(&content[2..]).contains("server.max_clients"));
    running.publish(&blink(5));
    assert_eq!(first.onsets(1), [5]);
}
