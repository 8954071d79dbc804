//! Suspends (SIGSTOP) the process groups of all servers on this machine except the one that is being measured, and
//! resumes them afterwards. Engines busy-wait for a while after their last token, which would slow down the next
//! server.

use std::io;
use std::str::FromStr;

use rustix::process::{Pid, Signal, kill_process_group};

/// The process group of a server: `NAME=ID`.
#[derive(Debug, Clone)]
pub(super) struct ServerGroup {
    /// The server's name.
    pub(super) name: String,
    id: Pid,
}

impl FromStr for ServerGroup {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, id) = text.split_once('=').ok_or_else(|| format!("'{text}' is not NAME=ID"))?;
        // Group 1 would be every process that this user may signal.
        let id = id.parse().ok().filter(|&id| id > 1).and_then(Pid::from_raw);
        let id = id.ok_or_else(|| format!("'{text}' has no process group; a number above 1 would fit"))?;
        Ok(Self { name: name.to_owned(), id })
    }
}

/// The groups of which at most one runs. All continue when it is dropped.
#[derive(Debug)]
pub(super) struct ExclusiveGroups(Vec<ServerGroup>);

impl ExclusiveGroups {
    pub(super) fn new(groups: Vec<ServerGroup>) -> Self {
        Self(groups)
    }

    /// Continues the server `name` and stops all others.
    pub(super) fn run_only(&self, name: &str) -> io::Result<()> {
        for group in self.0.iter().filter(|group| group.name != name) {
            kill_process_group(group.id, Signal::STOP)?;
        }
        for group in self.0.iter().filter(|group| group.name == name) {
            kill_process_group(group.id, Signal::CONT)?;
        }
        Ok(())
    }
}

impl Drop for ExclusiveGroups {
    fn drop(&mut self) {
        for group in &self.0 {
            // Fails if the group has exited, which needs no signal.
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
    fn only_one_group_runs() {
        let mut servers: Vec<_> =
            (0..2).map(|_| Command::new("sleep").arg("60").process_group(0).spawn().unwrap()).collect();
        let state = |pid: u32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            stat.rsplit(") ").next().unwrap().chars().next().unwrap()
        };
        let groups = ["a", "b"].iter().zip(&servers).map(|(name, child)| format!("{name}={}", child.id()));
        let exclusive = ExclusiveGroups::new(groups.map(|text| text.parse().unwrap()).collect());
        let (a, b) = (servers[0].id(), servers[1].id());
        // A signal is sent before the call returns, and takes effect a little later.
        let wait_until = |pid: u32, stopped: bool| {
            while (state(pid) == 'T') != stopped {
                std::thread::yield_now()
            }
        };
        exclusive.run_only("a").unwrap();
        wait_until(b, true);
        wait_until(a, false);
        exclusive.run_only("b").unwrap();
        wait_until(a, true);
        wait_until(b, false);
        drop(exclusive);
        wait_until(a, false);
        for server in &mut servers {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }

    #[test]
    fn a_group_is_a_name_and_a_number_above_1() {
        for bad in ["a=1", "a", "a=-5"] {
            assert!(bad.parse::<ServerGroup>().is_err(), "{bad}");
        }
    }
}
