//! How glibc's allocator is told to give memory back; elsewhere nothing is done.
//!
//! This is the one crate with unsafe code: two calls that take numbers and touch no memory of ours.

/// Blocks from this size on, in bytes, are mapped one by one, and so given back when they are freed.
/// glibc starts with the same value, and then raises it to the largest block that was ever freed: once
/// a large file was read, buffers of many megabytes stay in the heap with the small things between them.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MAPPED_FROM: libc::c_int = 128 << 10;

/// To be called once, before there are threads. As many heaps as cores are enough: glibc has eight times as
/// many, and what is free in one is of no use to another.
pub fn set_up() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let heaps = libc::c_int::try_from(cores).unwrap_or(libc::c_int::MAX);
        #[expect(unsafe_code, reason = "libc has no safe form of it")]
        // SAFETY: mallopt(3) takes two numbers; the parameters are ones that glibc knows.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM);
            libc::mallopt(libc::M_ARENA_MAX, heaps);
        }
    }
}

/// Gives free pages back to the system. It takes about a millisecond for each 10 MB of heap, and holds up other
/// allocations meanwhile. It is called once, after everything was loaded, when the texts of all objects have just been
/// freed.
pub fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "libc has no safe form of it")]
    // SAFETY: malloc_trim(3) gives back pages that hold no block in use.
    unsafe {
        libc::malloc_trim(0);
    }
}
