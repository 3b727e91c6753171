//! Selecting by dwelling, with the scanpath transformer's help: an object that is expected next
//! needs a shorter dwell, one that is not a longer one.
//!
//! ```sh
//! cargo run --release --example dwell_select -- SCENES.jsonl PATHS.jsonl.gz       # recorded gaze
//! cargo run --release --example dwell_select -- SCENES.jsonl synthetic            # sampled gaze
//! ```
//!
//! Replays searches: the target is what the person wants to select, so that a selection of another
//! object is a false one, and a selection ends the search. Prints, beside fixed dwells, how long it
//! took and how many selections were false. `--hide-target` does not tell the model what is looked
//! for; `--models DIR` takes other networks than the shipped ones, such as some that have not seen
//! the scenes. A real application subscribes to `object_enter`, `object_leave` and `next_objects` instead
//! and calls [`DwellSelect::needed_ms`] in the same way.

use std::path::Path;

use anyhow::{Context, Result, bail};
use gaze_host::inference::Engine;
use gaze_host::record::Scanpath;
use gaze_host::scanpath::files::{FileScene, Scenes, paths};
use gaze_host::scanpath::score::encode;
use gaze_host::scanpath::{Networks, sample};
use gaze_models::ScanpathModels;

/// Dwells that are compared, ms.
const FIXED_MS: [f32; 5] = [300.0, 375.0, 450.0, 525.0, 600.0];

/// Sampled paths per scene.
const N_SYNTHETIC: usize = 10;

/// How much dwell an object needs.
struct DwellSelect {
    /// For an object as probable as one that comes next usually is.
    dwell_ms: f32,
    /// 0: always the same. 1: as many times longer as the object is less probable than that.
    gain: f32,
}

impl DwellSelect {
    /// `excess`: see [`excess_surprise`]. Never less than half the usual dwell nor more than twice.
    fn needed_ms(&self, excess: f32) -> f32 {
        self.dwell_ms * (self.gain * excess).exp().clamp(0.5, 2.0)
    }
}

/// How much more surprising it is that the object at `place` comes next than the model expects the
/// next one to be on average, nats: its surprise less the prediction's entropy. So the average
/// dwell stays what it was.
fn excess_surprise(log_probabilities: &[(usize, f32)], place: usize) -> f32 {
    let entropy: f32 = log_probabilities
        .iter()
        .map(|(_, log)| -log.exp() * log)
        .sum();
    let found = log_probabilities.iter().find(|(other, _)| *other == place);
    found.map_or(f32::MAX, |(_, log)| -log - entropy)
}

/// What happened in some searches.
#[derive(Default)]
struct Outcome {
    searches: usize,
    /// Time until the target was selected, ms.
    times_ms: Vec<f32>,
    false_selections: usize,
}

impl Outcome {
    fn print(&mut self, name: &str) {
        self.times_ms.sort_by(f32::total_cmp);
        let median = self
            .times_ms
            .get(self.times_ms.len() / 2)
            .copied()
            .unwrap_or(f32::NAN);
        let share = |count: usize| 100.0 * count as f32 / self.searches.max(1) as f32;
        println!(
            "{name:<28} {:5.1} % selected, median {median:5.0} ms, {:5.1} false selections in 100 searches",
            share(self.times_ms.len()),
            share(self.false_selections),
        );
    }
}

/// One dwell of a search: is it on the target, how long, how surprising was it.
struct Replayed {
    is_target: bool,
    onset_ms: f32,
    duration_ms: f32,
    excess: f32,
}

fn replay(
    networks: &mut Networks,
    scene: &FileScene,
    path: &Scanpath,
    target: &str,
) -> Result<Vec<Replayed>> {
    let (start, dwells) = path.dwells(&scene.table).map_err(anyhow::Error::msg)?;
    let encoded = encode(networks, scene)?;
    let (mut memory, mut prediction) = networks.begin(&encoded, start)?;
    let mut onset_ms = 0.0;
    let mut found = Vec::new();
    for dwell in dwells {
        let (Some(expected), Some(duration_ms)) = (&prediction, dwell.duration_ms) else {
            break;
        };
        found.push(Replayed {
            is_target: scene.table.ids()[dwell.object].as_str() == target,
            onset_ms,
            duration_ms,
            excess: excess_surprise(&expected.log_probabilities(1.0), dwell.object),
        });
        onset_ms += duration_ms;
        let (next, following) = networks.advance(&encoded, &memory, dwell)?;
        memory = next;
        prediction = Some(following);
    }
    Ok(found)
}

fn select(select: &DwellSelect, search: &[Replayed], outcome: &mut Outcome) {
    outcome.searches += 1;
    for dwell in search {
        let needed_ms = select.needed_ms(dwell.excess);
        if dwell.duration_ms < needed_ms {
            continue;
        }
        if dwell.is_target {
            outcome.times_ms.push(dwell.onset_ms + needed_ms);
            return;
        }
        outcome.false_selections += 1;
    }
}

fn main() -> Result<()> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let hides_target = arguments.iter().any(|argument| argument == "--hide-target");
    arguments.retain(|argument| argument != "--hide-target");
    let models = match arguments.iter().position(|argument| argument == "--models") {
        Some(place) if place + 1 < arguments.len() => {
            let folder = arguments.drain(place..place + 2).nth(1);
            ScanpathModels::load_dir(Path::new(&folder.unwrap_or_default()))?
        }
        _ => ScanpathModels::embedded()?,
    };
    let [scenes, of_people] = &arguments[..] else {
        bail!(
            "usage: dwell_select SCENES.jsonl (PATHS.jsonl.gz | synthetic) [--hide-target] [--models DIR]"
        );
    };
    let scenes = Scenes::read(Path::new(scenes))?;
    let mut networks = Networks::new(models, Engine::Tract);
    let mut walked = Vec::new();
    if of_people == "synthetic" {
        for (place, scene) in scenes.scenes.iter().enumerate() {
            let encoded = encode(&mut networks, scene)?;
            let paths = sample::sample(&mut networks, &scene.table, &encoded, N_SYNTHETIC, 1)?;
            walked.extend(paths.into_iter().map(|path| (place, path)));
        }
    } else {
        for path in paths(Path::new(of_people))? {
            let (line, path) = path?;
            let place = scenes
                .place_of(&path.scene_id)
                .with_context(|| format!("line {line}: there is no scene {}", path.scene_id))?;
            walked.push((place, path));
        }
    }
    let mut searches = Vec::new();
    for (place, path) in &walked {
        let mut scene = scenes.scenes[*place].clone();
        // Without a target there is nothing to select.
        let Some(target) = scene.table.target_id().map(str::to_owned) else {
            continue;
        };
        if hides_target {
            scene.table = scene.table.without_target();
        }
        searches.push(replay(&mut networks, &scene, path, &target)?);
    }
    println!("{} searches", searches.len());
    for dwell_ms in FIXED_MS {
        for (gain, name) in [(0.0, "fixed"), (0.3, "by expectation")] {
            let mut outcome = Outcome::default();
            for search in &searches {
                select(&DwellSelect { dwell_ms, gain }, search, &mut outcome);
            }
            outcome.print(&format!("{dwell_ms:.0} ms {name}"));
        }
    }
    Ok(())
}
