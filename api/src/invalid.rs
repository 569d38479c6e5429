//! What is wrong with an input: where, what was wanted, what was found.

use std::fmt;

/// One thing wrong with one config object. Printed as
/// `destinationRule default/reviews: spec.subsets[1].name: want a name used once, got "v1" (hint)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// The object, as `kind namespace/name`; where it has no name yet, its place in the input.
    pub object: String,
    /// The field's path from the object's root: `spec.http[0].route[1].weight`. Empty: the object.
    pub path: String,
    /// What would have been right.
    pub want: String,
    /// What was found.
    pub got: String,
    /// What the writer can do about it.
    pub hint: Option<String>,
}

impl Invalid {
    /// A fault at `path`; the object's name is added by whoever knows it, see [`Invalid::of`].
    pub fn new(path: impl Into<String>, want: impl Into<String>, got: impl fmt::Display) -> Self {
        Self { object: String::new(), path: path.into(), want: want.into(), got: got.to_string(), hint: None }
    }

    /// A field that the API has and Rutter does not act on yet. Refused, so that nobody is misled.
    pub fn not_supported(path: impl Into<String>) -> Self {
        let path = path.into();
        let last = path.rsplit('.').next().unwrap_or(&path).to_owned();
        Self::new(path, "a field that Rutter acts on", format!("not supported yet: {last}"))
    }

    /// The same fault with advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same fault, of a named object.
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
        write!(f, "want {}, got {}", self.want, self.got)?;
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
        assert_eq!(text, "spec.http[0].fault: want a field that Rutter acts on, got not supported yet: fault");
    }
}
