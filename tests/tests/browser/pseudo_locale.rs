//! Every page in the pseudo-locale, in which each message stands in `⟦…⟧`: a text outside of them cannot be translated.

use anyhow::{Context as _, ensure};
use serde_json::json;

use crate::{
    accessibility::furnished,
    driver::{Browser, Settings},
};

/// Returns what a page shows or tells outside of messages, and outside of what is data: names, texts of models, times, numbers, code.
const UNTRANSLATED: &str = r#"
const DATA = '[dir=auto], bdi, time, code, kbd, data, [translate=no], script, noscript';
// Messages may stand inside of messages.
const without = (text) => { const less = text.replace(/⟦[^⟦⟧]*⟧/g, ''); return less === text ? text : without(less); };
const isBare = (text) => /\p{L}{2,}/u.test(without(text));
const found = [];
const walker = document.createTreeWalker(document.documentElement, NodeFilter.SHOW_TEXT);
for (let node = walker.nextNode(); node; node = walker.nextNode()) {
  if (isBare(node.data) && !node.parentElement.closest(DATA)) found.push(node.data.trim());
}
for (const element of document.querySelectorAll('*')) {
  for (const name of ['aria-label', 'title', 'placeholder', 'alt', 'label', 'aria-valuetext', 'value']) {
    const value = element.getAttribute(name);
    if (name === 'value' && !element.matches('input[type=submit], input[type=button]')) continue;
    if (value && isBare(value) && !element.matches(DATA.replace('[dir=auto], ', '')) && !element.closest('[translate=no]')) found.push(`${name}: ${value}`);
  }
}
return found;
"#;

#[tokio::test]
async fn no_text_of_a_page_is_left_out_of_the_messages() -> anyhow::Result<()> {
    let (server, pages) = furnished().await?;
    let browser = Browser::start(Settings::default()).await?;
    browser.devtools("Network.enable", json!({})).await?;
    let headers = json!({"headers": {"Accept-Language": "en-XA,en;q=0.9"}});
    browser.devtools("Network.setExtraHTTPHeaders", headers).await?;
    for (name, path) in &pages {
        browser.open(&server.url(path)).await?;
        let title = browser.wait_for("h1", "").await.with_context(|| (*name).to_owned())?;
        let shown = browser.client.source().await?;
        ensure!(shown.contains('⟦'), "{name} is not in the pseudo-locale: {title}");
        let found = browser.run(UNTRANSLATED).await?;
        ensure!(found == json!([]), "{name} shows texts that no message has: {found:#}");
    }
    browser.close().await
}
