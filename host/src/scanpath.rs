//! Where this person looks next: the object-level scanpath transformer at run time.
//!
//! ```text
//! scene ──► SceneTable ─┐                       ┌─► next object: probabilities
//! picture ─► appearance ┴─► encoder ─► codes ─► step ─► whether the path ends
//!                         once a scene     ▲    │   └─► how long a dwell on each object lasts
//!                    a dwell that ended ───┘    └─ memory of constant size, back into the next step
//! ```
//!
//! [`Networks`] runs the two networks, [`Follower`] keeps a live scene and a person's dwells on it,
//! [`files`] reads scenes and paths from files, and [`score`], [`sample`] and [`drawing`] are what
//! `gazed scanpath` does with them. Lengths in the networks are screen diagonals from the screen's
//! centre; the form of their inputs is in `models/training/gaze_models/scanpath_network.py`.

pub mod appearance;
pub mod commands;
pub mod drawing;
pub mod files;
mod follower;
mod networks;
mod objects;
mod prediction;
pub mod sample;
pub mod score;

pub use follower::{Dwelled, Follower};
pub use networks::{Dwell, EncodedScene, Memory, Networks, ScanpathModel};
pub use prediction::Prediction;
