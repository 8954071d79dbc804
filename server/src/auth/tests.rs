//! The door, with a real database.

use super::*;

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
    let error = auth.log_in(PASSWORD.into(), None).await.unwrap_err();
    assert!(matches!(error, AuthError::NoPassword));
    let link = auth.make_link().await.unwrap();
    assert!(auth.link_lives(&link).await.unwrap());
    // A password that does not fit costs no link.
    let error = auth.log_in_first(&link, "short".into(), None).await.unwrap_err();
    assert!(error.to_string().contains("8 or more"), "{error}");
    let first = auth.log_in_first(&link, PASSWORD.into(), None).await.unwrap();
    let error = auth.log_in_first(&link, "another one".into(), None).await.unwrap_err();
    assert!(matches!(error, AuthError::DeadLink));
    let who = auth.identify(Credential::Session(&first.token)).await.unwrap().unwrap();
    assert_eq!((who.name.as_str(), who.role), (HOUSEHOLD, Role::Admin));

    let error = auth.log_in("wrong horse".into(), None).await.unwrap_err();
    assert!(matches!(error, AuthError::WrongPassword));
    let second = auth.log_in(PASSWORD.into(), None).await.unwrap();
    auth.log_out(&second.token).await.unwrap();
    assert!(auth.identify(Credential::Session(&second.token)).await.unwrap().is_none());
    assert!(auth.identify(Credential::Session(&first.token)).await.unwrap().is_some());
}

#[tokio::test]
async fn a_new_password_ends_all_sessions_and_the_same_one_ends_none() {
    let (_data, auth) = door().await;
    auth.declare_password(PASSWORD.into()).await.unwrap();
    let session = auth.log_in(PASSWORD.into(), None).await.unwrap();
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
    // A key is no session, and a session no key.
    assert!(auth.identify(Credential::Session(&new.token)).await.unwrap().is_none());
    let keys = auth.keys().await.unwrap();
    assert_eq!(keys.len(), 1);
    assert!(keys[0].last_used_ms.is_some());
    // Nothing that lies on the disk opens the door.
    auth.pool.close().await;
    let bytes = std::fs::read(data.path().join("homereel.db")).unwrap();
    assert!(!bytes.windows(new.token.len()).any(|window| window == new.token.as_bytes()));
    let auth = Auth::open(data.path()).await.unwrap();
    auth.revoke_key("phone").await.unwrap();
    assert!(auth.identify(Credential::Key(&new.token)).await.unwrap().is_none());
    assert!(matches!(auth.revoke_key("phone").await.unwrap_err(), AuthError::NoKey(_)));
}

#[tokio::test]
async fn guessing_is_slowed_down() {
    let (_data, auth) = door().await;
    auth.set_password(PASSWORD.into()).await.unwrap();
    let from = Some(IpAddr::from([10, 0, 0, 9]));
    for _ in 0..5 {
        auth.log_in("a guess".into(), from).await.unwrap_err();
    }
    let error = auth.log_in(PASSWORD.into(), from).await.unwrap_err();
    assert!(matches!(error, AuthError::TooManyTries { .. }), "{error}");
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
