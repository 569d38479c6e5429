//! One file of the folder: what is in it, and what is wrong with it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;

use rutter_api::config::{APPLY_BYTES_MAX, Content, Manifest, Object};

use super::walk::Identity;
use crate::sealing::Sealer;
use crate::sources::manifests;

/// An object, and where it stands.
#[derive(Debug)]
pub(crate) struct Placed {
    /// The line on which its document begins, counted from 1.
    pub(crate) line: usize,
    pub(crate) object: Object,
}

/// What is in a text.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    pub(crate) objects: Vec<Placed>,
    /// Everything that is wrong, each with its line. The documents that have a fault are not among the objects.
    pub(crate) faults: Vec<String>,
}

/// A file that was read.
#[derive(Debug)]
pub(super) struct ReadFile {
    /// The path in the folder.
    pub(super) name: Arc<str>,
    pub(super) identity: Identity,
    pub(super) parsed: Parsed,
    /// Whether there is nothing but blanks in the file, as when somebody has only begun to write it.
    pub(super) is_blank: bool,
}

/// What became of a file that was to be read.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It is not there, or is no file.
    Gone,
    /// It is what it was when it was read before.
    Same,
    /// It was changed while it was read.
    Changing,
    /// It cannot be read, for this reason.
    Unreadable(String),
    /// It was read.
    Read(ReadFile),
}

/// Reads a file of a folder, if it is not the one that is known.
pub(super) fn read_file(root: &Path, name: &Arc<str>, known: Option<Identity>, sealer: &Sealer) -> Outcome {
    match try_read(&root.join(&**name), name, known, sealer) {
        Ok(outcome) => outcome,
        Err(error) if error.kind() == ErrorKind::NotFound => Outcome::Gone,
        Err(error) => Outcome::Unreadable(error.to_string()),
    }
}

fn try_read(path: &Path, name: &Arc<str>, known: Option<Identity>, sealer: &Sealer) -> std::io::Result<Outcome> {
    // A pipe is never opened, because that waits for somebody who writes to it.
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Ok(Outcome::Gone);
    }
    let identity = Identity::of(&metadata);
    if known == Some(identity) {
        return Ok(Outcome::Same);
    }
    let read = |parsed: Parsed, is_blank: bool| ReadFile { name: name.clone(), identity, parsed, is_blank };
    let faulty = |fault: String| {
        let parsed = Parsed { objects: Vec::new(), faults: vec![fault] };
        Ok(Outcome::Read(read(parsed, false)))
    };
    if metadata.len() > APPLY_BYTES_MAX as u64 {
        return faulty(format!("want at most {APPLY_BYTES_MAX} bytes, got {}", metadata.len()));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(APPLY_BYTES_MAX as u64).read_to_end(&mut bytes)?;
    if std::fs::metadata(path).map(|metadata| Identity::of(&metadata)).ok() != Some(identity) {
        return Ok(Outcome::Changing);
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Outcome::Read(read(parse_documents(text, "default", sealer), text.trim().is_empty()))),
        Err(error) => faulty(format!("want UTF-8, got another byte at {}", error.valid_up_to())),
    }
}

/// Returns the objects of a text that are valid, and everything that is wrong with the others. What is no config of a mesh
/// is passed over. A text that is no YAML has one fault and no object.
pub(crate) fn parse_documents(text: &str, default_namespace: &str, sealer: &Sealer) -> Parsed {
    let mut parsed = Parsed::default();
    let manifests = match manifests::read(text, default_namespace, sealer) {
        Ok(manifests) => manifests,
        Err(error) => {
            parsed.faults.push(error.to_string());
            return parsed;
        }
    };
    let mut seen = BTreeSet::new();
    for Manifest { line, content } in manifests {
        match content {
            Content::Taken(object) => {
                let key = &object.config.key;
                if seen.insert(key.clone()) {
                    parsed.objects.push(Placed { line, object: *object });
                } else {
                    parsed.faults.push(format!("line {line}: {key}: want each object once, got it twice"));
                }
            }
            Content::Foreign(_) => {}
            Content::Refused(refused) => {
                parsed.faults.extend(refused.faults.iter().map(|fault| format!("line {line}: {fault}")));
            }
        }
    }
    parsed
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: NAME}\nspec: {ports: [{port: 80}]}\n---\n";

    fn service(name: &str) -> String {
        SERVICE.replace("NAME", name)
    }

    #[test]
    fn every_fault_of_a_text_is_named_with_its_line_and_the_other_documents_are_taken() {
        let text = service("a") + "kind: 7\n---\n" + &service("b").replace("80", "0") + &service("a") + &service("c");
        let Parsed { objects, faults } = parse_documents(&text, "default", &Sealer::in_memory());
        let want = [
            "line 6: apiVersion: want a string, got nothing",
            "line 8: service default/b: spec.ports[0].port: want 1..=65535, got 0",
            "line 13: service default/a: want each object once, got it twice",
        ];
        assert_eq!(faults, want);
        let keys: Vec<String> = objects.iter().map(|placed| placed.object.config.key.to_string()).collect();
        assert_eq!(keys, ["service default/a", "service default/c"]);
        assert_eq!(objects[1].line, 18);
        let foreign = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n---\n".to_owned() + &service("d");
        let Parsed { objects, faults } = parse_documents(&foreign, "default", &Sealer::in_memory());
        assert_eq!((objects.len(), faults.len()), (1, 0), "what is no config of a mesh is passed over");
        assert_eq!(parse_documents("a: [", "default", &Sealer::in_memory()).faults.len(), 1);
    }

    fn outcome(path: &Path, known: Option<Identity>) -> Outcome {
        read_file(
            path.parent().unwrap(),
            &path.file_name().unwrap().to_str().unwrap().into(),
            known,
            &Sealer::in_memory(),
        )
    }

    /// Returns the faults of a file that was read.
    fn faults(path: &Path) -> Vec<String> {
        match outcome(path, None) {
            Outcome::Read(file) => file.parsed.faults,
            Outcome::Gone | Outcome::Same | Outcome::Changing | Outcome::Unreadable(_) => panic!("not read"),
        }
    }

    #[test]
    fn a_file_that_is_too_large_or_no_text_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("big.yaml");
        File::create(&path).unwrap().set_len(APPLY_BYTES_MAX as u64 + 1).unwrap();
        assert_eq!(faults(&path), ["want at most 16777216 bytes, got 16777217"]);
        std::fs::write(&path, b"a\xff").unwrap();
        assert_eq!(faults(&path), ["want UTF-8, got another byte at 1"]);
    }

    #[test]
    fn a_file_is_read_once_and_what_is_none_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.yaml");
        assert!(matches!(outcome(&path, None), Outcome::Gone));
        assert!(matches!(outcome(dir.path(), None), Outcome::Gone));
        std::fs::write(&path, " \n").unwrap();
        let Outcome::Read(file) = outcome(&path, None) else { panic!("it is there") };
        assert!(file.is_blank && file.parsed.objects.is_empty());
        assert!(matches!(outcome(&path, Some(file.identity)), Outcome::Same));
        assert!(matches!(outcome(&path.join("b.yaml"), None), Outcome::Unreadable(_)));
    }
}
