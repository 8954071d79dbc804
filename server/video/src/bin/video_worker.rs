//! The worker as a program of its own, for this crate's tests. `homereel-video-worker` is a regular worker; its first argument
//! makes it misbehave in one way. The product runs `homereel video-worker` instead.
//! `sandboxed DEED …` and `free DEED …` simulate a worker that a hostile video has taken over: a video that ends with
//! [`MARK`] makes it do the deed, with the product's sandbox and without.
#![expect(unsafe_code, reason = "crimes: a stray pointer, a fork, a stolen descriptor")]

use std::{
    fs::{self, File},
    io::{self, Write},
    net::TcpStream,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{fs::FileExt, net::UnixStream},
    },
    process::{self, Command, ExitCode},
    ptr, thread,
    time::Duration,
};

use homereel_video::worker::{self, Served};
use rustix::{
    fs::fstat,
    process::{Signal, getppid, kill_process},
};

/// Last bytes of a hostile video.
const MARK: [u8; 4] = *b"EVIL";

fn main() -> ExitCode {
    match worker::serve_template() {
        Ok(Served::Worker) => {}
        Ok(Served::Template) => return ExitCode::SUCCESS,
        Err(_) => return ExitCode::FAILURE,
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match *words {
        [] | ["honest", ..] => worker::main(),
        ["sandboxed", deed, ref rest @ ..] => worker::main_as(true, |file| tempt(file, deed, rest)),
        ["free", deed, ref rest @ ..] => worker::main_as(false, |file| tempt(file, deed, rest)),
        ["hang", ..] => loop {
            thread::sleep(Duration::from_secs(60));
        },
        ["crash", ..] => {
            let _ = writeln!(io::stderr(), "about to crash");
            process::abort()
        }
        ["lie", ..] => say(&[0xff; 64]),
        ["flood", ..] => say(&[b"\x02\0\0\0\xff\xff\xff\x7f{}".as_slice(), &[0; 1 << 20]].concat()),
        ["silent", ..] => ExitCode::SUCCESS,
        _ => ExitCode::from(2),
    }
}

/// Sends `bytes` as an answer and stays.
fn say(bytes: &[u8]) -> ExitCode {
    let sent = io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map(UnixStream::from)
        .and_then(|mut socket| socket.write_all(bytes));
    thread::sleep(Duration::from_secs(60));
    if sent.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Does the deed if the video is hostile.
fn tempt(file: &File, deed: &str, words: &[&str]) -> io::Result<()> {
    let mut last = [0; MARK.len()];
    file.read_exact_at(&mut last, file.metadata()?.len().saturating_sub(MARK.len() as u64))?;
    if last != MARK {
        return Ok(());
    }
    let word = words.first().copied().unwrap_or_default();
    match deed {
        "segfault" => {
            // SAFETY: none, on purpose; the kernel ends the process.
            unsafe { ptr::null_mut::<u8>().write_volatile(1) };
            Ok(())
        }
        "spin" => loop {
            std::hint::spin_loop();
        },
        "dawdle" => {
            for _ in 0..200 {
                worker::progress();
                thread::sleep(Duration::from_millis(20));
            }
            Ok(())
        }
        "grow" => {
            let hoard: Vec<Vec<u8>> = (0..32).map(|_| vec![1; 16 << 20]).collect();
            std::hint::black_box(hoard);
            Ok(())
        }
        "write" => fs::write(word, "stolen"),
        "read" => fs::read(word).map(drop),
        "connect" => TcpStream::connect(word).map(drop),
        "spawn" => Command::new("/bin/true").status().map(drop),
        "signal" => {
            kill_process(getppid().ok_or(io::ErrorKind::NotFound)?, Signal::CONT).map_err(io::Error::from)
        }
        "fork" => fork(),
        "environment" => match std::env::vars().find(|(name, _)| name != "LD_LIBRARY_PATH") {
            Some((name, _)) => writeln!(io::stderr(), "{name} is set"),
            None => Err(io::Error::other("no variables")),
        },
        "descriptor" => {
            let number = word.parse().map_err(io::Error::other)?;
            // SAFETY: whether it is open is the question; nothing but a look at it is done.
            let stolen = unsafe { BorrowedFd::borrow_raw(number) };
            Ok(fstat(stolen).map(drop)?)
        }
        _ => Err(io::Error::other(format!("no deed is called {deed}"))),
    }
}

fn fork() -> io::Result<()> {
    // SAFETY: the child does nothing but end.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: ends the child without touching what it shares.
        0 => unsafe { libc::_exit(0) },
        _ => Ok(()),
    }
}
