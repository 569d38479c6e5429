//! The records of the embedded store: JSON with a checksum.
//!
//! A record of an object that was written by a version of Rutter before objects had an age has no `created_at`. Its age
//! is its first revision, counted in microseconds from 1970: such objects are older than all others and keep their
//! order. Older versions ignore `created_at`, so that a folder can be taken back to them.

use rutter_api::{ConfigKey, CreationTimestamp, Kind};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{ConfigEvent, Owner, Stored};

/// An object as it is written.
#[derive(Serialize, Deserialize)]
pub(crate) struct Record {
    kind: String,
    namespace: String,
    name: String,
    json: Box<RawValue>,
    revision: u64,
    /// The revision that created the object.
    created: u64,
    /// The age of the object, in microseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created_at: Option<i64>,
    /// The file that the object comes from. `None` means that it comes from the API.
    file: Option<String>,
}

impl Record {
    pub(crate) fn of(stored: &Stored) -> Self {
        let key = &stored.key;
        Self {
            kind: key.kind.name().into(),
            namespace: key.namespace.to_string(),
            name: key.name.to_string(),
            json: RawValue::from_string(stored.json.to_string()).unwrap_or_default(),
            revision: stored.revision,
            created: stored.first_revision,
            created_at: Some(stored.created.microseconds()),
            file: match &stored.owner {
                Owner::Api => None,
                Owner::File(path) => Some(path.clone()),
            },
        }
    }

    /// Returns the object, or `None` if its kind is not known.
    pub(crate) fn stored(self) -> Option<Stored> {
        // The age of an object that was written before objects had one.
        let age_by_revision = i64::try_from(self.created).unwrap_or(i64::MAX);
        Some(Stored {
            key: ConfigKey::new(Kind::from_word(&self.kind)?, &self.namespace, &self.name),
            json: self.json.get().into(),
            revision: self.revision,
            first_revision: self.created,
            created: CreationTimestamp::from_microseconds(self.created_at.unwrap_or(age_by_revision)),
            owner: self.file.map_or(Owner::Api, Owner::File),
        })
    }
}

/// What one commit did to an object, as it is written.
#[derive(Serialize, Deserialize)]
pub(crate) enum EventRecord {
    Put(Record),
    Delete(String, String, String),
}

impl EventRecord {
    pub(crate) fn of(event: &ConfigEvent) -> Self {
        match event {
            ConfigEvent::Put(stored) => Self::Put(Record::of(stored)),
            ConfigEvent::Delete(key) => {
                Self::Delete(key.kind.name().into(), key.namespace.to_string(), key.name.to_string())
            }
        }
    }

    /// Returns the event, or `None` if the kind of the object is not known.
    pub(crate) fn event(self) -> Option<ConfigEvent> {
        Some(match self {
            Self::Put(record) => ConfigEvent::Put(record.stored()?),
            Self::Delete(kind, namespace, name) => {
                ConfigEvent::Delete(ConfigKey::new(Kind::from_word(&kind)?, &namespace, &name))
            }
        })
    }
}

/// An event as JSON. It is made once, and written to each place that has the event or its object.
pub(crate) struct EventText {
    /// The object, as a [`Record`]. `None` means that it was deleted.
    pub(crate) record: Option<String>,
    /// The event, as an [`EventRecord`].
    pub(crate) event: String,
}

impl EventText {
    pub(crate) fn of(event: &ConfigEvent) -> Self {
        match event {
            ConfigEvent::Put(stored) => {
                let record = json_of(&Record::of(stored));
                Self { event: format!("{{\"Put\":{record}}}"), record: Some(record) }
            }
            ConfigEvent::Delete(_) => Self { record: None, event: json_of(&EventRecord::of(event)) },
        }
    }
}

fn json_of<T: Serialize>(value: &T) -> String {
    // This cannot fail: all keys of the types are strings.
    serde_json::to_string(value).unwrap_or_default()
}

/// The number of bytes of a checksum.
const CHECKSUM_BYTES: usize = 4;

/// Returns a value as JSON behind its checksum.
pub(crate) fn seal<T: Serialize>(value: &T) -> Vec<u8> {
    seal_json(&json_of(value))
}

/// Returns JSON behind its checksum.
pub(crate) fn seal_json(json: &str) -> Vec<u8> {
    let json = json.as_bytes();
    [&crc32fast::hash(json).to_be_bytes()[..], json].concat()
}

/// Returns the value of some bytes, or what is wrong with them.
pub(crate) fn unseal<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, String> {
    let (checksum, json) = bytes.split_at_checked(CHECKSUM_BYTES).ok_or("want a checksum, got fewer bytes")?;
    if crc32fast::hash(json).to_be_bytes() != checksum {
        return Err("the checksum does not match".into());
    }
    serde_json::from_slice(json).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str =
        r#"{"kind":"VirtualService","namespace":"n","name":"a","json":{"v":1},"revision":9,"created":7,"file":null}"#;

    #[test]
    fn a_record_without_an_age_is_as_old_as_its_first_revision() {
        let stored = serde_json::from_str::<Record>(OLD).unwrap().stored().unwrap();
        assert_eq!((stored.first_revision, stored.created.microseconds()), (7, 7));
    }

    #[test]
    fn a_record_is_still_what_older_versions_read() {
        let stored = serde_json::from_str::<Record>(OLD).unwrap().stored().unwrap();
        let written: serde_json::Value = serde_json::from_slice(&seal(&Record::of(&stored))[CHECKSUM_BYTES..]).unwrap();
        let old: serde_json::Value = serde_json::from_str(OLD).unwrap();
        for (key, value) in old.as_object().unwrap() {
            assert_eq!(&written[key], value, "{key}");
        }
    }

    #[test]
    fn a_flipped_bit_is_found() {
        let mut bytes = seal(&7u64);
        assert_eq!(unseal::<u64>(&bytes), Ok(7));
        *bytes.last_mut().unwrap() ^= 1;
        assert_eq!(unseal::<u64>(&bytes), Err("the checksum does not match".to_owned()));
        assert_eq!(unseal::<u64>(b"abc"), Err("want a checksum, got fewer bytes".to_owned()));
    }

    fn stored(owner: Owner) -> Stored {
        Stored {
            key: ConfigKey::new(Kind::Service, "shop", "a"),
            json: r#"{"kind":"Service","x":[1,2]}"#.into(),
            revision: 9,
            first_revision: 7,
            created: CreationTimestamp::from_microseconds(1_234_567),
            owner,
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for owner in [Owner::Api, Owner::File("shop/a.yaml".into())] {
            let stored = stored(owner);
            let read: Record = unseal(&seal(&Record::of(&stored))).unwrap();
            assert_eq!(read.stored(), Some(stored.clone()));
            let event = ConfigEvent::Put(stored.clone());
            let EventText { record, event: text } = EventText::of(&event);
            assert_eq!(text, json_of(&EventRecord::of(&event)));
            assert_eq!(seal_json(&record.unwrap()), seal(&Record::of(&stored)));
            let read: EventRecord = unseal(&seal_json(&text)).unwrap();
            assert_eq!(read.event(), Some(event));
        }
        let event = ConfigEvent::Delete(ConfigKey::new(Kind::Namespace, "", "shop"));
        let EventText { record, event: text } = EventText::of(&event);
        assert_eq!(record, None);
        let read: EventRecord = unseal(&seal_json(&text)).unwrap();
        assert_eq!(read.event(), Some(event));
    }

    #[test]
    fn an_object_of_a_kind_that_is_not_known_is_none() {
        let unknown = OLD.replace("VirtualService", "EnvoyFilter");
        assert_eq!(serde_json::from_str::<Record>(&unknown).unwrap().stored(), None);
        let deletion = EventRecord::Delete("EnvoyFilter".into(), "n".into(), "a".into());
        assert_eq!(deletion.event(), None);
    }

    #[test]
    fn every_flipped_bit_of_a_record_is_found() {
        let sealed = seal(&Record::of(&stored(Owner::Api)));
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(unseal::<Record>(&flipped).is_err(), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert!(unseal::<Record>(&sealed[..length]).is_err(), "cut to {length} bytes");
        }
    }
}
