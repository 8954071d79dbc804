//! `homereel notes`: prints the log of deploys and memory guard actions on this machine.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Read as _},
    path::PathBuf,
};

use anyhow::{Context as _, bail};

use super::{DataArgs, terminal::print_text};

/// Library directory of a deployed server.
const DEPLOYED: &str = "/var/lib/homereel";

/// Maximum length of a line; a longer one is printed in pieces.
const MAX_LINE: u64 = 1 << 16;

/// Prints `NOTES.md` of the library directory, or of the deployed server's.
pub(super) fn run(data: DataArgs) -> anyhow::Result<()> {
    let here = data.resolve()?;
    let places = [here, PathBuf::from(DEPLOYED)].map(|directory| directory.join("NOTES.md"));
    for place in &places {
        match fs::File::open(place) {
            Ok(file) => return print_file(file).with_context(|| place.display().to_string()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("failed to read {}", place.display())),
        }
    }
    bail!("no notes in {} or {}; scripts/deploy.sh writes them", places[0].display(), places[1].display())
}

fn print_file(file: fs::File) -> anyhow::Result<()> {
    let mut file = BufReader::new(file);
    let mut line = Vec::new();
    while file.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? > 0 {
        print_text(&String::from_utf8_lossy(&line))?;
        line.clear();
    }
    Ok(())
}
