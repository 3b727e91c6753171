//! Finding faces in a whole picture; runs while no face is tracked, and once a second to confirm
//! the one that is.

use gaze_models::contract::{FACE, FACE_CELL_VALUES, FACE_CELLS, FACE_COLUMNS, FACE_ROWS};
use gaze_models::{Model, Thresholds};

use super::letterbox::{Letterbox, Scale};
use super::picture::Picture;
use crate::inference::{Backend, Engine, InferenceError, Network};

/// A face as the finder sees it; px of the picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FoundFace {
    /// x, y of the top-left corner, width, height.
    pub box_px: [f32; 4],
    /// Confidence, 0 to 1.
    pub score: f32,
    /// Eye at image left, eye at image right, nose tip, mouth corner at image left, at image right.
    pub points_px: [[f32; 2]; 5],
}

/// Smallest face that is used, as share of the picture's longer side: 26 px of 640. The finder was
/// trained down to faces of 8 px in its 192 columns, which is that share.
const MIN_FACE_SHARE: f32 = 0.04;

/// Smallest face that is used, px. Below it an eye is fewer than 5 px wide and says nothing.
const MIN_FACE_PX: f32 = 20.0;

/// A tracked face is confirmed by this share of the score that a new one needs: it has been a face
/// before. In our clips of real people no tracked frame scores lower.
const CONFIRMING_SHARE: f32 = 0.5;

/// A face at least this wide, as share of the tracked one, may be another person before the screen: a
/// bystander further back, and a portrait on the wall, are smaller.
const RIVAL_SHARE: f32 = 0.5;

/// The face finder with its buffers.
pub struct FaceFinder {
    network: Network,
    score_threshold: f32,
    overlap_threshold: f32,
    letterbox: Letterbox,
    image: Vec<f32>,
    cells: Vec<f32>,
    candidates: Vec<FoundFace>,
    faces: Vec<FoundFace>,
}

impl FaceFinder {
    /// Loads the network.
    ///
    /// # Errors
    /// Those of [`crate::inference::load`].
    pub fn load(
        engine: Engine,
        model: &Model,
        thresholds: &Thresholds,
    ) -> Result<Self, InferenceError> {
        Ok(FaceFinder::new(
            crate::inference::load(engine, model)?,
            thresholds,
        ))
    }

    /// A finder that runs in `backend`.
    pub fn new(backend: Box<dyn Backend>, thresholds: &Thresholds) -> Self {
        FaceFinder {
            network: Network::new(&FACE, backend),
            score_threshold: thresholds.face_score,
            overlap_threshold: thresholds.face_overlap,
            letterbox: Letterbox::default(),
            image: vec![0.0; FACE_ROWS * FACE_COLUMNS],
            cells: vec![0.0; FACE_CELLS * FACE_CELL_VALUES],
            candidates: Vec::with_capacity(FACE_CELLS),
            faces: Vec::with_capacity(FACE_CELLS),
        }
    }

    /// The faces that are large enough, the one nearest to the picture's middle first.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn find(&mut self, picture: &Picture) -> Result<&[FoundFace], InferenceError> {
        self.search(picture, self.score_threshold)?;
        let floor_px = MIN_FACE_PX.max(MIN_FACE_SHARE * picture.longer_side_px());
        self.candidates
            .retain(|face| face.box_px[2].max(face.box_px[3]) >= floor_px);
        self.suppress_overlaps();
        let middle = [
            (picture.width() as f32 - 1.0) / 2.0,
            (picture.height() as f32 - 1.0) / 2.0,
        ];
        let from_middle = |face: &FoundFace| {
            let [x, y, width, height] = face.box_px;
            (x + width / 2.0 - middle[0]).hypot(y + height / 2.0 - middle[1])
        };
        self.faces
            .sort_unstable_by(|a, b| from_middle(a).total_cmp(&from_middle(b)));
        Ok(&self.faces)
    }

    /// How many faces there are, if one of them is around this place; see [`Self::count_with`].
    ///
    /// # Errors
    /// When the engine fails.
    pub fn confirms(
        &mut self,
        picture: &Picture,
        [x, y]: [f32; 2],
    ) -> Result<Option<usize>, InferenceError> {
        self.search(picture, CONFIRMING_SHARE * self.score_threshold)?;
        self.suppress_overlaps();
        let there = self.candidates.iter().find(|face| {
            let [left, top, width, height] = face.box_px;
            (left..left + width).contains(&x) && (top..top + height).contains(&y)
        });
        Ok(there.map(|face| self.count_with(face)))
    }

    /// How many faces the last search found that may be people before the screen: this one, and those
    /// beside it that are surely faces and at least half as wide.
    pub fn count_with(&self, tracked: &FoundFace) -> usize {
        let rivals = self.faces.iter().filter(|face| {
            face.score >= self.score_threshold
                && face.box_px[2] >= RIVAL_SHARE * tracked.box_px[2]
                && overlap(face.box_px, tracked.box_px) <= self.overlap_threshold
        });
        1 + rivals.count()
    }

    /// Fills `candidates` with what the network finds, best first.
    fn search(&mut self, picture: &Picture, threshold: f32) -> Result<(), InferenceError> {
        let scale = self.letterbox.fit(picture, &mut self.image);
        self.network.run(&[&self.image], &mut [&mut self.cells])?;
        self.decode(scale, threshold);
        Ok(())
    }

    fn decode(&mut self, scale: Scale, threshold: f32) {
        self.candidates.clear();
        for cell in self.cells.chunks_exact(FACE_CELL_VALUES) {
            let score = sigmoid(cell[0]);
            if score < threshold {
                continue;
            }
            let [x, y] = scale.to_picture([cell[1], cell[2]]);
            let [width, height] = [cell[3], cell[4]].map(|side| scale.length_to_picture(side));
            self.candidates.push(FoundFace {
                box_px: [x - width / 2.0, y - height / 2.0, width, height],
                score,
                points_px: std::array::from_fn(|k| {
                    scale.to_picture([cell[5 + 2 * k], cell[6 + 2 * k]])
                }),
            });
        }
        self.candidates
            .sort_unstable_by(|a, b| b.score.total_cmp(&a.score));
    }

    /// Moves the best of each group of overlapping candidates to `faces`.
    fn suppress_overlaps(&mut self) {
        self.faces.clear();
        for candidate in &self.candidates {
            let is_new = self
                .faces
                .iter()
                .all(|face| overlap(face.box_px, candidate.box_px) <= self.overlap_threshold);
            if is_new {
                self.faces.push(*candidate);
            }
        }
    }
}

/// 1 / (1 + e^−x).
pub(super) fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

/// Intersection over union of two boxes (x, y, width, height).
fn overlap(a: [f32; 4], b: [f32; 4]) -> f32 {
    let shared = |k: usize| ((a[k] + a[k + 2]).min(b[k] + b[k + 2]) - a[k].max(b[k])).max(0.0);
    let intersection = shared(0) * shared(1);
    let union = a[2] * a[3] + b[2] * b[3] - intersection;
    if union > 0.0 {
        intersection / union
    } else {
        0.0
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::inference::scripted::{Script, scripted};

    pub(in crate::vision) const THRESHOLDS: Thresholds = Thresholds {
        face_score: 0.5,
        face_overlap: 0.3,
        presence: 0.5,
        closed_openness: 0.2,
        visible_logit: 0.0,
        low_confidence_sigma_rad: 0.2,
    };

    /// Output of the finder with the given (logit, cx, cy, w, h); points as on a frontal face.
    pub(in crate::vision) fn cells(faces: &[[f32; 5]]) -> Vec<f32> {
        let mut cells = vec![0.0; FACE_CELLS * FACE_CELL_VALUES];
        for cell in cells.chunks_exact_mut(FACE_CELL_VALUES) {
            cell[0] = -9.0;
        }
        for (cell, &[logit, cx, cy, w, h]) in
            cells.chunks_exact_mut(FACE_CELL_VALUES).skip(7).zip(faces)
        {
            cell[..5].copy_from_slice(&[logit, cx, cy, w, h]);
            let shares = [
                [-0.2, -0.1],
                [0.2, -0.1],
                [0.0, 0.1],
                [-0.15, 0.25],
                [0.15, 0.25],
            ];
            for (k, [x, y]) in shares.into_iter().enumerate() {
                (cell[5 + 2 * k], cell[6 + 2 * k]) = (cx + x * w, cy + y * h);
            }
        }
        cells
    }

    fn finder(faces: &[[f32; 5]]) -> FaceFinder {
        FaceFinder::new(scripted(Script::Always(vec![cells(faces)])), &THRESHOLDS)
    }

    #[test]
    fn overlap_is_intersection_over_union() {
        // 10 x 10 boxes shifted by 5: 50 / 150.
        let iou = overlap([0.0, 0.0, 10.0, 10.0], [5.0, 0.0, 10.0, 10.0]);
        assert!((iou - 1.0 / 3.0).abs() < 1e-6 /* f32 */);
        assert_eq!(
            overlap([0.0, 0.0, 10.0, 10.0], [20.0, 0.0, 10.0, 10.0]),
            0.0
        );
        assert_eq!(overlap([0.0; 4], [0.0; 4]), 0.0);
    }

    #[test]
    fn overlapping_cells_become_the_best_one_in_picture_pixels() {
        let luma = vec![0u8; 640 * 480];
        let mut finder = finder(&[[1.0, 90.0, 70.0, 40.0, 48.0], [3.0, 92.0, 70.0, 40.0, 48.0]]);
        let faces = finder
            .find(&Picture::new(640, 480, &luma))
            .expect("scripted");
        assert_eq!(faces.len(), 1);
        // Scale 0.3: centre (92.5 / 0.3 - 0.5, 70.5 / 0.3 - 0.5) = (307.833, 234.5).
        let [x, y, w, h] = faces[0].box_px;
        assert!(
            (w - 133.333).abs() < 1e-2 && (h - 160.0).abs() < 1e-2 /* f32 */
        );
        assert!((x + w / 2.0 - 307.833).abs() < 1e-2 /* f32 */);
        assert!((y + h / 2.0 - 234.5).abs() < 1e-2 /* f32 */);
        assert!(
            (faces[0].score - 0.95257).abs() < 1e-4 /* sigmoid(3) */
        );
    }

    #[test]
    fn the_face_nearest_to_the_middle_comes_first_and_a_tiny_one_not_at_all() {
        let luma = vec![0u8; 640 * 480];
        let mut finder = finder(&[
            [5.0, 40.0, 70.0, 40.0, 40.0],
            [1.0, 110.0, 80.0, 30.0, 30.0],
            // 7 / 0.3 = 23 px of 640, right in the middle.
            [5.0, 96.0, 72.0, 6.0, 7.0],
        ]);
        let faces = finder
            .find(&Picture::new(640, 480, &luma))
            .expect("scripted");
        assert_eq!(faces.len(), 2);
        assert!(faces[0].score < 0.8, "the central face comes first");
    }

    #[test]
    fn a_second_face_counts_when_it_is_sure_and_large_enough() {
        let luma = vec![0u8; 640 * 480];
        let picture = Picture::new(640, 480, &luma);
        // Scale 0.3: the tracked face's middle is at (96.5 / 0.3 - 0.5, 72.5 / 0.3 - 0.5).
        let tracked = [2.0, 96.0, 72.0, 40.0, 48.0];
        let middle = [321.2, 241.2];
        let count = |others: &[[f32; 5]]| {
            let faces: Vec<_> = std::iter::once(tracked)
                .chain(others.iter().copied())
                .collect();
            finder(&faces).confirms(&picture, middle).expect("scripted")
        };
        assert_eq!(count(&[]), Some(1));
        assert_eq!(count(&[[2.0, 30.0, 72.0, 20.0, 24.0]]), Some(2));
        // Too small, too unsure (but enough to confirm a face), and the same face once more.
        assert_eq!(count(&[[2.0, 30.0, 72.0, 19.0, 24.0]]), Some(1));
        assert_eq!(count(&[[-0.5, 30.0, 72.0, 40.0, 48.0]]), Some(1));
        assert_eq!(count(&[[1.0, 98.0, 72.0, 40.0, 48.0]]), Some(1));
        let elsewhere = finder(&[tracked]).confirms(&picture, [10.0, 10.0]);
        assert_eq!(elsewhere.expect("scripted"), None);
    }

    #[test]
    fn nothing_above_the_threshold_is_no_face() {
        let luma = vec![0u8; 12];
        let mut finder = finder(&[[-0.1, 90.0, 70.0, 40.0, 48.0]]);
        let faces = finder.find(&Picture::new(4, 3, &luma)).expect("scripted");
        assert!(faces.is_empty());
    }
}
