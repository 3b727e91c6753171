//! The screen as one client knows it.

use serde_json::Value;

/// Largest side that a client may name, px and m.
const MOST_PX: u64 = 100_000;
const MOST_M: f64 = 100.0;

/// What the client has set; the rest is as in the settings.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct ClientScreen {
    pub(super) index: u64,
    pub(super) width_px: Option<u32>,
    pub(super) height_px: Option<u32>,
    pub(super) width_mm: Option<f32>,
    pub(super) height_mm: Option<f32>,
}

/// Why a value is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("it is not one of the values that can be set")]
    Key,
    #[error("{0}")]
    Value(&'static str),
}

impl ClientScreen {
    /// Sets one of the `screen…` values.
    pub(super) fn set(&mut self, key: &str, value: &Value) -> Result<(), Refused> {
        let pixels = || {
            let side = value.as_u64().filter(|side| (1..=MOST_PX).contains(side));
            side.map(|side| Some(side as u32))
                .ok_or(Refused::Value("pixels are a whole number from 1 to 100000"))
        };
        let metres = || {
            let side = value.as_f64().filter(|side| *side > 0.0 && *side <= MOST_M);
            side.map(|side| Some((1000.0 * side) as f32))
                .ok_or(Refused::Value(
                    "a size is in metres, above 0 and at most 100",
                ))
        };
        match key {
            "screenindex" => {
                self.index = value
                    .as_u64()
                    .ok_or(Refused::Value("an index is a whole number"))?;
            }
            "screenresw" => self.width_px = pixels()?,
            "screenresh" => self.height_px = pixels()?,
            "screenpsyw" => self.width_mm = metres()?,
            "screenpsyh" => self.height_mm = metres()?,
            _ => return Err(Refused::Key),
        }
        Ok(())
    }
}
