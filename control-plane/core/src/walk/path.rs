//! The path of a request as the proxy normalizes it.

/// Returns a path with its query as Envoy passes it on with `normalize_path`: dot segments are resolved, a backslash is a slash, and
/// characters that need no escape have none. Slashes are neither merged nor decoded.
pub(super) fn normalized(path: &str) -> String {
    let (alone, query) = path.split_at(path.find('?').unwrap_or(path.len()));
    if !alone.starts_with('/') {
        return path.to_owned();
    }
    let decoded = decode_unreserved(alone).replace('\\', "/");
    format!("{}{query}", without_dots(&decoded))
}

/// Decodes the escapes of letters, digits and the signs `-._~`.
fn decode_unreserved(path: &str) -> String {
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        decoded.push_str(&rest[..at]);
        let escape = rest.get(at..at + 3).unwrap_or("%");
        let code = escape.get(1..).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match code.filter(|code| code.is_ascii_alphanumeric() || b"-._~".contains(code)) {
            Some(code) => decoded.push(char::from(code)),
            None => decoded.push_str(escape),
        }
        rest = &rest[at + escape.len()..];
    }
    decoded.push_str(rest);
    decoded
}

/// Resolves the segments `.` and `..`. One that comes last leaves its slash.
fn without_dots(path: &str) -> String {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let mut kept: Vec<&str> = Vec::new();
    for (number, segment) in segments.iter().enumerate() {
        let is_last = number + 1 == segments.len();
        match *segment {
            "." => {}
            ".." => drop(kept.pop()),
            segment => {
                kept.push(segment);
                continue;
            }
        }
        if is_last {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_resolved_and_needless_escapes_decoded() {
        let check = |path: &str, want: &str| assert_eq!(normalized(path), want, "{path}");
        check("/a/b?q=/../x", "/a/b?q=/../x");
        check("/a/./b/../c", "/a/c");
        check("/../a/..", "/");
        check("/a//b", "/a//b");
        check("/%61%2f%2E%2e/b", "/a%2f../b");
        check("/a/%2E%2e/b", "/b");
        check("/a\\b", "/a/b");
        check("/100%", "/100%");
        check("*", "*");
    }
}
