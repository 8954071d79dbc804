//! `homereel password link|set`.

use std::io::{self, IsTerminal as _, Read as _, Write as _};

use anyhow::Context as _;
use homereel_library::{Auth, LINK_LIFE, MAX_PASSWORD};

use super::{PasswordCommand, Usage, progress::warn};
use crate::http;

/// Answers one command.
pub(super) async fn run(command: PasswordCommand) -> anyhow::Result<()> {
    match command {
        PasswordCommand::Link { listen, data } => {
            let token = Auth::open(&data.resolve()?).await?.make_link().await?;
            let hours = LINK_LIFE.as_secs() / 3600;
            warn(&format!(
                "whoever opens this link first, within {hours} hours, sets the household's password"
            ));
            writeln!(io::stdout(), "{}", http::login_link(listen, &token)).context("failed to write")
        }
        PasswordCommand::Set { data } => {
            let mut input = io::stdin();
            if input.is_terminal() {
                let words =
                    "a password typed here would be seen; use `homereel password link`, or pipe it in";
                return Err(Usage(anyhow::anyhow!(words)).into());
            }
            let mut text = String::new();
            // One more than fits, so that a longer one is told as such.
            let limit = MAX_PASSWORD as u64 + 2;
            input.by_ref().take(limit).read_to_string(&mut text).context("failed to read standard input")?;
            let password = text.lines().next().unwrap_or_default().to_owned();
            Auth::open(&data.resolve()?).await?.set_password(password).await?;
            writeln!(
                io::stdout(),
                "the password is set; a server that asked for none asks from its next start on"
            )
            .context("failed to write")
        }
    }
}
