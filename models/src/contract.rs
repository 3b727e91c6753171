//! Names and shapes of the tensors that the vision stage fills and reads.
//!
//! All tensors are f32, row-major, with fixed shapes; the scanpath transformer's files leave the
//! number of objects free, and the host fixes it. Pictures are luma / 255, `[…, row, column]`.
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

/// Most objects of a scene in the scanpath transformer.
pub const SCENE_OBJECTS: usize = 128;
/// Numbers per object: box centre x, y, width, height (screen diagonals from the screen's centre),
/// class number, score, whether it is the target, whether it is there, place in the list.
pub const OBJECT_VALUES: usize = 9;
/// Numbers that tell what an object looks like.
pub const APPEARANCE_VALUES: usize = 20;
/// Length of an object's code.
pub const CODE_VALUES: usize = 64;
/// Numbers that a path's memory keeps of each object.
pub const TRACE_VALUES: usize = 5;
/// Numbers that a path's memory keeps besides.
pub const PATH_VALUES: usize = 532;
/// Log-normal components of a dwell's duration.
pub const DWELL_COMPONENTS: usize = 3;

/// The scanpath transformer's two networks for one number of objects.
#[derive(Debug)]
pub struct ScanpathContracts {
    /// Room for so many objects; 0 stands for any number, as in the manifest.
    pub slots: usize,
    /// Once per scene: objects to codes.
    pub encoder: Contract,
    /// Once per dwell: memory and dwell to the new memory and what comes next. All zeros in, a path
    /// begins.
    pub step: Contract,
}

macro_rules! scanpath_contracts {
    ($slots:literal) => {
        ScanpathContracts {
            slots: $slots,
            encoder: Contract {
                name: "scanpath_encoder",
                inputs: &[
                    tensor("objects", &[1, $slots, OBJECT_VALUES]),
                    tensor("appearance", &[1, $slots, APPEARANCE_VALUES]),
                    tensor("task", &[1, 2]),
                ],
                outputs: &[tensor("codes", &[1, $slots, CODE_VALUES])],
            },
            step: Contract {
                name: "scanpath_step",
                inputs: &[
                    tensor("objects", &[1, $slots, OBJECT_VALUES]),
                    tensor("codes", &[1, $slots, CODE_VALUES]),
                    tensor("traces", &[1, $slots, TRACE_VALUES]),
                    tensor("path", &[1, PATH_VALUES]),
                    tensor("chosen", &[1, $slots]),
                    tensor("dwell", &[1, 2]),
                    tensor("gaze", &[1, 3]),
                ],
                outputs: &[
                    tensor("traces_out", &[1, $slots, TRACE_VALUES]),
                    tensor("path_out", &[1, PATH_VALUES]),
                    tensor("logits", &[1, $slots]),
                    tensor("end", &[1, 1]),
                    tensor("dwells", &[1, $slots, 3 * DWELL_COMPONENTS]),
                ],
            },
        }
    };
}

const fn tensor(name: &'static str, shape: &'static [usize]) -> TensorContract {
    TensorContract { name, shape }
}

/// The scanpath transformer as the manifest describes it: any number of objects.
pub static SCANPATH: ScanpathContracts = scanpath_contracts!(0);

/// The sizes that engines are asked to prepare; a scene takes the smallest that it fits into, the
/// other slots stay empty.
pub static SCANPATH_SIZES: [ScanpathContracts; 5] = [
    scanpath_contracts!(8),
    scanpath_contracts!(16),
    scanpath_contracts!(32),
    scanpath_contracts!(64),
    scanpath_contracts!(128),
];
