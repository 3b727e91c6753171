//! Lab Streaming Layer: liblsl, loaded while the program runs, behind a safe surface.
//!
//! Only what an outlet needs is here: a stream's description, its samples, its clock. The library is
//! looked for under its usual names or at a given path, so that a program that can use it does not
//! need it. Functions are those of `lsl_c.h` of liblsl 1.14 and later, whose signatures have not
//! changed since.
//!
//! Calls into the library are confined to `calls`, the one place of the workspace, beside the
//! counting allocator of the tests, where `unsafe` is allowed.

mod calls;

use std::error::Error as _;
use std::ffi::{CString, NulError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use calls::{Calls, OutletPointer};

/// What the library is called: with its version as distributions install it, and without.
const NAMES: &[&str] = if cfg!(target_os = "macos") {
    &["liblsl.2.dylib", "liblsl.dylib"]
} else {
    &["liblsl.so.2", "liblsl.so.1", "liblsl.so"]
};

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub enum LslError {
    /// The library is not there.
    #[error(
        "liblsl was not found ({}): install it (https://github.com/sccn/liblsl/releases), or say where it is", tried.join("; ")
    )]
    NotFound {
        /// The system's words about each name or path that was tried.
        tried: Vec<String>,
    },
    /// A library was loaded and lacks a function.
    #[error("{} is no liblsl that can be used: {}", path.display(), words(source))]
    Foreign {
        /// What was loaded.
        path: PathBuf,
        /// Which function.
        source: libloading::Error,
    },
    /// Text for the library has a zero byte in it.
    #[error("a name or value of the stream's description holds a zero byte")]
    Text(#[from] NulError),
    /// The library refuses.
    #[error("liblsl makes no stream {name:?}")]
    Refused {
        /// Its name.
        name: String,
    },
}

/// The loaded library.
#[derive(Clone, Debug)]
pub struct Lsl {
    calls: Arc<Calls>,
}

/// What a stream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Numbers, 64 bits.
    Double,
    /// Text.
    Text,
}

/// A stream's description.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamInfo {
    /// What people see.
    pub name: String,
    /// What the content is: `Gaze`, `Markers`.
    pub content: String,
    /// Numbers or text.
    pub format: Format,
    /// Tells this source from all others, the same after a restart.
    pub source_id: String,
    /// Values beside the channels: path of names, and value.
    pub about: Vec<(Vec<&'static str>, String)>,
    /// The channels, each as names and values; at least one.
    pub channels: Vec<Vec<(&'static str, String)>>,
}

/// A stream that others can receive; it ends when this is dropped.
#[derive(Debug)]
pub struct Outlet {
    calls: Arc<Calls>,
    outlet: OutletPointer,
    n_channels: usize,
    format: Format,
}

impl Lsl {
    /// Loads the library from `path`, or under its usual names.
    ///
    /// # Errors
    /// [`LslError::NotFound`], [`LslError::Foreign`].
    pub fn load(path: Option<&Path>) -> Result<Self, LslError> {
        let candidates: Vec<PathBuf> = match path {
            Some(path) => vec![path.to_owned()],
            None => NAMES.iter().map(PathBuf::from).collect(),
        };
        let mut tried = Vec::new();
        for candidate in &candidates {
            match calls::open(candidate) {
                Ok(library) => {
                    let calls = Calls::of(library).map_err(|source| LslError::Foreign {
                        path: candidate.clone(),
                        source,
                    })?;
                    return Ok(Lsl {
                        calls: Arc::new(calls),
                    });
                }
                Err(error) => tried.push(words(&error)),
            }
        }
        Err(LslError::NotFound { tried })
    }

    /// Version of the library, 118 for 1.18.
    pub fn version(&self) -> i32 {
        self.calls.version()
    }

    /// The clock of all streams on this machine, seconds.
    pub fn local_clock_s(&self) -> f64 {
        self.calls.local_clock_s()
    }

    /// Opens a stream of irregular rate. The library answers for it in threads of its own, on every
    /// network interface.
    ///
    /// # Errors
    /// [`LslError::Text`], [`LslError::Refused`].
    pub fn outlet(&self, info: &StreamInfo) -> Result<Outlet, LslError> {
        let outlet = self
            .calls
            .open_outlet(info)?
            .ok_or_else(|| LslError::Refused {
                name: info.name.clone(),
            })?;
        Ok(Outlet {
            calls: Arc::clone(&self.calls),
            outlet,
            n_channels: info.channels.len(),
            format: info.format,
        })
    }
}

impl Outlet {
    /// Sends a value for each channel. `at_s`: time on [`Lsl::local_clock_s`]. Never waits.
    ///
    /// # Panics
    /// When the stream is of text, or the number of values is not that of its channels.
    pub fn push(&mut self, values: &[f64], at_s: f64) {
        assert_eq!(self.format, Format::Double, "a stream of text");
        assert_eq!(values.len(), self.n_channels, "a value for each channel");
        self.calls.push_numbers(&mut self.outlet, values, at_s);
    }

    /// Sends text on a stream of one channel.
    ///
    /// # Errors
    /// [`LslError::Text`].
    ///
    /// # Panics
    /// When the stream is of numbers, or has more channels.
    pub fn push_text(&mut self, text: &str, at_s: f64) -> Result<(), LslError> {
        assert_eq!(self.format, Format::Text, "a stream of numbers");
        assert_eq!(self.n_channels, 1, "text for one channel");
        let text = CString::new(text)?;
        self.calls.push_text(&mut self.outlet, &text, at_s);
        Ok(())
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.calls.close_outlet(&mut self.outlet);
    }
}

/// The system's own words, which name the library or function: libloading's name the call alone.
fn words(error: &libloading::Error) -> String {
    error
        .source()
        .map_or_else(|| error.to_string(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_not_there_is_named_with_the_remedy() {
        let path = Path::new("/nowhere/liblsl.so");
        let error = Lsl::load(Some(path)).unwrap_err().to_string();
        assert!(error.contains("/nowhere/liblsl.so"), "{error}");
        assert!(error.contains("install it"), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn another_library_is_not_taken_for_it() {
        let error = Lsl::load(Some(Path::new("libc.so.6"))).unwrap_err();
        assert!(matches!(error, LslError::Foreign { .. }), "{error}");
        assert!(error.to_string().contains("lsl_"), "{error}");
    }
}
