//! File systems that tell nothing of what other machines change on them.

use std::path::Path;
use std::time::Duration;

/// The time between two looks over a folder of which nothing is told.
pub(super) const POLL: Duration = Duration::from_secs(2);
/// The time between two looks over a folder of which everything should be told, in case that something is not.
const LOOK_OVER: Duration = Duration::from_secs(30);

/// The types of file systems whose files others may change unnoticed, by the numbers of statfs(2).
const NETWORK: [u64; 8] = [
    0x6969,      // NFS
    0x517b,      // SMB
    0xfe53_4d42, // SMB 2
    0xff53_4d42, // CIFS
    0x6573_5546, // FUSE
    0x0102_1997, // 9P
    0x00c3_6400, // Ceph
    0x5346_414f, // AFS
];

/// Returns the time between two looks over a folder that fits its file system.
pub(super) fn poll_interval(folder: &Path) -> Duration {
    // Where the type is not known, what is told counts.
    let tells_nothing = rustix::fs::statfs(folder).is_ok_and(|statfs| is_network(statfs.f_type));
    if tells_nothing { POLL } else { LOOK_OVER }
}

/// Returns whether a type of file system is one of a network. The type is an integer of another size on each platform.
fn is_network(file_system: rustix::fs::FsWord) -> bool {
    // Of a number that was made longer with its sign, the lower half counts.
    NETWORK.contains(&(file_system as u64 & 0xffff_ffff))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_of_networks_are_looked_over_more_often() {
        assert!(is_network(0x6969) && is_network(0xff53_4d42_u32 as rustix::fs::FsWord));
        assert!(!is_network(0xef53), "ext4");
        assert!(!is_network(0x0102_1994), "tmpfs");
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(poll_interval(dir.path()), LOOK_OVER);
        assert_eq!(poll_interval(Path::new("/nowhere")), LOOK_OVER);
    }
}
