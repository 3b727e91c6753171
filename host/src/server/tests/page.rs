//! The page and its WebSocket.

use super::*;

#[test]
fn the_page_draws_the_scene_that_is_shown() {
    let running = Running::start("drawn", ServerSettings::default());
    let scene = || {
        let answer = running.get("/scene", "");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str::<Value>(body).unwrap()
    };
    assert_eq!(scene()["objects"], serde_json::json!([]));
    let shown = r#"{"scene_id":"desk","width_px":100,"height_px":50,
        "objects":[{"id":1,"box":[0,0,10,10],"class":"cup"},{"id":"b","box":[5,5,5,5]}]}"#;
    let table = SceneTable::new(&serde_json::from_str(shown).unwrap()).unwrap();
    let mut client = running.subscribed(ALL);
    let publisher = running.publisher.as_ref().unwrap();
    publisher.show(Arc::new(table));
    running.publish(&blink(1));
    // What comes after the scene is here, so the scene is.
    assert_eq!(client.onsets(1), [1]);
    assert_eq!(
        scene(),
        serde_json::json!({"scene_id":"desk","width_px":100.0,"height_px":50.0,"objects":[
            {"id":1,"box":[0.0,0.0,10.0,10.0],"class":"cup"},
            {"id":"b","box":[5.0,5.0,5.0,5.0],"class":null}]})
    );
}

#[test]
fn a_foreign_host_or_origin_is_refused_on_every_path() {
    let running = Running::start("foreign", ServerSettings::default());
    let port = running.page.port();
    let upgrade = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for path in [
        "/", "/page.js", "/status", "/events", "/picture", "/nothing",
    ] {
        let evil = format!("Origin: http://evil.example:{port}\r\n{upgrade}");
        let answer = running.get(path, &evil);
        assert!(answer.starts_with("HTTP/1.1 403"), "{path}: {answer}");
        let answer = running.ask(&format!(
            "GET {path} HTTP/1.1\r\nHost: evil.example:{port}\r\nConnection: close\r\n\r\n"
        ));
        assert!(answer.starts_with("HTTP/1.1 403"), "{path}: {answer}");
    }
    let own = format!("Origin: http://localhost:{port}\r\n");
    assert!(running.get("/", &own).starts_with("HTTP/1.1 200"));
}

#[test]
fn every_answer_forbids_what_the_page_does_not_need() {
    let running = Running::start("headers", ServerSettings::default());
    for path in ["/", "/page.js", "/page.css", "/status", "/nothing"] {
        let answer = running.get(path, "").to_ascii_lowercase();
        assert!(answer.contains("content-security-policy: default-src 'none'"));
        assert!(answer.contains("frame-ancestors 'none'"));
        assert!(answer.contains("cache-control: no-store"));
        assert!(!answer.contains("set-cookie") && !answer.contains("access-control-allow"));
    }
}

#[test]
fn the_status_names_stages_counts_and_clients() {
    let running = Running::start("status", ServerSettings::default());
    let _client = running.subscribed(ALL);
    running.metrics.record(
        crate::metrics::TimedStage::Vision,
        Duration::from_micros(15),
    );
    let answer = running.get("/status", "");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let status: Value = serde_json::from_str(body).unwrap();
    assert_eq!(status["stages"]["vision"]["p50_us"], 15);
    assert_eq!(status["stages"]["capture"], Value::Null);
    assert_eq!(status["counters"]["clients_admitted"], 1);
    assert_eq!(status["state"]["activity"], "starting");
    assert_eq!(status["clients"][0]["is_subscribed"], true);
}

pub(super) struct WebSocketClient(TcpStream);

impl WebSocketClient {
    pub(super) fn connect(running: &Running, path: &str) -> Self {
        let host = running.page;
        let mut stream = TcpStream::connect(host).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        .unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"HTTP/1.1 101"));
        WebSocketClient(stream)
    }

    fn say(&mut self, text: &str) {
        // Text, masked as clients must, by zeros; short enough for a one-byte length.
        let length = u8::try_from(text.len()).unwrap();
        assert!(length < 126);
        self.0
            .write_all(&[0x81, 0x80 | length, 0, 0, 0, 0])
            .unwrap();
        self.0.write_all(text.as_bytes()).unwrap();
    }

    /// Kind and content of the next message.
    pub(super) fn hear(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 2];
        self.0.read_exact(&mut head).unwrap();
        let length = match head[1] {
            126 => {
                let mut length = [0; 2];
                self.0.read_exact(&mut length).unwrap();
                usize::from(u16::from_be_bytes(length))
            }
            127 => {
                let mut length = [0; 8];
                self.0.read_exact(&mut length).unwrap();
                usize::try_from(u64::from_be_bytes(length)).unwrap()
            }
            length => usize::from(length),
        };
        let mut content = vec![0; length];
        self.0.read_exact(&mut content).unwrap();
        (head[0] & 0x0f, content)
    }

    fn hear_record(&mut self) -> Value {
        let (kind, text) = self.hear();
        assert_eq!(kind, 1);
        serde_json::from_slice(&text).unwrap()
    }
}

#[test]
fn the_websocket_carries_the_same_records_as_the_socket() {
    let running = Running::start("websocket", ServerSettings::default());
    let mut unix = running.subscribed(ALL);
    let mut asked = WebSocketClient::connect(&running, "/events");
    asked.say(ALL);
    assert_eq!(asked.hear_record()["type"], "header");
    let mut by_query = WebSocketClient::connect(&running, "/events?types=gap");
    assert_eq!(by_query.hear_record()["type"], "header");
    running.publish(&blink(1));
    running.publish(&gap(2));
    let records = [unix.hear(), unix.hear()];
    assert_eq!([asked.hear_record(), asked.hear_record()], records);
    assert_eq!(by_query.hear_record(), records[1]);
}

#[test]
fn a_websocket_message_that_is_too_long_is_answered_and_closed() {
    let running = Running::start("long", ServerSettings::default());
    let mut client = WebSocketClient::connect(&running, "/events");
    let length = (MAX_MESSAGE_BYTES as u64 + 1).to_be_bytes();
    client.0.write_all(&[0x81, 0xff]).unwrap();
    client.0.write_all(&length).unwrap();
    client.0.write_all(&[0; 4]).unwrap();
    assert_eq!(client.hear_record()["type"], "error");
    let (kind, code) = client.hear();
    assert_eq!((kind, code.as_slice()), (8, &1009u16.to_be_bytes()[..]));
}

#[test]
fn pictures_come_with_what_was_seen_in_them_and_only_to_watchers() {
    let running = Running::start("picture", ServerSettings::default());
    assert!(!running.preview.is_wanted());
    let mut watcher = WebSocketClient::connect(&running, "/picture");
    let mut frame = crate::frame::Frame::new();
    (frame.width, frame.height, frame.luma) = (1280, 720, vec![128; 1280 * 720]);
    let observation = crate::vision::Observation {
        seq: 7,
        frame: crate::frame::FrameName::Number,
        captured_at: gaze_protocol::Timestamp(233_333),
        size_px: [1280, 720],
        error: None,
        n_faces: 1,
        face: None,
    };
    until("a picture is wanted", || running.preview.is_wanted());
    running.preview.offer(&frame, &observation);
    let (kind, message) = watcher.hear();
    assert_eq!(kind, 2);
    let (length, rest) = message.split_at(4);
    let length = u32::from_le_bytes(length.try_into().unwrap()) as usize;
    let (overlay, jpeg) = rest.split_at(length);
    let overlay: Value = serde_json::from_slice(overlay).unwrap();
    assert_eq!(overlay["seq"], 7);
    assert_eq!(overlay["size_px"], serde_json::json!([1280, 720]));
    assert_eq!(overlay["face"], Value::Null);
    // A JPEG of half the size: start of image, and 360 x 640 in its frame header.
    assert_eq!(jpeg[..2], [0xff, 0xd8]);
    let size = [0x01, 0x68, 0x02, 0x80];
    assert!(jpeg.windows(4).any(|bytes| bytes == size));
}

#[test]
fn an_unknown_kind_in_the_query_is_named() {
    let running = Running::start("query", ServerSettings::default());
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let host = running.page;
    let mut stream = TcpStream::connect(host).unwrap();
    write!(
        stream,
        "GET /events?types=fixations HTTP/1.1\r\nHost: {host}\r\n{upgrade}\r\n"
    )
    .unwrap();
    let mut answer = [0; 2048];
    let n = stream.read(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer[..n]);
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[test]
fn pictures_are_given_over_the_socket_alone() {
    let settings = ServerSettings {
        gives_frames: true,
        ..ServerSettings::default()
    };
    let running = Running::start("pictures", settings);
    let asked = r#"{"type":"subscribe","types":["picture"]}"#;
    let mut page = WebSocketClient::connect(&running, "/events?types=picture");
    assert_eq!(page.hear_record()["type"], "error");
    page.say(asked);
    assert_eq!(page.hear_record()["type"], "error");

    let mut recorder = running.subscribed(asked);
    let mut frame = crate::frame::Frame::new();
    frame.seq = 7;
    frame.resize(16, 8).fill(100);
    running.preview.every_frame.offer(&frame);
    let picture = recorder.hear();
    assert_eq!(
        (&picture["type"], &picture["seq"]),
        (&"picture".into(), &7.into())
    );
}

#[test]
fn a_ping_is_answered_between_records() {
    let running = Running::start("ping", ServerSettings::default());
    let mut page = WebSocketClient::connect(&running, "/events?types=");
    assert_eq!(page.hear_record()["type"], "header");
    // Masked by zeros.
    page.0
        .write_all(&[0x89, 0x82, 0, 0, 0, 0, b'h', b'i'])
        .unwrap();
    assert_eq!(page.hear(), (0xa, b"hi".to_vec()));
    running.publish(&blink(1));
    assert_eq!(page.hear_record()["type"], "blink");
}

#[test]
fn a_client_that_closes_is_answered_with_its_code() {
    let running = Running::start("close", ServerSettings::default());
    let mut page = WebSocketClient::connect(&running, "/events?types=");
    assert_eq!(page.hear_record()["type"], "header");
    // Code 1000, masked by zeros.
    page.0
        .write_all(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8])
        .unwrap();
    assert_eq!(page.hear(), (8, 1000u16.to_be_bytes().to_vec()));
}
