//! Paths as they are written in configurations, made comparable.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Without doubled slashes and one at the end.
pub(super) fn tidy(path: &Path) -> PathBuf {
    path.components().collect()
}

/// With links resolved, as far as it exists, and [`tidy`].
pub(super) fn truename(path: &Path) -> PathBuf {
    let path = tidy(path);
    let real = |it: &Path| Some(fs::canonicalize(it).ok()?.join(path.strip_prefix(it).ok()?));
    let found = path.ancestors().find_map(real);
    // Nothing joined to a path leaves a slash.
    found.map_or_else(|| path.clone(), |real| tidy(&real))
}

/// `~` at the beginning is this home directory; another user's stays as it is.
pub(super) fn expand(path: &[u8], home: Option<&OsStr>) -> Vec<u8> {
    match (path.strip_prefix(b"~"), home) {
        (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with(b"/") => {
            [home.as_bytes(), rest].concat()
        }
        _ => path.to_vec(),
    }
}
