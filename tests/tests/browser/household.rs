//! Login and users in a browser: the password, users and their roles, API keys; with JavaScript and without.

use anyhow::{Context as _, ensure};
use fantoccini::Locator;
use homereel_tests::{Server, clips};
use reqwest::StatusCode;

use crate::driver::{Browser, Settings};

pub(crate) const PASSWORD: &str = "correct horse battery";

/// A server that asks who comes; the file holds its password.
pub(crate) async fn guarded() -> anyhow::Result<(Server, tempfile::NamedTempFile)> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), PASSWORD)?;
    let path = file.path().to_str().context("a path")?.to_owned();
    Ok((Server::start_with(&["--password-file", &path]).await?, file))
}

/// Fills the login's form; `name` is for users beside the household.
pub(crate) async fn log_in(browser: &Browser, name: Option<&str>, password: &str) -> anyhow::Result<()> {
    if let Some(name) = name {
        fill(browser, "#name", name).await?;
    }
    fill(browser, "#password", password).await?;
    browser.click(".login button").await
}

/// Types into a field in place of what is there.
async fn fill(browser: &Browser, css: &str, text: &str) -> anyhow::Result<()> {
    let field = browser.client.find(Locator::Css(css)).await.with_context(|| format!("no {css}"))?;
    field.clear().await?;
    Ok(field.send_keys(text).await?)
}

async fn choose(browser: &Browser, css: &str, value: &str) -> anyhow::Result<()> {
    browser.click(&format!("{css} option[value={value}]")).await
}

async fn log_out(browser: &Browser) -> anyhow::Result<()> {
    browser.click("header .menu > summary").await?;
    browser.click("form[action='/logout'] button").await?;
    browser.wait_for("h1", "Sign in").await?;
    Ok(())
}

#[tokio::test]
async fn people_come_in_and_keys_are_made_and_revoked() -> anyhow::Result<()> {
    come_and_go(true).await
}

#[tokio::test]
async fn people_come_in_without_javascript() -> anyhow::Result<()> {
    come_and_go(false).await
}

async fn come_and_go(javascript: bool) -> anyhow::Result<()> {
    let (server, _file) = guarded().await?;
    let browser = Browser::start(Settings { javascript, ..Settings::default() }).await?;
    browser.open(&server.url("/household")).await?;
    browser.wait_for("h1", "Sign in").await?;
    log_in(&browser, None, "a wrong guess").await?;
    browser.wait_for("[role=alert]", "wrong password").await?;
    log_in(&browser, None, PASSWORD).await?;
    // Back to where they wanted to go.
    browser.wait_for("h1", "Household").await?;

    // A key is shown once, opens what its role allows, and nothing once it is revoked.
    fill(&browser, "#key-name", "phone").await?;
    choose(&browser, "#key-role", "member").await?;
    browser.click("#add-key button").await?;
    browser.wait_for("#new-key", "phone").await?;
    let key = browser.text("#secret").await?.context("a secret")?;
    ensure!(key.starts_with("hr_") && key.len() == 46, "{key}");
    let upload = async || -> anyhow::Result<StatusCode> {
        let clip = std::fs::read(clips::simple(1)?.file)?;
        let post = server.client().post(server.url("/api/videos")).header("content-type", "video/mp4");
        Ok(post.bearer_auth(&key).body(clip).send().await?.status())
    };
    ensure!(upload().await? == StatusCode::CREATED, "the key opens nothing");
    browser.open(&server.url("/household")).await?;
    browser.wait_for("#keys", "phone").await?;
    ensure!(!browser.client.source().await?.contains(&key[..12]), "the secret is shown again");
    browser.wait_for("#keys", "Last used").await?;
    fill(&browser, "#key-name", "phone").await?;
    browser.click("#add-key button").await?;
    browser.wait_for("#problem", "there is an API key phone already").await?;
    browser.click("#keys button").await?;
    browser.wait_for("#keys", "No API keys yet").await?;
    ensure!(upload().await? == StatusCode::UNAUTHORIZED, "a revoked key opens something");

    // Grandmother may look, and no more.
    fill(&browser, "#user-name", "Oma <3").await?;
    choose(&browser, "#user-role", "viewer").await?;
    fill(&browser, "#user-password", "garden gate").await?;
    browser.click("#add-person button").await?;
    browser.wait_for("#done", "They can now sign in").await?;
    browser.wait_for("#people .job:nth-child(2)", "Oma <3").await?;
    log_out(&browser).await?;
    log_in(&browser, Some("Oma <3"), "garden gate").await?;
    browser.wait_for("#videos .card", "").await?;
    ensure!(browser.text("#upload").await?.is_none(), "a viewer is offered to upload");
    browser.open(&server.url("/household")).await?;
    browser.wait_for("main", "Oma <3 (viewer)").await?;
    ensure!(browser.text("#people").await?.is_none(), "a viewer sees who else comes");
    let cookie = browser.client.get_named_cookie("homereel_session").await?;
    ensure!(cookie.http_only() == Some(true), "a script could read the session");
    let refused = server
        .client()
        .post(server.url("/household/keys"))
        .header("cookie", format!("homereel_session={}", cookie.value()))
        .header("accept", "text/html")
        .form(&[("name", "mine"), ("role", "admin")])
        .send()
        .await?;
    ensure!(refused.status() == StatusCode::FORBIDDEN, "{}", refused.status());
    ensure!(refused.text().await?.contains("Only admins can do this."));

    // Her own password is hers to change.
    for (present, new, repeat, says) in [
        ("wrong gate!", "rose bushes", "rose bushes", "wrong password"),
        ("garden gate", "rose bushes", "rose bushed", "are not the same"),
        ("garden gate", "rose bushes", "rose bushes", "Password changed"),
    ] {
        fill(&browser, "#present", present).await?;
        fill(&browser, "#password", new).await?;
        fill(&browser, "#repeat", repeat).await?;
        browser.click("form[action='/household/password'] button").await?;
        browser.wait_for("main", says).await?;
    }
    log_out(&browser).await?;
    log_in(&browser, Some("Oma <3"), "garden gate").await?;
    browser.wait_for("[role=alert]", "wrong password").await?;
    log_in(&browser, Some("oma <3"), "rose bushes").await?;
    browser.wait_for("#videos .card", "").await?;
    log_out(&browser).await?;

    // An admin gives her another role, and in the end removes her.
    log_in(&browser, Some(""), PASSWORD).await?;
    browser.wait_for("#videos .card", "").await?;
    browser.open(&server.url("/household")).await?;
    browser.click("#people details summary").await?;
    choose(&browser, "#people select", "member").await?;
    browser.click("#people form[action$='/role'] button").await?;
    browser.wait_for("#people .job:nth-child(2) .job-head", "member").await?;
    browser.click("#people details summary").await?;
    browser.click("#people form[action$='/remove'] button").await?;
    browser.wait_for("#done", "They can no longer sign in").await?;
    log_out(&browser).await?;
    if javascript {
        browser.assert_console_is_clean(&["401", "400", "409"]).await?;
    }
    browser.close().await
}
