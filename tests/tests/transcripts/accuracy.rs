//! What the whole program understands with a real checkpoint, and when: word errors beside those of transformers, times of captions,
//! and nothing where nobody speaks. `scripts/test.sh speech` makes the checkpoint and the tapes and sets `HOMEREEL_TEST_SPEECH`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use homereel_tests::Server;
use serde_json::Value;

use super::transcript;

/// By how many seconds a caption may begin or end too early or too late.
const TOLERANCE: f64 = 0.3;
/// A sentence after a pause of so many seconds begins a line of its own.
const PAUSE: f64 = 2.0;

fn folder() -> anyhow::Result<PathBuf> {
    let folder = std::env::var_os("HOMEREEL_TEST_SPEECH");
    folder.map(PathBuf::from).context("HOMEREEL_TEST_SPEECH is not set; `scripts/test.sh speech` sets it")
}

async fn server(folder: &Path) -> anyhow::Result<Server> {
    Server::start_with(&["--speech-model", folder.join("model").to_str().context("a path")?]).await
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

#[tokio::test]
#[ignore = "needs a checkpoint and spoken tapes, which scripts/test.sh speech makes"]
async fn tapes_are_understood_as_by_transformers_and_captions_are_in_time() -> anyhow::Result<()> {
    let folder = folder()?;
    let tapes: Value = serde_json::from_slice(&std::fs::read(folder.join("tapes/tapes.json"))?)?;
    let server = server(&folder).await?;
    let (mut ours, mut theirs, mut all) = (0, 0, 0);
    let mut late = Vec::new();
    for tape in tapes["tapes"].as_array().context("tapes")? {
        let name = tape["file"].as_str().context("a file")?;
        let id = server.upload(&folder.join("tapes").join(name)).await?;
        let found = transcript(&server, &id).await?;
        let lines = found["lines"].as_array().context("lines")?;
        let sentences = tape["sentences"].as_array().context("sentences")?;
        let (said, spoken) = (words(lines, "text"), words(sentences, "text"));
        let (wrong, reference) =
            (distance(&said, &spoken), distance(&words(sentences, "reference"), &spoken));
        println!("{name}: {wrong} of {} words are wrong, {reference} of transformers'", spoken.len());
        (ours, theirs, all) = (ours + wrong, theirs + reference, all + spoken.len());
        late.extend(out_of_time(name, lines, sentences));
    }
    let rate = |errors: usize| 100.0 * errors as f64 / all as f64;
    println!("word error rate {:.2} %, transformers' {:.2} %", rate(ours), rate(theirs));
    ensure!(rate(ours) <= rate(theirs) + 1.0, "more errors than transformers");
    ensure!(late.is_empty(), "out of time: {late:#?}");
    Ok(())
}

#[tokio::test]
#[ignore = "needs a checkpoint and spoken tapes, which scripts/test.sh speech makes"]
async fn nothing_is_transcribed_where_nobody_speaks() -> anyhow::Result<()> {
    let folder = folder()?;
    let server = server(&folder).await?;
    let id = server.upload(&folder.join("tapes/nothing.mkv")).await?;
    let found = transcript(&server, &id).await?;
    ensure!(found["lines"].as_array().is_some_and(Vec::is_empty), "{found}");
    ensure!(number(&found["position"]) > 595.0, "it did not come to the end: {found}");
    Ok(())
}

/// Returns lines that are shown where nobody speaks, and sentences after a pause whose line begins elsewhere.
fn out_of_time(name: &str, lines: &[Value], sentences: &[Value]) -> Vec<String> {
    let mut wrong = Vec::new();
    for line in lines {
        let (start, end) = (number(&line["start"]), number(&line["end"]));
        let begins = |sentence: &Value| {
            (number(&sentence["start"]) - TOLERANCE..=number(&sentence["end"])).contains(&start)
        };
        let ends = |sentence: &Value| {
            (number(&sentence["start"])..=number(&sentence["end"]) + TOLERANCE).contains(&end)
        };
        if !sentences.iter().any(begins) || !sentences.iter().any(ends) {
            wrong.push(format!("{name}: {line}"));
        }
    }
    let mut before = f64::NEG_INFINITY;
    for sentence in sentences {
        let start = number(&sentence["start"]);
        let near = lines.iter().any(|line| (number(&line["start"]) - start).abs() <= TOLERANCE);
        if start - before >= PAUSE && !near {
            wrong.push(format!("{name}: no line begins with {sentence}"));
        }
        before = number(&sentence["end"]);
    }
    wrong
}

fn words(items: &[Value], field: &str) -> Vec<String> {
    let text: Vec<&str> = items.iter().filter_map(|item| item[field].as_str()).collect();
    let plain = |c: char| if c.is_alphanumeric() || c == '\'' { c.to_ascii_lowercase() } else { ' ' };
    let text: String = text.join(" ").chars().map(plain).collect();
    text.split_whitespace().map(str::to_owned).collect()
}

/// Returns the number of words that were put in, left out or changed.
fn distance(said: &[String], spoken: &[String]) -> usize {
    let mut row: Vec<usize> = (0..=spoken.len()).collect();
    for (index, word) in said.iter().enumerate() {
        let mut before = std::mem::replace(&mut row[0], index + 1);
        for (at, other) in spoken.iter().enumerate() {
            let changed = before + usize::from(word != other);
            before = row[at + 1];
            row[at + 1] = changed.min(row[at] + 1).min(before + 1);
        }
    }
    row[spoken.len()]
}
