//! Names and shapes of the tensors that the vision stage fills and reads.
//!
//! All tensors are f32, row-major, with fixed shapes. Pictures are luma / 255, `[…, row, column]`.
//! The geometry (how a crop is cut, what a number means) is documented at the code that does it:
//! `vision::face`, `vision::landmarks` and `vision::eyes` of the host.

/// One network as the host uses it.
#[derive(Debug, PartialEq, Eq)]
pub struct Contract {
    /// Name in the manifest.
    pub name: &'static str,
    /// Inputs, in the order in which the host passes them.
    pub inputs: &'static [TensorContract],
    /// Outputs, in the order in which the host receives them.
    pub outputs: &'static [TensorContract],
}

/// One input or output.
#[derive(Debug, PartialEq, Eq)]
pub struct TensorContract {
    /// Name in the ONNX graph.
    pub name: &'static str,
    /// Fixed shape.
    pub shape: &'static [usize],
}

impl TensorContract {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the tensor holds no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Columns of the finder's picture.
pub const FACE_COLUMNS: usize = 192;
/// Rows of the finder's picture.
pub const FACE_ROWS: usize = 144;
/// Cells of the finder: 24 x 18 of stride 8 and 12 x 9 of stride 16.
pub const FACE_CELLS: usize = 24 * 18 + 12 * 9;
/// Numbers per cell: score logit, box centre x, y, width, height, five points x, y.
pub const FACE_CELL_VALUES: usize = 15;

/// Rows and columns of the landmark network's crop.
pub const CROP_SIZE: usize = 96;
/// Landmarks: 16 + 16 lid points, 5 + 5 iris points, nose tip, mouth corners, forehead, chin,
/// face sides.
pub const LANDMARKS_COUNT: usize = 49;

/// Columns of an eye patch.
pub const PATCH_COLUMNS: usize = 64;
/// Rows of an eye patch.
pub const PATCH_ROWS: usize = 48;
/// Numbers per eye: iris x, y, radius, openness logit, visible logit, ln of the iris's sigma.
pub const EYE_VALUES: usize = 6;
/// Length of the feature vector for calibration.
pub const FEATURES: usize = 12;

/// The face finder.
pub static FACE: Contract = Contract {
    name: "face",
    inputs: &[TensorContract {
        name: "image",
        shape: &[1, 1, FACE_ROWS, FACE_COLUMNS],
    }],
    outputs: &[TensorContract {
        name: "cells",
        shape: &[1, FACE_CELLS, FACE_CELL_VALUES],
    }],
};

/// The landmark network.
pub static LANDMARKS: Contract = Contract {
    name: "landmarks",
    inputs: &[TensorContract {
        name: "face",
        shape: &[1, 1, CROP_SIZE, CROP_SIZE],
    }],
    outputs: &[
        TensorContract {
            name: "points",
            shape: &[1, 2 * LANDMARKS_COUNT],
        },
        TensorContract {
            name: "presence",
            shape: &[1, 1],
        },
        TensorContract {
            name: "openness",
            shape: &[1, 2],
        },
    ],
};

/// The eye network. Row 0 of `patches`, `present` and `eye` is the observer's right eye.
pub static EYES: Contract = Contract {
    name: "eyes",
    inputs: &[
        TensorContract {
            name: "patches",
            shape: &[2, 1, PATCH_ROWS, PATCH_COLUMNS],
        },
        TensorContract {
            name: "head",
            shape: &[1, 2],
        },
        TensorContract {
            name: "present",
            shape: &[1, 2],
        },
    ],
    outputs: &[
        TensorContract {
            name: "gaze",
            shape: &[1, 2],
        },
        TensorContract {
            name: "log_sigma",
            shape: &[1, 1],
        },
        TensorContract {
            name: "eye",
            shape: &[2, EYE_VALUES],
        },
        TensorContract {
            name: "features",
            shape: &[1, FEATURES],
        },
    ],
};
