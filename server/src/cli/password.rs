//! `homereel password link|set`: prints a one-time link that sets the household's password, or sets it from stdin.

use std::io::{self, IsTerminal as _, Read as _};

use anyhow::Context as _;
use homereel_library::{Auth, LINK_LIFE, MAX_PASSWORD};

use super::{
    PasswordCommand, UsageError,
    terminal::{print, warn},
};
use crate::{
    audit::{AuditEntry, AuditLog},
    http,
};

/// Runs one subcommand.
pub(super) async fn run(command: PasswordCommand) -> anyhow::Result<()> {
    match command {
        PasswordCommand::Link { listen, tls_cert, if_unset, data } => {
            let data = data.resolve()?;
            let auth = Auth::open(&data).await?;
            if if_unset && auth.has_password().await? {
                return Ok(());
            }
            let token = auth.make_link().await?;
            AuditLog::new(&data).record(&AuditEntry::of_command("make_password_link", "household"));
            let hours = LINK_LIFE.as_secs() / 3600;
            warn(&format!(
                "this link is valid once, for {hours} hours: whoever opens it first sets the household's password"
            ));
            print(&http::login_link(listen, tls_cert.is_some(), &token))
        }
        PasswordCommand::Set { data } => {
            let mut input = io::stdin();
            if input.is_terminal() {
                let words = "standard input is a terminal, which shows the password; pipe it in, or use \
                             `homereel password link`";
                return Err(UsageError(anyhow::anyhow!(words)).into());
            }
            let mut text = String::new();
            // One byte more than is allowed, so that a longer password is refused, not cut.
            let limit = MAX_PASSWORD as u64 + 2;
            input.by_ref().take(limit).read_to_string(&mut text).context("failed to read standard input")?;
            let password = text.lines().next().unwrap_or_default().to_owned();
            let data = data.resolve()?;
            Auth::open(&data).await?.set_password(password).await?;
            AuditLog::new(&data).record(&AuditEntry::of_command("set_password", "household"));
            print("the password is set; a server that required no login requires one after its next start")
        }
    }
}
