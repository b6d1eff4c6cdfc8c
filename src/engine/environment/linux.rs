//! The environment on Linux: a timer that is cancelled when the clock is set, rtnetlink, and the
//! table of mounts, in one poll(2).

use std::io::{PipeReader, PipeWriter};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

use super::mounts::Mounts;
use super::{News, Support, Told};
use crate::ready;
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

pub fn start(tell: impl Fn(News) -> bool + Send + Sync + 'static) -> Result<Ends> {
    let (stopped, stop) = std::io::pipe().context("a pipe to end a thread by")?;
    let sources = Sources {
        stopped,
        clock: clock().ok(),
        network: network().ok(),
        mounts: Mounts::open().ok(),
    };
    let tell = Arc::new(tell);
    let last = tell.clone();
    let body = move || {
        if !sources.wait(&*tell) {
            tell(News::Ended("it cannot wait for the machine".to_owned()));
        }
    };
    threads::spawn("mailsync-world", body, move |text| {
        last(News::Ended(text));
    })?;
    Ok(Ends { _stop: stop })
}

/// What of the machine can be told here: each is tried, and given back.
#[must_use]
pub fn support() -> Vec<Support> {
    use rustix::time::{DynamicClockId, clock_gettime_dynamic};
    let boot = clock_gettime_dynamic(DynamicClockId::Boottime);
    let tried = [
        (Told::Sleep, boot.map(drop).context("clock_gettime")),
        (Told::Clock, clock().map(drop)),
        (Told::Network, network().map(drop)),
        (Told::Mounts, Mounts::open().map(drop)),
    ];
    let support = |(what, tried): (Told, Result<()>)| Support {
        what,
        refused: tried.err().map(|error| format!("{error:#}")),
    };
    tried.map(support).into()
}

struct Sources {
    stopped: PipeReader,
    clock: Option<OwnedFd>,
    network: Option<OwnedFd>,
    mounts: Option<Mounts>,
}

impl Sources {
    /// Tell until nobody wants to know; false when that cannot be.
    fn wait(mut self, tell: &dyn Fn(News) -> bool) -> bool {
        if self.mounts.is_some() && !tell(News::MountsAreTold) {
            return true;
        }
        let mut network_settles: Option<Instant> = None;
        loop {
            let left = network_settles.map(|at| at.saturating_duration_since(Instant::now()));
            let Ok(happened) = self.next(left) else {
                return false;
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
                return true;
            }
        }
    }

    /// Wait for something, at most so long.
    fn next(&mut self, most: Option<Duration>) -> Result<Happened> {
        let sources = [
            (Some(self.stopped.as_fd()), PollFlags::IN),
            (self.clock.as_ref().map(AsFd::as_fd), PollFlags::IN),
            (self.network.as_ref().map(AsFd::as_fd), PollFlags::IN),
            // A change is an exceptional condition (proc_pid_mountinfo(5)).
            (self.mounts.as_ref().map(Mounts::fd), PollFlags::PRI),
        ];
        let [stopped, clock, network, mounts] = ready::wait(sources, most)?;
        let happened = Happened {
            stopped,
            clock,
            network,
            mounts,
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
    arm(&timer).context("timerfd_settime")?;
    Ok(timer)
}

fn arm(timer: &OwnedFd) -> rustix::io::Result<()> {
    let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
    let never = Itimerspec {
        it_interval: Timespec::default(),
        it_value: Timespec {
            tv_sec: NEVER,
            tv_nsec: 0,
        },
    };
    timerfd_settime(timer, flags, &never).map(drop)
}

fn rearm(timer: &OwnedFd) -> Result<()> {
    // Armed first, so that nothing is missed in between; it says then that it was cancelled.
    match arm(timer) {
        Err(Errno::CANCELED) | Ok(()) => {}
        Err(error) => return Err(error).context("timerfd_settime"),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    #[ignore = "sets the machine's clock, to what it is"]
    fn a_clock_that_is_set_is_news_each_time() {
        use nix::time::{ClockId, clock_gettime, clock_settime};
        let (told, news) = std::sync::mpsc::channel();
        let ends = start(move |it| told.send(it).is_ok()).unwrap();
        let wait = Duration::from_secs(20);
        assert_eq!(news.recv_timeout(wait).unwrap(), News::MountsAreTold);
        for _ in 0..4 {
            let clock = ClockId::CLOCK_REALTIME;
            clock_settime(clock, clock_gettime(clock).unwrap()).unwrap();
            assert_eq!(news.recv_timeout(wait).unwrap(), News::Clock);
        }
        drop(ends);
    }
}
