//! Files that commands write: never over what they read.

use std::borrow::Cow;
use std::fs::{self, File, Metadata};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Creates a file, or empties the one that is there, unless that is one of these inputs.
///
/// # Errors
/// The system's reason; `InvalidInput` for an input, under whatever name.
pub fn create(path: &Path, inputs: &[&Path]) -> io::Result<File> {
    let is_same = |a: &Metadata, b: &Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    if let Ok(out) = fs::metadata(path)
        && out.is_file()
        && inputs
            .iter()
            .filter_map(|input| fs::metadata(input).ok())
            .any(|input| is_same(&out, &input))
    {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "that is the file that is read, which would be lost; name another",
        ));
    }
    File::create(path)
}

/// Writes a file as [`create`] makes it.
///
/// # Errors
/// As [`create`].
pub fn write(path: &Path, inputs: &[&Path], contents: &str) -> io::Result<()> {
    create(path, inputs)?.write_all(contents.as_bytes())
}

/// A text as a field of CSV.
pub fn csv_field(text: &str) -> Cow<'_, str> {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\"")).into()
    } else {
        text.into()
    }
}

/// An output that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {source}", path.display())]
pub struct WriteError {
    /// The file.
    pub path: PathBuf,
    /// The system's reason.
    pub source: io::Error,
}

/// JSON Lines, to a file or, for `-`, to standard output.
pub struct LinesOut {
    path: PathBuf,
    inputs: Vec<PathBuf>,
    /// None before the first line.
    writer: Option<BufWriter<Box<dyn Write>>>,
}

impl LinesOut {
    /// The file is made, or emptied, with the first line (see [`create`]): an input that cannot be read
    /// leaves the output of before as it was.
    pub fn new(path: &Path, inputs: &[&Path]) -> Self {
        LinesOut {
            path: path.to_owned(),
            inputs: inputs.iter().map(|&input| input.to_owned()).collect(),
            writer: None,
        }
    }

    fn open(&self) -> io::Result<Box<dyn Write>> {
        if self.path == Path::new("-") {
            return Ok(Box::new(io::stdout()));
        }
        let inputs: Vec<&Path> = self.inputs.iter().map(PathBuf::as_path).collect();
        Ok(Box::new(create(&self.path, &inputs)?))
    }

    /// Writes one value as a line.
    ///
    /// # Errors
    /// [`WriteError`].
    ///
    /// # Panics
    /// If the value has something that JSON lacks, such as a map with keys that are not text.
    pub fn write(&mut self, value: &impl Serialize) -> Result<(), WriteError> {
        let text = serde_json::to_string(value).expect("lines hold only plain values");
        self.write_line(&text)
    }

    /// Writes a line, which has no break yet.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn write_line(&mut self, line: &str) -> Result<(), WriteError> {
        let writer = match self.writer.take() {
            Some(writer) => writer,
            None => BufWriter::new(self.open().map_err(|source| self.failed(source))?),
        };
        let writer = self.writer.insert(writer);
        writeln!(writer, "{line}").map_err(|source| self.failed(source))
    }

    /// Writes out what is buffered; without a line the file is made empty.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn finish(mut self) -> Result<(), WriteError> {
        let flushed = match &mut self.writer {
            Some(writer) => writer.flush(),
            None => self.open().map(drop),
        };
        flushed.map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> WriteError {
        WriteError {
            path: self.path.clone(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_is_not_written_over_under_any_name() {
        let folder = tempfile::tempdir().unwrap();
        let (input, other) = (folder.path().join("in"), folder.path().join("other"));
        fs::write(&input, "precious").unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&input, &link).unwrap();
        let hard_link = folder.path().join("hard");
        fs::hard_link(&input, &hard_link).unwrap();
        for path in [&input, &link, &hard_link] {
            let error = create(path, &[&other, &input]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert_eq!(fs::read(&input).unwrap(), b"precious");
        }
        write(&other, &[&input], "new").unwrap();
        assert_eq!(fs::read(&other).unwrap(), b"new");
    }

    #[test]
    fn fields_that_need_it_are_quoted() {
        assert_eq!(csv_field("plain"), "plain");
        assert_eq!(csv_field("a,\"b\""), "\"a,\"\"b\"\"\"");
    }
}
