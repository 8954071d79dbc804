//! `homereel completions SHELL` and the man pages, both generated from the command line's definition.

use std::{
    io::{self, Write as _},
    path::Path,
};

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Cli;

/// Prints the completion script of a shell.
pub(super) fn completions(shell: Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "homereel", &mut script);
    io::stdout().write_all(&script).context("failed to write")
}

/// Writes a man page for the program and one for each command into a directory, which is created if missing.
pub(super) fn man_pages(directory: &Path) -> anyhow::Result<()> {
    let name = || directory.display().to_string();
    std::fs::create_dir_all(directory).with_context(name)?;
    clap_mangen::generate_to(Cli::command(), directory).with_context(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_public_command_has_a_man_page() {
        let directory = tempfile::tempdir().unwrap();
        man_pages(directory.path()).unwrap();
        for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let page = directory.path().join(format!("homereel-{}.1", command.get_name()));
            assert!(page.is_file(), "{}", page.display());
        }
        let page = std::fs::read_to_string(directory.path().join("homereel.1")).unwrap();
        assert!(page.contains("homereel\\-check") && !page.contains("video\\-worker"), "{page}");
    }
}
