//! What a proxy says of what it refuses, in few words.

/// What protobuf puts before a message that is written out.
const WRITTEN_OUT: &str = "goo.gle/";

/// Envoy puts the whole resource before the reason, or between it and the beginning of what it says: without that.
pub fn brief(error: &str) -> String {
    let lines: Vec<&str> = error.lines().filter(|line| !line.trim().is_empty()).collect();
    match lines[..] {
        [first, .., last] if lines.len() > 3 && first.starts_with(WRITTEN_OUT) => {
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
        let written_out = "goo.gle/debugonly \nname: \"x\"\ntype: EDS\na {\n}\n: value must be > 0";
        assert_eq!(brief(written_out), "value must be > 0");
        assert_eq!(brief("short\n"), "short");
    }
}
