//! Videos of any kind, through an installed ffmpeg.
//!
//! ffmpeg decodes to grey Y4M on its stdout, one frame for each decoded one. Y4M has no times, so
//! ffmpeg's `showinfo` filter reports them on stderr, a line for each frame before its picture.
//! A video is turned upright when its container says so; pictures that change their size on the
//! way are scaled to the first one's. ffmpeg mends what is damaged as well as it can and says so on
//! stderr alone; here a last frame that cannot be read tells it.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use gaze_protocol::Timestamp;
use tracing::warn;

use super::child::{ChildStream, StderrLines};
use super::error::StreamFault;
use super::spec::base_name;
use super::y4m::{HeaderFault, Next, Y4mHeader};
use super::{CameraError, Captured, FrameSource, SourceSettings, steady_time_us};
use crate::frame::Frame;

/// A file on a slow disk may take its time; a hanging ffmpeg ends nevertheless.
const FFMPEG_TIMEOUT: Duration = Duration::from_secs(60);

/// Pipes hold 64 KiB; a whole frame takes several reads anyway.
const READ_BYTES: usize = 256 << 10;

/// A video that ffmpeg decodes.
pub(super) struct FfmpegVideo {
    path: PathBuf,
    child: BufReader<ChildStream<ShowInfo>>,
    header: Y4mHeader,
    next_seq: u64,
    /// Time of the first frame and of the last one, µs on the container's clock.
    first_us: Option<i64>,
    last_us: i64,
    has_times: bool,
    fps: f64,
    has_ended: bool,
}

impl FfmpegVideo {
    /// Starts ffmpeg and reads the size of the pictures.
    pub(super) fn open(path: &Path, settings: &SourceSettings) -> Result<Self, CameraError> {
        let mut outcome = FfmpegVideo::start("ffmpeg", path, settings, "-fps_mode");
        if let Err(CameraError::CommandEnded { last_line, .. }) = &outcome
            && last_line.contains("fps_mode")
        {
            // ffmpeg before 5.1 knows the option under its older name.
            outcome = FfmpegVideo::start("ffmpeg", path, settings, "-vsync");
        }
        outcome.map_err(|error| match error {
            CameraError::CommandEnded { last_line, .. } => CameraError::NotAVideo {
                path: path.to_owned(),
                reason: last_line,
            },
            other => other,
        })
    }

    fn start(
        program: &str,
        path: &Path,
        settings: &SourceSettings,
        passthrough_option: &str,
    ) -> Result<Self, CameraError> {
        let child = ChildStream::start(
            program,
            arguments(path, passthrough_option),
            ShowInfo::default(),
            settings.stop.clone(),
            FFMPEG_TIMEOUT,
        )
        .map_err(|error| match error {
            CameraError::CommandStart { source, .. }
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                CameraError::FfmpegMissing {
                    path: path.to_owned(),
                }
            }
            other => other,
        })?;
        let mut child = BufReader::with_capacity(READ_BYTES, child);
        let header = match Y4mHeader::read(&mut child) {
            Ok(header) => header,
            Err(HeaderFault::Fault(reason @ StreamFault::TooLarge { .. })) => {
                return Err(CameraError::Stream {
                    source_name: base_name(path),
                    reason,
                });
            }
            // Not even a header: ffmpeg died, and says why.
            Err(HeaderFault::Io(error)) => return Err(child.get_mut().explain_start(Some(error))),
            Err(_) => return Err(child.get_mut().explain_start(None)),
        };
        Ok(FfmpegVideo {
            path: path.to_owned(),
            child,
            header,
            next_seq: 0,
            first_us: None,
            last_us: 0,
            has_times: false,
            fps: settings.fps,
            has_ended: false,
        })
    }

    /// The container's time of the frame that was just read, since the first one.
    fn next_time(&mut self) -> Result<Timestamp, CameraError> {
        let child = self.child.get_mut();
        while child.lines().times.is_empty() && child.pump_stderr(Duration::from_secs(5)) {}
        let time_us = match child.lines().times.pop_front() {
            Some(Some(time_us)) => {
                self.has_times = true;
                time_us
            }
            // A stream without times of its own, such as bare H.264.
            Some(None) if !self.has_times => steady_time_us(self.next_seq, self.fps) as i64,
            Some(None) => self.time_after_last(),
            None => {
                return Err(self.fault(StreamFault::NoTime { seq: self.next_seq }));
            }
        };
        self.last_us = time_us;
        let first_us = *self.first_us.get_or_insert(time_us);
        Ok(Timestamp(
            time_us.saturating_sub(first_us).try_into().unwrap_or(0),
        ))
    }

    /// The container's time a frame after the last one, where nothing better is known, µs.
    fn time_after_last(&self) -> i64 {
        self.last_us
            .saturating_add(steady_time_us(1, self.fps) as i64)
    }

    fn fault(&self, reason: StreamFault) -> CameraError {
        CameraError::Stream {
            source_name: base_name(&self.path),
            reason,
        }
    }

    /// The stream's end, or before it the frame that tells of the damage.
    fn end(
        &mut self,
        frame: &mut Frame,
        error: Option<std::io::Error>,
    ) -> Result<Captured, CameraError> {
        self.has_ended = true;
        if let Some(error) = self.child.get_mut().explain(error) {
            return Err(error);
        }
        let first_error = self.child.get_mut().lines().first_error.take();
        let Some(words) = first_error.filter(|_| !self.child.get_ref().is_stopped()) else {
            return Ok(Captured::EndOfStream);
        };
        warn!("{}: ffmpeg says: {words}", self.path.display());
        let next_us = self.time_after_last();
        let since_first_us = next_us.saturating_sub(self.first_us.unwrap_or(next_us));
        let captured_at = Timestamp(since_first_us.try_into().unwrap_or(0));
        frame.begin(self.next_seq, captured_at);
        // Not ffmpeg's words, which differ from run to run: the same file gives the same records.
        frame.fail("ffmpeg found errors in the video: it may be damaged or cut short");
        Ok(Captured::Frame)
    }
}

impl FrameSource for FfmpegVideo {
    fn capture(&mut self, frame: &mut Frame) -> Result<Captured, CameraError> {
        if self.has_ended {
            return Ok(Captured::EndOfStream);
        }
        frame.begin(self.next_seq, Timestamp(0));
        match self.header.read_frame(&mut self.child, frame) {
            Ok(Next::Frame) if frame.error.is_none() => {
                frame.captured_at = self.next_time()?;
                self.next_seq += 1;
                Ok(Captured::Frame)
            }
            // A frame cut short is no decoded frame: ffmpeg died, and says why.
            Ok(Next::Frame | Next::End) => self.end(frame, None),
            Ok(Next::Broken) => Err(self.fault(StreamFault::Y4mFrame { seq: self.next_seq })),
            Err(error) => self.end(frame, Some(error)),
        }
    }

    fn description(&self) -> String {
        format!("video:{}", base_name(&self.path))
    }

    fn frame_size(&self) -> Option<(usize, usize)> {
        Some((self.header.width, self.header.height))
    }

    /// As the container states it; asks ffprobe.
    fn frame_count(&self) -> Option<u64> {
        let output = Command::new("ffprobe")
            .args(["-v", "error", "-select_streams", "V:0"])
            .args(["-show_entries", "stream=nb_frames", "-of", "csv=p=0", "-i"])
            .arg(file_url(&self.path))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        text.trim().trim_end_matches(',').parse().ok()
    }
}

fn arguments(path: &Path, passthrough_option: &str) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = [
        "-hide_banner",
        "-nostdin",
        "-nostats",
        "-loglevel",
        "repeat+level+info",
        "-i",
    ]
    .map(OsString::from)
    .into();
    arguments.push(file_url(path));
    // Cover art is no video stream (V, not v). Grey is full range; bitexact keeps the conversion
    // the same on every processor.
    for word in [
        "-map",
        "0:V:0",
        passthrough_option,
        "passthrough",
        "-vf",
        "showinfo=checksum=0,scale=flags=bitexact+accurate_rnd:out_range=full,format=gray",
        "-f",
        "yuv4mpegpipe",
        "-",
    ] {
        arguments.push(word.into());
    }
    arguments
}

/// So that a name with a colon or a leading dash is taken as a file.
fn file_url(path: &Path) -> OsString {
    let mut url = OsString::from("file:");
    url.push(path);
    url
}

/// Reads the times out of ffmpeg's log.
#[derive(Debug, Default)]
struct ShowInfo {
    /// Seconds of a tick: numerator and denominator.
    time_base: Option<(i64, i64)>,
    /// Times of frames that were reported and not yet fetched, µs; none: the frame has none.
    times: VecDeque<Option<i64>>,
    last_words: String,
    /// The first line of the level `error`, without its level.
    first_error: Option<String>,
}

/// How ffmpeg marks the level of a line, with `-loglevel level`.
const ERROR: &str = "[error] ";
const LEVELS: [&str; 5] = ["[info] ", "[warning] ", ERROR, "[fatal] ", "[panic] "];

/// Splits a line into what tells who speaks (`[h264 @ 0x1] `, or nothing), the level (one of
/// [`LEVELS`], or nothing) and the words.
fn parts(line: &str) -> (&str, &str, &str) {
    let start = match line.split_once("] ") {
        Some((who, _)) if who.starts_with('[') && who.contains(" @ 0x") => who.len() + 2,
        _ => 0,
    };
    let (who, rest) = line.split_at(start);
    let level = LEVELS
        .into_iter()
        .find(|level| rest.starts_with(level))
        .unwrap_or("");
    (who, level, &rest[level.len()..])
}

impl StderrLines for ShowInfo {
    fn line(&mut self, line: &str) {
        if let Some(at) = line.find("[Parsed_showinfo") {
            self.showinfo_line(parts(&line[at..]).2);
            return;
        }
        let (who, level, words) = parts(line);
        if words.trim().is_empty() || words.starts_with("Error splitting the argument list") {
            return;
        }
        self.last_words.clear();
        self.last_words.push_str(who);
        self.last_words.push_str(words.trim());
        if level == ERROR {
            self.first_error
                .get_or_insert_with(|| self.last_words.clone());
        }
    }

    fn last_words(&self) -> &str {
        &self.last_words
    }
}

impl ShowInfo {
    fn showinfo_line(&mut self, text: &str) {
        if let Some(base) = text.strip_prefix("config in time_base: ") {
            let ratio = base.split(',').next().unwrap_or("").trim();
            self.time_base = ratio.split_once('/').and_then(|(ticks, seconds)| {
                let (ticks, seconds) = (ticks.parse().ok()?, seconds.parse().ok()?);
                (ticks > 0 && seconds > 0).then_some((ticks, seconds))
            });
            return;
        }
        let Some((_, after)) = text
            .strip_prefix("n:")
            .and_then(|text| text.split_once("pts:"))
        else {
            return;
        };
        let ticks = after.split_whitespace().next().unwrap_or("");
        match (ticks.parse::<i64>(), self.time_base) {
            (Ok(ticks), Some(time_base)) => self.times.push_back(Some(to_us(ticks, time_base))),
            _ if ticks == "NOPTS" => self.times.push_back(None),
            // Not understood: the frame's missing time is an error when it is asked for.
            _ => {}
        }
    }
}

/// Ticks of `numerator / denominator` seconds, to the nearest microsecond.
fn to_us(ticks: i64, (numerator, denominator): (i64, i64)) -> i64 {
    let (ticks, numerator, denominator) = (
        i128::from(ticks),
        i128::from(numerator),
        i128::from(denominator),
    );
    let twice = ticks * numerator * 2_000_000;
    let us = (twice + denominator).div_euclid(2 * denominator);
    us.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn showinfo_lines_give_times_in_microseconds() {
        let mut info = ShowInfo::default();
        for line in [
            "[info] Input #0, matroska,webm, from 'an [error] of x.mkv':",
            "[Parsed_showinfo_0 @ 0x55] [info] config in time_base: 1/15360, frame_rate: 30/1",
            "[Parsed_showinfo_0 @ 0x55] [info] config out time_base: 0/0, frame_rate: 0/0",
            "[Parsed_showinfo_0 @ 0x55] [info] n:   0 pts:      0 pts_time:0       pos:   48 fmt:yuv420p",
            "[Parsed_showinfo_0 @ 0x55] [info] color_range:unknown color_space:unknown",
            "[h264 @ 0x1] [info] some [Parsed_showinfo_0 @ 0x55] [info] n:   1 pts:    512 pts_time:0.0333333 duration: 512",
            "[Parsed_showinfo_0 @ 0x55] [info] n:   2 pts:  NOPTS pts_time:NOPTS   pos:       -1 fmt:gray",
            "[Parsed_showinfo_0 @ 0x55] [info] n:   3 pts:-15360 pts_time:-1",
            "[h264 @ 0x1] [error] error while decoding MB 58 16, bytestream 12226",
            "[h264 @ 0x1] [error] Reference 3 >= 3",
            "[info] Conversion failed!",
        ] {
            info.line(line);
        }
        assert_eq!(info.times, [Some(0), Some(33_333), None, Some(-1_000_000)]);
        assert_eq!(info.last_words(), "Conversion failed!");
        assert_eq!(
            info.first_error.as_deref(),
            Some("[h264 @ 0x1] error while decoding MB 58 16, bytestream 12226")
        );
    }

    #[test]
    fn a_missing_ffmpeg_is_told_with_the_package_to_install() {
        let path = Path::new("clip.mp4");
        let settings = SourceSettings::unpaced();
        let error = FfmpegVideo::start("gazed-no-such-ffmpeg", path, &settings, "-fps_mode")
            .err()
            .expect("there is no such program");
        assert_eq!(
            error.to_string(),
            "clip.mp4: this kind of video is read through ffmpeg, which is not installed: \
             run `sudo apt install ffmpeg`"
        );
    }

    #[test]
    fn the_words_of_an_older_ffmpeg_name_the_option() {
        let mut info = ShowInfo::default();
        info.line("[fatal] Unrecognized option 'fps_mode'.");
        info.line("[fatal] Error splitting the argument list: Option not found");
        assert!(info.last_words().contains("fps_mode"));
    }

    #[test]
    fn ticks_are_rounded_to_the_nearest_microsecond() {
        assert_eq!(to_us(2, (1, 3)), 666_667);
        assert_eq!(to_us(1, (1, 3)), 333_333);
        assert_eq!(to_us(-1, (1, 3)), -333_333);
        assert_eq!(to_us(1001, (1, 30000)), 33_367);
        assert_eq!(to_us(i64::MAX, (1_000_000, 1)), i64::MAX);
    }
}
