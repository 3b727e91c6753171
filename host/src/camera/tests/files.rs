//! Pictures and videos.

use std::process::Command;

use image::{DynamicImage, GrayImage, ImageBuffer, ImageFormat};
use proptest::prelude::*;

use super::*;

fn read_path(path: &Path) -> Vec<Frame> {
    let spec = SourceSpec::from_path(path).expect("a path that is there");
    let source = open(&spec, &SourceSettings::unpaced()).expect("a source");
    let (frames, error) = read_all(source);
    assert!(error.is_none(), "{error:?}");
    frames
}

fn names(frames: &[Frame]) -> Vec<&str> {
    frames
        .iter()
        .map(|frame| match &frame.name {
            FrameName::File(name) => name.as_str(),
            FrameName::Number => "a number",
        })
        .collect()
}

#[test]
fn pictures_come_in_the_byte_order_of_their_names() {
    let folder = Folder::new();
    for name in [
        "b.pgm",
        "a9.pgm",
        "B.pgm",
        "ä.pgm",
        "a10.pgm",
        "no-extension",
    ] {
        folder.write(name, &pgm(2, 1, 9));
    }
    folder.write(".hidden.pgm", &pgm(1, 1, 0));
    folder.write("targets.csv", b"frame,x_mm,y_mm\n");
    std::fs::create_dir(folder.path("folder.png")).expect("a subfolder");
    let frames = read_path(&folder.root());
    assert_eq!(
        names(&frames),
        [
            "B.pgm",
            "a10.pgm",
            "a9.pgm",
            "b.pgm",
            "no-extension",
            "ä.pgm"
        ]
    );
    let numbers: Vec<u64> = frames.iter().map(|frame| frame.seq).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5]);
    let times: Vec<u64> = frames
        .iter()
        .map(|frame| frame.captured_at.as_us())
        .collect();
    assert_eq!(times, [0, 33_333, 66_667, 100_000, 133_333, 166_667]);
}

#[test]
fn every_kind_of_picture_gives_its_grey() {
    let folder = Folder::new();
    let grey = GrayImage::from_raw(2, 1, vec![0, 200]).expect("two pixels");
    let picture = DynamicImage::ImageLuma8(grey);
    let colours = DynamicImage::ImageRgb8(
        ImageBuffer::from_raw(2, 1, vec![255, 0, 0, 0, 0, 255]).expect("two pixels"),
    );
    let transparent = DynamicImage::ImageRgba8(
        ImageBuffer::from_raw(2, 1, vec![255, 0, 0, 0, 0, 0, 255, 9]).expect("two pixels"),
    );
    let deep = DynamicImage::ImageLuma16(
        ImageBuffer::from_raw(2, 1, vec![0_u16, 200 * 257]).expect("two pixels"),
    );
    for (name, picture, expected) in [
        ("grey.png", DynamicImage::from(picture.to_luma8()), [0, 200]),
        (
            "alpha.png",
            DynamicImage::from(picture.to_luma_alpha8()),
            [0, 200],
        ),
        ("deep.png", deep.clone(), [0, 200]),
        (
            "deep-alpha.png",
            DynamicImage::from(deep.to_luma_alpha16()),
            [0, 200],
        ),
        ("colour.png", colours.clone(), [76, 29]),
        ("transparent.png", transparent, [76, 29]),
        (
            "deep-colour.png",
            DynamicImage::from(colours.to_rgb16()),
            [76, 29],
        ),
        ("colour.bmp", colours.clone(), [76, 29]),
        ("grey.pgm", picture, [0, 200]),
        ("colour.ppm", colours, [76, 29]),
    ] {
        let path = folder.path(name);
        let format = ImageFormat::from_path(&path).expect("a known extension");
        picture
            .save_with_format(&path, format)
            .expect("a picture on disk");
        let frames = read_path(&path);
        assert_eq!(frames.len(), 1, "{name}");
        assert_eq!(frames[0].error, None, "{name}");
        assert_eq!(frames[0].luma, expected, "{name}");
        assert_eq!(frames[0].name, FrameName::File(name.to_owned()));
    }
    let path = folder.write("text.pgm", b"P2\n# made by hand\n2 1\n100\n0 50\n");
    assert_eq!(
        read_path(&path)[0].luma,
        [0, 128],
        "50 of 100 is half of 255"
    );
    let path = folder.write("one.jpg", &jpeg(1, 1, 100));
    let frames = read_path(&path);
    assert_eq!((frames[0].width, frames[0].height), (1, 1));
    assert!(frames[0].luma[0].abs_diff(100) < 2, "JPEG at quality 95");
}

#[test]
fn an_unreadable_picture_is_told_and_the_others_go_on() {
    let folder = Folder::new();
    let good = jpeg(64, 48, 50);
    folder.write("a.jpg", &good);
    folder.write("b.jpg", &good[..good.len() / 2]);
    folder.write("c.png", b"this is no picture");
    folder.write("d.pgm", b"");
    folder.write("e.pgm", &pgm(20, 20, 1)[..100]);
    folder.write("f.pgm", b"P5\n9000 6000\n255\n");
    folder.write("g.jpg", &good);
    let frames = read_path(&folder.root());
    let errors: Vec<&str> = frames
        .iter()
        .map(|frame| frame.error.as_deref().unwrap_or(""))
        .collect();
    assert_eq!(errors[0], "");
    assert!(errors[1].contains("cut short"));
    assert!(errors[2].contains("not a PNG, JPEG, BMP, PGM or PPM"));
    assert!(errors[3].contains("empty"));
    assert_ne!(errors[4], "");
    assert!(errors[5].contains("48 megapixels"));
    assert_eq!(errors[6], "");
    for frame in &frames[1..6] {
        assert_eq!((frame.width, frame.height, frame.luma.len()), (0, 0, 0));
    }
    assert_eq!((frames[6].seq, frames[6].width), (6, 64));
    assert_eq!(names(&frames)[6], "g.jpg");
}

#[test]
fn pictures_of_one_folder_may_differ_in_size() {
    let folder = Folder::new();
    folder.write("a.pgm", &pgm(1, 1, 1));
    folder.write("b.pgm", &pgm(640, 480, 2));
    folder.write("c.jpg", &jpeg(31, 17, 3));
    let spec = SourceSpec::Images(folder.root());
    let settings = SourceSettings {
        fps: 25.0,
        ..SourceSettings::unpaced()
    };
    let source = open(&spec, &settings).expect("a folder");
    assert_eq!(source.frame_size(), None);
    assert_eq!(source.frame_count(), Some(3));
    let (frames, _) = read_all(source);
    let sizes: Vec<_> = frames
        .iter()
        .map(|frame| (frame.width, frame.height))
        .collect();
    assert_eq!(sizes, [(1, 1), (640, 480), (31, 17)]);
    assert_eq!(frames[2].captured_at.as_us(), 80_000);

    std::fs::remove_file(folder.path("a.pgm")).expect("a file that is there");
    std::fs::remove_file(folder.path("c.jpg")).expect("a file that is there");
    folder.write("c.jpg", &jpeg(640, 480, 3));
    folder.write("d.jpg", b"broken");
    let source = open(&spec, &settings).expect("a folder");
    assert_eq!(source.frame_size(), Some((640, 480)));
    let name = folder
        .root()
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    assert_eq!(source.description(), format!("images:{name}"));
}

#[test]
fn folders_without_pictures_and_missing_files_are_errors() {
    let folder = Folder::new();
    let refused = |spec: SourceSpec| match open(&spec, &SourceSettings::default()) {
        Ok(_) => panic!("{spec} was opened"),
        Err(error) => error,
    };
    assert!(matches!(
        refused(SourceSpec::Images(folder.root())),
        CameraError::NoPictures { .. }
    ));
    assert!(matches!(
        refused(SourceSpec::Images(folder.path("none"))),
        CameraError::File { .. }
    ));
    assert!(matches!(
        refused(SourceSpec::Video(folder.path("none.mp4"))),
        CameraError::File { .. }
    ));
    assert!(matches!(
        refused(SourceSpec::Video(folder.root())),
        CameraError::File { .. }
    ));
    assert!(SourceSpec::from_path(&folder.path("none")).is_err());
}

#[test]
fn a_bare_path_is_told_by_its_content() {
    let folder = Folder::new();
    let kind = |path: PathBuf| SourceSpec::from_path(&path).expect("a path that is there");
    assert!(matches!(kind(folder.root()), SourceSpec::Images(_)));
    let picture = folder.write("clip.mp4", &pgm(1, 1, 1));
    assert!(matches!(kind(picture), SourceSpec::Images(_)));
    let video = folder.write("picture.png", &y4m("W2 H2 Cmono", &[&[0; 4]]));
    assert!(matches!(kind(video), SourceSpec::Video(_)));
    let video = folder.write("clip.mjpeg", &jpeg(8, 8, 1));
    assert!(matches!(kind(video), SourceSpec::Video(_)));
    let path = folder.path("picture.png");
    let given = path.to_str().expect("a readable path");
    assert_eq!(
        SourceSpec::from_name_or_path(given),
        Ok(SourceSpec::Video(path.clone()))
    );
    assert_eq!(SourceSpec::from_name_or_path("auto"), Ok(SourceSpec::Auto));
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let refused = |settings: SourceSettings| {
        open(&SourceSpec::Synthetic { seed: 0 }, &settings)
            .err()
            .expect("a refusal")
            .to_string()
    };
    let fps = SourceSettings {
        fps: f64::NAN,
        ..SourceSettings::default()
    };
    assert_eq!(refused(fps), "fps is NaN; allowed: above 0, up to 1000");
    let width = SourceSettings {
        width_px: 0,
        ..SourceSettings::default()
    };
    assert_eq!(refused(width), "width_px is 0; allowed: 1 to 8192");
}

#[test]
fn y4m_files_keep_their_own_rate() {
    let folder = Folder::new();
    let frames: [&[u8]; 3] = [&[1, 2, 3, 4], &[5, 6, 7, 8], &[9, 9, 9, 9]];
    let path = folder.write("clip.y4m", &y4m("W2 H2 F30000:1001 Ip Cmono", &frames));
    let spec = SourceSpec::Video(path);
    let source = open(&spec, &SourceSettings::unpaced()).expect("a video");
    assert_eq!(source.frame_size(), Some((2, 2)));
    assert_eq!(source.frame_count(), Some(3));
    assert_eq!(source.description(), "video:clip.y4m");
    let (read, error) = read_all(source);
    assert!(error.is_none());
    assert_eq!(read.len(), 3);
    assert_eq!(read[1].luma, frames[1]);
    assert_eq!(read[1].name, FrameName::Number);
    assert_eq!(read[2].captured_at.as_us(), 66_733);
}

#[test]
fn mjpeg_files_are_read_at_the_rate_asked_for() {
    let folder = Folder::new();
    let mut bytes = jpeg(16, 8, 10);
    let broken = jpeg(16, 8, 20);
    bytes.extend(&broken[..broken.len() - 2]);
    bytes.extend(jpeg(16, 8, 30));
    let path = folder.write("clip.mjpeg", &bytes);
    let settings = SourceSettings {
        fps: 50.0,
        ..SourceSettings::unpaced()
    };
    let source = open(&SourceSpec::Video(path), &settings).expect("a video");
    assert_eq!(source.frame_size(), Some((16, 8)));
    let (frames, error) = read_all(source);
    assert!(error.is_none());
    let last = frames.last().expect("frames");
    assert_eq!(last.error, None);
    assert!(last.luma[0].abs_diff(30) < 2, "JPEG at quality 95");
    assert!(frames[1].error.is_some());
    assert_eq!(frames[1].captured_at.as_us(), 20_000);
}

proptest! {
    #[test]
    fn y4m_rubbish_never_panics(
        header in "[WHFCIX0-9:. a-z]{0,40}",
        body in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut bytes = format!("YUV4MPEG2 {header}\nFRAME\n").into_bytes();
        bytes.extend(body);
        let mut reader = &bytes[..];
        if let Ok(header) = y4m::Y4mHeader::read(&mut reader)
            && header.frame_bytes() < 1_000_000
        {
            let mut frame = Frame::new();
            while let Ok(y4m::Next::Frame) = header.read_frame(&mut reader, &mut frame) {}
        }
    }

    #[test]
    fn picture_rubbish_never_panics(
        kind in 0_usize..4,
        body in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let folder = Folder::new();
        let start: &[u8] = [b"\x89PNG\r\n\x1a\n".as_slice(), b"BM", b"P5\n", b"P2\n3 3\n9\n"][kind];
        let path = folder.write("x", &[start, &body].concat());
        let mut frame = Frame::new();
        picture::PictureReader::default().read(&path, &mut frame);
    }
}

/// ffmpeg is not needed to build and test gazed; what needs it is tested where it is.
fn has_ffmpeg() -> bool {
    let is_there = Command::new("ffmpeg").arg("-version").output().is_ok();
    if !is_there {
        eprintln!("ffmpeg is not installed: not tested");
    }
    is_there
}

fn ffmpeg(arguments: &[&str]) {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-y"])
        .args(arguments)
        .output()
        .expect("ffmpeg runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn other_videos_come_through_ffmpeg_frame_by_frame_with_their_times() {
    if !has_ffmpeg() {
        return;
    }
    let folder = Folder::new();
    let clip = folder.path("a:clip.mov");
    let path = clip.to_str().expect("a readable path");
    // Of 30 frames a second every third is missing, and the clip starts late.
    ffmpeg(&[
        "-f",
        "lavfi",
        "-i",
        "testsrc=size=64x48:rate=30:duration=1",
        "-vf",
        "select=not(eq(mod(n\\,3)\\,1)),setpts=PTS+1/TB",
        "-vsync",
        "passthrough",
        "-c:v",
        "mpeg4",
        "-video_track_timescale",
        "30000",
        &format!("file:{path}"),
    ]);
    let source = open_video(&clip);
    assert_eq!(source.frame_size(), Some((64, 48)));
    assert_eq!(source.frame_count(), Some(20));
    assert_eq!(source.description(), "video:a:clip.mov");
    let (frames, error) = read_all(source);
    assert!(error.is_none(), "{error:?}");
    let times: Vec<u64> = frames
        .iter()
        .map(|frame| frame.captured_at.as_us())
        .collect();
    let expected: Vec<u64> = (0..30_u64)
        .filter(|n| n % 3 != 1)
        .map(|n| steady_time_us(n, 30.0))
        .collect();
    assert_eq!(times, expected);
    assert!(frames.iter().zip(0..).all(|(frame, seq)| frame.seq == seq));
    // The same bytes every time.
    let (again, _) = read_all(open_video(&clip));
    assert!(frames.iter().zip(&again).all(|(a, b)| a.luma == b.luma));
    assert_eq!(frames.len(), again.len());
}

#[test]
fn ffmpeg_and_our_own_reader_agree_on_grey() {
    if !has_ffmpeg() {
        return;
    }
    let folder = Folder::new();
    // Every limited-range grey once, then neutral colour.
    let mut picture: Vec<u8> = (0..=255).collect();
    picture.resize(256 + 128, 128);
    let ours = folder.write("clip.y4m", &y4m("W16 H16 F25:1 Ip C420jpeg", &[&picture]));
    let theirs = folder.path("clip.mkv");
    let (from, to) = (
        ours.to_str().expect("a path"),
        theirs.to_str().expect("a path"),
    );
    ffmpeg(&["-i", from, "-c:v", "ffv1", to]);
    let (ours, theirs) = (read_path(&ours), read_path(&theirs));
    assert_eq!(theirs.len(), 1);
    let worst = ours[0]
        .luma
        .iter()
        .zip(&theirs[0].luma)
        .map(|(a, b)| a.abs_diff(*b))
        .max();
    // ffmpeg stretches in 15-bit integers and rounds differently.
    assert!(worst <= Some(1), "{worst:?}");
}

#[test]
fn a_file_that_is_no_video_is_refused_in_ffmpegs_words() {
    if !has_ffmpeg() {
        return;
    }
    let folder = Folder::new();
    let path = folder.write(
        "clip.mp4",
        b"this is no video at all, whatever its name says",
    );
    let error = open(&SourceSpec::Video(path), &SourceSettings::unpaced())
        .err()
        .expect("a refusal");
    assert!(matches!(&error, CameraError::NotAVideo { .. }), "{error}");
    assert!(error.to_string().contains("Invalid data"), "{error}");
}

#[test]
fn a_video_that_is_cut_short_says_so_after_its_last_frame() {
    if !has_ffmpeg() {
        return;
    }
    let folder = Folder::new();
    let whole = write_clip(&folder);
    let (frames, error) = read_all(open_video(&whole));
    assert!(error.is_none() && frames.iter().all(|frame| frame.error.is_none()));
    let bytes = std::fs::read(&whole).expect("the clip");
    let cut = folder.write("cut.mkv", &bytes[..bytes.len() * 2 / 3]);
    let (some, error) = read_all(open_video(&cut));
    assert!(error.is_none(), "{error:?}");
    let (told, read) = some.split_last().expect("a frame that tells");
    assert!(!read.is_empty() && read.len() < frames.len());
    assert!(read.iter().all(|frame| frame.error.is_none()));
    assert_eq!(told.seq, read.len() as u64);
    assert!(told.captured_at > read[read.len() - 1].captured_at);
    let words = told.error.as_ref().expect("words");
    assert!(words.contains("may be damaged or cut short"), "{words}");
    let errors = |frames: &[Frame]| frames.iter().map(|f| f.error.clone()).collect::<Vec<_>>();
    let (again, _) = read_all(open_video(&cut));
    assert_eq!(errors(&again), errors(&some));
}

#[test]
fn a_damaged_video_that_is_stopped_just_ends() {
    if !has_ffmpeg() {
        return;
    }
    let folder = Folder::new();
    let path = write_clip(&folder);
    let mut bytes = std::fs::read(&path).expect("the clip");
    let middle = bytes.len() / 2;
    bytes[middle..middle + 64].fill(0xff);
    std::fs::write(&path, bytes).expect("the clip");
    let (frames, _) = read_all(open_video(&path));
    let (told, read) = frames.split_last().expect("a frame that tells");
    assert!(told.error.is_some());
    let settings = SourceSettings::unpaced();
    let mut source = open(&SourceSpec::Video(path), &settings).expect("a video");
    // Past the damage, so that its errors are known: they come before the times of later frames.
    for _ in read {
        let captured = source.capture(&mut Frame::new()).expect("a frame");
        assert!(matches!(captured, Captured::Frame));
    }
    settings.stop.raise();
    let captured = source.capture(&mut Frame::new()).expect("an end");
    assert!(matches!(captured, Captured::EndOfStream));
}

/// A second of a test picture, 30 frames.
fn write_clip(folder: &Folder) -> PathBuf {
    let path = folder.path("clip.mkv");
    let picture = "testsrc=size=64x48:rate=30:duration=1";
    let to = path.to_str().expect("a path");
    ffmpeg(&["-f", "lavfi", "-i", picture, "-c:v", "mpeg4", to]);
    path
}

fn open_video(path: &Path) -> Box<dyn FrameSource> {
    let spec = SourceSpec::Video(path.to_owned());
    open(&spec, &SourceSettings::unpaced()).expect("a video")
}
