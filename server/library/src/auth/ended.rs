//! Reports when a credential ends, so that streams that it opened end with it.

use std::time::Duration;

use super::{
    identity::{Credential, Identity},
    service::Auth,
};

/// Interval at which a credential is checked without a notice: another process may have ended it (`homereel keys revoke`,
/// `homereel password set`), or its time is up.
const PERIOD: Duration = Duration::from_secs(60);

impl Auth {
    /// Completes when `credential` no longer belongs to `who` as they are now: after a logout, a new password, another role,
    /// the removal of the user or key, or expiry; and when the database fails.
    pub fn ended(
        &self,
        credential: Credential<'_>,
        who: Identity,
    ) -> impl Future<Output = ()> + Send + 'static + use<> {
        self.ended_within(credential, who, PERIOD)
    }

    pub(super) fn ended_within(
        &self,
        credential: Credential<'_>,
        who: Identity,
        period: Duration,
    ) -> impl Future<Output = ()> + Send + 'static + use<> {
        let auth = self.clone();
        let (token, is_key) = match credential {
            Credential::Session(token) => (token.to_owned(), false),
            Credential::Key(token) => (token.to_owned(), true),
        };
        async move {
            // Subscribed before the first check, so that no change between both is missed.
            let mut changes = auth.changes.subscribe();
            loop {
                changes.mark_unchanged();
                let credential = if is_key { Credential::Key(&token) } else { Credential::Session(&token) };
                // Checking is no use of the credential: an open stream does not extend a session.
                if !auth.who(credential, false).await.is_ok_and(|now| now.as_ref() == Some(&who)) {
                    return;
                }
                // Both mean that it is checked again.
                let _ = tokio::time::timeout(period, changes.changed()).await;
            }
        }
    }

    /// Notifies streams of a change that may end or alter a credential.
    pub(super) fn announce(&self) {
        self.changes.send_replace(());
    }
}
