//! Writes training data and pictures of the synthetic observer.
//!
//! ```text
//! cargo run --release -p gaze-observer --example render -- --out DIR --kind views --count 20000
//! ```
//!
//! `views`: `faces.u8` (N × 160 × 160), `eyes.u8` (N × 2 × 64 × 96, observer's right eye first),
//! `truth.f32` (N rows, little-endian) and `truth.json`, which names the columns and says how the
//! crops lie in the frame. `sessions`: the same files of people who look about on a screen. `frames`:
//! full frames as PNG with `truth.jsonl`. `script`: the first `--count` frames of a script as PNG with
//! `truth.jsonl` and `events.jsonl`.

mod crops;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use gaze_observer::{Observer, ObserverSettings, View, random_view, random_view_of, session_view};

use crops::{EYE_COLUMNS, EYE_ROWS, FACE_SIZE};

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// Face and eye crops of random views, as raw tables.
    Views,
    /// The same of sessions: people who look about on a screen.
    Sessions,
    /// Full frames of random views.
    Frames,
    /// Full frames of a script, 30 a second.
    Script,
}

/// Renders the synthetic observer.
#[derive(Parser)]
struct Arguments {
    /// Folder to write to; made if it is not there.
    #[arg(long)]
    out: PathBuf,
    /// How many views or frames.
    #[arg(long, default_value_t = 100)]
    count: usize,
    /// First seed; views use this and the following ones.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Views of each person in a row, as `views` writes them; the person's seed is the first one's.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    views_each: u64,
    /// What to write.
    #[arg(long, value_enum, default_value = "views")]
    kind: Kind,
    /// Threads; 0 for as many as the machine has.
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    fs::create_dir_all(&arguments.out)
        .with_context(|| format!("making {}", arguments.out.display()))?;
    let threads = match arguments.threads {
        0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
        n => n,
    };
    let start = Instant::now();
    match arguments.kind {
        Kind::Views => write_views(&arguments, threads, random_view_of)?,
        Kind::Sessions => write_views(&arguments, threads, session_view)?,
        Kind::Frames => write_frames(&arguments, threads)?,
        Kind::Script => write_script(&arguments)?,
    }
    let seconds = start.elapsed().as_secs_f64();
    eprintln!(
        "{} in {seconds:.1} s: {:.1} a second on {threads} threads",
        arguments.count,
        arguments.count as f64 / seconds
    );
    Ok(())
}

fn writer(path: &Path) -> Result<BufWriter<File>> {
    let file = File::create(path).with_context(|| format!("writing {}", path.display()))?;
    Ok(BufWriter::with_capacity(1 << 20, file))
}

/// Applies `work` to each seed on all threads and hands the results over in order.
fn in_order<T: Send>(
    arguments: &Arguments,
    threads: usize,
    work: impl Fn(u64) -> T + Sync,
    mut take: impl FnMut(usize, T) -> Result<()>,
) -> Result<()> {
    const BATCH: usize = 256;
    let mut done = 0;
    while done < arguments.count {
        let batch = BATCH.min(arguments.count - done);
        let mut results: Vec<Option<T>> = (0..batch).map(|_| None).collect();
        let share = batch.div_ceil(threads);
        std::thread::scope(|scope| {
            for (chunk, slots) in results.chunks_mut(share).enumerate() {
                let work = &work;
                scope.spawn(move || {
                    for (i, slot) in slots.iter_mut().enumerate() {
                        let index = done + chunk * share + i;
                        *slot = Some(work(arguments.seed + index as u64));
                    }
                });
            }
        });
        for (i, result) in results.into_iter().enumerate() {
            let result = result.context("a rendering thread ended early")?;
            take(done + i, result)?;
        }
        done += batch;
        eprintln!("{done} of {}", arguments.count);
    }
    Ok(())
}

fn write_views(
    arguments: &Arguments,
    threads: usize,
    render: fn(u64, u64, f32) -> View,
) -> Result<()> {
    let mut faces = writer(&arguments.out.join("faces.u8"))?;
    let mut eyes = writer(&arguments.out.join("eyes.u8"))?;
    let mut table = writer(&arguments.out.join("truth.f32"))?;
    let mut columns: Vec<String> = Vec::new();
    in_order(
        arguments,
        threads,
        |seed| {
            let person = seed - (seed - arguments.seed) % arguments.views_each;
            let view = render(person, seed, crops::REACH);
            let (face_crop, eye_crops) = crops::crops(&view.truth);
            let mut face = vec![0; FACE_SIZE * FACE_SIZE];
            crops::cut(&view, face_crop, FACE_SIZE, FACE_SIZE, &mut face);
            let mut pair = vec![0; 2 * EYE_ROWS * EYE_COLUMNS];
            for (crop, out) in eye_crops
                .iter()
                .zip(pair.chunks_mut(EYE_ROWS * EYE_COLUMNS))
            {
                crops::cut(&view, *crop, EYE_COLUMNS, EYE_ROWS, out);
            }
            (face, pair, crops::row(seed, &view.truth))
        },
        |_, (face, pair, row)| {
            faces.write_all(&face)?;
            eyes.write_all(&pair)?;
            for (_, value) in &row {
                table.write_all(&value.to_le_bytes())?;
            }
            if columns.is_empty() {
                columns = row.into_iter().map(|(name, _)| name).collect();
            }
            Ok(())
        },
    )?;
    faces.flush()?;
    eyes.flush()?;
    table.flush()?;
    let names: Vec<String> = columns.iter().map(|name| format!("\"{name}\"")).collect();
    let header = format!(
        "{{\"count\":{},\"seed\":{},\"views_each\":{},\"faces\":[{},{FACE_SIZE},{FACE_SIZE}],\
         \"eyes\":[{},2,{EYE_ROWS},{EYE_COLUMNS}],\"columns\":[{}]}}\n",
        arguments.count,
        arguments.seed,
        arguments.views_each,
        arguments.count,
        arguments.count,
        names.join(",")
    );
    fs::write(arguments.out.join("truth.json"), header)?;
    Ok(())
}

fn write_frames(arguments: &Arguments, threads: usize) -> Result<()> {
    let mut lines = writer(&arguments.out.join("truth.jsonl"))?;
    in_order(
        arguments,
        threads,
        |seed| {
            let view = random_view(seed);
            let name = format!("{seed:07}.png");
            let written = write_png(&arguments.out.join(&name), &view);
            (name, view.truth, written)
        },
        |_, (name, truth, written)| {
            written?;
            let json = truth.to_json();
            writeln!(lines, "{{\"file\":\"{name}\",{}", &json[1..])?;
            Ok(())
        },
    )?;
    lines.flush()?;
    Ok(())
}

fn write_script(arguments: &Arguments) -> Result<()> {
    let mut observer = Observer::new(ObserverSettings {
        seed: arguments.seed,
        ..ObserverSettings::default()
    })?;
    let (width_px, height_px) = (observer.settings().width_px, observer.settings().height_px);
    let mut lines = writer(&arguments.out.join("truth.jsonl"))?;
    let mut luma = vec![0; width_px as usize * height_px as usize];
    let mut end = gaze_protocol::Timestamp(0);
    for index in 0..arguments.count {
        let truth = observer.next_frame(&mut luma);
        end = truth.at;
        let name = format!("{index:06}.png");
        let json = truth.to_json();
        writeln!(lines, "{{\"file\":\"{name}\",{}", &json[1..])?;
        let view = View {
            luma,
            width_px,
            height_px,
            truth,
        };
        write_png(&arguments.out.join(&name), &view)?;
        luma = view.luma;
    }
    lines.flush()?;
    let mut events = writer(&arguments.out.join("events.jsonl"))?;
    for event in observer.events(end) {
        writeln!(
            events,
            "{{\"onset_us\":{},\"offset_us\":{},\"label\":\"{}\",\"from_mm\":[{},{}],\"to_mm\":[{},{}]}}",
            event.onset.as_us(),
            event.offset.as_us(),
            event.label.letter(),
            event.from.x_mm,
            event.from.y_mm,
            event.to.x_mm,
            event.to.y_mm
        )?;
    }
    events.flush()?;
    Ok(())
}

fn write_png(path: &Path, view: &View) -> Result<()> {
    let mut file = writer(path)?;
    let mut encoder = png::Encoder::new(&mut file, view.width_px, view.height_px);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&view.luma)?;
    // What is left to write is written here, so that a full disk is an error and no broken picture.
    writer.finish()?;
    file.flush()?;
    Ok(())
}
