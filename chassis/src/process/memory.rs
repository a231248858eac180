//! Where memory comes from, and goes back to.
//!
//! The C library's allocator keeps what was freed in the middle of its arenas: after a flood of requests, a process would
//! hold for ever what it needed at the worst moment. mimalloc gives whole pages back to the system soon after.

// The sanitizers of a fuzz target watch the C library's.
#[cfg(not(fuzzing))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
