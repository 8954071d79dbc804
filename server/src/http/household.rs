//! `/household`: the reader's own password and, for admins, users with their roles and API keys.
//!
//! **Invariant:** a key's secret is in the one response that created it, and nowhere else.

use axum::{
    Form,
    extract::rejection::FormRejection,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use homereel_library::{ApiKey, HOUSEHOLD, MIN_PASSWORD, Role, User};
use homereel_web::{
    Words,
    pages::HouseholdPage,
    views::{ApiKeyView, Person, SelectOption},
};
use serde::Deserialize;

use super::{
    audit_layer, auth_layer,
    error::Failure,
    extract::{Path, Query},
    html::{self, PageContext},
    views,
};
use crate::net::ClientInfo;

/// Form that changes the reader's own password.
#[derive(Deserialize)]
pub(super) struct PasswordForm {
    present: String,
    password: String,
    repeat: String,
}

/// Form that adds a user.
#[derive(Deserialize)]
pub(super) struct UserForm {
    name: String,
    role: Role,
    password: String,
}

/// Form that changes a role.
#[derive(Deserialize)]
pub(super) struct RoleForm {
    role: Role,
}

/// Form with which an admin sets a user's password.
#[derive(Deserialize)]
pub(super) struct ResetForm {
    password: String,
}

/// Form that creates a key.
#[derive(Deserialize)]
pub(super) struct KeyForm {
    name: String,
    role: Role,
}

/// The action that was done. The redirect's URL has its name, so that nobody can put other text on the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum HouseholdAction {
    Password,
    Added,
    Role,
    Reset,
    Removed,
    Revoked,
}

impl HouseholdAction {
    fn word(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Added => "added",
            Self::Role => "role",
            Self::Reset => "reset",
            Self::Removed => "removed",
            Self::Revoked => "revoked",
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            Self::Password => "household-done-password",
            Self::Added => "household-done-added",
            Self::Role => "household-done-role",
            Self::Reset => "household-done-reset",
            Self::Removed => "household-done-removed",
            Self::Revoked => "household-done-revoked",
        }
    }
}

/// Query with the action that led to this page.
#[derive(Debug, Deserialize)]
pub(super) struct HouseholdQuery {
    done: Option<HouseholdAction>,
}

/// Message at the top of the page.
#[derive(Default)]
struct PageMessage {
    problem: String,
    done: String,
    /// Name and secret of a key that was just created.
    key: Option<(String, String)>,
}

/// `GET /household`
pub(super) async fn page(cx: PageContext, Query(query): Query<HouseholdQuery>) -> Response {
    let said = PageMessage {
        done: query.done.map(|action| cx.words.t(action.sentence())).unwrap_or_default(),
        ..PageMessage::default()
    };
    html::or_error(&cx, shown(&cx, said).await)
}

/// `POST /household/password`: the reader's own password.
pub(super) async fn change_password(
    cx: PageContext,
    client: ClientInfo,
    headers: HeaderMap,
    form: Result<Form<PasswordForm>, FormRejection>,
) -> Response {
    let from = client.address;
    let work = async || {
        let Form(form) = form?;
        let who = cx.user.0.as_ref().filter(|who| who.person);
        let (Some(who), Some(session)) = (who, auth_layer::session(&headers)) else {
            return Err(Failure::invalid(
                "session",
                "only a user who logged in with a password can change it",
            ));
        };
        if form.password != form.repeat {
            return Err(Failure::invalid("repeat", "the new password and its repetition are not the same"));
        }
        if cx.state.config.get().password_file.is_some() && who.name == HOUSEHOLD {
            let message = "the household's password is set by --password-file; change it in that file";
            return Err(Failure::new(StatusCode::CONFLICT, "declared_elsewhere", message));
        }
        cx.state.auth.change_password(session, form.present, form.password, from).await?;
        Ok::<_, Failure>(HouseholdAction::Password)
    };
    told(&cx, work().await).await
}

/// `POST /household/users`
pub(super) async fn add_user(cx: PageContext, form: Result<Form<UserForm>, FormRejection>) -> Response {
    let mut name = String::new();
    let work = async {
        let Form(form) = form?;
        name = form.name;
        cx.state.auth.add_user(&name, form.role, form.password).await?;
        Ok::<_, Failure>(HouseholdAction::Added)
    };
    let result = work.await;
    audit_layer::about(name, told(&cx, result).await)
}

/// `POST /household/users/{id}/role`
pub(super) async fn set_role(
    cx: PageContext,
    Path(id): Path<String>,
    form: Result<Form<RoleForm>, FormRejection>,
) -> Response {
    let work = async || {
        let Form(form) = form?;
        cx.state.auth.set_role(&id, form.role).await?;
        Ok::<_, Failure>(HouseholdAction::Role)
    };
    told(&cx, work().await).await
}

/// `POST /household/users/{id}/password`: by an admin, for a user who forgot theirs.
pub(super) async fn reset_password(
    cx: PageContext,
    Path(id): Path<String>,
    form: Result<Form<ResetForm>, FormRejection>,
) -> Response {
    let work = async || {
        let Form(form) = form?;
        cx.state.auth.reset_password(&id, form.password).await?;
        Ok::<_, Failure>(HouseholdAction::Reset)
    };
    told(&cx, work().await).await
}

/// `POST /household/users/{id}/remove`
pub(super) async fn remove_user(cx: PageContext, Path(id): Path<String>) -> Response {
    let removed = cx.state.auth.remove_user(&id).await.map_err(Failure::from);
    told(&cx, removed.map(|()| HouseholdAction::Removed)).await
}

/// `POST /household/keys`: responds with the page that shows the secret once.
pub(super) async fn add_key(cx: PageContext, form: Result<Form<KeyForm>, FormRejection>) -> Response {
    let work = async || {
        let Form(form) = form?;
        Ok::<_, Failure>(cx.state.auth.add_key(form.name.trim(), form.role).await?)
    };
    match work().await {
        Ok(new) => {
            let name = new.key.name.clone();
            let said = PageMessage { key: Some((new.key.name, new.token)), ..PageMessage::default() };
            let mut response = html::or_error(&cx, shown(&cx, said).await);
            // Not even the browser's cache keeps it.
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            audit_layer::about(name, response)
        }
        Err(failure) => told(&cx, Err(failure)).await,
    }
}

/// `POST /household/keys/{id}/revoke`
pub(super) async fn revoke_key(cx: PageContext, Path(id): Path<String>) -> Response {
    let revoked = cx.state.auth.revoke_key(&id).await.map_err(Failure::from);
    told(&cx, revoked.map(|()| HouseholdAction::Revoked)).await
}

/// The page after an action or with an error. After an action it is a redirect, so that a reload repeats
/// nothing.
async fn told(cx: &PageContext, result: Result<HouseholdAction, Failure>) -> Response {
    match result {
        Ok(done) => Redirect::to(&format!("/household?done={}", done.word())).into_response(),
        Err(failure) if failure.status.is_server_error() => html::or_error(cx, Err(failure)),
        Err(failure) => {
            let said = PageMessage { problem: failure.message, ..PageMessage::default() };
            (failure.status, html::or_error(cx, shown(cx, said).await)).into_response()
        }
    }
}

async fn shown(cx: &PageContext, said: PageMessage) -> Result<Response, Failure> {
    let who = cx.user.0.as_ref();
    let admin = cx.user.has(Role::Admin);
    let (users, keys) = if admin {
        (cx.state.auth.users().await?, cx.state.auth.keys().await?)
    } else {
        (Vec::new(), Vec::new())
    };
    html::render(&HouseholdPage {
        shell: html::shell(cx, &cx.words.t("household"), "household", false),
        problem: said.problem,
        done: said.done,
        new_key: said.key,
        open: !cx.state.auth.required(),
        me: who.map(|who| format!("{} ({})", who.name, who.role.as_str())).unwrap_or_default(),
        has_password: who.is_some_and(|who| who.person),
        admin,
        min_length: MIN_PASSWORD,
        roles: roles(cx.words, Role::Member),
        people: users.iter().map(|user| person(cx.words, user)).collect(),
        keys: keys.iter().map(key).collect(),
    })
}

fn roles(words: &Words, chosen: Role) -> Vec<SelectOption> {
    let choice = |(role, label): (Role, &str)| SelectOption {
        value: role.as_str().into(),
        label: words.t(label),
        chosen: role == chosen,
    };
    [(Role::Viewer, "household-viewer"), (Role::Member, "household-member"), (Role::Admin, "household-admin")]
        .map(choice)
        .into()
}

fn person(words: &Words, user: &User) -> Person {
    Person {
        id: user.id.clone(),
        name: user.name.clone(),
        household: user.household,
        role: user.role.as_str(),
        roles: roles(words, user.role),
        since: views::time(user.created_ms),
    }
}

fn key(key: &ApiKey) -> ApiKeyView {
    ApiKeyView {
        id: key.id.clone(),
        name: key.name.clone(),
        role: key.role.as_str(),
        made: views::time(key.created_ms),
        used: key.last_used_ms.map(views::time),
    }
}
