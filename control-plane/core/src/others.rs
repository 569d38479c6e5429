//! Types that Rutter does not serve, on one stream. Each is answered so that the client neither waits nor
//! breaks; none closes the stream (S3).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use prost::encoding::{WireType, encode_key, encode_varint};

use crate::batch::Batch;
use crate::delta_stream::{Limits, StreamError};
use crate::encode::EncodedResource;
use crate::snapshot::ResourceName;

/// Types that Rutter does not serve and a stream may yet ask for.
pub(crate) const OTHER_TYPES_MAX: usize = 16;

/// Filters that are sent apart from their listener (ECDS). One that is said not to exist fails every request
/// (O10), so nothing is said: the client has a default.
const EXTENSIONS: &str = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";
/// Layers of runtime settings (RTDS). An Envoy that has one in its bootstrap asks for nothing else before it
/// has this one.
const RUNTIME: &str = "type.googleapis.com/envoy.service.runtime.v3.Runtime";
/// `Runtime.name`
const NAME_FIELD: u32 = 1;

/// How a type is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Not at all.
    Silent,
    /// Whatever is named exists, and there is nothing in it.
    Hollow,
    /// Whatever is named does not exist.
    Absent,
}

impl Manner {
    fn of(type_url: &str) -> Self {
        match type_url {
            EXTENSIONS => Self::Silent,
            RUNTIME => Self::Hollow,
            _ => Self::Absent,
        }
    }
}

/// The types that a client asked for and Rutter does not serve.
#[derive(Debug, Default)]
pub(crate) struct Others(BTreeMap<String, Other>);

#[derive(Debug, Default)]
struct Other {
    requested: bool,
    owes_empty: bool,
    /// What is to be answered.
    named: BTreeSet<ResourceName>,
    /// What was, of the state of the world: each request names everything again.
    told: BTreeSet<ResourceName>,
}

/// An answer about such a type.
#[derive(Debug)]
pub(crate) struct OtherAnswer {
    pub(crate) type_url: Cow<'static, str>,
    pub(crate) resources: Batch,
    /// What does not exist.
    pub(crate) absent: Vec<ResourceName>,
}

impl Others {
    /// A delta request names these in addition to others.
    pub(crate) fn on_delta(&mut self, limits: &Limits, type_url: &str, names: &[&str]) -> Result<(), StreamError> {
        let other = self.other(type_url)?;
        let is_first = !std::mem::replace(&mut other.requested, true);
        other.owes_empty |= is_first && names.is_empty();
        other.name(names);
        self.check(limits)
    }

    /// A state-of-the-world request names all that is wanted: what is new is answered.
    pub(crate) fn on_sotw(
        &mut self,
        limits: &Limits,
        (type_url, names, is_fresh): (&str, &[&str], bool),
    ) -> Result<(), StreamError> {
        let other = self.other(type_url)?;
        if is_fresh {
            other.owes_empty = true;
            other.told.clear();
        }
        let told = std::mem::take(&mut other.told);
        other.told = names.iter().map(|name| ResourceName::from(*name)).collect();
        let new: Vec<&str> = names.iter().copied().filter(|name| !told.contains(*name)).collect();
        other.name(&new);
        self.check(limits)
    }

    fn check(&self, limits: &Limits) -> Result<(), StreamError> {
        limits.check_names(self.0.values().map(|other| other.named.len() + other.told.len()).sum())
    }

    fn other(&mut self, type_url: &str) -> Result<&mut Other, StreamError> {
        if !self.0.contains_key(type_url) && self.0.len() >= OTHER_TYPES_MAX {
            return Err(StreamError::TooMany { what: "unknown types", max: OTHER_TYPES_MAX });
        }
        Ok(self.0.entry(type_url.to_owned()).or_default())
    }

    /// What is to be said next of one of them.
    pub(crate) fn next(&mut self) -> Option<OtherAnswer> {
        loop {
            let due = |(_, other): &(&String, &mut Other)| other.owes_empty || !other.named.is_empty();
            let (type_url, other) = self.0.iter_mut().find(due)?;
            other.owes_empty = false;
            let named = std::mem::take(&mut other.named);
            let mut answer =
                OtherAnswer { type_url: Cow::from(type_url.clone()), resources: Batch::default(), absent: Vec::new() };
            match Manner::of(type_url) {
                Manner::Silent => continue,
                Manner::Hollow => {
                    let all: Vec<EncodedResource> = named.into_iter().map(empty_layer).collect();
                    answer.resources = all.into();
                }
                Manner::Absent => answer.absent = named.into_iter().collect(),
            }
            return Some(answer);
        }
    }
}

impl Other {
    fn name(&mut self, names: &[&str]) {
        self.named.extend(names.iter().filter(|name| **name != "*").map(|name| ResourceName::from(*name)));
    }
}

fn empty_layer(name: ResourceName) -> EncodedResource {
    let mut body = Vec::with_capacity(name.len() + 8);
    encode_key(NAME_FIELD, WireType::LengthDelimited, &mut body);
    encode_varint(name.len() as u64, &mut body);
    body.extend_from_slice(name.as_bytes());
    EncodedResource::of_type(RUNTIME, name, &body)
}
