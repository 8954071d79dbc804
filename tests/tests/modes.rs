//! The library is private whatever the umask is: no other user of the machine reads a video or the database.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::ensure;
use homereel_tests::{Server, clips, homereel};

/// Returns what others may do something with, below `path` and itself.
fn open_to_others(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let metadata = path.symlink_metadata()?;
    let mut open = Vec::new();
    if metadata.permissions().mode() & 0o077 != 0 {
        open.push(path.to_owned());
    }
    if metadata.is_dir() {
        for entry in std::fs::read_dir(path)? {
            open.extend(open_to_others(&entry?.path())?);
        }
    }
    Ok(open)
}

// The umask belongs to the process, so this is the only test of this program.
#[tokio::test]
async fn nobody_else_reads_the_library_or_a_backup_whatever_the_umask_is() -> anyhow::Result<()> {
    let clip = clips::simple(6)?;
    rustix::process::umask(rustix::fs::Mode::empty());
    let mut server = Server::start().await?;
    let id = server.upload(&clip.file).await?;
    let unfinished = server.client().post(server.url("/api/uploads")).header("tus-resumable", "1.0.0");
    unfinished.header("upload-length", 9).send().await?.error_for_status()?;
    let end = Instant::now() + Duration::from_secs(120);
    while server.json(&format!("/api/videos/{id}")).await?["jobs"][0]["state"] != "done" {
        ensure!(Instant::now() < end, "the job never ended: {}", server.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let open = open_to_others(server.data())?;
    ensure!(open.is_empty(), "{open:?}");

    let other = tempfile::tempdir()?;
    let (file, new) = (other.path().join("copy.db"), other.path().join("new"));
    let [file, new, data] = [file.as_path(), &new, server.data()].map(|path| path.display().to_string());
    homereel(["backup", &file, "--data", &data]).await?.answer()?;
    // The originals are missing there.
    homereel(["restore", &file, "--data", &new]).await?;
    for entry in std::fs::read_dir(other.path())? {
        let open = open_to_others(&entry?.path())?;
        ensure!(open.is_empty(), "{open:?}");
    }

    // As an earlier version left it.
    std::fs::set_permissions(server.data(), std::fs::Permissions::from_mode(0o755))?;
    server.kill_and_restart().await?;
    let open = open_to_others(server.data())?;
    ensure!(open.is_empty(), "{open:?}");
    Ok(())
}
