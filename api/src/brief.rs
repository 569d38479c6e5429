//! The short form of a proxy's error detail.

/// The text with which protobuf begins the debug form of a message.
const DEBUG_FORM_PREFIX: &str = "goo.gle/";

/// Shortens the reason that a proxy gives for refusing a resource. Envoy writes the whole resource, which may be
/// pages, before the reason or between the first line and the reason; the result is the first line and the reason.
pub fn brief(error: &str) -> String {
    let lines: Vec<&str> = error.lines().filter(|line| !line.trim().is_empty()).collect();
    match lines[..] {
        [first, .., last] if lines.len() > 3 && first.starts_with(DEBUG_FORM_PREFIX) => {
            last.trim_start_matches([':', ' ']).to_owned()
        }
        [first, .., last] if lines.len() > 3 => format!("{first} … {last}"),
        _ => error.trim_end().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_and_the_reason_are_kept() {
        assert_eq!(
            brief("Error a: name: \"x\"\ntype: EDS\n\nrest\nvalue must be > 0\n"),
            "Error a: name: \"x\" … value must be > 0"
        );
        let debug_form = "goo.gle/debugonly \nname: \"x\"\ntype: EDS\na {\n}\n: value must be > 0";
        assert_eq!(brief(debug_form), "value must be > 0");
        assert_eq!(brief("short\n"), "short");
    }
}
