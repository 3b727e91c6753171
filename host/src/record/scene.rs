//! Records and messages of scenes, and of paths on them.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Where the gaze is expected next, after each dwell on an announced object: it follows the
/// `object_leave` of that dwell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NextObjects {
    /// The scene.
    pub scene_id: String,
    /// The object that was looked at.
    pub after: SceneObjectId,
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
    /// The object's id, as it was announced.
    pub object: SceneObjectId,
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

/// What an object is called: text, or a whole number as in the data sets. It is written as it was
/// announced; within one scene `7` and `"7"` are the same object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SceneObjectId {
    text: String,
    /// Where it was announced as one.
    number: Option<i64>,
}

impl SceneObjectId {
    /// The name, or the number's digits.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl From<&str> for SceneObjectId {
    fn from(text: &str) -> Self {
        SceneObjectId {
            text: text.to_owned(),
            number: None,
        }
    }
}

impl From<i64> for SceneObjectId {
    fn from(number: i64) -> Self {
        SceneObjectId {
            text: number.to_string(),
            number: Some(number),
        }
    }
}

impl Serialize for SceneObjectId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.number {
            Some(number) => serializer.serialize_i64(number),
            None => serializer.serialize_str(&self.text),
        }
    }
}

impl<'de> Deserialize<'de> for SceneObjectId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrNumber;
        impl Visitor<'_> for TextOrNumber {
            type Value = SceneObjectId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object's id: text or a whole number")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<SceneObjectId, E> {
                Ok(text.into())
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<SceneObjectId, E> {
                Ok(number.into())
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<SceneObjectId, E> {
                i64::try_from(number)
                    .map(SceneObjectId::from)
                    .map_err(|_| E::custom(format!("the id {number} is above {}", i64::MAX)))
            }
        }
        deserializer.deserialize_any(TextOrNumber)
    }
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

impl fmt::Display for SceneObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_written_as_it_was_announced() {
        for id in [
            "7",
            "-7",
            "\"7\"",
            "\"08\"",
            "\"screen\"",
            "9223372036854775807",
        ] {
            let read: SceneObjectId = serde_json::from_str(id).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), id);
            assert_eq!(read.to_string(), id.trim_matches('"'));
        }
        for wrong in ["1.5", "null", "9223372036854775808"] {
            let error = serde_json::from_str::<SceneObjectId>(wrong).unwrap_err();
            assert!(error.to_string().contains("id"), "{error}");
        }
    }
}
