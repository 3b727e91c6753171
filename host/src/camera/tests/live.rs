//! Child processes, the synthetic observer, and recordings in real time.

use super::*;

fn command(words: &[&str]) -> SourceSpec {
    let words = words.iter().map(|&word| word.to_owned()).collect();
    SourceSpec::Command(CommandLine::from_words(words).expect("words"))
}

fn shell(script: &str) -> SourceSpec {
    command(&["/bin/sh", "-c", script])
}

#[test]
fn a_childs_pictures_are_told_by_their_first_bytes() {
    let folder = Folder::new();
    let mut mjpeg = jpeg(16, 8, 10);
    mjpeg.extend(jpeg(16, 8, 20));
    let mjpeg = folder.write("a.mjpeg", &mjpeg);
    let planes = y4m("W2 H2 F25:1 Cmono", &[&[1, 2, 3, 4], &[5, 6, 7, 8]]);
    let planes = folder.write("a.y4m", &planes);
    for (path, description) in [
        (mjpeg, "command:cat mjpeg"),
        (planes, "command:cat 2x2 y4m"),
    ] {
        let spec = command(&["cat", path.to_str().expect("a path")]);
        let source = open(&spec, &SourceSettings::default()).expect("cat is everywhere");
        assert_eq!(source.description(), description);
        let (frames, error) = read_all(source);
        assert!(error.is_none(), "{error:?}");
        assert_eq!(frames.len(), 2);
        assert_eq!((frames[0].seq, frames[1].seq), (0, 1));
        assert_eq!(frames[0].captured_at.as_us(), 0);
        assert!(frames[1].captured_at >= frames[0].captured_at);
    }
}

#[test]
fn a_childs_raw_frames_need_a_format_and_a_size() {
    let spec = shell("printf 'a1b2c3d4e5'");
    let error = open(&spec, &SourceSettings::default())
        .err()
        .expect("a refusal");
    assert!(
        error.to_string().contains("neither MJPEG nor Y4M"),
        "{error}"
    );
    let settings = SourceSettings {
        format: Some(PixelFormat::Yuyv),
        width_px: 2,
        height_px: 2,
        ..SourceSettings::default()
    };
    let source = open(&spec, &settings).expect("a shell");
    assert_eq!(source.frame_size(), Some((2, 2)));
    let (frames, error) = read_all(source);
    assert!(error.is_none(), "{error:?}");
    assert_eq!(frames[0].luma, b"abcd");
    assert!(
        frames[1]
            .error
            .as_deref()
            .is_some_and(|error| error.contains("cut short"))
    );
    assert_eq!(frames.len(), 2);
}

#[test]
fn a_childs_death_is_told_with_its_last_words() {
    let folder = Folder::new();
    let path = folder.write("a.jpg", &jpeg(8, 8, 10));
    let path = path.display();
    let script = format!("cat '{path}'; echo first >&2; echo 'no camera here' >&2; exit 3");
    let source = open(&shell(&script), &SourceSettings::default()).expect("a shell");
    let (frames, error) = read_all(source);
    assert_eq!(frames.len(), 1);
    let error = error.expect("the child failed");
    assert!(error.is_recoverable());
    assert_eq!(
        error.to_string(),
        "/bin/sh: ended with exit status: 3; its last words: no camera here"
    );
    let before_start = open(&shell("exit 4"), &SourceSettings::default()).err();
    assert!(matches!(
        before_start,
        Some(CameraError::CommandEnded { .. })
    ));
    let empty = open(&shell("exit 0"), &SourceSettings::default())
        .err()
        .expect("no frame");
    assert!(
        empty.to_string().contains("no frame in the stream"),
        "{empty}"
    );
    let missing = open(
        &command(&["gazed-no-such-program"]),
        &SourceSettings::default(),
    )
    .err();
    assert!(matches!(missing, Some(CameraError::CommandStart { .. })));
}

#[test]
fn a_childs_noise_on_stderr_does_not_block_it() {
    let folder = Folder::new();
    let path = folder.write("a.jpg", &jpeg(8, 8, 10));
    // More than a pipe holds, before the first picture.
    let script = format!(
        "i=0; while [ $i -lt 3000 ]; do echo 'a line of about forty characters, again' >&2; \
         i=$((i+1)); done; cat '{}'",
        path.display()
    );
    let source = open(&shell(&script), &SourceSettings::default()).expect("a shell");
    let (frames, error) = read_all(source);
    assert!(error.is_none(), "{error:?}");
    assert_eq!(frames.len(), 1);
}

#[test]
fn a_silent_child_is_given_up_and_the_stop_flag_ends_it() {
    let folder = Folder::new();
    let path = folder.write("a.jpg", &jpeg(8, 8, 10));
    let spec = shell(&format!("cat '{}'; exec sleep 600", path.display()));
    let settings = SourceSettings {
        timeout: Duration::from_millis(200),
        ..SourceSettings::default()
    };
    let (frames, error) = read_all(open(&spec, &settings).expect("a shell"));
    assert_eq!(frames.len(), 1);
    assert!(
        matches!(error, Some(CameraError::Timeout { .. })),
        "{error:?}"
    );

    let settings = SourceSettings {
        timeout: Duration::from_secs(3600),
        ..SourceSettings::default()
    };
    let source = open(&spec, &settings).expect("a shell");
    let stop = settings.stop.clone();
    let raiser = std::thread::spawn(move || stop.raise());
    let (_, error) = read_all(source);
    assert!(error.is_none(), "{error:?}");
    raiser.join().expect("raising does not panic");
    let stopped = open(&shell("exec sleep 600"), &settings).err();
    assert!(matches!(stopped, Some(CameraError::Stopped)));
}

#[test]
fn a_source_that_is_opened_again_goes_on_counting() {
    let folder = Folder::new();
    let path = folder.write("a.jpg", &jpeg(8, 8, 10));
    let spec = command(&["cat", path.to_str().expect("a path")]);
    let mut settings = SourceSettings::default();
    let mut source = open(&spec, &settings).expect("cat is everywhere");
    assert_eq!(source.clock_zero(), None);
    let mut frame = Frame::new();
    source.capture(&mut frame).expect("a picture");
    let clock_zero = source.clock_zero().expect("a live source");
    settings.resume = Some(Resume {
        clock_zero,
        next_seq: 1,
    });
    let (frames, _) = read_all(open(&spec, &settings).expect("cat is everywhere"));
    assert_eq!(frames[0].seq, 1);
    assert!(frames[0].captured_at.as_us() > 0);
}

#[test]
fn the_synthetic_observer_is_the_same_for_the_same_seed() {
    let first_two = |seed| {
        let mut source =
            open(&SourceSpec::Synthetic { seed }, &SourceSettings::unpaced()).expect("an observer");
        assert_eq!(source.frame_size(), Some((640, 480)));
        let mut frames = [Frame::new(), Frame::new()];
        for frame in &mut frames {
            assert_eq!(source.capture(frame).ok(), Some(Captured::Frame));
        }
        assert_eq!(source.clock_zero(), None);
        frames
    };
    let (one, again, other) = (first_two(1), first_two(1), first_two(2));
    assert_eq!(one[1].captured_at.as_us(), 33_333);
    assert_eq!(one[0].luma, again[0].luma);
    assert_eq!(one[1].luma, again[1].luma);
    assert_ne!(one[0].luma, other[0].luma);
}

#[test]
fn the_synthetic_observer_keeps_real_time_like_a_camera() {
    let settings = SourceSettings {
        fps: 1000.0,
        width_px: 64,
        height_px: 64,
        ..SourceSettings::default()
    };
    let mut source = open(&SourceSpec::Synthetic { seed: 0 }, &settings).expect("an observer");
    let mut frame = Frame::new();
    let mut last = None;
    for seq in 0..3 {
        assert_eq!(source.capture(&mut frame).ok(), Some(Captured::Frame));
        assert_eq!(frame.seq, seq);
        assert!(last < Some(frame.captured_at));
        let age = source.clock_zero().expect("a live source").elapsed();
        assert!(age.as_micros() as u64 >= frame.captured_at.as_us());
        last = Some(frame.captured_at);
    }
    settings.stop.raise();
    assert_eq!(source.capture(&mut frame).ok(), Some(Captured::EndOfStream));
}

#[test]
fn recordings_can_be_played_in_real_time() {
    let folder = Folder::new();
    let frames: [&[u8]; 2] = [&[1], &[2]];
    let path = folder.write("clip.y4m", &y4m("W1 H1 F200:1 Cmono", &frames));
    let settings = SourceSettings::default();
    let mut source = open(&SourceSpec::Video(path), &settings).expect("a video");
    let mut frame = Frame::new();
    for time_us in [0, 5000] {
        assert_eq!(source.capture(&mut frame).ok(), Some(Captured::Frame));
        assert_eq!(frame.captured_at.as_us(), time_us);
        let age = source.clock_zero().expect("played live").elapsed();
        assert!(age.as_micros() as u64 >= time_us);
    }
    assert_eq!(source.capture(&mut frame).ok(), Some(Captured::EndOfStream));
}
