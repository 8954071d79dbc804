//! Whose turn it is among servers on one machine, and that nobody else works in it. Knows no question.

use std::io;
use std::str::FromStr;

use rustix::process::{Pid, Signal, kill_process_group};

/// In which order `count` servers are asked question `n`: in time each comes at each place, and after each other server,
/// as often as any (Williams' squares), so that what drifts, and what one leaves behind for the next, meets all alike.
pub(super) fn turns(n: usize, count: usize) -> Vec<usize> {
    let step = |k: usize| if k.is_multiple_of(2) { count - k / 2 } else { k.div_ceil(2) };
    let mut order: Vec<usize> = (0..count).map(|k| (step(k) + n) % count).collect();
    // An odd number of servers needs the mirrored square, too.
    if count % 2 == 1 && (n / count) % 2 == 1 {
        order.reverse();
    }
    order
}

/// The process group of a server with this name: `NAME=ID`.
#[derive(Debug, Clone)]
pub(super) struct Group {
    /// The server's name.
    pub(super) name: String,
    id: Pid,
}

impl FromStr for Group {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, id) = text.split_once('=').ok_or_else(|| format!("'{text}' is not NAME=ID"))?;
        // 1 would be everything that this user may signal.
        let id = id.parse().ok().filter(|&id| id > 1).and_then(Pid::from_raw);
        let id = id.ok_or_else(|| format!("'{text}' has no process group; a number above 1 would fit"))?;
        Ok(Self { name: name.to_owned(), id })
    }
}

/// Groups that are stopped while others have their turn: engines spin for a while after their last token, and would
/// take from the next what it is measured by. All go on when it is dropped.
#[derive(Debug)]
pub(super) struct Floor(Vec<Group>);

impl Floor {
    pub(super) fn new(groups: Vec<Group>) -> Self {
        Self(groups)
    }

    /// Lets the server `name` go on, and stops the others.
    pub(super) fn give(&self, name: &str) -> io::Result<()> {
        for group in self.0.iter().filter(|group| group.name != name) {
            kill_process_group(group.id, Signal::STOP)?;
        }
        for group in self.0.iter().filter(|group| group.name == name) {
            kill_process_group(group.id, Signal::CONT)?;
        }
        Ok(())
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        for group in &self.0 {
            // One that is gone needs no word.
            let _ = kill_process_group(group.id, Signal::CONT);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;

    use super::*;

    #[test]
    fn each_server_comes_at_each_place_and_after_each_other_as_often() {
        for count in 2..=5 {
            let rows: Vec<Vec<usize>> = (0..2 * count).map(|n| turns(n, count)).collect();
            for a in 0..count {
                for place in 0..count {
                    assert_eq!(rows.iter().filter(|row| row[place] == a).count(), 2, "{count}: {rows:?}");
                }
                for b in (0..count).filter(|&b| b != a) {
                    let next = |row: &Vec<usize>| row.windows(2).any(|pair| pair == [a, b]);
                    assert_eq!(rows.iter().filter(|row| next(row)).count(), 2, "{count}, {a} {b}: {rows:?}");
                }
            }
        }
    }

    #[test]
    fn only_whose_turn_it_is_runs() {
        let mut servers: Vec<_> =
            (0..2).map(|_| Command::new("sleep").arg("60").process_group(0).spawn().unwrap()).collect();
        let state = |pid: u32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            stat.rsplit(") ").next().unwrap().chars().next().unwrap()
        };
        let groups = ["a", "b"].iter().zip(&servers).map(|(name, child)| format!("{name}={}", child.id()));
        let floor = Floor::new(groups.map(|text| text.parse().unwrap()).collect());
        let (a, b) = (servers[0].id(), servers[1].id());
        // A stop is told before the call returns, and seen a little later.
        let until = |pid: u32, stopped: bool| {
            while (state(pid) == 'T') != stopped {
                std::thread::yield_now()
            }
        };
        floor.give("a").unwrap();
        until(b, true);
        until(a, false);
        floor.give("b").unwrap();
        until(a, true);
        until(b, false);
        drop(floor);
        until(a, false);
        for server in &mut servers {
            server.kill().unwrap();
            server.wait().unwrap();
        }
        assert!(
            "a=1".parse::<Group>().is_err()
                && "a".parse::<Group>().is_err()
                && "a=-5".parse::<Group>().is_err()
        );
    }
}
