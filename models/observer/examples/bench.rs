//! Times the observer on one core: scripted 640 × 480 frames, and random views.
//!
//! ```text
//! cargo run --release -p gaze-observer --example bench
//! ```

use std::time::Instant;

use gaze_observer::{Observer, ObserverSettings, random_view, random_view_within};

fn main() -> anyhow::Result<()> {
    let frames = 150;
    let mut luma = vec![0; 640 * 480];
    println!("scripted frames, 640 x 480, {frames} of each seed:");
    for seed in 1..=6 {
        let mut observer = Observer::new(ObserverSettings {
            seed,
            ..ObserverSettings::default()
        })?;
        observer.next_frame(&mut luma);
        let mut times_ms: Vec<f64> = (0..frames)
            .map(|_| {
                let start = Instant::now();
                observer.next_frame(&mut luma);
                start.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        println!("  seed {seed}: {}", summary(&mut times_ms));
    }
    let views = 60;
    let timed = |work: &dyn Fn(u64)| -> Vec<f64> {
        (0..views)
            .map(|seed| {
                let start = Instant::now();
                work(seed);
                start.elapsed().as_secs_f64() * 1e3
            })
            .collect()
    };
    let mut whole = timed(&|seed| drop(random_view(seed)));
    println!("random views, whole:        {}", summary(&mut whole));
    let mut face = timed(&|seed| drop(random_view_within(seed, 2.2)));
    println!("random views, face only:    {}", summary(&mut face));
    Ok(())
}

fn summary(times_ms: &mut [f64]) -> String {
    times_ms.sort_by(f64::total_cmp);
    let at = |share: f64| times_ms[((times_ms.len() - 1) as f64 * share) as usize];
    let mean = times_ms.iter().sum::<f64>() / times_ms.len() as f64;
    format!(
        "mean {mean:5.1} ms, median {:5.1}, 95 % below {:5.1}",
        at(0.5),
        at(0.95)
    )
}
