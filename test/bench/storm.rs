//! So many renames a second, evenly: for scale.py, which would not get so far by itself.
//!
//! Reads pairs of names, a line each, separated by a tab: first those that are renamed to and fro, one after
//! the other, then an empty line, and those that are renamed once, at the end.  COUNT is that of all renames.
//! Prints for how many nanoseconds it went on, and then of each of the latter when it was done, by the wall
//! clock, in nanoseconds.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{fs, io, thread};

pub fn main(rate: &str, count: &str) -> Result<(), String> {
    let number = |word: &str| word.parse().map_err(|_| "RATE and COUNT are numbers");
    let (rate, count): (u32, u32) = (number(rate)?, number(count)?);
    let text = io::read_to_string(io::stdin()).map_err(|error| error.to_string())?;
    let (often, once) = text.split_once("\n\n").ok_or("no empty line")?;
    let pairs = |text| -> Vec<(String, String)> {
        let lines = str::lines(text).filter_map(|line| line.split_once('\t'));
        lines
            .map(|(from, to)| (from.to_owned(), to.to_owned()))
            .collect()
    };
    let (mut often, once) = (pairs(often), pairs(once));
    let last = count.saturating_sub(once.len() as u32);
    let mut done = Vec::new();
    let began = Instant::now();
    for at in 0..count {
        let due = began + Duration::from_secs(1) * at / rate;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let rename = |(from, to): &(String, String)| {
            fs::rename(from, to).map_err(|error| format!("{from}: {error}"))
        };
        if at < last {
            let turn = at as usize % often.len();
            let pair = &mut often[turn];
            rename(pair)?;
            *pair = (std::mem::take(&mut pair.1), std::mem::take(&mut pair.0));
        } else {
            rename(&once[(at - last) as usize])?;
            done.push(SystemTime::now());
        }
    }
    println!("{}", began.elapsed().as_nanos());
    for at in done {
        let at = at
            .duration_since(UNIX_EPOCH)
            .map_err(|error| error.to_string())?;
        println!("{}", at.as_nanos());
    }
    Ok(())
}
