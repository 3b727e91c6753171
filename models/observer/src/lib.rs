//! The synthetic observer: a person before a webcam, rendered in software, with the exact truth
//! about every frame.

mod appearance;
mod background;
mod eye;
mod geometry;
mod glasses;
mod head;
mod lids;
mod light;
mod mesh;
mod observer;
mod random;
mod raster;
mod scene;
mod script;
mod sensor;
mod shade;
mod shadow;
mod skin;
mod truth;
mod view;

pub use observer::{Observer, ObserverError, ObserverSettings};
pub use script::{EventLabel, ScriptEvent, ScriptKind, ScriptTarget, Shown};
pub use truth::{BlinkTruth, GroundTruth, HeadTruth};
pub use view::{View, random_view, random_view_of, random_view_within, session_view};
