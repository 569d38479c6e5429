//! Addresses of Unix sockets, as Istio writes them.

/// Returns the path in an address `unix:///run/app.sock`, or the name in `unix://@app`, which is in Linux' abstract
/// namespace and keeps its `@`. `None` means that the text is no such address.
pub fn socket_path(text: &str) -> Option<&str> {
    let path = text.strip_prefix("unix://")?;
    (path.len() > 1 && path.starts_with(['/', '@'])).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::socket_path;

    #[test]
    fn paths_are_absolute() {
        assert_eq!(socket_path("unix:///run/a.sock"), Some("/run/a.sock"));
        assert_eq!(socket_path("unix://@a"), Some("@a"));
        for text in ["unix://", "unix:///", "unix://a", "unix:/a", "/a", "10.0.0.1"] {
            assert_eq!(socket_path(text), None, "{text}");
        }
    }
}
