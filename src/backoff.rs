//! How long to wait before what failed is tried again.  Pure.

use std::time::Duration;

/// A failure waits at least so long.
pub const LEAST: Duration = Duration::from_secs(5);

/// How long to wait after so many failures in a row (from 1): doubled each time, and up to a quarter
/// longer, so that many do not try in step; never longer than `most`.
///
/// `chance` decides that quarter, and goes on to the next one; with 0 there is none.
pub fn wait(failures: u32, first: Duration, most: Duration, chance: &mut u64) -> Duration {
    let doublings = failures.saturating_sub(1).min(20);
    let wait = first.saturating_mul(1 << doublings).min(most);
    // xorshift, 64 bits.
    *chance ^= *chance << 13;
    *chance ^= *chance >> 7;
    *chance ^= *chance << 17;
    let jitter = (wait / 4).mul_f64((*chance % 1000) as f64 / 1000.0);
    (wait + jitter).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_most() {
        let second = Duration::from_secs;
        let waits = (1..9).map(|failures| wait(failures, second(5), second(600), &mut 0).as_secs());
        let waits: Vec<u64> = waits.collect();
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 600]);
        assert_eq!(wait(u32::MAX, second(5), second(600), &mut 0), second(600));
    }

    #[test]
    fn jitter_only_adds() {
        let (first, most) = (Duration::from_secs(8), Duration::from_secs(600));
        let mut chance = 1;
        for _ in 0..1000 {
            let wait = wait(1, first, most, &mut chance);
            assert!(wait >= first && wait < first + first / 4, "{wait:?}");
        }
    }
}
