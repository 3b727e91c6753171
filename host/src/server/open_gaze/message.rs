//! The elements that clients send and the ones that answer them.

use std::fmt::{Display, Write};

/// Longest element of a client; the longest of the specification has a hundred bytes.
const MAX_ELEMENT: usize = 16 * 1024;

/// What a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Set,
    Get,
}

/// `<SET ID="…" KEY="value" … />`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) verb: Verb,
    pub(super) id: String,
    attributes: Vec<(String, String)>,
}

impl Command {
    /// The value of an attribute; keys are compared without regard to case.
    pub(super) fn attribute(&self, key: &str) -> Option<&str> {
        let found = self
            .attributes
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(key));
        found.map(|(_, value)| value.as_str())
    }

    /// A number; none where it is missing or not finite.
    pub(super) fn number(&self, key: &str) -> Option<f64> {
        let number: f64 = self.attribute(key)?.trim().parse().ok()?;
        number.is_finite().then_some(number)
    }

    /// 0 or 1.
    pub(super) fn state(&self) -> Option<bool> {
        self.number("STATE").map(|state| state != 0.0)
    }
}

/// Why a connection ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ParseError {
    /// More than an element can have.
    TooLong,
    /// The first byte begins no element. A web page can make a browser send elements in the body of a
    /// request, behind the request's own words; its user must not be calibrated by it.
    NotAnElement,
}

/// Cuts a stream of bytes into commands. Lenient, as clients need it: blanks anywhere between
/// words, no blank before `/>`, anything between elements; before the first, blanks alone. Comments,
/// declarations and closing tags are passed over.
#[derive(Debug, Default)]
pub(super) struct Parser {
    buffer: Vec<u8>,
    has_begun: bool,
}

impl Parser {
    /// Takes bytes and hands out every command that they complete. An element that is no command
    /// is none to `take`.
    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        mut take: impl FnMut(Option<Command>),
    ) -> Result<(), ParseError> {
        for &byte in bytes {
            match byte {
                b'<' if !self.is_in_comment() => {
                    self.has_begun = true;
                    self.buffer.clear();
                    self.buffer.push(byte);
                }
                b'>' if !self.buffer.is_empty() && !self.is_in_comment() => {
                    if !matches!(self.buffer.get(1), Some(b'!' | b'?' | b'/')) {
                        let element = String::from_utf8_lossy(&self.buffer[1..]).into_owned();
                        take(parse_element(&element));
                    }
                    self.buffer.clear();
                }
                _ if !self.has_begun && !byte.is_ascii_whitespace() => {
                    return Err(ParseError::NotAnElement);
                }
                _ if self.buffer.is_empty() => {}
                _ if self.buffer.len() == MAX_ELEMENT => return Err(ParseError::TooLong),
                _ => self.buffer.push(byte),
            }
        }
        Ok(())
    }

    /// A comment goes on until `--` and then `>`, whatever else is in it.
    fn is_in_comment(&self) -> bool {
        let text = self.buffer.strip_prefix(b"<!--");
        text.is_some_and(|text| !text.ends_with(b"--"))
    }
}

/// What stands between `<` and `>`.
fn parse_element(text: &str) -> Option<Command> {
    let text = text.trim().trim_end_matches('/').trim();
    let (verb, mut rest) = text.split_once(char::is_whitespace)?;
    let verb = match verb.to_ascii_uppercase().as_str() {
        "SET" => Verb::Set,
        "GET" => Verb::Get,
        _ => return None,
    };
    let mut id = None;
    let mut attributes = Vec::new();
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            break;
        }
        let (key, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let quote = after
            .chars()
            .next()
            .filter(|char| matches!(char, '"' | '\''))?;
        let (value, after) = after[1..].split_once(quote)?;
        let (key, value) = (key.trim().to_owned(), unescaped(value));
        if key.eq_ignore_ascii_case("ID") {
            id = Some(value);
        } else {
            attributes.push((key, value));
        }
        rest = after;
    }
    Some(Command {
        verb,
        id: id?,
        attributes,
    })
}

fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&")
}

/// An element on its way to a client. Ends in a blank, `/>` and the line's end: a client splits at
/// blanks.
pub(super) struct Element<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Element<'a> {
    /// `<NAME`.
    pub(super) fn new(out: &'a mut Vec<u8>, name: &str) -> Self {
        out.push(b'<');
        out.extend(name.bytes());
        Element { out }
    }

    /// `<NAME ID="id"`.
    pub(super) fn with_id(out: &'a mut Vec<u8>, name: &str, id: &str) -> Self {
        Element::new(out, name).with("ID", id)
    }

    /// ` KEY="value"`.
    pub(super) fn with(self, key: impl Display, value: impl Display) -> Self {
        // Writing to memory cannot fail.
        let _ = write!(Escaped(self.out), " {key}");
        self.out.extend(b"=\"");
        let _ = write!(Escaped(self.out), "{value}");
        self.out.push(b'"');
        self
    }

    /// A number with five digits.
    pub(super) fn real(self, key: impl Display, value: f64) -> Self {
        self.with(key, format_args!("{value:.5}"))
    }

    /// ` />` and the line's end.
    pub(super) fn end(self) {
        self.out.extend(b" />\r\n");
    }
}

/// Text within an attribute.
struct Escaped<'a>(&'a mut Vec<u8>);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for byte in text.bytes() {
            match byte {
                b'&' => self.0.extend(b"&amp;"),
                b'<' => self.0.extend(b"&lt;"),
                b'>' => self.0.extend(b"&gt;"),
                b'"' => self.0.extend(b"&quot;"),
                b'\r' | b'\n' => self.0.push(b' '),
                byte => self.0.push(byte),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn commands(pieces: &[&str]) -> Vec<Option<Command>> {
        let mut parser = Parser::default();
        let mut found = Vec::new();
        for piece in pieces {
            parser
                .feed(piece.as_bytes(), |command| found.push(command))
                .unwrap();
        }
        found
    }

    #[test]
    fn what_real_clients_write_is_understood() {
        for text in [
            "<SET ID=\"CALIBRATE_TIMEOUT\" VALUE=\"1.5\" />\r\n",
            "<SET ID=\"CALIBRATE_TIMEOUT\"  VALUE=\"1.5\"/>",
            "<set id = 'CALIBRATE_TIMEOUT' value =\"1.5\"  />",
        ] {
            let found = commands(&[text]);
            let command = found[0].as_ref().unwrap();
            assert_eq!(
                (command.verb, command.id.as_str()),
                (Verb::Set, "CALIBRATE_TIMEOUT")
            );
            assert_eq!(command.number("VALUE"), Some(1.5));
        }
        let found = commands(&["<SET ID=\"CALIBRATE_RESET\"  />"]);
        assert_eq!(found[0].as_ref().unwrap().attribute("VALUE"), None);
    }

    #[test]
    fn many_commands_in_one_packet_and_one_in_many_are_the_same() {
        let text = "<GET ID=\"A\" />\r\n<GET ID=\"B\" />\r\n";
        let whole = commands(&[text]);
        let pieces: Vec<String> = text.chars().map(String::from).collect();
        let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
        assert_eq!(whole, commands(&pieces));
        assert_eq!(whole.len(), 2);
    }

    #[test]
    fn rubbish_is_no_command_and_an_endless_element_is_refused() {
        assert_eq!(
            commands(&["<x> hello <SET> <SET ID> <SET ID=\"a>"]),
            [None, None, None, None]
        );
        let mut parser = Parser::default();
        let endless = format!("<{}", "x".repeat(MAX_ELEMENT + 1));
        assert_eq!(
            parser.feed(endless.as_bytes(), |_| {}),
            Err(ParseError::TooLong)
        );
    }

    #[test]
    fn comments_declarations_and_closing_tags_are_passed_over() {
        let found = commands(&[
            "<?xml version=\"1.0\"?><!-- a > b <GET ID=\"NO\" /> --><!-- -->",
            "<SET ID=\"A\" STATE=\"1\"></SET>\r\n",
        ]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].as_ref().unwrap().id, "A");
    }

    #[test]
    fn what_a_browser_sends_is_no_client() {
        let request = b"POST / HTTP/1.1\r\n\r\n<SET ID=\"CALIBRATE_START\" STATE=\"1\" />";
        let fed = Parser::default().feed(request, |command| panic!("{command:?} was obeyed"));
        assert_eq!(fed, Err(ParseError::NotAnElement));
        let mut n_commands = 0;
        let fed = Parser::default().feed(b"\r\n <GET ID=\"A\" />, then <GET ID=\"B\" />", |_| {
            n_commands += 1;
        });
        assert_eq!((fed, n_commands), (Ok(()), 2));
    }

    #[test]
    fn values_are_escaped_both_ways() {
        let mut out = Vec::new();
        Element::with_id(&mut out, "ACK", "USER_DATA")
            .with("VALUE", "a<b & \"c\"")
            .real("X", 0.5)
            .end();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "<ACK ID=\"USER_DATA\" VALUE=\"a&lt;b &amp; &quot;c&quot;\" X=\"0.50000\" />\r\n"
        );
        let found = commands(&[&text.replace("ACK", "SET")]);
        let command = found[0].as_ref().unwrap();
        assert_eq!(command.attribute("VALUE"), Some("a<b & \"c\""));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Parser::default().feed(&bytes, |_| {});
        }
    }
}
