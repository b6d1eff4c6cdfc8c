//! Giving memory back that the C library would keep.

/// Give back to the system what is free of the heap.
///
/// A look at a tree needs a few hundred bytes for each folder, and leaves them behind between what
/// stays: a megabyte for thousands of folders, for as long as nobody changes them.  Emacs's heap is
/// Emacs's business; a server's memory is ours.
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
pub fn give_back() {}
