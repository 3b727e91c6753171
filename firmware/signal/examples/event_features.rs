//! What the event network is told, for its training: recordings on stdin, rows on stdout.
//!
//! In, for each recording: u32 samples; then for each sample u64 time (µs), f32 x and y (degrees;
//! NaN where gaze is missing). Out, for each recording: u32 rows; then for each row u32 samples
//! that it stands for (plus 2^31 where a new stream begins), and the features as f32. All little-endian. With
//! `--width`, says how many features there are.

use std::io::{self, BufReader, BufWriter, Read, Write};

use gaze_protocol::{GazeAngles, Timestamp};
use gaze_signal::{FEATURES, FeatureRow, FeatureStream};

fn main() -> io::Result<()> {
    if std::env::args().any(|argument| argument == "--width") {
        println!("{FEATURES}");
        return Ok(());
    }
    let mut input = BufReader::with_capacity(1 << 20, io::stdin().lock());
    let mut output = BufWriter::with_capacity(1 << 20, io::stdout().lock());
    let mut count = [0; 4];
    while input.read_exact(&mut count).is_ok() {
        let mut stream = FeatureStream::default();
        let (mut rows, mut bytes) = (0u32, Vec::new());
        let mut give = |row: FeatureRow| {
            rows += 1;
            bytes.extend((row.samples | u32::from(row.is_first) << 31).to_le_bytes());
            bytes.extend(row.values.iter().flat_map(|value| value.to_le_bytes()));
        };
        for _ in 0..u32::from_le_bytes(count) {
            let (mut at, mut x, mut y) = ([0; 8], [0; 4], [0; 4]);
            input.read_exact(&mut at)?;
            input.read_exact(&mut x)?;
            input.read_exact(&mut y)?;
            let place = [f32::from_le_bytes(x), f32::from_le_bytes(y)];
            let at = Timestamp(u64::from_le_bytes(at));
            let is_seen = place.iter().all(|deg| deg.abs() <= 180.0);
            let gaze = GazeAngles {
                yaw_rad: -place[0].to_radians(),
                pitch_rad: -place[1].to_radians(),
            };
            stream.step(at, is_seen.then_some(gaze), &mut give);
        }
        stream.finish(&mut give);
        debug_assert_eq!(bytes.len(), rows as usize * 4 * (1 + FEATURES));
        output.write_all(&rows.to_le_bytes())?;
        output.write_all(&bytes)?;
    }
    output.flush()
}
