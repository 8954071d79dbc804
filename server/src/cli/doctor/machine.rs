//! Checks of the machine: CPU, operating system, kernel, memory, disk, clock, port.

use std::{env::consts::ARCH, fs, io, net::SocketAddr, path::Path, time::Duration};

use homereel_web::format;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::{Check, CheckState, gpu::DetectedGpu};
use crate::cli::guard::meminfo_kib;

const GIB: u64 = 1 << 30;

/// Unix time of a day before this program existed: an earlier clock is wrong.
const NOT_BEFORE_S: i64 = 1_764_000_000;

pub(super) fn architecture() -> Check {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let check = |state| {
        Check::new("architecture", state, format!("{ARCH}, {cores} processors"))
            .facts(json!({ "arch": ARCH, "processors": cores }))
    };
    match ARCH {
        "x86_64" | "aarch64" => check(CheckState::Ok),
        _ => check(CheckState::Warn).mend("only x86_64 and aarch64 are tested"),
    }
}

pub(super) fn system() -> Check {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let System { id, version, pretty } = os_release(&text);
    let check = |state| {
        Check::new("system", state, if pretty.is_empty() { "unknown" } else { &pretty })
            .facts(json!({ "id": id, "version": version }))
    };
    let major: u32 = version.split('.').next().and_then(|number| number.parse().ok()).unwrap_or(0);
    match id.as_str() {
        "debian" if major >= 12 => check(CheckState::Ok),
        "ubuntu" if major >= 24 => check(CheckState::Ok),
        _ => check(CheckState::Warn).mend("Debian 12 and newer and Ubuntu 24.04 and newer are tested"),
    }
}

struct System {
    id: String,
    version: String,
    pretty: String,
}

fn os_release(text: &str) -> System {
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.map(|value| value.trim_matches('"').to_owned()).unwrap_or_default()
    };
    System { id: value("ID"), version: value("VERSION_ID"), pretty: value("PRETTY_NAME") }
}

pub(super) fn kernel() -> Check {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let check = |state| Check::new("kernel", state, release).facts(json!({ "release": release }));
    if version >= (5, 13) {
        check(CheckState::Ok)
    } else {
        check(CheckState::Warn)
            .mend("Landlock, part of the video worker's sandbox, needs Linux 5.13 or newer")
    }
}

pub(super) fn memory(gpu: Option<&DetectedGpu>) -> Check {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let bytes = |name| meminfo_kib(&text, name).map(|kib| kib << 10);
    let (total, available) = (bytes("MemTotal").unwrap_or(0), bytes("MemAvailable").unwrap_or(0));
    let swap = bytes("SwapTotal").unwrap_or(0);
    let unified = gpu.is_some_and(DetectedGpu::unified);
    let words = format!(
        "{} of {} available, {}{}",
        format::size(available),
        format::size(total),
        if swap == 0 { "no swap".into() } else { format!("{} of swap", format::size(swap)) },
        if unified { "; the GPU takes its memory from here" } else { "" }
    );
    let check = |state| {
        Check::new("memory", state, words.clone()).facts(json!({
            "total_bytes": total, "available_bytes": available, "swap_bytes": swap, "unified": unified,
        }))
    };
    match available {
        ..GIB => {
            check(CheckState::Fail).mend("the demo model alone needs half a gigabyte; stop other programs")
        }
        _ if available < 4 * GIB => check(CheckState::Warn).mend("other models need at least 4 GB"),
        _ if unified && swap > 0 => check(CheckState::Warn)
            .mend("swapping GPU memory freezes the machine: `swapoff -a`, or vm.swappiness=10 at most"),
        _ => check(CheckState::Ok),
    }
}

pub(super) fn disk(data: &Path) -> Check {
    // The directory may not exist yet; then its nearest existing parent counts.
    let there = data.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let stat = match rustix::fs::statvfs(there) {
        Ok(stat) => stat,
        Err(error) => return Check::new("disk", CheckState::Fail, format!("{}: {error}", there.display())),
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let check = |state| {
        Check::new("disk", state, format!("{} free for {}", format::size(free), data.display()))
            .facts(json!({ "free_bytes": free, "path": data }))
    };
    match free {
        ..GIB => check(CheckState::Fail).mend("free some space, or choose another disk with --data"),
        _ if free < 20 * GIB => check(CheckState::Warn).mend("an hour of video needs 2 to 20 GB"),
        _ => check(CheckState::Ok),
    }
}

pub(super) async fn clock() -> Check {
    let now = jiff::Timestamp::now();
    let check = |state, how: &str| {
        Check::new("clock", state, format!("{}, {how}", now.strftime("%Y-%m-%d %H:%M UTC")))
    };
    if now.as_second() < NOT_BEFORE_S {
        return check(CheckState::Fail, "which is in the past").mend("`timedatectl set-ntp true`");
    }
    let told = super::gpu::output("timedatectl", &["show", "--property=NTPSynchronized", "--value"]).await;
    match told.as_deref().map(str::trim) {
        Some("yes") => check(CheckState::Ok, "synchronized"),
        Some("no") => check(CheckState::Note, "not synchronized")
            .mend("`timedatectl set-ntp true`; the times of videos and notes depend on it"),
        _ => check(CheckState::Note, "unknown whether it is synchronized"),
    }
}

pub(super) async fn port(listen: SocketAddr) -> Check {
    let check = |state, words: &str| {
        Check::new("port", state, format!("{listen} {words}")).facts(json!({ "listen": listen.to_string() }))
    };
    match TcpListener::bind(listen).await {
        Ok(_) => check(CheckState::Ok, "is free"),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => match answers(listen).await {
            true => check(CheckState::Ok, "has a server that answers"),
            false => check(CheckState::Fail, "is taken by another program").mend(format!(
                "`ss -ltnp 'sport = :{}'` shows which; choose another port with --listen",
                listen.port()
            )),
        },
        Err(error) => check(CheckState::Fail, &format!("cannot be listened on: {error}"))
            .mend("choose an address of this machine and a port above 1023 with --listen"),
    }
}

/// Returns whether a Homereel server listens on the port (`/healthz` answers `ok`).
async fn answers(listen: SocketAddr) -> bool {
    let ask = async || -> io::Result<bool> {
        let mut stream = TcpStream::connect(listen).await?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
        let mut text = String::new();
        stream.take(4096).read_to_string(&mut text).await?;
        Ok(text.starts_with("HTTP/1.1 200") && text.ends_with("ok\n"))
    };
    matches!(timeout(Duration::from_secs(5), ask()).await, Ok(Ok(true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_s_own_words_are_read() {
        let text = "PRETTY_NAME=\"Ubuntu 24.04.4 LTS\"\nVERSION_ID=\"24.04\"\nID=ubuntu\nID_LIKE=debian\n";
        let system = os_release(text);
        assert_eq!((system.id.as_str(), system.version.as_str()), ("ubuntu", "24.04"));
        assert_eq!(system.pretty, "Ubuntu 24.04.4 LTS");
        assert_eq!(os_release("").id, "");
    }

    #[tokio::test]
    async fn a_port_of_another_program_is_told_with_a_mend() {
        let taken = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = taken.local_addr().unwrap();
        // Accepts connections and closes them.
        let other = tokio::spawn(async move { while taken.accept().await.is_ok() {} });
        let check = port(address).await;
        assert_eq!(check.state, CheckState::Fail, "{check:?}");
        assert!(check.mend.unwrap().contains("--listen"));
        other.abort();
        let _ = other.await;
        assert_eq!(port(address).await.state, CheckState::Ok);
    }

    #[test]
    fn the_disk_of_a_directory_that_is_not_there_yet_is_found() {
        let check = disk(Path::new("/tmp/not/there/yet"));
        assert!(check.facts["free_bytes"].as_u64().unwrap() > 0);
    }
}
