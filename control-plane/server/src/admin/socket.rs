//! The Unix socket of the admin API.

use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, ensure};
use tokio::net::UnixListener;

/// The longest path of a socket that the operating system takes, in bytes.
const PATH_BYTES_MAX: usize = 107;
/// Only the owner may connect.
const OWNER_ONLY: u32 = 0o600;
/// The owner and a group may connect.
const WITH_GROUP: u32 = 0o660;

/// Listens at a path. A socket that another process has left there is replaced, and one that is in use is not.
///
/// # Errors
/// Fails if the path is too long, in use or no socket, if there is no such group, or if the operating system refuses.
pub(super) fn listen(path: &Path, group: Option<&str>) -> anyhow::Result<UnixListener> {
    try_listen(path, group).with_context(|| format!("--admin-socket {}", path.display()))
}

fn try_listen(path: &Path, group: Option<&str>) -> anyhow::Result<UnixListener> {
    let bytes = path.as_os_str().len();
    ensure!(
        bytes <= PATH_BYTES_MAX,
        "want a path of at most {PATH_BYTES_MAX} bytes, got {bytes} (name a shorter one by --admin-socket)"
    );
    if let Ok(metadata) = std::fs::symlink_metadata(path) {
        ensure!(metadata.file_type().is_socket(), "want a socket or nothing at this path, got something else");
        ensure!(UnixStream::connect(path).is_err(), "another process listens there (stop it, or name another path)");
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    let mode = match group {
        Some(group) => {
            chown(path, None, Some(group_id(group)?)).context("--admin-group")?;
            WITH_GROUP
        }
        None => OWNER_ONLY,
    };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

/// Returns the number of a group, which is given by its number or its name.
fn group_id(group: &str) -> anyhow::Result<u32> {
    if let Ok(id) = group.parse() {
        return Ok(id);
    }
    let groups = std::fs::read_to_string("/etc/group").context("/etc/group")?;
    let id = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(group)).then(|| fields.nth(1)?.parse().ok()).flatten()
    });
    id.with_context(|| format!("--admin-group: want a group of /etc/group or its number, got {group:?}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn refused(path: &Path, group: Option<&str>) -> String {
        listen(path, group).unwrap_err().root_cause().to_string()
    }

    #[tokio::test]
    async fn a_socket_is_of_its_owner_and_replaces_one_that_nobody_uses() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        let first = listen(&path, None).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, OWNER_ONLY);
        assert_eq!(refused(&path, None), "another process listens there (stop it, or name another path)");
        drop(first);
        assert!(path.exists(), "a socket stays when its process ends");
        let _second = listen(&path, None).unwrap();
        UnixStream::connect(&path).unwrap();
    }

    #[tokio::test]
    async fn a_group_may_be_named_and_must_exist() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        let own = std::fs::metadata(dir.path()).unwrap().gid();
        let _listener = listen(&path, Some(&own.to_string())).unwrap();
        let metadata = std::fs::metadata(&path).unwrap();
        assert_eq!((metadata.mode() & 0o777, metadata.gid()), (WITH_GROUP, own));
        assert_eq!(group_id("root").unwrap(), 0);
        let want = "--admin-group: want a group of /etc/group or its number, got \"no-such-group\"";
        assert_eq!(refused(&dir.path().join("other"), Some("no-such-group")), want);
    }

    #[tokio::test]
    async fn what_is_no_socket_stays_and_a_path_that_is_too_long_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("admin.sock");
        std::fs::write(&file, "mine").unwrap();
        assert_eq!(refused(&file, None), "want a socket or nothing at this path, got something else");
        assert_eq!(std::fs::read(&file).unwrap(), b"mine");
        let long = dir.path().join("x".repeat(120));
        let want = format!(
            "want a path of at most 107 bytes, got {} (name a shorter one by --admin-socket)",
            long.as_os_str().len()
        );
        assert_eq!(refused(&long, None), want);
    }
}
