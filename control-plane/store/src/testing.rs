//! Objects for unit tests.

use rutter_api::{ConfigKey, CreationTimestamp, Kind};

use crate::{ConfigWrite, Expected, Owner, Stored};

/// Returns the key of a service in the namespace `shop`.
pub(crate) fn key(name: &str) -> ConfigKey {
    ConfigKey::new(Kind::Service, "shop", name)
}

/// Returns an object that a revision created.
pub(crate) fn stored(name: &str, revision: u64) -> Stored {
    Stored {
        key: key(name),
        json: format!("{{\"revision\":{revision}}}").into(),
        revision,
        first_revision: revision,
        created: CreationTimestamp::from_microseconds(1_234_567),
        owner: Owner::Api,
    }
}

/// Returns the write of an object. Without JSON it is deleted.
pub(crate) fn write(name: &str, json: Option<&str>) -> ConfigWrite {
    let json = json.map(std::sync::Arc::from);
    ConfigWrite { key: key(name), json, created: None, owner: Owner::Api, expected: Expected::Any }
}
