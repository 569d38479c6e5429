//! What is told of an object.

use rutter_api::{Config, ConfigKey, Labels};

use super::code::Code;

/// The annotation of an object that silences codes about it, which stand there with commas between them, or `*`.
const SUPPRESS_ANNOTATION: &str = "galley.io/analyze-suppress";

/// Something that is wrong with an object, or has no effect.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The object.
    pub object: ConfigKey,
    /// The code.
    pub code: Code,
    /// The field, or empty for the object as a whole.
    pub path: String,
    /// What is wrong, and what comes of it.
    pub cause: String,
    /// What can be done.
    pub fix: String,
}

/// The findings about one object.
pub(super) struct Found<'a> {
    object: &'a ConfigKey,
    suppressed: Vec<&'a str>,
    pub(super) findings: Vec<Finding>,
}

impl<'a> Found<'a> {
    /// Returns a place for what is found of an object.
    pub(super) fn of(config: &'a Config) -> Self {
        Self { object: &config.key, suppressed: suppressed(&config.annotations), findings: Vec::new() }
    }

    /// Adds a finding, unless the object silences the code.
    pub(super) fn add(
        &mut self,
        code: Code,
        path: impl Into<String>,
        cause: impl Into<String>,
        fix: impl Into<String>,
    ) {
        if self.suppressed.iter().any(|suppressed| *suppressed == "*" || *suppressed == code.id()) {
            return;
        }
        let (path, cause, fix) = (path.into(), cause.into(), fix.into());
        self.findings.push(Finding { object: self.object.clone(), code, path, cause, fix });
    }
}

fn suppressed(annotations: &Labels) -> Vec<&str> {
    let codes = annotations.get(SUPPRESS_ANNOTATION).unwrap_or_default().split(',');
    codes.map(str::trim).filter(|code| !code.is_empty()).collect()
}

/// Returns the name of an object beside others of its kind: its namespace and its name.
pub(super) fn name_of(key: &ConfigKey) -> String {
    format!("{}/{}", key.namespace, key.name)
}
