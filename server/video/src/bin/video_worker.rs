//! The worker as a program of its own, for this crate's tests: `homereel-video-worker` is an honest one, its
//! first argument makes it misbehave in one way; others only name the process. The product calls `homereel video-worker`.

use std::{
    io::{self, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    process::{self, ExitCode},
    thread,
    time::Duration,
};

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        None | Some("honest") => homereel_video::worker::main(),
        Some("hang") => loop {
            thread::sleep(Duration::from_secs(60));
        },
        Some("crash") => {
            let _ = writeln!(io::stderr(), "about to crash");
            process::abort()
        }
        Some("lie") => say(&[0xff; 64]),
        Some("flood") => say(&[b"\x02\0\0\0\xff\xff\xff\x7f{}".as_slice(), &[0; 1 << 20]].concat()),
        Some("silent") => ExitCode::SUCCESS,
        Some(_) => ExitCode::from(2),
    }
}

/// Sends `bytes` as an answer and stays.
fn say(bytes: &[u8]) -> ExitCode {
    let sent = io::stdout()
        .as_fd()
        .try_clone_to_owned()
        .map(UnixStream::from)
        .and_then(|mut socket| socket.write_all(bytes));
    thread::sleep(Duration::from_secs(60));
    if sent.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
