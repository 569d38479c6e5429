//! Addresses of Unix sockets, as Istio writes them.

/// The longest path of a Unix socket, in bytes.
const PATH_BYTES_MAX: usize = 107;

/// Returns the path in an address `unix:///run/app.sock`, or the name in `unix://@app`, which is in Linux' abstract
/// namespace and keeps its `@`. `None` means that the text is no such address, or that the path is longer than 107 bytes.
pub fn socket_path(text: &str) -> Option<&str> {
    let path = text.strip_prefix("unix://")?;
    ((2..=PATH_BYTES_MAX).contains(&path.len()) && path.starts_with(['/', '@'])).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::socket_path;

    #[test]
    fn paths_are_absolute() {
        assert_eq!(socket_path("unix:///run/a.sock"), Some("/run/a.sock"));
        assert_eq!(socket_path("unix://@a"), Some("@a"));
        assert_eq!(socket_path(&format!("unix:///{}", "a".repeat(106))).map(str::len), Some(107));
        assert_eq!(socket_path(&format!("unix:///{}", "a".repeat(107))), None);
        for text in ["unix://", "unix:///", "unix://a", "unix:/a", "/a", "10.0.0.1"] {
            assert_eq!(socket_path(text), None, "{text}");
        }
    }
}
