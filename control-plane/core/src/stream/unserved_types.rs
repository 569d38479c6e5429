//! Types that Rutter does not serve. Each is answered so that the client neither waits nor breaks, and none closes the
//! stream (S3).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use prost::encoding::{WireType, encode_key, encode_varint};

use super::limits::{Limits, StreamError};
use crate::resource::{EncodedResource, ResourceList, ResourceName};

/// The number of such types that one stream may ask for.
pub(super) const UNSERVED_TYPES_MAX: usize = 16;

/// Filters that are sent apart from their listener (ECDS). A filter that is said not to exist fails every request
/// (O10), so nothing is said, and the client uses its default.
const EXTENSIONS: &str = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";
/// Layers of runtime settings (RTDS). An Envoy that names one in its bootstrap asks for nothing else before it has it.
const RUNTIME: &str = "type.googleapis.com/envoy.service.runtime.v3.Runtime";
/// The number of the field `Runtime.name`.
const RUNTIME_NAME_FIELD: u32 = 1;

/// How a type is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Nothing is answered, because any answer would do harm.
    NoAnswer,
    /// Whatever is named exists, and is empty.
    Empty,
    /// Whatever is named does not exist.
    Absent,
}

impl Manner {
    fn of_type(type_url: &str) -> Self {
        match type_url {
            EXTENSIONS => Self::NoAnswer,
            RUNTIME => Self::Empty,
            _ => Self::Absent,
        }
    }
}

/// The types that a client asked for and Rutter does not serve, by their URLs.
#[derive(Debug, Default)]
pub(super) struct UnservedTypes(BTreeMap<String, UnservedType>);

#[derive(Debug, Default)]
struct UnservedType {
    is_requested: bool,
    /// Whether a response is due even if there is nothing to say in it.
    owes_response: bool,
    /// The names that are to be answered.
    unanswered: BTreeSet<ResourceName>,
    /// The names of the latest state-of-the-world request, each of which names everything again.
    named_before: BTreeSet<ResourceName>,
}

/// A state-of-the-world request of such a type.
#[derive(Debug, Clone, Copy)]
pub(super) struct UnservedSotwRequest<'a> {
    pub(super) type_url: &'a str,
    pub(super) names: &'a [&'a str],
    /// Whether the request answers no response, so that it begins anew.
    pub(super) is_fresh: bool,
}

/// An answer about such a type.
#[derive(Debug)]
pub(super) struct UnservedAnswer {
    pub(super) type_url: Cow<'static, str>,
    pub(super) resources: ResourceList,
    /// The names that do not exist.
    pub(super) absent: Vec<ResourceName>,
}

impl UnservedTypes {
    /// Takes in a delta request, which adds names to those of before.
    pub(super) fn on_delta(&mut self, limits: &Limits, type_url: &str, names: &[&str]) -> Result<(), StreamError> {
        let unserved = self.entry(type_url)?;
        let is_first = !std::mem::replace(&mut unserved.is_requested, true);
        unserved.owes_response |= is_first && names.is_empty();
        unserved.ask(names.iter().copied());
        self.check(limits)
    }

    /// Takes in a state-of-the-world request, which names everything that is wanted. What is new in it is answered.
    pub(super) fn on_sotw(&mut self, limits: &Limits, request: UnservedSotwRequest<'_>) -> Result<(), StreamError> {
        let unserved = self.entry(request.type_url)?;
        if request.is_fresh {
            unserved.owes_response = true;
            unserved.named_before.clear();
        }
        let before = std::mem::take(&mut unserved.named_before);
        unserved.named_before = request.names.iter().map(|name| ResourceName::from(*name)).collect();
        unserved.ask(request.names.iter().copied().filter(|name| !before.contains(*name)));
        self.check(limits)
    }

    fn check(&self, limits: &Limits) -> Result<(), StreamError> {
        limits
            .check_names(self.0.values().map(|unserved| unserved.unanswered.len() + unserved.named_before.len()).sum())
    }

    fn entry(&mut self, type_url: &str) -> Result<&mut UnservedType, StreamError> {
        if !self.0.contains_key(type_url) && self.0.len() >= UNSERVED_TYPES_MAX {
            return Err(StreamError::TooMany { what: "unknown types", max: UNSERVED_TYPES_MAX });
        }
        Ok(self.0.entry(type_url.to_owned()).or_default())
    }

    /// Returns the next answer that is due.
    pub(super) fn next_answer(&mut self) -> Option<UnservedAnswer> {
        for (type_url, unserved) in &mut self.0 {
            if !std::mem::take(&mut unserved.owes_response) && unserved.unanswered.is_empty() {
                continue;
            }
            let names = std::mem::take(&mut unserved.unanswered);
            let (resources, absent) = match Manner::of_type(type_url) {
                Manner::NoAnswer => continue,
                Manner::Empty => {
                    let layers: Vec<EncodedResource> = names.into_iter().map(empty_layer).collect();
                    (layers.into(), Vec::new())
                }
                Manner::Absent => (ResourceList::default(), names.into_iter().collect()),
            };
            return Some(UnservedAnswer { type_url: Cow::from(type_url.clone()), resources, absent });
        }
        None
    }
}

impl UnservedType {
    fn ask<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        self.unanswered.extend(names.filter(|name| *name != "*").map(ResourceName::from));
    }
}

fn empty_layer(name: ResourceName) -> EncodedResource {
    let mut body = Vec::with_capacity(name.len() + 8);
    encode_key(RUNTIME_NAME_FIELD, WireType::LengthDelimited, &mut body);
    encode_varint(name.len() as u64, &mut body);
    body.extend_from_slice(name.as_bytes());
    EncodedResource::of_type_url(RUNTIME, name, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNKNOWN: &str = "type.googleapis.com/example.Unknown";

    fn ask(types: &mut UnservedTypes, type_url: &str, names: &[&str]) {
        types.on_delta(&Limits::default(), type_url, names).unwrap();
    }

    fn ask_sotw(types: &mut UnservedTypes, names: &[&str], is_fresh: bool) {
        let request = UnservedSotwRequest { type_url: UNKNOWN, names, is_fresh };
        types.on_sotw(&Limits::default(), request).unwrap();
    }

    /// Returns the answers that are due, each as its type, its resources and the names that do not exist.
    fn answers(types: &mut UnservedTypes) -> Vec<String> {
        let answers = std::iter::from_fn(|| types.next_answer());
        answers
            .map(|answer| {
                let resources: Vec<&str> = answer.resources.iter().map(|resource| &*resource.name).collect();
                let type_name = answer.type_url.rsplit('.').next().unwrap().to_owned();
                format!("{type_name} has {resources:?}, lacks {:?}", answer.absent)
            })
            .collect()
    }

    #[test]
    fn what_is_named_of_an_unknown_type_does_not_exist() {
        let mut types = UnservedTypes::default();
        ask(&mut types, UNKNOWN, &["a", "b"]);
        assert_eq!(answers(&mut types), [r#"Unknown has [], lacks ["a", "b"]"#]);
        assert_eq!(answers(&mut types), [""; 0], "each name is answered once");
        ask(&mut types, UNKNOWN, &["c"]);
        assert_eq!(answers(&mut types), [r#"Unknown has [], lacks ["c"]"#]);
    }

    #[test]
    fn a_client_that_asks_for_everything_is_told_that_there_is_nothing() {
        let mut types = UnservedTypes::default();
        ask(&mut types, UNKNOWN, &[]);
        assert_eq!(answers(&mut types), ["Unknown has [], lacks []"]);
        ask(&mut types, UNKNOWN, &[]);
        assert_eq!(answers(&mut types), [""; 0], "a second request without names is an acknowledgement");
        ask(&mut types, UNKNOWN, &["*"]);
        assert_eq!(answers(&mut types), [""; 0], "the wildcard is no name that could be missing");
    }

    #[test]
    fn a_layer_of_runtime_settings_exists_and_is_empty() {
        let mut types = UnservedTypes::default();
        ask(&mut types, RUNTIME, &["layer"]);
        let answer = types.next_answer().unwrap();
        let layers: Vec<_> = answer.resources.iter().map(EncodedResource::body).collect();
        assert_eq!(layers, [&b"\x0a\x05layer"[..]], "a `Runtime` whose only field is its name");
        assert!(answer.absent.is_empty());
    }

    #[test]
    fn nothing_is_said_of_a_filter() {
        let mut types = UnservedTypes::default();
        ask(&mut types, EXTENSIONS, &["filter"]);
        ask(&mut types, UNKNOWN, &["a"]);
        assert_eq!(answers(&mut types), [r#"Unknown has [], lacks ["a"]"#], "and it holds up no other type");
    }

    #[test]
    fn a_state_of_the_world_request_that_names_the_same_again_is_not_answered() {
        let mut types = UnservedTypes::default();
        ask_sotw(&mut types, &["a"], true);
        assert_eq!(answers(&mut types), [r#"Unknown has [], lacks ["a"]"#]);
        ask_sotw(&mut types, &["a"], false);
        assert_eq!(answers(&mut types), [""; 0]);
        ask_sotw(&mut types, &["a", "b"], false);
        assert_eq!(answers(&mut types), [r#"Unknown has [], lacks ["b"]"#], "only what is new");
        ask_sotw(&mut types, &["a", "b"], true);
        assert_eq!(answers(&mut types), [r#"Unknown has [], lacks ["a", "b"]"#], "it answers no response: anew");
    }

    #[test]
    fn a_client_may_ask_for_sixteen_unknown_types_and_no_more() {
        let mut types = UnservedTypes::default();
        (0..UNSERVED_TYPES_MAX).for_each(|number| ask(&mut types, &format!("type-{number}"), &[]));
        let refused = types.on_delta(&Limits::default(), "one more", &[]);
        assert_eq!(refused, Err(StreamError::TooMany { what: "unknown types", max: UNSERVED_TYPES_MAX }));
        ask(&mut types, "type-0", &["a"]);
        assert_eq!(answers(&mut types).len(), UNSERVED_TYPES_MAX, "those that are known go on");
    }

    #[test]
    fn the_names_of_all_unknown_types_together_are_bounded() {
        let limits = Limits { names_max: 2, ..Limits::default() };
        let mut types = UnservedTypes::default();
        types.on_delta(&limits, UNKNOWN, &["a", "b"]).unwrap();
        let refused = types.on_delta(&limits, "another", &["c"]);
        assert_eq!(refused, Err(StreamError::TooMany { what: "names", max: 2 }));
    }
}
