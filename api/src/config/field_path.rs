//! Paths of fields, and patterns for them.

/// Returns whether a path (`spec.http[3].fault`) is one of some patterns (`spec.http[].fault`). An index matches any
/// index, `*` matches any key of a map, and `**` at the beginning any parts. Otherwise the pattern must have as many parts
/// as the path: a field below a listed one is not listed.
pub(crate) fn is_listed(patterns: &[&str], path: &str) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_prefix("**.") {
        Some(end) => suffixes(path).any(|suffix| matches(end, suffix)),
        None => matches(pattern, path),
    })
}

/// Returns a path without its first parts, for each number of them.
fn suffixes(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('.').map(|(at, _)| &path[at + 1..])
}

fn matches(pattern: &str, path: &str) -> bool {
    let mut pattern_parts = pattern.split('.');
    let mut path_parts = path.split('.');
    loop {
        match (pattern_parts.next(), path_parts.next()) {
            (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(want), Some(got)) if want == without_index(got) => {}
            _ => return false,
        }
    }
}

fn without_index(part: &str) -> String {
    match part.split_once('[') {
        Some((name, _)) => format!("{name}[]"),
        None => part.to_owned(),
    }
}

/// Returns the path in the form that messages have, `spec.http[0].match`, from that of `serde_ignored`,
/// `spec.http.0.?.match`, where `?` stands for an option.
pub(crate) fn dotted(path: &str) -> String {
    let mut dotted = String::new();
    for part in path.split('.').filter(|part| *part != "?" && !part.is_empty()) {
        if part.bytes().all(|b| b.is_ascii_digit()) {
            dotted.push_str(&format!("[{part}]"));
        } else {
            if !dotted.is_empty() {
                dotted.push('.');
            }
            dotted.push_str(part);
        }
    }
    dotted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_and_map_keys_match_any() {
        let patterns = ["spec.http[].fault", "spec.http[].match[].headers.*.regex"];
        assert!(is_listed(&patterns, "spec.http[12].fault"));
        assert!(is_listed(&patterns, "spec.http[0].match[1].headers.end-user.regex"));
        assert!(!is_listed(&patterns, "spec.http[0].faults"));
        assert!(!is_listed(&patterns, "spec.http[0].fault.delay"));
        assert!(is_listed(&["**.tls.caCrl"], "spec.subsets[1].trafficPolicy.tls.caCrl"));
        assert!(!is_listed(&["**.tls.caCrl"], "spec.trafficPolicy.caCrl"));
    }

    #[test]
    fn paths_of_serde_become_paths_of_messages() {
        assert_eq!(dotted("spec.http.0.?.match"), "spec.http[0].match");
        assert_eq!(dotted("?.metadata.name"), "metadata.name");
        assert_eq!(dotted("."), "");
    }
}
