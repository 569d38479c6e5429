//! Names by the rules of Kubernetes: those of objects (DNS-1123) and those of labels.

use crate::invalid::Invalid;

/// The length of the longest name of an object or a pod.
pub const NAME_MAX: usize = 253;
/// The length of the longest name of a namespace, and of the longest value of a label.
pub const LABEL_MAX: usize = 63;
/// The number of characters of a faulty text that an error shows.
const SHOWN: usize = 100;

/// Fails if a text is no name of an object.
pub fn check_dns_name(path: &str, text: &str, len_max: usize) -> Result<(), Invalid> {
    let is_inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    if is_name(text, len_max, is_inside) {
        return Ok(());
    }
    let want = format!("1 to {len_max} lower-case letters, digits, \"-\" and \".\"");
    Err(Invalid::new(path, want, shown(text)))
}

/// Fails if a text is no value of a label, which may be empty.
pub fn check_label_value(path: &str, text: &str) -> Result<(), Invalid> {
    let is_inside = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if text.is_empty() || is_name(text, LABEL_MAX, is_inside) {
        return Ok(());
    }
    let want = format!("at most {LABEL_MAX} letters, digits, \"-\", \"_\" and \".\"");
    Err(Invalid::new(path, want, shown(text)))
}

/// Returns whether a text begins and ends with a letter or a digit, and has nothing inside that may not be there.
fn is_name(text: &str, len_max: usize, is_inside: impl Fn(u8) -> bool) -> bool {
    let is_end = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    text.len() <= len_max && is_end(text.bytes().next()) && is_end(text.bytes().last()) && text.bytes().all(is_inside)
}

/// Returns the beginning of a text in quotes, for an error.
pub(crate) fn shown(text: &str) -> String {
    let beginning: String = text.chars().take(SHOWN).collect();
    if beginning.len() == text.len() {
        return format!("{text:?}");
    }
    format!("{beginning:?}… ({} bytes)", text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_kubernetes() {
        for name in ["a", "web-1", "a.b-c.9", &"x".repeat(NAME_MAX)] {
            assert!(check_dns_name("name", name, NAME_MAX).is_ok(), "{name}");
        }
        for name in ["", "-a", "a-", "A", "a_b", "a b", "a\u{1b}", "ü", &"x".repeat(NAME_MAX + 1)] {
            assert!(check_dns_name("name", name, NAME_MAX).is_err(), "{name:?}");
        }
        let error = check_dns_name("name", &"\u{202e}".repeat(1000), NAME_MAX).unwrap_err().to_string();
        assert!(error.ends_with("… (3000 bytes)") && error.len() < 1200 && error.is_ascii() | error.contains('…'));
    }

    #[test]
    fn values_of_labels_are_those_of_kubernetes() {
        for value in ["", "v1", "A_b.c-D", &"x".repeat(LABEL_MAX)] {
            assert!(check_label_value("l", value).is_ok(), "{value}");
        }
        for value in ["-", "a b", "a/b", "é", "a_", &"x".repeat(LABEL_MAX + 1)] {
            assert!(check_label_value("l", value).is_err(), "{value:?}");
        }
    }
}
