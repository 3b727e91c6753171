//! The whole chain inside another program: prints ten fixations of the synthetic observer.
//!
//! `cargo run --release -p gaze-host --example events`

use gaze_host::config::Config;
use gaze_host::daemon::start_here;
use gaze_protocol::GazeEvent;

fn main() -> anyhow::Result<()> {
    let mut config = Config::default();
    config.source.source = "synthetic".parse()?;
    let (daemon, events) = start_here(&config)?;
    let fixations = events.iter().filter_map(|event| match event {
        GazeEvent::Fixation(fixation) => Some(fixation),
        _ => None,
    });
    for fixation in fixations.take(10) {
        let duration = fixation.offset.since(fixation.onset);
        match fixation.por {
            Some(por) => println!(
                "looked at {:.0} mm, {:.0} mm for {} ms",
                por.x_mm,
                por.y_mm,
                duration.as_us() / 1000
            ),
            None => println!("looked past the screen for {} ms", duration.as_us() / 1000),
        }
    }
    daemon.join()?;
    Ok(())
}
