//! Having little memory of the C library's, and giving back what it would keep.
//!
//! Emacs's heap is Emacs's business; a server's memory is ours.

/// Have one heap for all threads, from before there are any.
///
/// The C library gives each thread a heap of its own, of which only the first is given back to its end,
/// and what one thread frees there is no use to another.  That is for threads which are busy at the same
/// time; ours hand work on from one to the next.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
pub fn share_one_heap() {
    // SAFETY: it sets a number, under a lock, that is looked at when a thread asks for its heap.
    unsafe {
        nix::libc::mallopt(nix::libc::M_ARENA_MAX, 1);
    }
}

/// Give back to the system what is free of the heap.
///
/// A look at a tree needs a few hundred bytes for each folder, and leaves them behind between what
/// stays: a megabyte for thousands of folders, for as long as nobody changes them.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
pub fn give_back() {
    // SAFETY: it takes the heap's own locks, and touches only what nobody uses.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}

/// Others keep less, or do not say how.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn share_one_heap() {}

/// As above.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn give_back() {}
