//! A snapshot: every object of a store at one revision, in a file of checked lines. The first line is the head, and each
//! other line is an object, in the order of the keys. A backup is a file of the same format.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};

use rutter_api::{ConfigKey, CreationTimestamp};
use serde::{Deserialize, Serialize};

use super::lines::{Lines, line_of, value_of};
use crate::Stored;
use crate::record::Record;
use crate::state::{State, Sum};

/// What the first line of every snapshot says, so that no other file is taken for one.
const FORMAT: &str = "rutter snapshot 1";

/// The first line of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotHead {
    format: String,
    pub(crate) revision: u64,
    /// The latest instant that was given to new objects, in microseconds since 1970. `None` means that none was.
    pub(crate) instant: Option<i64>,
    /// The number of objects, each of which has a line.
    pub(crate) objects: usize,
    /// The sum of the objects.
    pub(crate) sum: Sum,
}

/// Everything in a store at one revision.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Contents {
    pub(crate) objects: BTreeMap<ConfigKey, Stored>,
    pub(crate) revision: u64,
    /// The latest instant that was given to new objects. `None` means that none was.
    pub(crate) last_instant: Option<CreationTimestamp>,
}

impl SnapshotHead {
    pub(crate) fn of(state: &State) -> Self {
        Self {
            format: FORMAT.into(),
            revision: state.revision,
            instant: state.last_instant.map(CreationTimestamp::microseconds),
            objects: state.objects.len(),
            sum: state.sum,
        }
    }

    /// Reads the head of a snapshot from its first line.
    pub(crate) fn read(line: &[u8]) -> Result<Self, String> {
        let head: Self = value_of(line)?;
        if head.format != FORMAT {
            return Err(format!("want the format {FORMAT:?}, got {:?}", head.format));
        }
        Ok(head)
    }
}

impl Contents {
    /// Returns what a store with these contents holds in memory.
    pub(crate) fn state(&self) -> State {
        State::of_objects(self.objects.values(), self.revision, self.last_instant)
    }
}

/// Returns the line of an object in a snapshot.
pub(crate) fn object_line(stored: &Stored) -> Vec<u8> {
    line_of(&Record::of(stored))
}

/// Writes a snapshot with this head. The objects come in the order of their keys.
///
/// # Errors
/// Fails with the first object that is an error, or with the error of the writer.
pub(crate) fn write_snapshot(
    writer: &mut impl Write,
    head: &SnapshotHead,
    objects: impl Iterator<Item = Result<Stored, String>>,
) -> Result<(), String> {
    let mut write = |line: &[u8]| writer.write_all(line).map_err(|error| error.to_string());
    write(&line_of(head))?;
    for object in objects {
        write(&object_line(&object?))?;
    }
    Ok(())
}

/// Reads a snapshot, of which every line must be there and whole.
///
/// # Errors
/// Fails with the number of the first line that is not what it should be, and what is wrong with it.
pub(crate) fn read_snapshot(reader: impl BufRead) -> Result<Contents, String> {
    let mut lines = Lines::new(reader);
    let (_, first) = lines.next().ok_or("want a snapshot, got an empty file")?.map_err(|error| error.to_string())?;
    let head = SnapshotHead::read(&first).map_err(|problem| format!("line 1: {problem}"))?;
    let last_instant = head.instant.map(CreationTimestamp::from_microseconds);
    let mut contents = Contents { objects: BTreeMap::new(), revision: head.revision, last_instant };
    for line in lines {
        let (number, line) = line.map_err(|error| error.to_string())?;
        let record: Record = value_of(&line).map_err(|problem| format!("line {number}: {problem}"))?;
        let stored = record.stored().ok_or_else(|| format!("line {number}: an unknown kind"))?;
        contents.objects.insert(stored.key.clone(), stored);
    }
    if contents.objects.len() != head.objects {
        return Err(format!("want {} objects, got {}", head.objects, contents.objects.len()));
    }
    if contents.state().sum != head.sum {
        return Err("the sum of the objects is not that of the head".into());
    }
    Ok(contents)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::stored;

    fn contents() -> Contents {
        let objects = ["a", "b"].map(|name| stored(name, 3)).map(|stored| (stored.key.clone(), stored));
        let last_instant = Some(CreationTimestamp::from_microseconds(77));
        Contents { objects: objects.into(), revision: 4, last_instant }
    }

    fn written(contents: &Contents) -> Vec<u8> {
        let mut bytes = Vec::new();
        let objects = contents.objects.values().cloned().map(Ok);
        write_snapshot(&mut bytes, &SnapshotHead::of(&contents.state()), objects).unwrap();
        bytes
    }

    #[test]
    fn a_snapshot_is_read_back() {
        for contents in [contents(), Contents::default()] {
            assert_eq!(read_snapshot(&written(&contents)[..]), Ok(contents));
        }
    }

    #[test]
    fn every_damage_of_a_snapshot_is_found() {
        let bytes = written(&contents());
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(read_snapshot(&flipped[..]).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(read_snapshot(&bytes[..length]).is_err(), "cut to {length} bytes");
        }
    }

    #[test]
    fn a_problem_is_told_with_its_line() {
        let text = String::from_utf8(written(&contents())).unwrap();
        let refused = |text: &str| read_snapshot(text.as_bytes()).unwrap_err();
        assert_eq!(refused(""), "want a snapshot, got an empty file");
        assert_eq!(refused(&text.replace("\"b\"", "\"c\"")), "line 3: the checksum does not match");
        let (head_and_a, _) = text.trim_end().rsplit_once('\n').unwrap();
        assert_eq!(refused(&format!("{head_and_a}\n")), "want 2 objects, got 1");
        let other =
            String::from_utf8(line_of(&SnapshotHead { format: "x".into(), ..SnapshotHead::of(&State::default()) }));
        assert_eq!(refused(&other.unwrap()), "line 1: want the format \"rutter snapshot 1\", got \"x\"");
        assert!(refused("apiVersion: v1\n").contains("line 1: the checksum does not match"));
    }
}
