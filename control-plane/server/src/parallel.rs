//! All cores, for what is large and falls into parts.

/// Below this many items one thread is as fast.
const PART_MIN: usize = 64;

/// Maps items on all cores; the results are in the items' order.
pub(crate) fn map<T: Sync, R: Send>(items: &[T], f: impl Fn(&T) -> R + Sync) -> Vec<R> {
    if items.len() <= PART_MIN {
        return items.iter().map(f).collect();
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let part = items.len().div_ceil(cores).max(PART_MIN);
    std::thread::scope(|scope| {
        let f = &f;
        let threads: Vec<_> =
            items.chunks(part).map(|chunk| scope.spawn(move || chunk.iter().map(f).collect::<Vec<R>>())).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

/// Runs a job for each number below `count`, on all cores.
pub(crate) fn spread(count: usize, job: &(dyn Fn(usize) + Sync)) {
    map(&(0..count).collect::<Vec<_>>(), |at| job(*at));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_order() {
        let items: Vec<usize> = (0..1000).collect();
        assert_eq!(map(&items, |item| item * 2), (0..1000).map(|item| item * 2).collect::<Vec<_>>());
        assert!(map(&items[..0], |item| *item).is_empty());
    }
}
