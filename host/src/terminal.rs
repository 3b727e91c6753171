//! What the person at the terminal reads.

use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write};

/// One line, or several, for whoever reads standard output; a reader that has gone (`gazed doctor | head -n 1`)
/// wants no more, and is no mistake.
///
/// # Errors
/// Standard output cannot be written, on a full disk for example.
pub(crate) fn say(text: impl Display) -> io::Result<()> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// An error with its causes, each said once: many messages quote theirs already.
pub fn in_full(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let reason = cause.to_string();
        if !words.contains(&reason) {
            words.push_str(": ");
            words.push_str(&reason);
        }
        source = cause.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot write a.txt: {source}")]
    struct Quoting {
        source: io::Error,
    }

    #[test]
    fn a_cause_is_said_once() {
        let source = io::Error::other("the disk is full");
        let error = anyhow::Error::from(Quoting { source });
        assert_eq!(
            in_full(error.as_ref()),
            "cannot write a.txt: the disk is full"
        );
        let error = error.context("nothing was exported");
        assert_eq!(
            in_full(error.as_ref()),
            "nothing was exported: cannot write a.txt: the disk is full"
        );
    }
}
