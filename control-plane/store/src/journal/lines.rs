//! Lines of JSON, each behind its checksum, so that a damaged line is found and the others can still be read:
//!
//! ```text
//! 5f3a9c01 {"revision":7,"instant":1700000000000000,"sum":"…","events":[…]}
//! ```
//!
//! The checksum is the CRC-32 of the JSON, as eight hexadecimal digits.

use std::io::{BufRead, Error};

use serde::{Deserialize, Serialize};

/// The number of bytes before the JSON: the checksum and a space.
const PREFIX_BYTES: usize = 9;

/// Returns a value as a line, with the line feed at its end.
pub(crate) fn line_of<T: Serialize>(value: &T) -> Vec<u8> {
    // This cannot fail: all keys of the types are strings.
    line_of_json(&serde_json::to_string(value).unwrap_or_default())
}

/// Returns JSON as a line, with the line feed at its end.
pub(crate) fn line_of_json(json: &str) -> Vec<u8> {
    format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())).into_bytes()
}

/// Returns the JSON of a line, or what is wrong with the line. The line feed at its end must be there: a line without
/// one was not written to its end.
pub(crate) fn json_of(line: &[u8]) -> Result<&[u8], String> {
    let line = line.strip_suffix(b"\n").ok_or("want a line feed at the end, got none")?;
    let (prefix, json) = line.split_at_checked(PREFIX_BYTES).ok_or("want a checksum, got fewer bytes")?;
    let checksum = prefix.strip_suffix(b" ").and_then(|hex| std::str::from_utf8(hex).ok());
    let want = format!("{:08x}", crc32fast::hash(json));
    if checksum != Some(&want) {
        return Err("the checksum does not match".into());
    }
    Ok(json)
}

/// Returns the value of a line, or what is wrong with the line.
pub(crate) fn value_of<T: for<'de> Deserialize<'de>>(line: &[u8]) -> Result<T, String> {
    serde_json::from_slice(json_of(line)?).map_err(|error| error.to_string())
}

/// The lines of a file, each with its line feed and its number, which counts from 1.
pub(crate) struct Lines<R> {
    reader: R,
    number: usize,
}

impl<R: BufRead> Lines<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader, number: 0 }
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<(usize, Vec<u8>), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut line = Vec::new();
        match self.reader.read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(_) => {
                self.number += 1;
                Some(Ok((self.number, line)))
            }
            Err(error) => Some(Err(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_back_from_its_line() {
        let line = line_of(&vec!["a", "line\nfeed"]);
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert_eq!(value_of::<Vec<String>>(&line).unwrap(), ["a", "line\nfeed"]);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_of_a_line_is_found() {
        let line = line_of(&"value");
        for bit in 0..line.len() * 8 {
            let mut flipped = line.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(value_of::<String>(&flipped).is_err(), "bit {bit}");
        }
        for length in 0..line.len() {
            assert!(value_of::<String>(&line[..length]).is_err(), "cut to {length} bytes");
        }
    }

    #[test]
    fn lines_are_numbered_and_the_last_may_be_torn() {
        let lines: Vec<(usize, Vec<u8>)> = Lines::new(&b"one\ntwo\nthr"[..]).map(Result::unwrap).collect();
        assert_eq!(lines, [(1, b"one\n".to_vec()), (2, b"two\n".to_vec()), (3, b"thr".to_vec())]);
        assert_eq!(json_of(b"thr"), Err("want a line feed at the end, got none".into()));
    }
}
