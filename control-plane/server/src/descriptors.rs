//! How many files and connections the process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The number of descriptors that are kept for everything but sidecars: the store, the log, the admin API and health checks.
const KEPT: usize = 512;
/// More descriptors than this are never asked for.
const DESCRIPTORS_MAX: u64 = 1 << 20;

/// Raises the number of open files as far as the process may. Returns the number.
pub(crate) fn raise() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(DESCRIPTORS_MAX).min(DESCRIPTORS_MAX);
    let now = limit.current.unwrap_or(DESCRIPTORS_MAX);
    let raised =
        now < wanted && setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum }).is_ok();
    usize::try_from(if raised { wanted } else { now }).unwrap_or(usize::MAX)
}

/// Returns how many connections of sidecars there may be with so many descriptors.
pub(crate) fn connections_max(wanted: usize, descriptors: usize) -> usize {
    // Where there are few, half of them are for sidecars.
    wanted.min(descriptors.saturating_sub(KEPT).max(descriptors / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_kept_for_everything_but_sidecars() {
        assert_eq!(connections_max(1000, 100_000), 1000);
        assert_eq!(connections_max(65_536, 4096), 4096 - KEPT);
        assert_eq!(connections_max(65_536, 256), 128);
    }

    #[test]
    fn the_number_of_open_files_is_raised_as_far_as_it_may() {
        let raised = raise();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current.map(|current| current as usize), Some(raised));
        assert_eq!(raise(), raised);
    }
}
