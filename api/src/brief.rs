//! What a proxy says of what it refuses, in few words.

/// Envoy puts the whole resource between the beginning of what it says and the reason: without that.
pub fn brief(error: &str) -> String {
    let lines: Vec<&str> = error.lines().filter(|line| !line.trim().is_empty()).collect();
    match lines[..] {
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
        assert_eq!(brief("short\n"), "short");
    }
}
