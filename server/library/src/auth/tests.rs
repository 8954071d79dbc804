//! Tests of authentication with a real database.

use std::{
    net::IpAddr,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use tokio::task::{JoinHandle, JoinSet};

use super::{
    throttle::{ACCOUNT, ADDRESS, Throttle},
    *,
};

const PASSWORD: &str = "correct horse";

async fn door() -> (tempfile::TempDir, Auth) {
    let data = tempfile::tempdir().unwrap();
    let auth = Auth::open(data.path()).await.unwrap();
    (data, auth)
}

#[tokio::test]
async fn a_link_sets_the_password_once_and_the_password_opens_sessions() {
    let (_data, auth) = door().await;
    assert!(!auth.has_password().await.unwrap());
    let error = auth.log_in(None, PASSWORD.into(), None).await.unwrap_err();
    assert!(matches!(error, AuthError::NoPassword));
    let link = auth.make_link().await.unwrap();
    assert!(auth.link_lives(&link).await.unwrap());
    // A password that is not accepted does not use up the link.
    let error = auth.log_in_first(&link, "short".into(), None).await.unwrap_err();
    assert!(error.to_string().contains("8 or more"), "{error}");
    let first = auth.log_in_first(&link, PASSWORD.into(), None).await.unwrap();
    let error = auth.log_in_first(&link, "another one".into(), None).await.unwrap_err();
    assert!(matches!(error, AuthError::DeadLink));
    let who = auth.identify(Credential::Session(&first.token)).await.unwrap().unwrap();
    assert_eq!((who.name.as_str(), who.role), (HOUSEHOLD, Role::Admin));

    let error = auth.log_in(None, "wrong horse".into(), None).await.unwrap_err();
    assert!(matches!(error, AuthError::WrongPassword));
    let second = auth.log_in(None, PASSWORD.into(), None).await.unwrap();
    auth.log_out(&second.token).await.unwrap();
    assert!(auth.identify(Credential::Session(&second.token)).await.unwrap().is_none());
    assert!(auth.identify(Credential::Session(&first.token)).await.unwrap().is_some());
}

#[tokio::test]
async fn a_new_password_ends_all_sessions_and_the_same_one_ends_none() {
    let (_data, auth) = door().await;
    auth.declare_password(PASSWORD.into()).await.unwrap();
    let session = auth.log_in(None, PASSWORD.into(), None).await.unwrap();
    auth.declare_password(PASSWORD.into()).await.unwrap();
    assert!(auth.identify(Credential::Session(&session.token)).await.unwrap().is_some());
    auth.declare_password("battery staple".into()).await.unwrap();
    assert!(auth.identify(Credential::Session(&session.token)).await.unwrap().is_none());
}

#[tokio::test]
async fn keys_are_shown_once_and_can_be_revoked() {
    let (data, auth) = door().await;
    let new = auth.add_key("phone", Role::Viewer).await.unwrap();
    assert!(matches!(auth.add_key("phone", Role::Admin).await.unwrap_err(), AuthError::KeyExists(_)));
    assert!(matches!(auth.add_key(" ", Role::Admin).await.unwrap_err(), AuthError::Invalid(_)));
    let who = auth.identify(Credential::Key(&new.token)).await.unwrap().unwrap();
    assert_eq!((who.name.as_str(), who.role), ("phone", Role::Viewer));
    // A key is not accepted as a session, nor a session as a key.
    assert!(auth.identify(Credential::Session(&new.token)).await.unwrap().is_none());
    let keys = auth.keys().await.unwrap();
    assert_eq!(keys.len(), 1);
    assert!(keys[0].last_used_ms.is_some());
    // The stored hashes are not accepted as credentials.
    auth.pool.close().await;
    let bytes = std::fs::read(data.path().join("homereel.db")).unwrap();
    assert!(!bytes.windows(new.token.len()).any(|window| window == new.token.as_bytes()));
    let auth = Auth::open(data.path()).await.unwrap();
    auth.revoke_key("phone").await.unwrap();
    assert!(auth.identify(Credential::Key(&new.token)).await.unwrap().is_none());
    assert!(matches!(auth.revoke_key("phone").await.unwrap_err(), AuthError::NoKey(_)));
}

#[tokio::test]
async fn what_is_no_token_is_nobody_s() {
    let (_data, auth) = door().await;
    for token in ["", "x", &"x".repeat(4096)] {
        assert!(auth.identify(Credential::Session(token)).await.unwrap().is_none());
        assert!(auth.identify(Credential::Key(token)).await.unwrap().is_none());
        assert!(!auth.link_lives(token).await.unwrap());
    }
}

#[test]
fn roles_are_ordered() {
    assert!(Role::Viewer < Role::Member && Role::Member < Role::Admin);
}

#[tokio::test]
async fn users_come_in_by_name_with_their_role_and_leave_when_they_are_removed() {
    let (_data, auth) = door().await;
    auth.declare_password(PASSWORD.into()).await.unwrap();
    let oma = auth.add_user(" Oma ", Role::Viewer, "garden gate".into()).await.unwrap();
    assert_eq!(oma.name, "Oma");
    for taken in ["oma", "Household"] {
        let error = auth.add_user(taken, Role::Admin, "garden gate".into()).await.unwrap_err();
        assert!(matches!(error, AuthError::UserExists(_)), "{taken}: {error}");
    }
    assert!(auth.add_user("Opa", Role::Admin, "short".into()).await.is_err());
    assert!(auth.add_user("a\nb", Role::Admin, "garden gate".into()).await.is_err());

    for (name, password) in [(Some("Oma"), PASSWORD), (None, "garden gate"), (Some("Opa"), PASSWORD)] {
        let error = auth.log_in(name, password.into(), None).await.unwrap_err();
        assert!(matches!(error, AuthError::WrongPassword), "{name:?}: {error}");
    }
    let session = auth.log_in(Some("oma"), "garden gate".into(), None).await.unwrap();
    let other = auth.log_in(Some("Oma"), "garden gate".into(), None).await.unwrap();
    let role = async |token: &str| {
        auth.identify(Credential::Session(token)).await.unwrap().map(|who| (who.name, who.role))
    };
    assert_eq!(role(&session.token).await, Some(("Oma".into(), Role::Viewer)));
    auth.set_role(&oma.id, Role::Member).await.unwrap();
    assert_eq!(role(&session.token).await, Some(("Oma".into(), Role::Member)));

    // Whoever knows the old password sets a new one; other sessions end, this one stays.
    let change =
        async |old: &str, new: &str| auth.change_password(&session.token, old.into(), new.into(), None).await;
    assert!(matches!(change("wrong", "rose bushes").await.unwrap_err(), AuthError::WrongPassword));
    change("garden gate", "rose bushes").await.unwrap();
    assert!(role(&session.token).await.is_some() && role(&other.token).await.is_none());
    auth.log_in(Some("Oma"), "rose bushes".into(), None).await.unwrap();

    let household = auth.users().await.unwrap().remove(0);
    assert!(household.household && auth.remove_user(&household.id).await.is_err());
    assert!(auth.set_role(&household.id, Role::Viewer).await.is_err());
    auth.reset_password(&oma.id, "lavender".into()).await.unwrap();
    assert!(role(&session.token).await.is_none());
    let session = auth.log_in(Some("Oma"), "lavender".into(), None).await.unwrap();
    auth.remove_user(&oma.id).await.unwrap();
    assert!(role(&session.token).await.is_none());
    assert!(!auth.has_users().await.unwrap());
}

/// A clock that stands still, so that no wait ends during a test.
fn still() -> Instant {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    *START
}

async fn guarded() -> (tempfile::TempDir, Auth) {
    let (data, mut auth) = door().await;
    auth.throttle = Arc::new(Throttle::with_clock(still));
    auth.set_password(PASSWORD.into()).await.unwrap();
    (data, auth)
}

fn address(last: u8) -> Option<IpAddr> {
    Some(IpAddr::from([10, 0, 0, last]))
}

/// Counts the tries that were compared with the password; the others were told to wait.
fn compared<T>(results: &[Result<T, AuthError>]) -> usize {
    let waits = |result: &&Result<T, AuthError>| matches!(result, Err(AuthError::TooManyTries { .. }));
    results.len() - results.iter().filter(waits).count()
}

#[tokio::test]
async fn concurrent_guesses_are_counted_before_they_are_compared() {
    let (_data, auth) = guarded().await;
    let mut tries = JoinSet::new();
    for _ in 0..200 {
        let auth = auth.clone();
        tries.spawn(async move { auth.log_in(None, "a guess".into(), address(1)).await });
    }
    let results = tries.join_all().await;
    assert!(results.iter().all(Result::is_err));
    assert_eq!(compared(&results), ADDRESS.free as usize);
    let right = auth.log_in(None, PASSWORD.into(), address(1)).await.unwrap_err();
    assert!(matches!(right, AuthError::TooManyTries { .. }), "{right}");
}

#[tokio::test]
async fn logins_of_one_s_own_give_no_more_guesses_at_another_s() {
    let (_data, auth) = guarded().await;
    auth.add_user("Eve", Role::Viewer, "my own password".into()).await.unwrap();
    let mut guesses = Vec::new();
    for _ in 0..10 {
        for _ in 0..4 {
            guesses.push(auth.log_in(None, "a guess".into(), address(1)).await);
        }
        // Refused as well once the address has to wait.
        let _ = auth.log_in(Some("Eve"), "my own password".into(), address(1)).await;
    }
    assert_eq!(compared(&guesses), ADDRESS.free as usize);
}

#[tokio::test]
async fn guesses_from_many_addresses_are_limited_and_lock_out_no_familiar_one() {
    let (_data, auth) = guarded().await;
    auth.log_in(None, PASSWORD.into(), address(1)).await.unwrap();
    let mut guesses = Vec::new();
    for last in 100..200 {
        guesses.push(auth.log_in(Some("household"), "a guess".into(), address(last)).await);
    }
    assert_eq!(compared(&guesses), ACCOUNT.free as usize);
    let new = auth.log_in(None, PASSWORD.into(), address(2)).await.unwrap_err();
    assert!(matches!(new, AuthError::TooManyTries { retry_after_s: ..=60 }), "{new}");
    auth.log_in(None, PASSWORD.into(), address(1)).await.unwrap();
    // A name that nobody has is counted the same way, so that it does not stand out.
    let mut guesses = Vec::new();
    for last in 100..200 {
        guesses.push(auth.log_in(Some("Nobody"), "a guess".into(), address(last)).await);
    }
    assert_eq!(compared(&guesses), ACCOUNT.free as usize);
    // A link always gets in.
    let link = auth.make_link().await.unwrap();
    auth.log_in_first(&link, "battery staple".into(), address(3)).await.unwrap();
}

#[tokio::test]
async fn guesses_in_the_form_of_a_new_password_or_a_link_count_as_well() {
    let (_data, auth) = guarded().await;
    let session = auth.log_in(None, PASSWORD.into(), address(1)).await.unwrap().token;
    let mut tries = JoinSet::new();
    for _ in 0..50 {
        let (auth, session) = (auth.clone(), session.clone());
        tries.spawn(async move {
            auth.change_password(&session, "a guess".into(), "battery staple".into(), address(1)).await
        });
    }
    assert_eq!(compared(&tries.join_all().await), ADDRESS.free as usize);
    let refused = auth.log_in(None, PASSWORD.into(), address(1)).await.unwrap_err();
    assert!(matches!(refused, AuthError::TooManyTries { .. }), "{refused}");
    let mut links = Vec::new();
    for _ in 0..50 {
        links.push(auth.log_in_first("no link", "battery staple".into(), address(2)).await);
    }
    assert_eq!(compared(&links), ADDRESS.free as usize);
}

/// Starts a stream of a credential; the task ends with it.
async fn stream(auth: &Auth, credential: Credential<'_>) -> JoinHandle<()> {
    let who = auth.identify(credential).await.unwrap().unwrap();
    // A period that no test reaches: only notices count.
    tokio::spawn(auth.ended_within(credential, who, Duration::from_secs(3600)))
}

#[tokio::test]
async fn streams_end_with_the_credential_that_opened_them_and_others_go_on() {
    let (_data, auth) = guarded().await;
    let oma = auth.add_user("Oma", Role::Viewer, "garden gate".into()).await.unwrap();
    let log_in =
        async |from| auth.log_in(Some("Oma"), "garden gate".into(), address(from)).await.unwrap().token;
    let household = auth.log_in(None, PASSWORD.into(), address(1)).await.unwrap().token;
    let other = stream(&auth, Credential::Session(&household)).await;

    let session = log_in(2).await;
    let ended = stream(&auth, Credential::Session(&session)).await;
    auth.log_out(&session).await.unwrap();
    ended.await.unwrap();

    let ended = stream(&auth, Credential::Session(&log_in(3).await)).await;
    auth.set_role(&oma.id, Role::Member).await.unwrap();
    ended.await.unwrap();

    let (changing, waiting) = (log_in(4).await, log_in(5).await);
    let (stays, ended) = (
        stream(&auth, Credential::Session(&changing)).await,
        stream(&auth, Credential::Session(&waiting)).await,
    );
    auth.change_password(&changing, "garden gate".into(), "rose bushes".into(), address(4)).await.unwrap();
    ended.await.unwrap();
    assert!(!stays.is_finished());
    auth.reset_password(&oma.id, "lavender bed".into()).await.unwrap();
    stays.await.unwrap();

    let last = auth.log_in(Some("Oma"), "lavender bed".into(), address(6)).await.unwrap().token;
    let ended = stream(&auth, Credential::Session(&last)).await;
    auth.remove_user(&oma.id).await.unwrap();
    ended.await.unwrap();

    let key = auth.add_key("phone", Role::Viewer).await.unwrap();
    let ended = stream(&auth, Credential::Key(&key.token)).await;
    auth.revoke_key("phone").await.unwrap();
    ended.await.unwrap();

    assert!(!other.is_finished());
    auth.set_password("battery staple".into()).await.unwrap();
    other.await.unwrap();
}

#[tokio::test]
async fn streams_also_end_when_another_process_revokes_the_key() {
    let (data, auth) = door().await;
    let key = auth.add_key("phone", Role::Viewer).await.unwrap();
    let credential = Credential::Key(&key.token);
    let who = auth.identify(credential).await.unwrap().unwrap();
    let ended = tokio::spawn(auth.ended_within(credential, who, Duration::from_millis(1)));
    Auth::open(data.path()).await.unwrap().revoke_key("phone").await.unwrap();
    ended.await.unwrap();
}
