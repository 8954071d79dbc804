//! Every page in both themes and on a phone: axe-core's rules, the Nu Html Checker, weight, no request to another origin;
//! also with ten thousand videos whose names are difficult.
//!
//! `HOMEREEL_AXE` is the path of axe-core's script and `HOMEREEL_VNU` that of the checker's jar (`scripts/test.sh` sets
//! both); without one, its rules are skipped. `HOMEREEL_SCREENSHOTS=DIR` saves a screenshot of each page.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use homereel_tests::{PATIENCE, Server, clips};
use reqwest::header;
use serde_json::{Value, json};

use crate::driver::{Browser, Settings};
use crate::household::{PASSWORD, guarded, log_in};
use crate::{COLOR, HOSTILE};

/// Bytes that a page, and all that a first visit loads with it, may have.
const LIGHT: u64 = 125_000;

/// A page's name, for messages and pictures, and its path.
pub(crate) type Pages = Vec<(&'static str, String)>;

/// Width, height and theme.
type PageLook = (u32, u32, bool);

/// Both themes and both widths; all four where pictures are wanted.
fn looks() -> Vec<PageLook> {
    let mut looks = vec![(1280, 900, false), (360, 740, true)];
    if std::env::var_os("HOMEREEL_SCREENSHOTS").is_some() {
        looks.extend([(1280, 900, true), (360, 740, false)]);
    }
    looks
}

/// The text of a file that a variable of the environment names.
pub(crate) fn named_by(variable: &str) -> anyhow::Result<Option<String>> {
    std::env::var_os(variable).map(|path| Ok(std::fs::read_to_string(PathBuf::from(path))?)).transpose()
}

/// A library with something of everything in it, and its pages.
pub(crate) async fn furnished() -> anyhow::Result<(Server, Pages)> {
    let server = Server::start().await?;
    let mut ids = Vec::new();
    for seed in 70..76 {
        ids.push(server.upload(&clips::simple(seed)?.file).await?);
    }
    let end = std::time::Instant::now() + PATIENCE;
    while server.json("/api/jobs").await?["jobs"]
        .as_array()
        .is_none_or(|jobs| jobs.len() < ids.len() || jobs.iter().any(|job| job["state"] != "done"))
    {
        ensure!(std::time::Instant::now() < end, "not all are read");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let names =
        ["Oma blows out the candles.mp4", "שבת בבית — ערב.mp4", HOSTILE, "🎂🎈 Geburtstag.mov", "lake.mp4"];
    for (id, name) in ids.iter().zip(names) {
        let body = json!({"name": name, "tags": ["Summer 2019", "family"], "favourite": true, "taken": "2019-07-14"});
        let patch = server.client().patch(server.url(&format!("/api/videos/{id}")));
        patch.json(&body).send().await?.error_for_status()?;
    }
    let ask = server.client().post(server.url(&format!("/api/videos/{}/ask", ids[0])));
    ask.json(&json!({"question": COLOR})).send().await?.error_for_status()?.text().await?;
    let ask = server.client().post(server.url("/api/ask")).json(&json!({"question": "What is at the lake?"}));
    ask.send().await?.error_for_status()?.text().await?;
    let question = server.json("/api/ask").await?["questions"][0]["id"].clone();
    let album = json!({"name": "A week at the lake", "videos": ids[..4]});
    let album = server.client().post(server.url("/api/albums")).json(&album).send().await?;
    let album: Value = album.error_for_status()?.json().await?;
    let (question, album) = (question.as_str().context("an id")?, album["id"].as_str().context("an id")?);
    let gone = server.client().delete(server.url(&format!("/api/videos/{}", ids[5])));
    gone.send().await?.error_for_status()?;
    // Results of `homereel-bench serve` under three loads, so that each plot is drawn.
    let folder = server.data().join("bench");
    std::fs::create_dir_all(&folder)?;
    let runs = concat!(env!("CARGO_MANIFEST_DIR"), "/../bench/runs/2026-11-26-x86_64-2cores");
    for load in [1, 2, 3] {
        let result = format!("{runs}/demo-candle-f32-load-{load}.json");
        std::fs::copy(result, folder.join(format!("2026-11-26-demo-{load}.json")))?;
    }
    let page = |name, path: &str| (name, path.to_owned());
    let pages = vec![
        page("library", "/"),
        page("library-filtered", "/?favourite=1&when=2019-07"),
        page("library-none", "/?favourite=1&when=2018"),
        page("library-done", &format!("/?done=add_to_album&count=2&album={album}")),
        page("trashed", &format!("/?trashed={}", ids[5])),
        page("video", &format!("/videos/{}", ids[0])),
        page("video-in-album", &format!("/videos/{}?in=album%3A{album}", ids[1])),
        page("video-hostile", &format!("/videos/{}?t=2", ids[2])),
        page("edit", &format!("/videos/{}/edit", ids[0])),
        page("add", "/add"),
        page("video-in-trash", &format!("/videos/{}", ids[5])),
        page("albums", "/albums"),
        page("album", &format!("/albums/{album}")),
        page("arrange", &format!("/albums/{album}/arrange")),
        page("tag", "/tags/Summer%202019"),
        page("search", "/search"),
        page("search-found", "/search?q=the"),
        page("search-nothing", "/search?q=zebra"),
        page("search-problem", "/search?q=x&from=yesterday"),
        page("ask", "/ask"),
        page("answer", &format!("/ask/{question}")),
        page("jobs", "/jobs"),
        page("trash", "/trash"),
        page("system", "/system"),
        page("bench", "/bench"),
        page("docs", "/docs"),
        page("household", "/household"),
        page("not-found", "/nowhere"),
        page("no-video", "/videos/none"),
    ];
    Ok((server, pages))
}

/// Opens each page in each look, and holds it to axe-core's rules, its width, its policy and its origin.
async fn look_at(
    browser: &Browser,
    server: &Server,
    pages: &Pages,
    looks: &[PageLook],
) -> anyhow::Result<()> {
    let axe = named_by("HOMEREEL_AXE")?;
    for &(width, height, dark) in looks {
        browser.show_as(width, height, dark).await?;
        for (name, path) in pages {
            let what = || format!("on {name}, {width} wide, {}", if dark { "dark" } else { "light" });
            browser.open(&server.url(path)).await?;
            browser.wait_for("h1", "").await.with_context(what)?;
            let is = browser
                .run("return [innerWidth, matchMedia('(prefers-color-scheme: dark)').matches]")
                .await?;
            ensure!(is == json!([width, dark]), "the browser shows {is}");
            browser.assert_no_sideways_scroll().await.with_context(what)?;
            if let Some(axe) = &axe {
                browser.assert_accessible(axe).await.with_context(what)?;
            }
            if let Some(dir) = std::env::var_os("HOMEREEL_SCREENSHOTS") {
                let theme = if dark { "dark" } else { "light" };
                let file = Path::new(&dir).join("pages").join(format!("{name}-{width}-{theme}.png"));
                browser.photograph(&file, 1600).await?;
            }
        }
    }
    // A violation of the policy is an error of the console. Pages that are not there say so.
    browser.assert_console_is_clean(&["404", "403"]).await?;
    for (url, _) in browser.traffic().await? {
        let ours = ["data:", "blob:", "about:"].iter().any(|own| url.starts_with(own));
        ensure!(ours || url.starts_with(&server.url("/")), "the page asked for {url}");
    }
    Ok(())
}

/// Fetches each page as a browser would, and holds it to its size and policy.
async fn fetch(server: &Server, pages: &Pages, cookie: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let mut sources = BTreeMap::new();
    for (name, path) in pages {
        let get = server.client().get(server.url(path)).header(header::ACCEPT, "text/html");
        let response = get.header(header::COOKIE, cookie).send().await?;
        let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str()?.to_owned();
        ensure!(policy.starts_with("default-src 'self';") && !policy.contains("unsafe"), "{name}: {policy}");
        let html = response.text().await?;
        ensure!(html.len() as u64 <= LIGHT, "{name} has {} bytes", html.len());
        sources.insert((*name).to_owned(), html);
    }
    Ok(sources)
}

/// Fails when the Nu Html Checker finds an error in one of the pages.
async fn assert_valid(sources: &BTreeMap<String, String>) -> anyhow::Result<()> {
    let Some(jar) = std::env::var_os("HOMEREEL_VNU") else { return Ok(()) };
    let dir = tempfile::tempdir()?;
    for (name, html) in sources {
        ensure!(html.starts_with("<!doctype html>"), "{name} is no page: {html}");
        std::fs::write(dir.path().join(format!("{name}.html")), html)?;
    }
    let check = tokio::process::Command::new("java")
        .args(["-Xmx256m", "-Xss2m", "-jar"])
        .arg(jar)
        .args(["--errors-only", "--format", "gnu", "--stdout"])
        .arg(dir.path())
        .stdin(Stdio::null())
        .output()
        .await
        .context("failed to start java; install Debian's package default-jre-headless")?;
    let found = String::from_utf8_lossy(&check.stdout);
    ensure!(check.status.success(), "the validator finds\n{found}{}", String::from_utf8_lossy(&check.stderr));
    Ok(())
}

#[tokio::test]
async fn every_page_serves_everybody() -> anyhow::Result<()> {
    let (server, pages) = furnished().await?;
    // What a first visit to the library costs, all pictures with it.
    let browser = Browser::start(Settings::default()).await?;
    browser.open(&server.url("/")).await?;
    browser.wait_for("#videos .card", "").await?;
    let loaded = "return [...document.images].every((i) => i.complete && i.naturalWidth) || null";
    browser.wait_until("all pictures", async |b| Ok(b.run(loaded).await?.as_bool())).await?;
    let traffic = browser.traffic().await?;
    let bytes: u64 = traffic.iter().map(|(_, bytes)| bytes).sum();
    ensure!(traffic.len() > 8 && bytes > 5_000, "the browser counted nothing: {traffic:?}");
    ensure!(bytes <= LIGHT, "the first page costs {bytes} bytes: {traffic:#?}");
    println!("the first visit to / with five videos: {bytes} bytes in {} requests", traffic.len());

    look_at(&browser, &server, &pages, &looks()).await?;
    assert_valid(&fetch(&server, &pages, "").await?).await?;
    browser.close().await
}

#[tokio::test]
async fn the_way_in_serves_everybody() -> anyhow::Result<()> {
    let (server, _file) = guarded().await?;
    let link =
        homereel_tests::homereel(["password", "link", "--data", server.data().to_str().context("a path")?])
            .await?;
    let once = link.answer()?.split("once=").nth(1).context("a link")?.trim().to_owned();
    let closed = vec![("login", "/login".to_owned()), ("first-password", format!("/login?once={once}"))];
    assert_valid(&fetch(&server, &closed, "").await?).await?;
    let browser = Browser::start(Settings::default()).await?;
    look_at(&browser, &server, &closed, &looks()).await?;

    browser.open(&server.url("/login?next=/household")).await?;
    log_in(&browser, None, PASSWORD).await?;
    browser.wait_for("#people", "household").await?;
    let cookie = browser.client.get_named_cookie("homereel_session").await?;
    let cookie = format!("homereel_session={}", cookie.value());
    for (path, form) in [
        ("/household/users", vec![("name", "Oma <3"), ("role", "viewer"), ("password", "garden gate")]),
        ("/household/keys", vec![("name", "phone"), ("role", "member")]),
    ] {
        let post = server.client().post(server.url(path)).header(header::COOKIE, &cookie);
        post.form(&form).send().await?.error_for_status()?;
    }
    let page = |name, path: &str| (name, path.to_owned());
    let inside = vec![page("household-guarded", "/household"), page("library-guarded", "/")];
    assert_valid(&fetch(&server, &inside, &cookie).await?).await?;
    look_at(&browser, &server, &inside, &looks()).await?;
    let named = vec![page("login-by-name", "/login")];
    browser.client.delete_all_cookies().await?;
    assert_valid(&fetch(&server, &named, "").await?).await?;
    look_at(&browser, &server, &named, &looks()).await?;

    // A viewer's pages, and what a viewer is told who goes further.
    log_in(&browser, Some("Oma <3"), "garden gate").await?;
    browser.wait_for("h1", "").await?;
    let cookie = browser.client.get_named_cookie("homereel_session").await?;
    let cookie = format!("homereel_session={}", cookie.value());
    let hers = vec![page("library-viewer", "/"), page("household-viewer", "/household")];
    assert_valid(&fetch(&server, &hers, &cookie).await?).await?;
    look_at(&browser, &server, &hers, &looks()[..2]).await?;
    let post = server.client().post(server.url("/trash/empty")).header(header::COOKIE, &cookie);
    let refused = post.header(header::ACCEPT, "text/html").send().await?;
    ensure!(refused.status() == 403, "{}", refused.status());
    assert_valid(&BTreeMap::from([("refused".to_owned(), refused.text().await?)])).await?;
    let go_further =
        "const form = document.createElement('form'); form.method = 'post'; form.action = '/trash/empty';
        document.body.append(form); form.submit()";
    browser.run(go_further).await?;
    browser.wait_for("main", "Only admins can do this. You're signed in as a viewer.").await?;
    if let Some(axe) = named_by("HOMEREEL_AXE")? {
        browser.assert_accessible(&axe).await.context("on what is refused")?;
    }
    browser.close().await
}

/// Puts ten thousand videos with the worst of names into a library, beside the server that runs on it.
const FILL: &str = r#"
import json, random, sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], timeout=60)
probe = db.execute("SELECT probe FROM videos LIMIT 1").fetchone()[0]
random.seed(1)
bad = ["<script>document.title='hacked'</script>", "\"><img src=x onerror=document.title='hacked'>",
       '"' * 255, "W" * 255, "\u202egnp.4pm", "\u05e9\u05d1\u05ea \u202e\u2066", "\U0001F382" * 63, "&amp;&#60;" * 25,
       "'; DROP TABLE videos; --", "../../etc/passwd", "a" * 120 + " " + "b" * 120, "\u0645\u0631\u062d\u0628\u0627" * 20]
now = int(time.time() * 1000)
with db:
    for n in range(10000):
        video = "%032x" % n
        name = bad[n % len(bad)][:200]
        deleted = now if n < 300 else None
        db.execute("INSERT INTO videos (id, sha256, name, size, mime, created_ms, probe, poster, deleted_ms) "
                   "VALUES (?, ?, ?, 1, 'video/mp4', ?, ?, 'pending', ?)",
                   (video, "%064x" % n, name, now - 1000 * (10000 - n), probe, deleted))
        tags = json.dumps(["Summer", bad[n % len(bad)][:60], "tag %d" % (n % 500)])
        text = "Oma swims in the lake. " + bad[n % len(bad)]
        for kind, content in (("description", text), ("tags", tags)):
            db.execute("INSERT INTO texts (video_id, kind, content, model, settings, created_ms) "
                       "VALUES (?, ?, ?, 'm', '{}', 0)", (video, kind, content))
        db.execute("INSERT INTO jobs (id, kind, video_id, state, step, run_after_ms, error, created_ms, updated_ms) "
                   "VALUES (?, 'ingest', ?, 'failed', 'describe', 0, ?, 0, ?)", (video, video, text * 4, now - n))
    # One with all that a model may do to it: a million characters, and a film's worth of moments and answers.
    worst = "%032x" % 5000
    db.execute("UPDATE texts SET content = ? WHERE video_id = ? AND kind = 'description'", ("<b>x</b> " * 110000, worst))
    moments = [{"start": 10.0 * n, "end": 10.0 * n + 9, "text": bad[n % len(bad)][:200]} for n in range(2000)]
    db.execute("INSERT INTO texts (video_id, kind, content, model, settings, created_ms) VALUES (?, 'moments', ?, 'm', '{}', 0)",
               (worst, json.dumps(moments)))
    for n in range(100):
        db.execute("INSERT INTO answers (id, video_id, question, answer, status, model, settings, created_ms, finished_ms) "
                   "VALUES (?, ?, ?, ?, 'done', 'm', '{}', ?, ?)",
                   ("%032x" % n, worst, bad[n % len(bad)], "</p><script>document.title='hacked'</script> " * 200, n, n))
"#;

#[tokio::test]
async fn ten_thousand_videos_of_the_worst_names_stay_light_and_harmless() -> anyhow::Result<()> {
    let server = Server::start().await?;
    server.upload(&clips::simple(77)?.file).await?;
    let first = server.json("/api/videos").await?["videos"][0]["id"].as_str().context("an id")?.to_owned();
    let end = std::time::Instant::now() + PATIENCE;
    while server.json(&format!("/api/videos/{first}")).await?["jobs"][0]["state"] != "done" {
        ensure!(std::time::Instant::now() < end, "not read");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let filled = tokio::process::Command::new("python3")
        .args(["-c", FILL])
        .arg(server.data().join("homereel.db"))
        .stdin(Stdio::null())
        .output()
        .await?;
    ensure!(filled.status.success(), "{}", String::from_utf8_lossy(&filled.stderr));
    let worst = format!("/videos/{:032x}", 5000);
    let page = |name, path: &str| (name, path.to_owned());
    let pages = vec![
        page("library", "/"),
        page("library-late", "/?offset=9600"),
        page("albums", "/albums"),
        page("album", "/albums/summer?offset=960"),
        page("album-hostile", "/albums/%3Cscript%3Edocument%2Etitle%3D%27hacked%27%3C%2Fscript%3E"),
        page("search", "/search?q=lake"),
        page("search-hostile", "/search?q=%22onerror%22"),
        page("jobs", "/jobs"),
        page("jobs-late", "/jobs?offset=9960"),
        page("trash", "/trash"),
        page("trash-late", "/trash?offset=280"),
        page("video", &worst),
        page("video-late", &format!("{worst}?answers=90&moments=1900")),
    ];
    let sources = fetch(&server, &pages, "").await?;
    assert_valid(&sources).await?;
    let browser = Browser::start(Settings::default()).await?;
    for (width, dark) in [(1280, false), (360, true)] {
        browser.show_as(width, 740, dark).await?;
        for (name, path) in &pages {
            browser.open(&server.url(path)).await?;
            browser.assert_no_sideways_scroll().await.with_context(|| format!("on {name}, {width} wide"))?;
            let harmed = "return document.title === 'hacked' || !!document.querySelector('img[src=x], main script, main b')";
            ensure!(browser.run(harmed).await? == json!(false), "a name became markup on {name}");
        }
    }
    ensure!(sources["library"].contains("9701 videos") && sources["jobs"].contains("10000 failed"));
    ensure!(sources["video"].contains("Older questions") && sources["video"].contains("Later moments"));
    // Every page of the list leads to the next, to the last.
    let mut cards = 0;
    let at_9540 = server.json("/api/videos?limit=1&offset=9539").await?;
    let last = &at_9540["videos"][0];
    let mut path = format!("/?before={}_{}", last["taken_ms"], last["id"].as_str().context("a video")?);
    loop {
        browser.open(&server.url(&path)).await?;
        cards += browser.run("return document.querySelectorAll('.card').length").await?.as_u64().unwrap_or(0);
        let next =
            browser.run("return document.querySelector('main a[rel=next]')?.getAttribute('href') ?? null");
        match next.await? {
            Value::String(next) => path = next,
            _ => break,
        }
    }
    ensure!(cards == 9701 - 9540, "{cards} cards");
    browser.assert_console_is_clean(&["404"]).await?;
    browser.close().await
}

#[tokio::test]
async fn unknown_pages_say_so_on_a_phone() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let browser =
        Browser::start(Settings { width: 360, height: 740, dark: true, ..Settings::default() }).await?;
    for path in ["/videos/none", "/albums/none", "/jobs/x", "/static/x"] {
        browser.open(&server.url(path)).await?;
        browser.assert_no_sideways_scroll().await.with_context(|| format!("on {path}"))?;
    }
    browser.open(&server.url("/videos/none")).await?;
    browser.wait_for("main", "video has the id none").await?;
    browser.wait_for("main a", "All videos").await?;
    browser.assert_console_is_clean(&["404"]).await?;
    browser.close().await
}
