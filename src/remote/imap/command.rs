//! A program that prints a password or a token.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use rustix::event::PollFlags;
use rustix::io::Errno;
use zeroize::Zeroizing;

use super::secret::Secret;
use super::wire::Stop;
use crate::ready;
use crate::remote::complaints::Complaints;
use crate::syncer::outcome::Exit;
use crate::syncer::plan;
use crate::syncer::run::process::{self, Recipe};

/// It has so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// And so many bytes.
const MOST: usize = 64 * 1024;

/// What is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The program and its arguments.
    pub argv: Vec<OsString>,
    /// Where programs are.
    pub search: Vec<PathBuf>,
    /// Its whole environment.
    pub environment: Vec<OsString>,
    /// The key of `:remote` that it is from.
    pub key: &'static str,
}

/// Run it.  Gives the first line of what it prints, and what it complains of.
///
/// # Errors
/// When it fails, takes too long or prints nothing; what it printed is never in the text.
pub fn run(command: &Command, stop: &dyn Stop) -> Result<(Secret, Vec<String>)> {
    let key = command.key;
    let mut argv = command.argv.clone();
    let name = argv.first().map(|it| it.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    if let Some(program) = argv.first_mut() {
        let found = plan::find(
            program,
            &command.search,
            &format!("correct {key} in :remote"),
        );
        *program = found
            .map_err(|refused| anyhow!(refused.text))?
            .into_os_string();
    }
    let recipe = Recipe {
        argv: &argv,
        environment: &command.environment,
        directory: None,
        feed: false,
        apart: true,
        keeps: &[],
    };
    let (process, pipes) = process::spawn(&recipe).map_err(|refused| anyhow!(refused.text))?;
    let mut output = Some(pipes.output);
    let mut errors = pipes.errors;
    let mut printed = Zeroizing::new(Vec::with_capacity(MOST));
    let mut complaints = Complaints::default();
    let mut lines = Vec::new();
    let until = Instant::now() + PATIENCE;
    loop {
        if stop.stops() {
            bail!("mailsync ended it");
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            bail!("{name} ({key}) did not end within {} s", PATIENCE.as_secs());
        }
        let sources = [
            (Some(process.over()), PollFlags::IN),
            (stop.woken(), PollFlags::IN),
            (output.as_ref().map(std::os::fd::AsFd::as_fd), PollFlags::IN),
            (errors.as_ref().map(std::os::fd::AsFd::as_fd), PollFlags::IN),
        ];
        let [over, woken, prints, complains] = ready::wait(sources, Some(left))?;
        if woken {
            stop.look();
        }
        if prints || over {
            let mut buffer = Zeroizing::new([0; 4096]);
            // All that matters, and no more: some never come to an end.
            let mut reads = 0..=MOST / 4096;
            while let Some(pipe) = &output
                && reads.next().is_some()
            {
                match rustix::io::read(pipe, &mut buffer[..]) {
                    Ok(count @ 1..) => {
                        let room = MOST - printed.len();
                        printed.extend_from_slice(&buffer[..count.min(room)]);
                    }
                    Err(Errno::INTR) => {}
                    Err(Errno::AGAIN) => break,
                    Ok(0) | Err(_) => output = None,
                }
            }
        }
        if complains || over {
            let mut buffer = [0; 4096];
            let read = errors.as_ref().map(|it| rustix::io::read(it, &mut buffer));
            match read {
                Some(Ok(count @ 1..)) => {
                    lines.extend(complaints.push(Instant::now(), &buffer[..count]))
                }
                Some(Err(Errno::AGAIN | Errno::INTR)) | None => {}
                Some(Ok(0) | Err(_)) => errors = None,
            }
        }
        if over {
            break;
        }
    }
    lines.extend(complaints.finish(Instant::now()));
    let exit = process.finish();
    if exit != Some(Exit::Code(0)) {
        let how = match exit {
            Some(Exit::Code(code)) => format!("exited with {code}"),
            Some(Exit::Signal(signal)) => format!("was ended by signal {signal}"),
            None => "ended somehow".to_owned(),
        };
        let said = complaints.last();
        let said = if said.is_empty() {
            String::new()
        } else {
            format!(": {said}")
        };
        bail!("{name} ({key}) {how}{said}");
    }
    let line = printed
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        bail!("{name} ({key}) printed nothing");
    }
    Ok((Secret::new(line.to_vec()), lines))
}
