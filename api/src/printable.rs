//! Text of others, as it may be printed: nothing in it moves a cursor, turns a line around or looks like another line.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{Result, Write};

/// Returns a text in which every character that a terminal acts on is written as `\u001b`, as JSON writes it. Line feeds
/// and tabs stay.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_acted_on) {
        return Cow::Borrowed(text);
    }
    let mut printable = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_acted_on(character) {
            // Writing to a string cannot fail.
            let _ = write!(printable, "\\u{:04x}", u32::from(character));
        } else {
            printable.push(character);
        }
    }
    Cow::Owned(printable)
}

/// Returns whether a terminal acts on a character: control characters, and those that change the direction of text.
fn is_acted_on(character: char) -> bool {
    match character {
        '\n' | '\t' => false,
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2028}' | '\u{2029}' | '\u{2066}'..='\u{2069}' => true,
        other => other.is_control(),
    }
}

/// Returns a text as [`printable`] does, in one line: its line feeds are written as `\n`.
pub fn printable_line(text: &str) -> String {
    printable(text).replace('\n', "\\n")
}

/// Writes each text as one [`printable_line`]: the line feed at its end stays. Each write must be a whole line, as those of a
/// log are.
#[derive(Debug)]
pub struct LogWriter<W>(pub W);

impl<W: Write> Write for LogWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        match text.strip_suffix('\n') {
            Some(line) => writeln!(self.0, "{}", printable_line(line))?,
            None => write!(self.0, "{}", printable_line(&text))?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        self.0.flush()
    }
}

/// Writes everything as [`printable`] text. What is written at once must be whole characters, as formatted text is.
#[derive(Debug)]
pub struct PrintableWriter<W>(pub W);

impl<W: Write> Write for PrintableWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.0.write_all(printable(&String::from_utf8_lossy(bytes)).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_acts_on_is_written_out_and_everything_else_stays() {
        assert_eq!(printable("a\tb\nü 日本 \\"), "a\tb\nü 日本 \\");
        assert!(matches!(printable("plain"), Cow::Borrowed("plain")));
        assert_eq!(printable("\u{1b}[2J\r\u{7f}\u{9b}\0"), "\\u001b[2J\\u000d\\u007f\\u009b\\u0000");
        assert_eq!(printable("a\u{202e}b\u{2066}c\u{200f}"), "a\\u202eb\\u2066c\\u200f");
    }

    #[test]
    fn a_line_of_a_log_stays_one_line() {
        let mut log = LogWriter(Vec::new());
        log.write_all("refused error=a\nINFO fake\u{1b}[0m\n".as_bytes()).unwrap();
        log.write_all(b"next\n").unwrap();
        assert_eq!(String::from_utf8(log.0).unwrap(), "refused error=a\\nINFO fake\\u001b[0m\nnext\n");
    }

    #[test]
    fn a_writer_writes_printable_text_and_json_stays_json() {
        let mut out = PrintableWriter(Vec::new());
        let json = serde_json::to_string(&["\u{1b}[31m", "\u{202e}"]).unwrap();
        writeln!(out, "{json}").unwrap();
        let text = String::from_utf8(out.0).unwrap();
        assert_eq!(text, "[\"\\u001b[31m\",\"\\u202e\"]\n");
        assert_eq!(serde_json::from_str::<Vec<String>>(&text).unwrap(), ["\u{1b}[31m", "\u{202e}"]);
    }
}
