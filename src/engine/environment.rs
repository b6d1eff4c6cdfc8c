//! The thread that waits for the machine: it woke up, its clock was set, its network or its mounts
//! changed.
//!
//! It blocks in poll(2) and wakes nobody while nothing happens: no D-Bus, no probes, no timer.
//! What follows from its news is the core's business.  Elsewhere than on Linux there is no such
//! thread; the engine then notices a sleep by [`slept`] when something else wakes it.

use std::time::Duration;

use anyhow::Result;

use linux::Ends;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// From now on `Mounts` comes.
    MountsAreTold,
    /// Something was mounted or unmounted at these places.
    Mounts(Vec<std::path::PathBuf>),
    /// The wall clock jumped: it was set, or the machine slept.
    Clock,
    /// An address or a route came or went.
    Network,
}

/// The thread, which ends when this is dropped.
pub struct Environment {
    _ends: Ends,
}

impl Environment {
    /// Start the thread; it calls `tell` until that returns false.
    ///
    /// # Errors
    /// When the system gives no descriptor or no thread.
    pub fn start(tell: impl Fn(News) -> bool + Send + 'static) -> Result<Self> {
        linux::start(tell).map(|ends| Environment { _ends: ends })
    }
}

/// For how long this machine has slept since it was started; what counts is that it grows.
#[cfg(target_os = "linux")]
#[must_use]
pub fn slept() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    // Boot time goes on in a sleep, monotonic time does not (clock_gettime(2)).  Read last, boot
    // time is a little more, and never less.
    let awake = clock_gettime(ClockId::Monotonic);
    let all = clock_gettime(ClockId::Boottime);
    let nanos = |time: rustix::time::Timespec| {
        let secs = u64::try_from(time.tv_sec).unwrap_or_default();
        Duration::from_secs(secs)
            + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or_default())
    };
    nanos(all).saturating_sub(nanos(awake))
}

/// Nobody knows.
#[cfg(not(target_os = "linux"))]
#[must_use]
pub fn slept() -> Duration {
    Duration::ZERO
}

#[cfg(not(target_os = "linux"))]
mod linux {
    pub struct Ends;

    pub fn start(_: impl Fn(super::News) -> bool + Send + 'static) -> anyhow::Result<Ends> {
        Ok(Ends)
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeSet;
    use std::ffi::OsString;
    use std::fs::File;
    use std::io::{PipeReader, PipeWriter, Read, Seek};
    use std::os::fd::{AsFd, OwnedFd};
    use std::os::unix::ffi::OsStringExt;
    use std::path::PathBuf;
    use std::time::{Duration, Instant};

    use anyhow::{Context, Result};
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::io::Errno;
    use rustix::net::netlink::SocketAddrNetlink;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create,
        timerfd_settime,
    };

    use super::News;
    use crate::threads;

    /// A change of the network comes as many messages: one piece of news so long after the first.
    const NETWORK_SETTLES: Duration = Duration::from_secs(1);

    /// `RTMGRP_IPV4_IFADDR`, `RTMGRP_IPV4_ROUTE`, `RTMGRP_IPV6_IFADDR`, `RTMGRP_IPV6_ROUTE`
    /// (rtnetlink(7)).
    const GROUPS: u32 = 0x10 | 0x40 | 0x100 | 0x400;

    /// Far enough ahead that the timer never expires: seconds since 1970.
    const NEVER: i64 = 1 << 40;

    /// The end whose closing ends the thread.
    pub struct Ends {
        _stop: PipeWriter,
    }

    pub fn start(tell: impl Fn(News) -> bool + Send + 'static) -> Result<Ends> {
        let (stopped, stop) = std::io::pipe().context("a pipe to end a thread by")?;
        let sources = Sources {
            stopped,
            clock: clock().ok(),
            network: network().ok(),
            mounts: Mounts::open().ok(),
        };
        // Without its news the engine does without, as it does on other systems.
        threads::spawn("mailsync-world", move || sources.wait(tell), |_| {})?;
        Ok(Ends { _stop: stop })
    }

    struct Sources {
        stopped: PipeReader,
        clock: Option<OwnedFd>,
        network: Option<OwnedFd>,
        mounts: Option<Mounts>,
    }

    impl Sources {
        fn wait(mut self, tell: impl Fn(News) -> bool) {
            if self.mounts.is_some() && !tell(News::MountsAreTold) {
                return;
            }
            let mut network_settles: Option<Instant> = None;
            loop {
                let left = network_settles.map(|at| at.saturating_duration_since(Instant::now()));
                let Ok(happened) = self.next(left) else {
                    return;
                };
                let mut goes_on = true;
                if happened.clock {
                    goes_on &= tell(News::Clock);
                }
                if happened.network && network_settles.is_none() {
                    network_settles = Some(Instant::now() + NETWORK_SETTLES);
                }
                if network_settles
                    .take_if(|at| *at <= Instant::now())
                    .is_some()
                {
                    goes_on &= tell(News::Network);
                }
                if happened.mounts
                    && let Some(mounts) = &mut self.mounts
                {
                    let changed = mounts.changed();
                    goes_on &= changed.is_empty() || tell(News::Mounts(changed));
                }
                if happened.stopped || !goes_on {
                    return;
                }
            }
        }

        /// Wait for something, at most so long.
        fn next(&mut self, most: Option<Duration>) -> Result<Happened> {
            let most = most.map(Timespec::try_from).transpose()?;
            let sources = [
                (Some(self.stopped.as_fd()), PollFlags::IN),
                (self.clock.as_ref().map(AsFd::as_fd), PollFlags::IN),
                (self.network.as_ref().map(AsFd::as_fd), PollFlags::IN),
                // A change is an exceptional condition (proc_pid_mountinfo(5)).
                (self.mounts.as_ref().map(|it| it.fd.as_fd()), PollFlags::PRI),
            ];
            let mut fds: Vec<PollFd> = (sources.iter())
                .filter_map(|(fd, flags)| fd.map(|fd| PollFd::from_borrowed_fd(fd, *flags)))
                .collect();
            match poll(&mut fds, most.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error).context("poll"),
            }
            let mut ends = fds.iter().map(|fd| !fd.revents().is_empty());
            let mut of = |source: usize| sources[source].0.is_some() && ends.next() == Some(true);
            let happened = Happened {
                stopped: of(0),
                clock: of(1),
                network: of(2),
                mounts: of(3),
            };
            // What cannot be read any more would be there for ever.
            if happened.clock && !drained(self.clock.as_ref(), rearm) {
                self.clock = None;
            }
            if happened.network && !drained(self.network.as_ref(), empty) {
                self.network = None;
            }
            Ok(happened)
        }
    }

    struct Happened {
        stopped: bool,
        clock: bool,
        network: bool,
        mounts: bool,
    }

    fn drained(fd: Option<&OwnedFd>, drain: impl Fn(&OwnedFd) -> Result<()>) -> bool {
        fd.is_some_and(|fd| drain(fd).is_ok())
    }

    /// A timer that never expires, but is cancelled when the wall clock is set, as it is after a
    /// sleep (timerfd_create(2)).
    fn clock() -> Result<OwnedFd> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Realtime, flags).context("timerfd_create")?;
        arm(&timer)?;
        Ok(timer)
    }

    fn arm(timer: &OwnedFd) -> Result<()> {
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        let never = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec {
                tv_sec: NEVER,
                tv_nsec: 0,
            },
        };
        timerfd_settime(timer, flags, &never).context("timerfd_settime")?;
        Ok(())
    }

    fn rearm(timer: &OwnedFd) -> Result<()> {
        // Armed first, so that nothing is missed in between.
        arm(timer)?;
        match rustix::io::read(timer, &mut [0; 8]) {
            Ok(_) | Err(Errno::CANCELED | Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(error) => Err(error).context("reading a timer"),
        }
    }

    /// A socket on which the kernel tells of addresses and routes.
    fn network() -> Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let kind = SocketType::RAW;
        // No protocol is `NETLINK_ROUTE`, which is 0.
        let socket =
            socket_with(AddressFamily::NETLINK, kind, flags, None).context("a netlink socket")?;
        bind(&socket, &SocketAddrNetlink::new(0, GROUPS)).context("binding a netlink socket")?;
        Ok(socket)
    }

    fn empty(socket: &OwnedFd) -> Result<()> {
        let mut buffer = [0; 8192];
        loop {
            match rustix::io::read(socket, &mut buffer) {
                Ok(0) | Err(Errno::AGAIN) => return Ok(()),
                // Too many to keep: a change all the same.
                Ok(_) | Err(Errno::INTR | Errno::NOBUFS) => {}
                Err(error) => return Err(error).context("reading a netlink socket"),
            }
        }
    }

    /// What is mounted.
    struct Mounts {
        fd: OwnedFd,
        /// Without what may change in place.
        known: BTreeSet<(Vec<u8>, PathBuf)>,
    }

    impl Mounts {
        fn open() -> Result<Self> {
            let file = File::open("/proc/self/mountinfo").context("/proc/self/mountinfo")?;
            let mut mounts = Mounts {
                fd: file.into(),
                known: BTreeSet::new(),
            };
            mounts.known = mounts.read()?;
            Ok(mounts)
        }

        fn read(&mut self) -> Result<BTreeSet<(Vec<u8>, PathBuf)>> {
            let mut file = File::from(self.fd.try_clone()?);
            file.rewind()?;
            let mut text = Vec::new();
            file.read_to_end(&mut text)?;
            Ok(parse(&text))
        }

        /// Where something is mounted that was not, or the reverse.
        fn changed(&mut self) -> Vec<PathBuf> {
            let Ok(now) = self.read() else {
                return Vec::new();
            };
            let changed = now.symmetric_difference(&self.known);
            let changed: BTreeSet<PathBuf> = changed.map(|(_, point)| point.clone()).collect();
            self.known = now;
            changed.into_iter().collect()
        }
    }

    /// Identity (number, parent, device) and place of each mount (proc_pid_mountinfo(5)).
    fn parse(text: &[u8]) -> BTreeSet<(Vec<u8>, PathBuf)> {
        let lines = text.split(|byte| *byte == b'\n');
        lines
            .filter_map(|line| {
                let mut fields = line.split(|byte| *byte == b' ');
                let identity: Vec<_> = fields.by_ref().take(3).collect();
                let point = fields.nth(1)?;
                Some((identity.join(&b' '), unescaped(point)))
            })
            .collect()
    }

    /// A space, a tab, a newline and a backslash stand there as `\` and three octal digits.
    fn unescaped(field: &[u8]) -> PathBuf {
        let mut bytes = Vec::with_capacity(field.len());
        let mut rest = field;
        while let [first, more @ ..] = rest {
            let code = |digits: &[u8]| {
                let text = std::str::from_utf8(digits).ok()?;
                u8::from_str_radix(text, 8).ok()
            };
            match (first, more.get(..3).and_then(code)) {
                (b'\\', Some(byte)) => {
                    bytes.push(byte);
                    rest = &more[3..];
                }
                _ => {
                    bytes.push(*first);
                    rest = more;
                }
            }
        }
        OsString::from_vec(bytes).into()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn places_of_mounts_are_read() {
            let text = br"22 27 0:20 / /sys rw,nosuid shared:7 - sysfs sysfs rw
36 35 98:0 /m\040x /mnt/a\040b\134c rw - ext3 /dev/root rw
";
            let expected = [
                (b"22 27 0:20".to_vec(), PathBuf::from("/sys")),
                (b"36 35 98:0".to_vec(), PathBuf::from(r"/mnt/a b\c")),
            ];
            assert_eq!(parse(text), expected.into());
            assert_eq!(parse(b"\n1 2\n"), BTreeSet::new());
        }

        #[test]
        fn our_own_mounts_are_seen_and_do_not_change_by_themselves() {
            let mut mounts = Mounts::open().unwrap();
            let has_root = |(_, point): &(Vec<u8>, PathBuf)| point.as_os_str() == "/";
            assert!(mounts.known.iter().any(has_root));
            mounts.known.retain(|mount| !has_root(mount));
            assert!(mounts.changed().contains(&PathBuf::from("/")));
        }

        #[test]
        fn it_ends_when_nobody_wants_to_know() {
            let (told, news) = std::sync::mpsc::channel();
            let ends = start(move |it| told.send(it).is_ok()).unwrap();
            let wait = Duration::from_secs(20);
            assert_eq!(news.recv_timeout(wait).unwrap(), News::MountsAreTold);
            drop(ends);
            // The thread has dropped its end, and had nothing more to say.
            assert!(loop {
                match news.recv_timeout(wait) {
                    Ok(_) => {}
                    Err(error) => break error == std::sync::mpsc::RecvTimeoutError::Disconnected,
                }
            });
        }
    }
}
