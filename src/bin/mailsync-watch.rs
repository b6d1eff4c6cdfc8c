//! `mailsync-watch`, the watcher for the far end of an ssh connection; see [`mailsync_module::far`].
#![deny(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    mailsync_module::far::main()
}
