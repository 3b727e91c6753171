//! The inputs that fuzzing starts from: one or two good ones a target, and what is nearly good.
//!
//! `GAZE_WRITE_SEEDS=1 cargo test -p gaze-host --lib fuzzing` writes them anew.

use gaze_calibration::model::Offset;
use gaze_calibration::{
    CalibrationModel, Fitting, Measures, Profile, Quality, ScreenGeometry, TargetQuality, UserName,
};
use gaze_protocol::message::{BoardMessage, FromBoard, FromHost, HostMessage};
use gaze_protocol::{PointOfRegard, Timestamp, wire};
use image::{DynamicImage, ImageFormat};
use jpeg_encoder::{ColorType, Encoder};

use crate::recording::{BlockSettings, RecordingWriter, SyncPolicy};

/// A seed: its target, its name, its bytes.
pub struct Seed {
    pub target: &'static str,
    pub name: &'static str,
    pub bytes: Vec<u8>,
}

const SCENE: &str = r#"{"type":"scene","scene_id":"a","width_px":800,"height_px":600,"task":"search","target":1,"objects":[{"id":1,"box":[10,20,100,80],"class":"cup","score":0.9},{"id":"two","box":[-5,400,300,900]}]}"#;
const PATH: &str = r#"{"scene_id":"a","observer":"1","fixations":[{"object":null,"x_px":400,"y_px":300,"duration_ms":180},{"object":1,"x_px":40,"y_px":60,"duration_ms":210.5},{"object":"two","x_px":0,"y_px":500,"duration_ms":null}]}"#;
const SAMPLE: &str = r#"{"type":"sample","seq":1,"frame":1,"size_px":[640,480],"t_us":33333,"validity":"no_face","face":null,"eyes":null,"head":null,"gaze":null,"features":null,"por":null,"latency_us":8123}"#;
const FIXATION: &str = r#"{"type":"fixation","id":3,"onset_us":1000000,"offset_us":1312000,"por":{"x_mm":10,"y_mm":20,"x":0.1,"y":0.2},"dispersion_deg":0.5}"#;
const CONFIG: &str = "[source]\nname = \"synthetic:3\"\n[screen]\nwidth_mm = 531\nheight_mm = 299.5\n[filter]\nmin_cutoff_hz = 1\n[events]\ndetector = \"network\"\n[events.blink]\nlongest_blink_ms = 5000\n[board]\nport = \"auto\"\n[board.lamp]\nobject = \"cup\"\n[server]\nlisten = \"127.0.0.1:0\"\n[outputs]\npupil = \"127.0.0.1:50020\"\nunknown = [1, {a = 2}]\n";
const BLINK: &str = r#"{"type":"blink","id":4,"onset_us":1500000,"offset_us":1620000}"#;

/// All of them.
pub fn seeds() -> Vec<Seed> {
    let mut all = texts();
    all.extend(pictures());
    all.extend(binary());
    all
}

fn texts() -> Vec<Seed> {
    let seed = |target, name, text: &str| Seed {
        target,
        name,
        bytes: text.as_bytes().to_vec(),
    };
    let update = r#"{"type":"scene_update","scene_id":"a","add":[{"id":3,"box":[1,1,2,2]}],"move":[{"id":1,"box":[0,0,9,9]}],"remove":["two"]}"#;
    let others = concat!(
        r#"{"type":"subscribe","types":["fixation","next_objects"]}"#,
        "\n",
        r#"{"type":"time","echo":18446744073709551615}"#,
        "\n",
        r#"{"type":"calibrate","command":"start","user":"anna","points":[[0.1,0.9]]}"#,
        "\n",
        r#"{"type":"recentre","x":0.5,"y":0.5}"#,
        "\n",
        r#"{"type":"click","x":0.25,"y":1}"#,
        "\n",
        r#"{"type":"user","name":null}"#,
        "\n",
        r#"{"type":"scanpath_request","samples":3,"seed":1}"#,
        "\n",
        r#"{"type":"undo","profile":true}"#,
        "\n"
    );
    let open_gaze = "\0<SET ID=\"ENABLE_SEND_DATA\" STATE=\"1\" />\r\n<GET ID='SCREEN_SIZE'/><SET ID=\"SCREEN_SIZE\" X=\"0\" Y=\"0\" WIDTH=\"1920\" HEIGHT=\"1080\" />\r\n<SET ID=\"CALIBRATE_ADDPOINT\" X=\"0.1\" Y=\"0.9\" /><SET ID=\"CALIBRATE_START\" STATE=\"1\" />\r\n<SET ID=\"USER_DATA\" VALUE=\"&lt;a&gt;\" DUR=\"1\"/><GET ID=\"CALIBRATE_RESULT_SUMMARY\" />";
    let eye_tribe = "\x07{\"category\":\"tracker\",\"request\":\"set\",\"values\":{\"push\":true,\"version\":1}}\n{\"category\":\"tracker\",\"request\":\"get\",\"values\":[\"frame\",\"screenresw\",\"calibresult\"]}{\"category\":\"heartbeat\"}{\"category\":\"calibration\",\"request\":\"start\",\"pointcount\":9}";
    let csv = "recording,t_us,x_deg,y_deg,valid,label\na,0,1.5,-2,1,F\na,4000,1.51,-2.01,1,F\na,8000,,nan,0,B\na,12000,9,-2,1,S\na,12000,9.1,inf,1,S\n\"b,c\",0,0,0,1,F\nb,300000,0.1,0.1,1,P\n";
    vec![
        seed("client_message", "scene", &format!("{SCENE}\n{update}\n")),
        seed("client_message", "others", others),
        seed("config", "short", CONFIG),
        seed("eye_tribe", "requests", eye_tribe),
        seed("gaze_csv", "network", &format!("\0{csv}")),
        seed("gaze_csv", "adaptive", &format!("\x01{csv}")),
        seed("open_gaze", "requests", open_gaze),
        seed("profile", "offset", &profile()),
        seed("record", "sample", SAMPLE),
        seed("record", "fixation", FIXATION),
        seed("record", "blink", BLINK),
        seed(
            "scanpath_files",
            "both",
            &format!("{SCENE}\npaths\n{PATH}\n"),
        ),
        seed(
            "targets",
            "csv",
            "\u{feff}frame,x_mm,y_mm\n0,10,20\n\n\"a,b.png\",300.5,-20\n",
        ),
    ]
}

fn profile() -> String {
    let profile = Profile {
        user: UserName::new("anna").expect("a name"),
        created_unix_s: 1_767_225_600,
        made_by: gaze_calibration::MadeBy::Session,
        eyes: gaze_calibration::Eyes::Both,
        networks: Some(gaze_calibration::NetworkHashes {
            landmarks: "a".repeat(64),
            eyes: "e".repeat(64),
        }),
        camera: gaze_calibration::CameraSetup {
            id: "usb-Example_Webcam-video-index0".to_owned(),
            frame_size_px: [640, 480],
            intrinsics: gaze_calibration::Intrinsics {
                fx_px: 640.0,
                fy_px: 640.0,
                cx_px: 319.5,
                cy_px: 239.5,
            },
        },
        screen: ScreenGeometry::new(531.0, 299.0).expect("a size"),
        model: CalibrationModel::Offset(Offset {
            shift: [0.01, -0.02],
            gain: [1.0; 2],
        }),
        fitting: Fitting::default(),
        quality: Quality::over(vec![TargetQuality {
            target: PointOfRegard {
                x_mm: 265.5,
                y_mm: 149.5,
            },
            gaze: None,
            eyes_mm: Some([0.0, 80.0, 600.0]),
            measures: Measures::default(),
        }]),
        validation: None,
    };
    profile.to_text().expect("its values are in range")
}

fn pictures() -> Vec<Seed> {
    let (width, height) = (16u16, 12u16);
    let count = usize::from(width) * usize::from(height);
    let rgb: Vec<u8> = (0..3 * count).map(|i| (i * 37 % 256) as u8).collect();
    let mut jpeg = Vec::new();
    Encoder::new(&mut jpeg, 80)
        .encode(&rgb, width, height, ColorType::Rgb)
        .expect("a picture in memory");
    let mut progressive = Vec::new();
    let mut encoder = Encoder::new(&mut progressive, 60);
    encoder.set_progressive(true);
    encoder
        .encode(&rgb[..count], width, height, ColorType::Luma)
        .expect("a picture in memory");
    let picture = image::RgbImage::from_raw(width.into(), height.into(), rgb).expect("it fits");
    let picture = DynamicImage::ImageRgb8(picture);
    let encoded = |picture: &DynamicImage, format| {
        let mut bytes = std::io::Cursor::new(Vec::new());
        picture
            .write_to(&mut bytes, format)
            .expect("it can be encoded");
        bytes.into_inner()
    };
    let mut two = jpeg.clone();
    two.extend(b"between");
    two.extend(&progressive);
    let mut video = b"YUV4MPEG2 W4 H2 F25:1 Ip C420jpeg\nFRAME\n".to_vec();
    video.extend([60; 12]);
    video.extend(b"FRAME Ip\n");
    video.extend([200; 12]);
    let seed = |target, name, bytes| Seed {
        target,
        name,
        bytes,
    };
    let grey = DynamicImage::ImageLuma16(picture.to_luma16());
    vec![
        seed("picture", "png", encoded(&picture, ImageFormat::Png)),
        seed("picture", "grey16", encoded(&grey, ImageFormat::Png)),
        seed("picture", "bmp", encoded(&picture, ImageFormat::Bmp)),
        seed("picture", "ppm", encoded(&picture, ImageFormat::Pnm)),
        seed("picture", "jpeg", jpeg),
        seed("mjpeg", "two", two),
        seed("y4m", "two", video),
    ]
}

fn binary() -> Vec<Seed> {
    let seed = |target, name, bytes| Seed {
        target,
        name,
        bytes,
    };
    let mut line = vec![5];
    line.extend(
        wire::encode(&FromBoard {
            session: 7,
            seq: 1,
            sent_at: Timestamp(1_000),
            message: BoardMessage::Welcome {
                nonce: 7,
                board: "pico".try_into().expect("it is short"),
                firmware: Default::default(),
            },
        })
        .expect("it fits"),
    );
    line.extend(
        wire::encode(&FromHost {
            session: 7,
            seq: 1,
            sent_at: None,
            message: HostMessage::Ping,
        })
        .expect("it fits"),
    );
    // Requests to Pupil's port: an empty part, then the words.
    let mut pupil = vec![0];
    for words in ["SUB_PORT", "T 12.5", "v"] {
        pupil.extend([1, 0, 0, words.len() as u8]);
        pupil.extend(words.as_bytes());
    }
    let subscription = b"\x03\x00\x06\x01gaze.\x04\x0e\x09SUBSCRIBEgaze".to_vec();
    let mut stream = vec![0u8];
    for i in 0..60u8 {
        let yaw: f32 = if i < 30 { 0.1 } else { 0.3 };
        // Steps of 33 ms: 33 << 10 µs.
        stream.extend([7, 33, 10, 0]);
        stream.extend((yaw + f32::from(i % 3) * 0.001).to_le_bytes());
        stream.extend(0.05f32.to_le_bytes());
        stream.push(if (15..19).contains(&i) { 255 } else { 0 });
    }
    let adaptive = std::iter::once(1)
        .chain(stream[1..].iter().copied())
        .collect();
    vec![
        seed("serial_line", "welcome", line),
        seed("pupil", "requests", pupil),
        seed("pupil", "subscriptions", subscription),
        seed("event_stream", "network", stream),
        seed("event_stream", "adaptive", adaptive),
        seed("recording", "closed", recording()),
    ]
}

fn recording() -> Vec<u8> {
    let path = std::env::temp_dir().join(format!("gazed-seed-{}.gazed", std::process::id()));
    let settings = BlockSettings {
        block_ms: 1000,
        sync: SyncPolicy::End,
    };
    let mut writer = RecordingWriter::create(&path, settings).expect("a new file");
    for line in [SAMPLE, BLINK] {
        writer.push(line.as_bytes()).expect("it can be written");
    }
    writer.finish().expect("it can be written");
    let bytes = std::fs::read(&path).expect("it was just written");
    std::fs::remove_file(path).expect("it was just written");
    bytes
}
