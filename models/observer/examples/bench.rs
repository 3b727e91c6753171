//! Times the observer on one core: scripted 640 × 480 frames, and random views.
//!
//! On Linux the times are processor times, which other programs disturb less; elsewhere they are
//! wall-clock times.
//!
//! ```text
//! cargo run --release -p gaze-observer --example bench
//! ```

use std::time::Instant;

use gaze_observer::{Observer, ObserverSettings, random_view, random_view_within};

fn main() -> anyhow::Result<()> {
    let timer = Timer {
        start: Instant::now(),
    };
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
                timer.time_ms(|| {
                    observer.next_frame(&mut luma);
                })
            })
            .collect();
        println!("  seed {seed}: {}", summary(&mut times_ms));
    }
    let views = 60;
    let timed = |work: &dyn Fn(u64)| -> Vec<f64> {
        (0..views)
            .map(|seed| timer.time_ms(|| work(seed)))
            .collect()
    };
    let mut whole = timed(&|seed| drop(random_view(seed)));
    println!("random views, whole:        {}", summary(&mut whole));
    let mut face = timed(&|seed| drop(random_view_within(seed, 2.2)));
    println!("random views, face only:    {}", summary(&mut face));
    Ok(())
}

struct Timer {
    start: Instant,
}

impl Timer {
    fn now_ms(&self) -> f64 {
        // The first number is the thread's time on a processor, ns.
        std::fs::read_to_string("/proc/thread-self/schedstat")
            .ok()
            .and_then(|line| line.split(' ').next()?.parse::<f64>().ok())
            .map_or_else(|| self.start.elapsed().as_secs_f64() * 1e3, |ns| ns * 1e-6)
    }

    fn time_ms(&self, work: impl FnOnce()) -> f64 {
        let before = self.now_ms();
        work();
        self.now_ms() - before
    }
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
