//! Which fields of a message the proxy acts on.
//!
//! Every field of every message that the proxy reads stands in one of three lists: the proxy acts on it, ignores it, or
//! refuses it when it is set. A field that a new version of the API has does not compile until it stands in one of them.
//! The ignored fields are published in `docs/proxy.md`. None of them is about TLS or authorization.

use rutter_api::Invalid;

/// The fields of a message that the proxy ignores. `docs/proxy.md` lists all of them and says what follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IgnoredFields {
    /// The message, in the spelling of a field that holds it.
    pub message: &'static str,
    /// The names of the fields.
    pub fields: &'static [&'static str],
}

/// Declares the fields of messages. For each message it defines a function `Fields::NAME(message, path)`, which refuses a
/// message that has a field set on which the proxy does not act; `Fields::IGNORED` lists what is ignored.
macro_rules! message_fields {
    ($($name:ident: $message:path {
        acts_on: $($acted:ident),*;
        ignores: $($ignored:ident),*;
        refuses: $($refused:ident),*;
    })*) => {
        /// The checks of the fields of messages.
        pub(in crate::resources) struct Fields;

        impl Fields {
            pub(in crate::resources) const IGNORED: &[$crate::resources::fields::IgnoredFields] = &[$(
                $crate::resources::fields::IgnoredFields {
                    message: stringify!($name),
                    fields: &[$(stringify!($ignored)),*],
                }
            ),*];

            $(
                fn $name(message: &$message, path: &str) -> Result<(), rutter_api::Invalid> {
                    #![allow(deprecated, reason = "a deprecated field is refused like any other")]
                    let $message { $($acted: _,)* $($ignored: _,)* $($refused,)* } = message;
                    // A message may have no field that is refused.
                    let _ = path;
                    $($crate::resources::fields::refuse_if_set($refused, path, stringify!($refused))?;)*
                    Ok(())
                }
            )*
        }
    };
}
pub(super) use message_fields;

/// Refuses a field that is not as in an empty message.
pub(super) fn refuse_if_set<T: Default + PartialEq>(value: &T, path: &str, field: &str) -> Result<(), Invalid> {
    if *value == T::default() {
        return Ok(());
    }
    Err(Invalid::not_supported(joined(path, field)))
}

/// Returns the path of a field of the message at a path.
pub(super) fn joined(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

/// Refuses a value on which the proxy does not act, and says which.
pub(super) fn unsupported(path: &str, value: impl Into<String>) -> Invalid {
    Invalid::not_supported(path).hint(value)
}
