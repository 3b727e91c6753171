//! The sizes of the connected screens, as they describe themselves (EDID, VESA E-EDID 1.4).

use std::fs;
use std::path::Path;

use serde::Serialize;

/// Where Linux shows what its screens say.
const DRM: &str = "/sys/class/drm";

/// The first block's fixed first bytes.
const HEADER: [u8; 8] = [0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x00];

/// Where the preferred mode is described, and how long that is.
const PREFERRED: usize = 54;
const DESCRIPTOR: usize = 18;

/// A connected screen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConnectedScreen {
    /// `HDMI-A-1`, `eDP-1`, …
    pub connector: String,
    /// Width of the active area, mm.
    pub width_mm: u32,
    /// Height of the active area, mm.
    pub height_mm: u32,
    /// Width of the preferred mode, px.
    pub width_px: u32,
    /// Height of the preferred mode, px.
    pub height_px: u32,
}

/// The screens whose description can be read; none on a machine without any.
pub fn connected() -> Vec<ConnectedScreen> {
    in_folder(Path::new(DRM))
}

fn in_folder(folder: &Path) -> Vec<ConnectedScreen> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut screens: Vec<ConnectedScreen> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            // card0-HDMI-A-1
            let (_, connector) = name.split_once('-')?;
            let bytes = fs::read(entry.path().join("edid")).ok()?;
            parse(connector, &bytes)
        })
        .collect();
    screens.sort_by(|a, b| a.connector.cmp(&b.connector));
    screens
}

/// None for bytes that are no description, or one without a size, as of a projector.
fn parse(connector: &str, bytes: &[u8]) -> Option<ConnectedScreen> {
    let block = bytes.get(..128)?;
    let sum = block.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    if !block.starts_with(&HEADER) || sum != 0 {
        return None;
    }
    let mode = &block[PREFERRED..PREFERRED + DESCRIPTOR];
    // A pixel clock of zero: the descriptor is not a mode.
    if mode[..2] == [0, 0] {
        return None;
    }
    let number = |low: usize, high: u8| u32::from(mode[low]) | u32::from(high) << 8;
    let screen = ConnectedScreen {
        connector: connector.to_owned(),
        width_px: number(2, mode[4] >> 4),
        height_px: number(5, mode[7] >> 4),
        width_mm: number(12, mode[14] >> 4),
        height_mm: number(13, mode[14] & 0x0F),
    };
    let has_size = [screen.width_mm, screen.height_mm]
        .iter()
        .all(|side| *side >= 20);
    // Some state the ratio instead of the size: 16x9 mm.
    (has_size && screen.width_px > 0 && screen.height_px > 0).then_some(screen)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A 24-inch monitor, 531x299 mm, 1920x1080.
    fn monitor() -> [u8; 128] {
        let mut block = [0; 128];
        block[..8].copy_from_slice(&HEADER);
        block[PREFERRED..PREFERRED + DESCRIPTOR].copy_from_slice(&[
            // Clock 148.5 MHz; 1920 = 0x780, blanking 0x118; 1080 = 0x438, blanking 0x2D.
            0x02, 0x3A, 0x80, 0x18, 0x71, 0x38, 0x2D, 0x40, 0x58, 0x2C, 0x45, 0x00,
            // 531 = 0x213, 299 = 0x12B.
            0x13, 0x2B, 0x21, 0, 0, 0x1E,
        ]);
        let sum = block.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        block[127] = 0u8.wrapping_sub(sum);
        block
    }

    #[test]
    fn a_monitor_states_its_size() {
        let found = parse("DP-1", &monitor()).unwrap();
        assert_eq!((found.width_mm, found.height_mm), (531, 299));
        assert_eq!((found.width_px, found.height_px), (1920, 1080));
    }

    #[test]
    fn what_is_cut_damaged_or_without_a_size_is_none() {
        assert_eq!(parse("DP-1", &monitor()[..127]), None);
        let mut damaged = monitor();
        damaged[60] ^= 1;
        assert_eq!(parse("DP-1", &damaged), None);
        // 16x9 mm: 531 − 515 and 299 − 290, the checksum made good again.
        let mut ratio = monitor();
        for (place, byte) in [(66, 16u8), (67, 9), (68, 0)] {
            let change = ratio[place].wrapping_sub(byte);
            ratio[place] = byte;
            ratio[127] = ratio[127].wrapping_add(change);
        }
        assert_eq!(parse("DP-1", &ratio), None);
    }

    #[test]
    fn connectors_are_found_in_their_folder() {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in [
            ("card0-HDMI-A-1", &monitor()[..]),
            ("card0-DP-1", &[]),
            ("version", &[]),
        ] {
            fs::create_dir(folder.path().join(name)).unwrap();
            fs::write(folder.path().join(name).join("edid"), bytes).unwrap();
        }
        let found = in_folder(folder.path());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].connector, "HDMI-A-1");
        assert_eq!(in_folder(Path::new("/does/not/exist")), []);
    }
}
