//! The networks of gazed as bytes, and what each promises.
//!
//! A network has three descriptions, and they must agree:
//!
//! 1. [`contract`] (code): names and shapes of the tensors that the vision stage fills and reads.
//! 2. `manifest.toml` (written by the exporter in `models/training`): file, hash, size, thresholds.
//! 3. The ONNX file itself; the host compares its shapes when it loads it into an engine.
//!
//! [`Models::embedded`] is what ships inside the program; [`Models::load_dir`] reads a folder of
//! the same layout (`gazed --models DIR`). Both refuse the first disagreement they find.

pub mod contract;
mod manifest;
mod scanpath;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

pub use contract::{Contract, TensorContract};
pub use scanpath::{Sampling, ScanpathModels, class_number};

/// The three networks of the vision stage, checked against their contracts.
#[derive(Clone, Debug)]
pub struct Models {
    /// The face finder.
    pub face: Model,
    /// The landmark network.
    pub landmarks: Model,
    /// The eye network.
    pub eyes: Model,
    /// Where the networks' scores turn into yes and no.
    pub thresholds: Thresholds,
}

/// One network: its file and what the manifest says about it.
#[derive(Clone, Debug)]
pub struct Model {
    /// Names and shapes of its inputs and outputs.
    pub contract: &'static Contract,
    /// SHA-256 of [`Model::onnx`], lower-case hex.
    pub sha256: String,
    /// Number of learnt values.
    pub parameters: u64,
    /// Multiply-accumulates of one run.
    pub macs: u64,
    /// The model card, relative to the manifest.
    pub card: String,
    /// The golden cases that every engine has to reproduce.
    pub golden: Golden,
    /// The ONNX file.
    pub onnx: Cow<'static, [u8]>,
}

/// The golden cases of a network: `golden/<name>.in.<input>.f32` and `golden/<name>.out.<output>.f32`,
/// little-endian f32, the cases one after the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Golden {
    /// Number of cases.
    pub cases: usize,
    /// Allowed |found − expected| / max(1, |expected|).
    pub tolerance: f32,
}

/// Where the networks' scores turn into yes and no; measured on held-out people, see the cards.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// `face.score`: a cell with a smaller score is no face; 0 to 1.
    pub face_score: f32,
    /// `face.nms_iou`: boxes that overlap more (intersection over union) are one face; 0 to 1.
    pub face_overlap: f32,
    /// `landmarks.presence`: below it the face is lost; 0 to 1.
    pub presence: f32,
    /// `eyes.closed_openness`: an eye is closed below it; 0 to 1.
    pub closed_openness: f32,
    /// `eyes.visible_logit`: an eye is not seen below it.
    pub visible_logit: f32,
    /// `eyes.low_confidence_sigma_rad`: gaze whose stated standard deviation is above it is
    /// `low_confidence`.
    pub low_confidence_sigma_rad: f32,
}

/// What a set of models is made of, wherever it lies: the manifest and a way to read a file that
/// it names.
trait Source {
    fn manifest(&self) -> Result<String, ModelError>;
    fn file(&self, relative: &str) -> Result<Cow<'static, [u8]>, ModelError>;
}

impl Models {
    /// The models inside the program.
    ///
    /// # Errors
    /// [`ModelError`] when the files disagree with the manifest they were built with.
    pub fn embedded() -> Result<Models, ModelError> {
        Models::load(&Embedded)
    }

    /// The models of a folder that holds `manifest.toml` and the files it names.
    ///
    /// # Errors
    /// [`ModelError`] names the model, what was expected and what was found.
    pub fn load_dir(folder: &Path) -> Result<Models, ModelError> {
        Models::load(&Folder(folder))
    }

    /// The models in the order of the data flow.
    pub fn iter(&self) -> impl Iterator<Item = &Model> {
        [&self.face, &self.landmarks, &self.eyes].into_iter()
    }

    fn load(source: &dyn Source) -> Result<Models, ModelError> {
        let manifest = manifest::parse(&source.manifest()?)?;
        Ok(Models {
            thresholds: manifest.thresholds()?,
            face: Model::load(&contract::FACE, manifest.face, source)?,
            landmarks: Model::load(&contract::LANDMARKS, manifest.landmarks, source)?,
            eyes: Model::load(&contract::EYES, manifest.eyes, source)?,
        })
    }
}

impl Model {
    /// The name in the manifest and in the header record.
    pub fn name(&self) -> &'static str {
        self.contract.name
    }

    fn load(
        contract: &'static Contract,
        entry: manifest::Entry,
        source: &dyn Source,
    ) -> Result<Model, ModelError> {
        entry.check(contract)?;
        let onnx = source.file(&entry.file)?;
        let found = hex(&Sha256::digest(&onnx));
        if found != entry.sha256.to_ascii_lowercase() {
            return Err(ModelError::Hash {
                name: contract.name,
                file: entry.file,
                found,
                expected: entry.sha256,
            });
        }
        Ok(Model {
            contract,
            sha256: found,
            parameters: entry.parameters,
            macs: entry.macs,
            card: entry.card,
            golden: Golden {
                cases: entry.golden_cases,
                tolerance: entry.golden_tolerance,
            },
            onnx,
        })
    }
}

/// Lower-case hex digits.
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
        text
    })
}

/// The files inside the program.
struct Embedded;

const EMBEDDED_MANIFEST: &str = include_str!("../manifest.toml");

/// Paths relative to the manifest.
const EMBEDDED_FILES: [(&str, &[u8]); 5] = [
    ("onnx/face.onnx", include_bytes!("../onnx/face.onnx")),
    (
        "onnx/landmarks.onnx",
        include_bytes!("../onnx/landmarks.onnx"),
    ),
    ("onnx/eyes.onnx", include_bytes!("../onnx/eyes.onnx")),
    (
        "onnx/scanpath_encoder.onnx",
        include_bytes!("../onnx/scanpath_encoder.onnx"),
    ),
    (
        "onnx/scanpath_step.onnx",
        include_bytes!("../onnx/scanpath_step.onnx"),
    ),
];

impl Source for Embedded {
    fn manifest(&self) -> Result<String, ModelError> {
        Ok(EMBEDDED_MANIFEST.to_owned())
    }

    fn file(&self, relative: &str) -> Result<Cow<'static, [u8]>, ModelError> {
        EMBEDDED_FILES
            .iter()
            .find(|(name, _)| *name == relative)
            .map(|(_, bytes)| Cow::Borrowed(*bytes))
            .ok_or_else(|| ModelError::NotEmbedded {
                file: relative.to_owned(),
            })
    }
}

/// A folder on disk.
struct Folder<'a>(&'a Path);

impl Folder<'_> {
    fn read(&self, relative: &str) -> Result<Vec<u8>, ModelError> {
        let path = self.0.join(relative);
        std::fs::read(&path).map_err(|source| ModelError::Read { path, source })
    }
}

impl Source for Folder<'_> {
    fn manifest(&self) -> Result<String, ModelError> {
        String::from_utf8(self.read("manifest.toml")?).map_err(|error| ModelError::Manifest {
            reason: error.to_string(),
        })
    }

    fn file(&self, relative: &str) -> Result<Cow<'static, [u8]>, ModelError> {
        self.read(relative).map(Cow::Owned)
    }
}

/// Why a set of models is refused.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The program was built with a manifest that names a file which is not inside it.
    #[error("{file} is not among the models inside the program")]
    NotEmbedded {
        /// The file, relative to the manifest.
        file: String,
    },
    /// The manifest is not what the exporter writes.
    #[error("manifest.toml: {reason}")]
    Manifest {
        /// The parser's words, with the line.
        reason: String,
    },
    /// The manifest lists other tensors than the program uses.
    #[error("model {name}: manifest lists the {kind} {found:?}, this program needs {expected:?}")]
    Tensors {
        /// The model.
        name: &'static str,
        /// `inputs` or `outputs`.
        kind: &'static str,
        /// Names in the manifest, sorted.
        found: Vec<String>,
        /// Names in the contract, sorted.
        expected: Vec<String>,
    },
    /// A tensor has another shape than the program uses.
    #[error("model {name}: {tensor} is {found:?} in the manifest, this program needs {expected:?}")]
    Shape {
        /// The model.
        name: &'static str,
        /// The input or output.
        tensor: &'static str,
        /// Shape in the manifest.
        found: Vec<usize>,
        /// Shape in the contract.
        expected: Vec<usize>,
    },
    /// A threshold is missing.
    #[error("model {name}: manifest has no threshold {key}")]
    MissingThreshold {
        /// The model.
        name: &'static str,
        /// Its key.
        key: &'static str,
    },
    /// A number is outside its range.
    #[error("model {name}: {key} is {found}, allowed is {allowed}")]
    Range {
        /// The model.
        name: &'static str,
        /// Its key.
        key: &'static str,
        /// Value in the manifest.
        found: f32,
        /// The range in words.
        allowed: &'static str,
    },
    /// The file is not the one that the manifest was written for.
    #[error("model {name}: {file} has the SHA-256 {found}, manifest says {expected}")]
    Hash {
        /// The model.
        name: &'static str,
        /// The file, relative to the manifest.
        file: String,
        /// Hash of the file.
        found: String,
        /// Hash in the manifest.
        expected: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The embedded files with one thing changed.
    struct Changed {
        manifest: fn(String) -> String,
        file: fn(Vec<u8>) -> Vec<u8>,
    }

    impl Source for Changed {
        fn manifest(&self) -> Result<String, ModelError> {
            Embedded.manifest().map(self.manifest)
        }

        fn file(&self, relative: &str) -> Result<Cow<'static, [u8]>, ModelError> {
            let bytes = Embedded.file(relative)?;
            Ok(Cow::Owned((self.file)(bytes.into_owned())))
        }
    }

    #[test]
    fn the_models_inside_the_program_are_whole() {
        let models = Models::embedded().expect("the shipped models obey their contracts");
        assert!(
            models
                .iter()
                .map(Model::name)
                .eq(["face", "landmarks", "eyes"])
        );
    }

    #[test]
    fn the_folder_of_the_crate_holds_the_same_models() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let models = Models::load_dir(folder).expect("the folder is whole");
        let embedded = Models::embedded().expect("the shipped models obey their contracts");
        let hashes = |models: &Models| models.iter().map(|m| m.sha256.clone()).collect::<Vec<_>>();
        assert_eq!(hashes(&models), hashes(&embedded));
    }

    #[test]
    fn a_changed_file_is_refused_with_both_hashes() {
        let source = Changed {
            manifest: |text| text,
            file: |mut bytes| {
                bytes.push(0);
                bytes
            },
        };
        let error = Models::load(&source).expect_err("one byte too many");
        assert!(
            matches!(&error, ModelError::Hash { name: "face", found, expected, .. } if found != expected),
            "{error}"
        );
    }

    #[test]
    fn a_folder_without_a_manifest_is_refused_with_its_path() {
        let error = Models::load_dir(Path::new("/nonexistent")).expect_err("no such folder");
        assert!(
            error
                .to_string()
                .starts_with("cannot read /nonexistent/manifest.toml"),
            "{error}"
        );
    }

    #[test]
    fn a_manifest_without_a_model_is_refused() {
        let source = Changed {
            manifest: |text| text.replace("[eyes", "[ears"),
            file: |bytes| bytes,
        };
        assert!(matches!(
            Models::load(&source),
            Err(ModelError::Manifest { .. })
        ));
    }

    #[test]
    fn a_hash_is_lower_case_hex() {
        // FIPS 180-2, the one-block message "abc".
        assert_eq!(
            hex(&Sha256::digest(b"abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
