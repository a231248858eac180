//! Where memory comes from, and goes back to.
//!
//! The C library's allocator keeps what was freed in the middle of its arenas: after a flood of requests, a process would
//! hold for ever what it needed at the worst moment. mimalloc gives whole pages back to the system soon after.

// The sanitizers of a fuzz target watch the C library's.
#[cfg(not(fuzzing))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Lets memory come in pages of the usual size. The allocator reserves more than it uses, and asks for huge pages: of each, two
/// megabytes are resident as soon as one byte of it is written, which was three quarters of what a service held.
pub(super) fn in_small_pages() {
    // Where it is refused, we hold more than we need.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}
