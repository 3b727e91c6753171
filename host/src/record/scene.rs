//! Records and messages of scenes, and of paths on them.

use serde::{Deserialize, Serialize};

/// Where the gaze is expected next, after each dwell on an announced object: it follows the
/// `object_leave` of that dwell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NextObjects {
    /// The scene.
    pub scene_id: String,
    /// The object that was looked at.
    pub after: String,
    /// When the dwell ended: the `offset_us` of its `object_leave`.
    pub offset_us: u64,
    /// Probability that the path ends here: that no other object is looked at.
    pub end_probability: f32,
    /// All other objects, the most probable first.
    pub objects: Vec<NextObject>,
}

/// An object that may be looked at next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NextObject {
    /// The object's id in the scene.
    pub object: String,
    /// Probability, given that another object is looked at; those of all objects make 1.
    pub probability: f32,
    /// Expected dwell, should it be looked at.
    pub dwell_ms: f32,
}

/// The answer to a `scanpath_request`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scanpaths {
    /// As many as asked for: each `{"scene_id","observer":"model-1","fixations":[{"object","x_px",
    /// "y_px","duration_ms"}]}`, on the scene that is shown, from its beginning.
    pub paths: Vec<Scanpath>,
}

/// How many paths, and which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct ScanpathRequest {
    /// 1 to 100.
    pub samples: usize,
    /// The same seed gives the same paths on the same scene.
    #[serde(default)]
    pub seed: u64,
}

/// The objects on the screen, and what the observer does there. Other keys of a scene file
/// (`px_per_deg`, …) are accepted and not used.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct SceneMessage {
    /// Name of the scene.
    pub scene_id: String,
    /// Width of the scene in its pixels, mapped to the screen's width.
    pub width_px: f32,
    /// Height of the scene in its pixels, mapped to the screen's height.
    pub height_px: f32,
    /// Whether something is looked for; absent: if there is a target.
    #[serde(default)]
    pub task: Option<Task>,
    /// The object that is looked for.
    #[serde(default)]
    pub target: Option<SceneObjectId>,
    /// The objects.
    pub objects: Vec<SceneObject>,
    /// A picture of the scene, relative to the file of scenes. The daemon opens no file that a
    /// client names: it does without.
    #[serde(default)]
    pub image: Option<String>,
}

/// A change of some objects.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct SceneUpdateMessage {
    /// Must be the current scene.
    pub scene_id: String,
    /// New objects.
    #[serde(default)]
    pub add: Vec<SceneObject>,
    /// Objects that moved.
    #[serde(default, rename = "move")]
    pub moved: Vec<MovedObject>,
    /// Objects that went.
    #[serde(default)]
    pub remove: Vec<SceneObjectId>,
}

/// One object of a scene.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct SceneObject {
    /// Unique in its scene; text or a whole number.
    pub id: SceneObjectId,
    /// x, y, width, height in scene pixels, origin top-left.
    #[serde(rename = "box")]
    pub box_px: [f32; 4],
    /// Class name.
    #[serde(default)]
    pub class: Option<String>,
    /// The application's or detector's confidence.
    #[serde(default)]
    pub score: Option<f32>,
}

/// A new box for an object.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct MovedObject {
    /// Which.
    pub id: SceneObjectId,
    /// x, y, width, height in scene pixels.
    #[serde(rename = "box")]
    pub box_px: [f32; 4],
}

/// Objects are named by text or number.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SceneObjectId {
    /// A name.
    Text(String),
    /// A number, as the data sets use.
    Number(i64),
}

/// What the observer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Looks around.
    FreeViewing,
    /// Looks for the target.
    Search,
}

/// One observer's path on a scene, also as files hold it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scanpath {
    /// The scene looked at.
    pub scene_id: String,
    /// Who looked.
    pub observer: String,
    /// In order.
    pub fixations: Vec<ScanpathFixation>,
}

/// One fixation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScanpathFixation {
    /// The object looked at; null for none.
    pub object: Option<SceneObjectId>,
    /// Place, scene px.
    pub x_px: f32,
    /// Place, scene px.
    pub y_px: f32,
    /// Duration; null where it is not known.
    pub duration_ms: Option<f32>,
}

impl std::fmt::Display for SceneObjectId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SceneObjectId::Text(text) => f.write_str(text),
            SceneObjectId::Number(number) => write!(f, "{number}"),
        }
    }
}
