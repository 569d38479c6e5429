//! Faults of inputs: where something is wrong, what was wanted there, and what was found.

use std::fmt;

/// One thing that is wrong with one config object or resource. It prints as `destinationRule default/reviews:
/// spec.subsets[1].name: want a name used once, got "v1" (hint)`. Every error that Rutter shows about config or
/// resources has this form, whoever found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// The object, as `kind namespace/name`, or its place in the input while its name is not known.
    pub object: String,
    /// The path of the field from the object's root, `spec.http[0].route[1].weight`. It is empty if the whole object is
    /// at fault.
    pub path: String,
    /// A description of what would have been right.
    pub want: String,
    /// A description of what was found instead.
    pub got: String,
    /// Advice on what the writer can do about the fault.
    pub hint: Option<Box<str>>,
    /// Whether nothing is wrong except that Rutter does not act on it yet.
    pub is_unsupported: bool,
}

impl Invalid {
    /// Returns a fault at `path`. Whoever knows the object's name adds it, see [`Invalid::of`].
    pub fn new(path: impl Into<String>, want: impl Into<String>, got: impl fmt::Display) -> Self {
        let (path, want, got) = (path.into(), want.into(), got.to_string());
        Self { object: String::new(), path, want, got, hint: None, is_unsupported: false }
    }

    /// Returns the fault of a field that the API has and Rutter does not act on yet. Such a field is refused, so that
    /// nobody believes that it has an effect.
    pub fn not_supported(path: impl Into<String>) -> Self {
        let path = path.into();
        let fault = Self::new(path, "a field that Rutter acts on", "one that is not supported yet");
        Self { is_unsupported: true, ..fault }
    }

    /// Adds advice to the fault.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into().into());
        self
    }

    /// Returns the fault as text without the object, for where the object stands beside it.
    pub fn text_without_object(&self) -> String {
        Self { object: String::new(), ..self.clone() }.to_string()
    }

    /// Adds the name of the object that has the fault.
    #[must_use]
    pub fn of(mut self, object: impl Into<String>) -> Self {
        self.object = object.into();
        self
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.object, &self.path] {
            if !part.is_empty() {
                write!(f, "{part}: ")?;
            }
        }
        if self.is_unsupported {
            f.write_str("not supported yet")?;
        } else {
            write!(f, "want {}, got {}", self.want, self.got)?;
        }
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Invalid {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_where_want_got_hint() {
        let invalid = Invalid::new("spec.weight", "0..=100", 140).of("virtualService a/b").hint("use a share");
        assert_eq!(invalid.to_string(), "virtualService a/b: spec.weight: want 0..=100, got 140 (use a share)");
    }

    #[test]
    fn unsupported_names_the_field() {
        let text = Invalid::not_supported("spec.http[0].fault").to_string();
        assert_eq!(text, "spec.http[0].fault: not supported yet");
    }
}
