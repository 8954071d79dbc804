//! `homereel notes`: prints the log of deploys and memory guard actions on this machine.

use std::{fs, io, io::Write as _, path::PathBuf};

use anyhow::{Context as _, bail};

use super::DataArgs;

/// Library directory of a deployed server.
const DEPLOYED: &str = "/var/lib/homereel";

/// Prints `NOTES.md` of the library directory, or of the deployed server's.
pub(super) fn run(data: DataArgs) -> anyhow::Result<()> {
    let here = data.resolve()?;
    let places = [here, PathBuf::from(DEPLOYED)].map(|directory| directory.join("NOTES.md"));
    for place in &places {
        match fs::File::open(place) {
            Ok(mut file) => {
                io::copy(&mut file, &mut io::stdout().lock()).context("failed to write")?;
                return io::stdout().flush().context("failed to write");
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("failed to read {}", place.display())),
        }
    }
    bail!("no notes in {} or {}; scripts/deploy.sh writes them", places[0].display(), places[1].display())
}
